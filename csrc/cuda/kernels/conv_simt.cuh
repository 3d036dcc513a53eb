// Convolution + bias + activation as implicit GEMM without tensor cores, in float (FFMA) or in pairs of halves (HFMA2):
//
//   y[m, o] = act(b[o] + sum_k x[pixel m shifted by (r, s)(k), c(k)] w[o, k]),  k = (r R + s) C + c
//
// A block makes kPixels x kColumns results of one group from one range of k, stage by stage through shared memory. Both
// factors lie there as in global memory, k fastest, so nothing is transposed: a thread reads 16 bytes along k of each
// of its TM pixels and TN channels and multiplies them all. In half the two sums of an accumulator are those of even
// and odd k; after kHalfSum products they are added to a sum in float.
#ifndef FASTALEX_CUDA_KERNELS_CONV_SIMT_CUH
#define FASTALEX_CUDA_KERNELS_CONV_SIMT_CUH

#include "cuda/kernels/conv_simt_first.cuh"
#include "cuda/kernels/simt_copies.cuh"
#include "cuda/kernels/simt_tile.cuh"

namespace fastalex {
namespace cuda {
namespace simt {

constexpr int kHalfSum = 64;  // products added in half, in two chains

template <typename T, typename Math, class S>
FASTALEX_DEVICE void store_tile(const ConvArgs& a, int group, int part, int pixel0, int column0,
                                const Sums<Math, S::TM, S::TN>& sums) {
  const int pixels = a.n * a.out_h * a.out_w;
  const Results<T, S> results(a, group, part, column0 + S::tx(threadIdx.x) * S::kNeighbors);
#pragma unroll
  for (int i = 0; i < S::TM; ++i) {
    const int pixel = pixel0 + S::ty(threadIdx.x) + i * S::TY;
    if (pixel < pixels) results.store(pixel, sums.total[i]);
  }
  zero_padding<T>(a, group, pixel0, smaller(S::kPixels, pixels - pixel0), S::kThreads);
}

// Windows of at most kLargestKernel x kLargestKernel pixels with whole units of channels in a group. While a stage is
// multiplied, the next one is loaded into registers.
// Grid: (pixels / kPixels, channels of a group / kColumns, groups x split).
template <typename T, typename Math, class S>
__global__ void __launch_bounds__(S::kThreads, S::kBlocks) conv(const ConvArgs a) {
  FASTALEX_SHARED(smem);
  if (!is_compiled<Math>()) return;
  const int group = blockIdx.z % a.groups, part = blockIdx.z / a.groups;
  const int pixel0 = blockIdx.x * S::kPixels, column0 = blockIdx.y * S::kColumns;
  const int products = a.kernel * a.kernel * window_channels(a.groups, a.in_c_group);
  const int all = ceil_div(products, stage_products<Math>());
  const int begin = part_begin(a, all, part), end = part_begin(a, all, part + 1);
  u8* const columns = smem + S::kPixels * kRowBytes;

  Sums<Math, S::TM, S::TN> sums;
  sums.clear();
  WindowCopies<T, Math, S> windows(a, group, pixel0, begin);
  WeightCopies<T, Math, S> weights(a, group, column0, begin);
  windows.load();
  weights.load();
  for (int stage = begin + 1; stage <= end; ++stage) {
    __syncthreads();  // the stage before has been read
    windows.store(smem);
    weights.store(columns);
    __syncthreads();
    if (stage < end) {
      windows.load();
      weights.load();
    }
    multiply_stage<S>(smem + S::ty(threadIdx.x) * kRowBytes, columns + S::tx(threadIdx.x) * S::kNeighbors * kRowBytes,
                      sums);
    constexpr int kFlush = kHalfSum / stage_products<Half>();
    if (stage % kFlush == 0 || stage == end) sums.flush();
  }
  store_tile<T, Math, S>(a, group, part, pixel0, column0, sums);
}

// Any window, any channels, in float: the values of windows are fetched one by one.
// Grid: as above.
template <class S>
FASTALEX_HOST_DEVICE constexpr int general_shared_bytes() {
  return S::kSharedBytes + S::kPixels * static_cast<int>(sizeof(int4));
}

template <typename T, class S>
__global__ void __launch_bounds__(S::kThreads, S::kBlocks) conv_general(const ConvArgs a) {
  FASTALEX_SHARED(smem);
  constexpr int kStage = stage_products<float>(), kRows = S::kThreads / kStage, kLoads = S::kPixels / kRows;
  static_assert(S::kThreads % kStage == 0 && S::kPixels % kRows == 0, "a thread keeps its product of a row");
  const int group = blockIdx.z % a.groups, part = blockIdx.z / a.groups;
  const int pixel0 = blockIdx.x * S::kPixels, column0 = blockIdx.y * S::kColumns;
  const int channels = window_channels(a.groups, a.in_c_group);
  const int all = ceil_div(a.kernel * a.kernel * channels, kStage);
  const int begin = part_begin(a, all, part), end = part_begin(a, all, part + 1);
  u8* const columns = smem + S::kPixels * kRowBytes;

  int4* const origins = reinterpret_cast<int4*>(smem + S::kSharedBytes);  // of windows: image, first row and column
  for (int i = threadIdx.x; i < S::kPixels; i += S::kThreads) {
    const int pixel = pixel0 + i, line = pixel / a.out_w;
    int4 origin;
    origin.x = line / a.out_h;
    origin.y = origin.x < a.n ? line % a.out_h * a.stride - a.pad : a.in_h;  // outside where there is no pixel
    origin.z = pixel % a.out_w * a.stride - a.pad;
    origin.w = 0;
    origins[i] = origin;
  }

  Sums<float, S::TM, S::TN> sums;
  sums.clear();
  WeightCopies<T, float, S> weights(a, group, column0, begin);
  const int own = threadIdx.x % kStage, row0 = threadIdx.x / kStage;
  for (int stage = begin; stage < end; ++stage) {
    __syncthreads();
    weights.load();
    weights.store(columns);
    const int k = stage * kStage + own, tap = k / channels, c = k % channels, r = tap / a.kernel, s = tap % a.kernel;
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      const int row = row0 + i * kRows;
      const int4 origin = origins[row];
      const int y = origin.y + r, x = origin.z + s;
      float v = 0;
      if (r < a.kernel && y >= 0 && y < a.in_h && x >= 0 && x < a.in_w) {
        const u64 pixel = (static_cast<u64>(origin.x) * a.in_h + y) * a.in_w + x;
        v = value(static_cast<const T*>(a.in)[pixel * a.in_pitch + group * a.in_c_group + c]);
      }
      *reinterpret_cast<float*>(smem + row * kRowBytes + own * 4) = v;
    }
    __syncthreads();
    multiply_stage<S>(smem + S::ty(threadIdx.x) * kRowBytes, columns + S::tx(threadIdx.x) * S::kNeighbors * kRowBytes,
                      sums);
  }
  store_tile<T, float, S>(a, group, part, pixel0, column0, sums);
}

}  // namespace simt
}  // namespace cuda
}  // namespace fastalex
#endif  // FASTALEX_CUDA_KERNELS_CONV_SIMT_CUH
