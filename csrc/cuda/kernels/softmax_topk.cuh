// Softmax and the k largest values of each row of a tensor with h = w = 1.
#ifndef FASTALEX_CUDA_KERNELS_SOFTMAX_TOPK_CUH
#define FASTALEX_CUDA_KERNELS_SOFTMAX_TOPK_CUH

#include "cuda/kernels/args.h"
#include "cuda/kernels/ptx.h"

namespace fastalex {
namespace cuda {
namespace softmax_topk {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kSoftmaxShared = kWarps * 4;
constexpr int kTopKShared = kWarps * 8;

FASTALEX_DEVICE float value(float v) { return v; }
FASTALEX_DEVICE float value(Half v) { return to_float(v); }
FASTALEX_DEVICE float activated(float v, int activation) { return activation == kActTanh ? tanhf(v) : v; }  // v >= 0
FASTALEX_DEVICE void store(float* p, float v) { *p = v; }
FASTALEX_DEVICE void store(Half* p, float v) { *p = to_half(v); }

// Sum or maximum over all threads, returned to all threads, in a fixed order. parts [kWarps].
template <bool SUM>
FASTALEX_DEVICE float over_block(float v, float* parts) {
#pragma unroll
  for (int distance = 16; distance; distance /= 2) {
    const float other = __shfl_xor_sync(0xffffffffu, v, distance);
    v = SUM ? v + other : fmaxf(v, other);
  }
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = v;
  __syncthreads();
  v = parts[0];
#pragma unroll
  for (int w = 1; w < kWarps; ++w) v = SUM ? v + parts[w] : fmaxf(v, parts[w]);
  __syncthreads();
  return v;
}

// y[c] = exp(x[c] - max x) / sum exp(x - max x). fmaxf passes over a NaN, but the sum does not. Grid: (n).
template <typename T>
__global__ void __launch_bounds__(kThreads) softmax(const SoftmaxArgs a) {
  FASTALEX_SHARED(smem);
  float* parts = reinterpret_cast<float*>(smem);
  const T* in = static_cast<const T*>(a.in) + static_cast<u64>(blockIdx.x) * a.pitch;
  T* out = static_cast<T*>(a.out) + static_cast<u64>(blockIdx.x) * a.pitch;
  const int thread = threadIdx.x;
  float largest = value(in[0]);
  for (int c = thread; c < a.c; c += kThreads) largest = fmaxf(largest, value(in[c]));
  largest = over_block<false>(largest, parts);
  float sum = 0;
  for (int c = thread; c < a.c; c += kThreads) sum += expf(value(in[c]) - largest);
  const float total = over_block<true>(sum, parts);
  for (int c = thread; c < a.pitch; c += kThreads)
    store(out + c, c < a.c ? activated(expf(value(in[c]) - largest) / total, a.activation) : 0.0f);
}

// Maps floats to unsigned integers in the same order, above 0; NaN is largest, both zeros are equal.
FASTALEX_DEVICE u32 ordered(float v) {
  if (v != v) return 0xffffffffu;
  const u32 bits = float_to_bits(v + 0.0f);  // -0 + 0 = 0
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

FASTALEX_DEVICE u64 larger_over_block(u64 key, u64* parts) {
#pragma unroll
  for (int distance = 16; distance; distance /= 2) {
    const u32 high = __shfl_xor_sync(0xffffffffu, static_cast<u32>(key >> 32), distance);
    const u32 low = __shfl_xor_sync(0xffffffffu, static_cast<u32>(key), distance);
    key = larger(key, static_cast<u64>(high) << 32 | low);
  }
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = key;
  __syncthreads();
  key = parts[0];
#pragma unroll
  for (int w = 1; w < kWarps; ++w) key = larger(key, parts[w]);
  __syncthreads();
  return key;
}

// The k largest values in descending order; equal values in order of index, NaN first. A value's key is its rank among
// the floats, then its reversed index: no two keys are equal, and the next result is the largest key below the last
// one. k <= c. Grid: (n).
template <typename T>
__global__ void __launch_bounds__(kThreads) top_k(const TopKArgs a) {
  FASTALEX_SHARED(smem);
  u64* parts = reinterpret_cast<u64*>(smem);
  const T* in = static_cast<const T*>(a.in) + static_cast<u64>(blockIdx.x) * a.pitch;
  const int thread = threadIdx.x;
  u64 last = ~0ull;  // above every key: no index is as large as 2^32 - 1
  for (int i = 0; i < a.k; ++i) {
    u64 best = 0;
    for (int c = thread; c < a.c; c += kThreads) {
      const u64 key = static_cast<u64>(ordered(value(in[c]))) << 32 | (0xfffffffeu - static_cast<u32>(c));
      if (key < last) best = larger(best, key);
    }
    last = larger_over_block(best, parts);
    if (thread == 0) {
      const int index = static_cast<int>(0xfffffffeu - static_cast<u32>(last));
      const u64 at = static_cast<u64>(blockIdx.x) * a.k + i;
      a.values[at] = value(in[index]);
      a.indices[at] = index;
    }
  }
}

}  // namespace softmax_topk
}  // namespace cuda
}  // namespace fastalex
#endif  // FASTALEX_CUDA_KERNELS_SOFTMAX_TOPK_CUH
