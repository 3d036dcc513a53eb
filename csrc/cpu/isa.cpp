// Selects the per-ISA kernels for this processor.
#include "cpu/isa.h"

#include <cstdlib>
#include <cstring>

#include "common/error.h"
#include "cpu/amx.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace fastalex {
namespace {

struct IsaLevel {
  const CpuKernels* kernels;
  bool (*supported)();                    // by the processor
  bool automatic;                         // may be chosen without FASTALEX_CPU_ISA
  std::string (*permission)() = nullptr;  // null: the operating system is not asked; otherwise its objection, if any
};

#if defined(__x86_64__)
bool has_f16c() {  // older compilers do not know the name in __builtin_cpu_supports
  unsigned a, b, c, d;
  return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}
bool has_v2() { return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt"); }
bool has_v3() { return has_v2() && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c(); }
bool has_v4() {
  return has_v3() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#ifdef FASTALEX_ISA_V3VNNI
bool has_avx_vnni() {  // leaf 7, EAX of subleaf 1: products of bytes without AVX-512
  unsigned a, b, c, d;
  return has_v3() && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & 1u << 4);
}
#endif
#if defined(FASTALEX_ISA_V4VNNI) || defined(FASTALEX_ISA_V4BF16) || defined(FASTALEX_ISA_V4AMX)
// Leaf 7: products of bytes (ECX of subleaf 0) and of bf16 (EAX of subleaf 1); older compilers do not know the names.
bool has_vnni() {
  unsigned a, b, c, d;
  return has_v4() && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (c & 1u << 11);
}
bool has_bf16() {
  unsigned a, b, c, d;
  return has_vnni() && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & 1u << 5);
}
#endif
#ifdef FASTALEX_ISA_V4AMX
// EDX of subleaf 0: products of bf16 by tiles, tiles, products of bytes by tiles.
bool has_amx() {
  const unsigned all = 1u << 22 | 1u << 24 | 1u << 25;
  unsigned a, b, c, d;
  return has_bf16() && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & all) == all;
}
std::string may_use_tiles() { return request_tiles(saved_states()); }
#endif
const IsaLevel kIsaLevels[] = {
#ifdef FASTALEX_ISA_V4AMX
    {&fastalex_cpu_kernels_v4amx, has_amx, true, may_use_tiles},
#endif
#ifdef FASTALEX_ISA_V4BF16
    {&fastalex_cpu_kernels_v4bf16, has_bf16, true},
#endif
#ifdef FASTALEX_ISA_V4VNNI
    {&fastalex_cpu_kernels_v4vnni, has_vnni, true},
#endif
    {&fastalex_cpu_kernels_v4, has_v4, true},
#ifdef FASTALEX_ISA_V3VNNI
    {&fastalex_cpu_kernels_v3vnni, has_avx_vnni, true},
#endif
    {&fastalex_cpu_kernels_v3, has_v3, true},
    {&fastalex_cpu_kernels_v2, has_v2, true},
#ifdef FASTALEX_TEST_ISA
    {&fastalex_cpu_kernels_wide, has_v3, false},
    {&fastalex_cpu_kernels_v3twin, has_v3, false},
    {&fastalex_cpu_kernels_amxtwin, has_v3, false},
#endif
};
#elif defined(__aarch64__)
bool has_neon() { return true; }  // part of the architecture
const IsaLevel kIsaLevels[] = {{&fastalex_cpu_kernels_neon, has_neon, true}};
#else
#error "fastalex has CPU kernels for x86-64 and aarch64"
#endif

// The operating system's.
std::string objection(const IsaLevel& level) { return level.permission ? level.permission() : std::string(); }

const CpuKernels* choose(std::string* refusal) {
  const char* requested = std::getenv("FASTALEX_CPU_ISA");
  bool any = !requested || !*requested;
  std::string known;
  for (const IsaLevel& level : kIsaLevels) {
    if (any && level.automatic && level.supported() && objection(level).empty()) return level.kernels;
    known += std::string(known.empty() ? "" : ", ") + level.kernels->isa;
    if (any || std::strcmp(requested, level.kernels->isa) != 0) continue;
    const std::string reason = level.supported() ? objection(level) : "this processor does not have it";
    if (reason.empty()) return level.kernels;
    *refusal = std::string("FASTALEX_CPU_ISA=") + requested + ": " + reason + "; unset the variable";
    return nullptr;
  }
  *refusal = any ? "this processor is older than x86-64-v2 (SSE4.2)"
                 : std::string("FASTALEX_CPU_ISA=") + requested + " is none of: " + known;
  return nullptr;
}

}  // namespace

const CpuKernels& cpu_kernels() {
  static std::string refusal;
  static const CpuKernels* chosen = choose(&refusal);
  if (!chosen) throw Error(FASTALEX_UNAVAILABLE, refusal);
  return *chosen;
}

}  // namespace fastalex
