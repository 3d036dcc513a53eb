// The first layer, 11x11 windows of three colors at stride 4, otherwise as conv_simt.cuh computes the others.
#ifndef FASTALEX_CUDA_KERNELS_CONV_SIMT_FIRST_CUH
#define FASTALEX_CUDA_KERNELS_CONV_SIMT_FIRST_CUH

#include "cuda/kernels/simt_tile.cuh"

namespace fastalex {
namespace cuda {
namespace simt {

// A stage is one row of the windows: the image's row is stored without the fourth value of its pixels, so that a window
// is 33 values in a row and nothing is multiplied by padding. Windows begin 12 values apart: whole units of 4.
constexpr int kFirstKernel = 11, kFirstStride = 4, kColors = 3;
constexpr int kFirstProducts = kFirstKernel * kColors, kFirstUnits = kFirstProducts / 4;  // and one product more
constexpr int kFirstRow = round_up(kFirstProducts, 4);                                    // of weights, in values
constexpr int kFirstHalfSum = 2 * kFirstProducts;

template <class S>
FASTALEX_HOST_DEVICE constexpr int first_pixels() {  // of the image that a block's windows touch, and one more
  return S::kPixels * kFirstStride + kFirstKernel - kFirstStride + 1;
}
template <typename T, class S>
FASTALEX_HOST_DEVICE constexpr int first_shared_bytes() {
  return (first_pixels<S>() * kColors + S::kColumns * kFirstRow) * static_cast<int>(sizeof(T));
}

// Four pixels of four values each in registers, on their way to shared memory, where they are twelve values.
template <typename T>
struct FourPixels;
template <>
struct FourPixels<float> {
  static constexpr u32 kLastMask = ~0u;
  u32 words[4][4];

  FASTALEX_DEVICE void store(u8* to) const {
#pragma unroll
    for (int i = 0; i < 3; ++i) {
      u32 v[4];
#pragma unroll
      for (int k = 0; k < 4; ++k) v[k] = words[(4 * i + k) / 3][(4 * i + k) % 3];
      vector::store_words(to + 16 * i, v);
    }
  }
};
template <>
struct FourPixels<Half> {
  static constexpr u32 kLastMask = 0xffff;  // product 33 is the next pixel's
  u32 words[4][2];

  FASTALEX_DEVICE void store(u8* to) const {
    u32 v[6];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const u32(&p)[2] = words[2 * i], (&q)[2] = words[2 * i + 1];
      v[3 * i] = p[0], v[3 * i + 1] = byte_permute(p[1], q[0], 0x5410), v[3 * i + 2] = byte_permute(q[0], q[1], 0x5432);
    }
#pragma unroll
    for (int i = 0; i < 3; ++i) {
      const u32 pair[2] = {v[2 * i], v[2 * i + 1]};
      vector::store_words(to + 8 * i, pair);
    }
  }
};

// A thread's share of the rows of the image that the windows of pixels x0 .. of output row `line` (over all images)
// touch, from row r of the windows on: the same columns of each.
template <typename T, class S>
struct FirstImage {
  static constexpr int kCount = first_pixels<S>() / 4, kCopies = ceil_div(kCount, S::kThreads);
  static_assert(first_pixels<S>() % 4 == 0 && 4 * kCopies <= 32, "a bit for each pixel");
  const T* from;  // the thread's first pixel, which may lie outside of the tensor
  int pitch;      // values of a row
  int y, height;
  u32 columns;  // bit i: the thread's pixel i is in the image

  FASTALEX_DEVICE FirstImage(const ConvArgs& a, int line, int x0, int r)
      : pitch(a.in_w * 4), y(line % a.out_h * kFirstStride - a.pad + r), height(a.in_h), columns(0) {
    const int x = x0 * kFirstStride - a.pad + static_cast<int>(threadIdx.x) * 4;
    from = static_cast<const T*>(a.in) +
           ((static_cast<long long>(line / a.out_h) * a.in_h + y) * a.in_w + static_cast<long long>(x)) * 4;
#pragma unroll
    for (int i = 0; i < 4 * kCopies; ++i) {
      const int column = x + i % 4 + i / 4 * 4 * S::kThreads;
      columns |= static_cast<u32>(column >= 0 && column < a.in_w) << i;
    }
  }
  FASTALEX_DEVICE void copy(u8* smem) {  // one row; zeros outside of the image
    const u32 valid = y >= 0 && y < height ? columns : 0;
#pragma unroll
    for (int i = 0; i < kCopies; ++i) {
      FourPixels<T> pixels = {};
#pragma unroll
      for (int k = 0; k < 4; ++k)
        if (valid >> (4 * i + k) & 1) vector::load_words(from + (i * S::kThreads * 4 + k) * 4, pixels.words[k]);
      const int own = threadIdx.x + i * S::kThreads;
      if (own < kCount) pixels.store(smem + own * 12 * sizeof(T));
    }
    from += pitch;
    ++y;
  }
};

// A thread's share of the windows' weights, from row r of the windows on: four pixels of each of some channels, equally
// far apart. Channels past the last repeat it; their results are not stored.
template <typename T, class S>
struct FirstWeights {
  static constexpr int kCopies = kFirstRow / 12, kLanes = S::kThreads % kCopies == 0 ? kCopies : 4;
  static constexpr int kStep = S::kThreads / kLanes, kRows = ceil_div(S::kColumns, kStep);
  static_assert(S::kThreads % kLanes == 0, "a thread keeps its place");
  const T* from;
  int start[kRows];

  FASTALEX_DEVICE FirstWeights(const ConvArgs& a, int column0, int r)
      : from(static_cast<const T*>(a.w) + (r * kFirstKernel + smaller(own(), kCopies - 1) * 4) * 4) {
#pragma unroll
    for (int i = 0; i < kRows; ++i) start[i] = smaller(column0 + channel(i), a.w_rows - 1) * a.w_pitch;
  }
  FASTALEX_DEVICE static int own() { return threadIdx.x % kLanes; }
  FASTALEX_DEVICE static int channel(int i) { return threadIdx.x / kLanes + i * kStep; }

  FASTALEX_DEVICE void copy(u8* smem) {  // one row
    u8* to = smem + (channel(0) * kFirstRow + own() * 12) * sizeof(T);
#pragma unroll
    for (int i = 0; i < kRows; ++i, to += kStep * kFirstRow * sizeof(T)) {
      FourPixels<T> pixels = {};
#pragma unroll
      for (int k = 0; k < 4; ++k)  // the last pixel of the last four is the next row's
        if (k < 3 || own() < kCopies - 1) vector::load_words(from + start[i] + 4 * k, pixels.words[k]);
      if ((kLanes == kCopies || own() < kCopies) && (S::kColumns % kStep == 0 || channel(i) < S::kColumns))
        pixels.store(to);
    }
    from += kFirstKernel * 4;
  }
};

// A block makes kPixels neighboring pixels of one output row.
// Grid: (n out_h x runs of kPixels of out_w, out_c / kColumns, split).
template <typename T, class S>
__global__ void __launch_bounds__(S::kThreads, S::kBlocks) conv_first(const ConvArgs a) {
  FASTALEX_SHARED(smem);
  if (!is_compiled<T>()) return;
  constexpr int kBytes = sizeof(T), kUnitWords = kBytes;  // a unit is 4 values
  constexpr int kPixelBytes = S::TY * kFirstStride * kColors * kBytes, kColumnBytes = kFirstRow * kBytes;
  const int runs = ceil_div(a.out_w, S::kPixels), line = blockIdx.x / runs, x0 = blockIdx.x % runs * S::kPixels;
  const int column0 = blockIdx.y * S::kColumns, part = blockIdx.z;
  const int begin = part_begin(a, kFirstKernel, part), end = part_begin(a, kFirstKernel, part + 1);
  u8* const weights = smem + first_pixels<S>() * kColors * kBytes;
  const u8* const pixels = smem + S::ty(threadIdx.x) * kFirstStride * kColors * kBytes;
  const u8* const columns = weights + S::tx(threadIdx.x) * 4 * kColumnBytes;

  Sums<T, S::TM, S::TN> sums;
  sums.clear();
  FirstImage<T, S> image(a, line, x0, begin);
  FirstWeights<T, S> window(a, column0, begin);
  for (int r = begin; r < end; ++r) {
    __syncthreads();  // the row before has been read
    image.copy(smem);
    window.copy(weights);
    __syncthreads();
#pragma unroll 1
    for (int unit = 0; unit < kFirstUnits; ++unit)
      multiply<S, kUnitWords, kPixelBytes, kColumnBytes, ~0u>(pixels + unit * kUnitWords * 4,
                                                              columns + unit * kUnitWords * 4, sums);
    multiply<S, 1, kPixelBytes, kColumnBytes, FourPixels<T>::kLastMask>(pixels + kFirstUnits * kUnitWords * 4,
                                                                        columns + kFirstUnits * kUnitWords * 4, sums);
    if (r % 2 == 1 || r + 1 == end) sums.flush();
  }

  const Results<T, S> results(a, 0, part, column0 + S::tx(threadIdx.x) * 4);
#pragma unroll
  for (int i = 0; i < S::TM; ++i) {
    const int x = x0 + S::ty(threadIdx.x) + i * S::TY;
    if (x < a.out_w) results.store(line * a.out_w + x, sums.total[i]);
  }
  zero_padding<T>(a, 0, line * a.out_w + x0, smaller(S::kPixels, a.out_w - x0), S::kThreads);
}

}  // namespace simt
}  // namespace cuda
}  // namespace fastalex
#endif  // FASTALEX_CUDA_KERNELS_CONV_SIMT_FIRST_CUH
