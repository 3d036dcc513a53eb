// The limits of this machine: multiply-accumulates a second in fp32, bf16 and int8, and bytes read from memory a
// second.
//
//   limits CPUS MEBIBYTES REPEATS        CPUS: "0,1", a thread pinned to each; or "x2", two threads that are not pinned
//
// prints one JSON object. fp32, bf16, int8: 1e9 operations a second, two a multiply-accumulate; read_4k, read_huge: 1e9
// bytes a second, from pages of 4 KiB and from huge ones. Each is the best of REPEATS, and null where the processor or
// the system has no such thing. limits.py compiles and runs it; it needs no library.
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

const long kRounds = 3000000;  // of a loop with one instruction for each accumulator: about 20 ms
const size_t kHugePage = size_t(2) << 20;
const size_t kAhead[] = {0, 1024, 4096};  // bytes that a software prefetch runs ahead of the reading; 0: none

std::atomic<uint64_t> sink{0};  // what is computed must be used

typedef double (*MathLoop)(long rounds);  // returns the multiply-accumulates that it made
typedef void (*ReadLoop)(const char* from, size_t bytes, size_t ahead);

uint64_t first_bits(const void* vector) {
  uint64_t bits;
  std::memcpy(&bits, vector, sizeof bits);
  return bits;
}

// One half in fp32, whose bits are numbers of moderate size in bf16 and int8, too: nothing overflows or underflows.
const float kHalves[16] = {.5f, .5f, .5f, .5f, .5f, .5f, .5f, .5f, .5f, .5f, .5f, .5f, .5f, .5f, .5f, .5f};

// Independent sums hide the latency of an instruction (4 or 5 cycles, two to four a cycle): as many as the registers
// hold beside the two operands. The operands pass through an empty asm at each step: nothing is hoisted or shared.
#define TWELVE(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
#define SIXTEEN(X) TWELVE(X) X(12) X(13) X(14) X(15)
#define DECLARE(i) V c##i = zero;
#define ADD_UP(i) used ^= first_bits(&c##i);
#define MATH_LOOP(NAME, TARGET, VECTOR, SUMS, COUNT, PRODUCTS, STEP) \
  TARGET double NAME(long rounds) {                                  \
    typedef VECTOR V;                                                \
    V a, b, zero;                                                    \
    std::memcpy(&a, kHalves, sizeof a);                              \
    std::memcpy(&b, kHalves, sizeof b);                              \
    std::memset(&zero, 0, sizeof zero);                              \
    SUMS(DECLARE)                                                    \
    for (long round = 0; round < rounds; ++round) {                  \
      SUMS(STEP)                                                     \
    }                                                                \
    uint64_t used = 0;                                               \
    SUMS(ADD_UP)                                                     \
    sink += used;                                                    \
    return double(COUNT) * PRODUCTS * rounds;                        \
  }

// Eight vectors in flight over consecutive memory.
#define EIGHT(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
#define LOAD(i) c##i ^= *reinterpret_cast<const V*>(from + at + i * sizeof(V));
#define READ_LOOP(NAME, TARGET, BYTES)                                                                    \
  TARGET void NAME(const char* from, size_t bytes, size_t ahead) {                                        \
    typedef uint64_t V __attribute__((vector_size(BYTES), may_alias));                                    \
    const V zero = {};                                                                                    \
    EIGHT(DECLARE)                                                                                        \
    for (size_t at = 0; at + 8 * BYTES <= bytes; at += 8 * BYTES) {                                       \
      if (ahead)                                                                                          \
        for (size_t line = 0; line < 8 * BYTES; line += 64) __builtin_prefetch(from + at + ahead + line); \
      EIGHT(LOAD)                                                                                         \
    }                                                                                                     \
    uint64_t used = 0;                                                                                    \
    EIGHT(ADD_UP)                                                                                         \
    sink += used;                                                                                         \
  }

#if defined(__x86_64__)
#define KEEP(x) __asm__ volatile("" : "+v"(x))
#define KEEP_AVX2(x) __asm__ volatile("" : "+x"(x))
#define FMA_512(i) \
  KEEP(a);         \
  c##i = _mm512_fmadd_ps(a, b, c##i);
#define FMA_256(i) \
  KEEP_AVX2(a);    \
  c##i = _mm256_fmadd_ps(a, b, c##i);
#define DOT_512(i) \
  KEEP(a);         \
  c##i = _mm512_dpbusd_epi32(c##i, a, b);
#define DOT_256(i) \
  KEEP_AVX2(a);    \
  c##i = _mm256_add_epi32(c##i, _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), b));
#define PLAIN(i) \
  KEEP_AVX2(a);  \
  c##i += a * b;
MATH_LOOP(fma_512, __attribute__((target("avx512f"))), __m512, SIXTEEN, 16, 16, FMA_512)
MATH_LOOP(fma_256, __attribute__((target("avx2,fma"))), __m256, TWELVE, 12, 8, FMA_256)
MATH_LOOP(dot_512, __attribute__((target("avx512f,avx512vnni"))), __m512i, SIXTEEN, 16, 64, DOT_512)
MATH_LOOP(dot_256, __attribute__((target("avx2"))), __m256i, TWELVE, 12, 32, DOT_256)
#if defined(__clang__) || __GNUC__ >= 11
#define FASTALEX_HAS_BF16 1
#define BF16_512(i) \
  KEEP(a);          \
  c##i = _mm512_dpbf16_ps(c##i, (__m512bh)a, (__m512bh)b);
MATH_LOOP(bf16_512, __attribute__((target("avx512f,avx512bf16"))), __m512, SIXTEEN, 16, 32, BF16_512)
#endif
READ_LOOP(read_512, __attribute__((target("avx512f"))), 64)
READ_LOOP(read_256, __attribute__((target("avx2"))), 32)
#elif defined(__aarch64__)
#define KEEP(x) __asm__ volatile("" : "+w"(x))
#define PLAIN(i) \
  KEEP(a);       \
  c##i += a * b;
#endif
#if defined(PLAIN)
typedef float Vector16 __attribute__((vector_size(16)));
MATH_LOOP(plain, , Vector16, TWELVE, 12, 4, PLAIN)
#endif
READ_LOOP(read_128, , 16)

// The widest loops that this processor runs; null where it has none. Without VNNI, int8 is the three instructions that
// multiply bytes, add pairs twice and accumulate.
struct Loops {
  MathLoop fp32 = nullptr, bf16 = nullptr, int8 = nullptr;
  ReadLoop read = read_128;

  Loops() {
#if defined(PLAIN)
    fp32 = plain;
#endif
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
      fp32 = fma_256;
      int8 = dot_256;
      read = read_256;
    }
    if (__builtin_cpu_supports("avx512f")) {
      fp32 = fma_512;
      read = read_512;
    }
    if (__builtin_cpu_supports("avx512vnni")) int8 = dot_512;
#if defined(FASTALEX_HAS_BF16)
    if (__builtin_cpu_supports("avx512bf16")) bf16 = bf16_512;
#endif
#endif
  }
};

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// Runs work(0) .. work(cpus.size() - 1) at once, each in a thread on its CPU (-1: any); seconds from the first start to
// the last end.
template <typename Work>
double side_by_side(const std::vector<int>& cpus, const Work& work) {
  std::atomic<size_t> ready{0};
  std::vector<double> begin(cpus.size()), end(cpus.size());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < cpus.size(); ++i)
    threads.emplace_back([&, i] {
      if (cpus[i] >= 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET(cpus[i], &set);
        pthread_setaffinity_np(pthread_self(), sizeof set, &set);
      }
      ++ready;
      while (ready < cpus.size()) {
      }
      begin[i] = now();
      work(i);
      end[i] = now();
    });
  for (std::thread& thread : threads) thread.join();
  return *std::max_element(end.begin(), end.end()) - *std::min_element(begin.begin(), begin.end());
}

double math_rate(MathLoop loop, const std::vector<int>& cpus, int repeats) {
  double best = 0;
  for (int repeat = 0; loop && repeat < repeats; ++repeat) {
    std::vector<double> products(cpus.size());
    const double seconds = side_by_side(cpus, [&](size_t i) { products[i] = loop(kRounds); });
    double total = 0;
    for (double one : products) total += one;
    best = std::max(best, 2 * total / seconds / 1e9);
  }
  return best;
}

double read_rate(ReadLoop loop, const std::vector<int>& cpus, size_t bytes, bool huge, int repeats) {
  // Room to begin at a huge page, and for the prefetch to run past the end.
  const size_t mapped = bytes + 2 * kHugePage;
  void* map = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (map == MAP_FAILED) return 0;
  char* data = reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(map) + kHugePage - 1) / kHugePage * kHugePage);
  double best = 0;
  if (madvise(data, bytes, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE) == 0 || !huge) {
    std::memset(data, 1, bytes);
    const size_t part = bytes / cpus.size() / 64 * 64;
    for (int repeat = 0; repeat < repeats; ++repeat)
      for (size_t ahead : kAhead) {
        const double seconds = side_by_side(cpus, [&](size_t i) { loop(data + part * i, part, ahead); });
        best = std::max(best, part * cpus.size() / seconds / 1e9);
      }
  }
  munmap(map, mapped);
  return best;
}

std::string figure(const char* name, double value) {
  char text[64];
  std::snprintf(text, sizeof text, value > 0 ? "\"%s\": %.2f" : "\"%s\": null", name, value);
  return text;
}

// "0,1" or "x2"; empty if it is neither.
std::vector<int> parse_cpus(const char* text) {
  std::vector<int> cpus;
  if (*text == 'x') return std::vector<int>(std::max(0, std::atoi(text + 1)), -1);
  for (char* end; *text; text = *end == ',' ? end + 1 : end) {
    const long cpu = std::strtol(text, &end, 10);
    if (end == text || cpu < 0 || cpu >= CPU_SETSIZE) return {};
    cpus.push_back(static_cast<int>(cpu));
  }
  return cpus;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<int> cpus = argc == 4 ? parse_cpus(argv[1]) : std::vector<int>();
  const size_t bytes = argc == 4 ? std::strtoull(argv[2], nullptr, 10) << 20 : 0;
  const int repeats = argc == 4 ? std::atoi(argv[3]) : 0;
  if (cpus.empty() || !bytes || repeats < 1) {
    std::fprintf(stderr, "usage: limits CPUS MEBIBYTES REPEATS, for example: limits 0,1 1024 3\n");
    return 2;
  }
  const Loops loops;
  const std::string text = figure("fp32", math_rate(loops.fp32, cpus, repeats)) + ", " +
                           figure("bf16", math_rate(loops.bf16, cpus, repeats)) + ", " +
                           figure("int8", math_rate(loops.int8, cpus, repeats)) + ", " +
                           figure("read_4k", read_rate(loops.read, cpus, bytes, false, repeats)) + ", " +
                           figure("read_huge", read_rate(loops.read, cpus, bytes, true, repeats));
  std::printf("{%s}\n", text.c_str());
  return 0;
}
