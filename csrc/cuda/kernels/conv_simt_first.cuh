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

// kPixels pixels of 4 values become three words. from: the first, read where `valid` says so, else zeros.
template <typename T>
struct Colors;
template <>
struct Colors<float> {
  static constexpr int kPixels = 1;
  static constexpr u32 kLastMask = ~0u;
  FASTALEX_DEVICE static void load(const float* from, bool valid, bool, u32 (&words)[3]) {
    u32 v[4] = {0, 0, 0, 0};
    if (valid) vector::load_words(from, v);
    words[0] = v[0], words[1] = v[1], words[2] = v[2];
  }
};
template <>
struct Colors<Half> {
  static constexpr int kPixels = 2;
  static constexpr u32 kLastMask = 0xffff;  // product 33 is the next pixel's
  FASTALEX_DEVICE static void load(const Half* from, bool valid0, bool valid1, u32 (&words)[3]) {
    u32 p[2] = {0, 0}, q[2] = {0, 0};
    if (valid0) vector::load_words(from, p);
    if (valid1) vector::load_words(from + 4, q);
    words[0] = p[0], words[1] = byte_permute(p[1], q[0], 0x5410), words[2] = byte_permute(q[0], q[1], 0x5432);
  }
};

// Word k of a column stands at this place: as column_place() says, in units of 4 values.
template <typename T>
FASTALEX_DEVICE int first_place(int k) {
  constexpr int kWords = sizeof(T);
  return k / kWords * kWords + column_place<kWords>(k % kWords);
}

// Row r of the windows of pixels x0 .. of output row `line` (over all images).
template <typename T, class S>
FASTALEX_DEVICE void copy_first_image(u8* smem, const ConvArgs& a, int line, int x0, int r) {
  constexpr int P = Colors<T>::kPixels, kCount = first_pixels<S>() / P;
  const int y = line % a.out_h * kFirstStride - a.pad + r, left = x0 * kFirstStride - a.pad;
  const bool row = y >= 0 && y < a.in_h;
  const T* in = static_cast<const T*>(a.in) + (static_cast<u64>(line / a.out_h) * a.in_h + (row ? y : 0)) * a.in_w * 4;
#pragma unroll
  for (int i = 0; i < ceil_div(kCount, S::kThreads); ++i) {
    const int own = threadIdx.x + i * S::kThreads, x = left + own * P;
    u32 words[3];
    if (own >= kCount) continue;
    Colors<T>::load(in + static_cast<long long>(x) * 4, row && x >= 0 && x < a.in_w,
                    row && x + 1 >= 0 && x + 1 < a.in_w, words);
#pragma unroll
    for (int e = 0; e < 3; ++e) reinterpret_cast<u32*>(smem)[own * 3 + e] = words[e];
  }
}

// Row r of the windows' weights; zeros for channels that do not exist. A thread keeps its position in the rows, so that
// its rows are equally far apart.
template <typename T, class S>
FASTALEX_DEVICE void copy_first_weights(u8* smem, const ConvArgs& a, int column0, int r) {
  constexpr int P = Colors<T>::kPixels, kCopies = ceil_div(kFirstKernel, P);
  constexpr int kLanes = S::kThreads % kCopies == 0 ? kCopies : kCopies <= 8 ? 8 : 16, kStep = S::kThreads / kLanes;
  static_assert(S::kThreads % kLanes == 0, "a thread keeps its place");
  const int first = threadIdx.x / kLanes, own = threadIdx.x % kLanes, rows = a.w_rows - column0 - first;
  const T* from = static_cast<const T*>(a.w) + (column0 + first) * a.w_pitch + (r * kFirstKernel + own * P) * 4;
  const int step = kStep * a.w_pitch;
  const int places[3] = {first_place<T>(own * 3), first_place<T>(own * 3 + 1), first_place<T>(own * 3 + 2)};
  smem += first * kFirstRow * static_cast<int>(sizeof(T));
#pragma unroll
  for (int i = 0; i < ceil_div(S::kColumns, kStep); ++i, from += step, smem += kStep * kFirstRow * sizeof(T)) {
    u32 words[3];
    if ((kLanes != kCopies && own >= kCopies) || (S::kColumns % kStep != 0 && first + i * kStep >= S::kColumns))
      continue;
    Colors<T>::load(from, i * kStep < rows, i * kStep < rows && (own + 1) * P <= kFirstKernel, words);
#pragma unroll
    for (int e = 0; e < 3; ++e) reinterpret_cast<u32*>(smem)[places[e]] = words[e];
  }
}

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
  const u8* const columns = weights + S::tx(threadIdx.x) * S::kNeighbors * kColumnBytes;

  Sums<T, S::TM, S::TN> sums;
  sums.clear();
  for (int r = begin; r < end; ++r) {
    __syncthreads();  // the row before has been read
    copy_first_image<T, S>(smem, a, line, x0, r);
    copy_first_weights<T, S>(weights, a, column0, r);
    __syncthreads();
#pragma unroll 1
    for (int unit = 0; unit < kFirstUnits; ++unit)
      multiply<S, kUnitWords, kPixelBytes, kColumnBytes, ~0u>(pixels + unit * kUnitWords * 4,
                                                              columns + unit * kUnitWords * 4, sums);
    multiply<S, 1, kPixelBytes, kColumnBytes, Colors<T>::kLastMask>(
        pixels + kFirstUnits * kUnitWords * 4, columns + first_place<T>(kFirstUnits * kUnitWords) * 4, sums);
    if (r % 2 == 1 || r + 1 == end) sums.flush();
  }

  const Results<T, S> results(a, 0, part, column0 + S::tx(threadIdx.x) * S::kNeighbors);
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
