// The part of CUDA C++ that the kernels use, for g++: with this header a kernel is an ordinary function, run by each
// thread of a block on its own fiber (block.cpp).
#ifndef FASTALEX_CUDA_EMULATOR_H
#define FASTALEX_CUDA_EMULATOR_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include <cstddef>

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
#define FASTALEX_SHARED(name) unsigned char* const name = ::fastalex::emulator::indices.shared

struct uint3 {
  unsigned x, y, z;
};

#define FASTALEX_EMULATED_VECTORS(scalar, name)                                       \
  struct alignas(8) name##2 { scalar x, y; };                                         \
  struct alignas(16) name##4 { scalar x, y, z, w; };                                  \
  static inline name##2 make_##name##2(scalar x, scalar y) { return name##2 {x, y}; } \
  static inline name##4 make_##name##4(scalar x, scalar y, scalar z, scalar w) { return name##4 {x, y, z, w}; }
FASTALEX_EMULATED_VECTORS(float, float)
FASTALEX_EMULATED_VECTORS(int, int)
FASTALEX_EMULATED_VECTORS(unsigned, uint)
#undef FASTALEX_EMULATED_VECTORS

namespace fastalex {
namespace emulator {

// The indices of the running thread. One set per thread of the host, rewritten at each switch to another fiber.
struct Indices {
  uint3 thread, block, block_size, grid;
  unsigned char* shared;  // exactly KernelInfo::shared_bytes of them
};
extern __thread Indices indices __attribute__((tls_model("initial-exec")));

// A source line of a kernel, for messages and to distinguish barriers.
struct Place {
  const char* file;
  int line;
};

void block_barrier(Place place);
void warp_barrier(Place place);

// The inputs and outputs of a warp's lanes at a collective instruction.
struct Exchange {
  uint32_t in[32][12];
  uint32_t out[32][4];
};
// A collective instruction: begin_warp_op() returns the place for one's input; meet_warp() returns when all 32 lanes
// have arrived, and the last one runs `compute` (null: nothing) before any goes on.
Exchange& begin_warp_op(const char* name);
void meet_warp(const char* name, Place place, void (*compute)(Exchange&));

// Ends the launch with an error that names kernel, block and thread.
[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));

inline int lane() { return static_cast<int>(indices.thread.x & 31); }

inline void check_mask(const char* name, Place place, unsigned mask) {
  if (mask != 0xffffffffu)
    fail("%s at %s:%d with mask 0x%08x: only the full mask is emulated", name, place.file, place.line, mask);
}

template <typename T>
T shuffle(const char* name, Place place, unsigned mask, T value, int source) {
  static_assert(sizeof(T) == 4, "32-bit types only");
  check_mask(name, place, mask);
  Exchange& exchange = begin_warp_op(name);
  memcpy(exchange.in[lane()], &value, 4);
  meet_warp(name, place, nullptr);
  T result;
  memcpy(&result, exchange.in[source], 4);
  return result;
}

}  // namespace emulator
}  // namespace fastalex

#define threadIdx (::fastalex::emulator::indices.thread)
#define blockIdx (::fastalex::emulator::indices.block)
#define blockDim (::fastalex::emulator::indices.block_size)
#define gridDim (::fastalex::emulator::indices.grid)

#define FASTALEX_EMULATED_PLACE const char *file = __builtin_FILE(), int line = __builtin_LINE()

static inline void __syncthreads(FASTALEX_EMULATED_PLACE) { fastalex::emulator::block_barrier({file, line}); }

static inline void __syncwarp(unsigned mask = 0xffffffffu, FASTALEX_EMULATED_PLACE) {
  fastalex::emulator::check_mask("__syncwarp", {file, line}, mask);
  fastalex::emulator::warp_barrier({file, line});
}

// The source lane by PTX shfl.sync; a lane whose source lies outside its segment of `width` lanes keeps its own value.
template <typename T>
T __shfl_sync(unsigned mask, T value, int from, int width = 32, FASTALEX_EMULATED_PLACE) {
  const int own = fastalex::emulator::lane(), base = own & ~(width - 1);
  return fastalex::emulator::shuffle("__shfl_sync", {file, line}, mask, value, base | (from & (width - 1)));
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, FASTALEX_EMULATED_PLACE) {
  const int own = fastalex::emulator::lane(), last = own | (width - 1), from = own ^ (bits & 31);
  return fastalex::emulator::shuffle("__shfl_xor_sync", {file, line}, mask, value, from <= last ? from : own);
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, FASTALEX_EMULATED_PLACE) {
  const int own = fastalex::emulator::lane(), last = own | (width - 1), from = own + static_cast<int>(delta & 31);
  return fastalex::emulator::shuffle("__shfl_down_sync", {file, line}, mask, value, from <= last ? from : own);
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, FASTALEX_EMULATED_PLACE) {
  const int own = fastalex::emulator::lane(), first = own & ~(width - 1), from = own - static_cast<int>(delta & 31);
  return fastalex::emulator::shuffle("__shfl_up_sync", {file, line}, mask, value, from >= first ? from : own);
}

// Bit l: whether the predicate of lane l is not zero.
static inline unsigned __ballot_sync(unsigned mask, int predicate, FASTALEX_EMULATED_PLACE) {
  using namespace fastalex::emulator;
  check_mask("__ballot_sync", {file, line}, mask);
  Exchange& exchange = begin_warp_op("__ballot_sync");
  exchange.in[lane()][0] = predicate != 0;
  meet_warp("__ballot_sync", {file, line}, nullptr);
  unsigned ballot = 0;
  for (int i = 0; i < 32; ++i) ballot |= exchange.in[i][0] << i;
  return ballot;
}
static inline int __popc(unsigned bits) { return __builtin_popcount(bits); }

static inline unsigned __float_as_uint(float value) {
  unsigned bits;
  memcpy(&bits, &value, 4);
  return bits;
}
static inline float __uint_as_float(unsigned bits) {
  float value;
  memcpy(&value, &bits, 4);
  return value;
}
static inline int __float_as_int(float value) { return static_cast<int>(__float_as_uint(value)); }
static inline float __int_as_float(int bits) { return __uint_as_float(static_cast<unsigned>(bits)); }
static inline float rsqrtf(float x) { return 1 / sqrtf(x); }

#endif  // FASTALEX_CUDA_EMULATOR_H
