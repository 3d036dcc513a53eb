// Tiles, sums and results of the convolutions of conv_simt.cuh: the work of each thread, a stage's products in float or
// in pairs of halves, bias and activation.
#ifndef FASTALEX_CUDA_KERNELS_SIMT_TILE_CUH
#define FASTALEX_CUDA_KERNELS_SIMT_TILE_CUH

#include "cuda/kernels/args.h"
#include "cuda/kernels/ptx.h"
#include "cuda/kernels/vector.cuh"

namespace fastalex {
namespace cuda {
namespace simt {

// A stage is four units of 16 bytes of each row: 16 floats or 32 halves along k. A row takes five, so that the eight
// rows that a quarter of a warp reads at a time lie in different banks.
constexpr int kUnits = 4, kRowBytes = (kUnits + 1) * 16;
template <typename Math>
FASTALEX_HOST_DEVICE constexpr int stage_products() {
  return kUnits * 16 / static_cast<int>(sizeof(Math));
}

// WY x WX warps of 8 x 4 threads. A thread owns pixels ty + i TY, i < TM, and channels 4 tx .. 4 tx + 3 of each of TN /
// 4 runs of 4 TX channels. Blocks: how many a multiprocessor should hold, which limits the registers.
template <int WY_, int WX_, int TM_, int TN_, int Blocks>
struct Tile {
  static constexpr int WY = WY_, TY = 8 * WY_, TX = 4 * WX_, TM = TM_, TN = TN_;
  static constexpr int kThreads = TY * TX, kPixels = TY * TM, kColumns = TX * TN, kBlocks = Blocks;
  static constexpr int kSharedBytes = (kPixels + kColumns) * kRowBytes;
  static_assert(TN % 4 == 0, "channels come in fours");

  // Among the 16 lanes of half a warp, a lane shares its pixel with its pair neighbor, and its channels with the lane
  // two on: 16-byte reads of either then take two turns of the banks instead of four.
  FASTALEX_DEVICE static int ty() { return (threadIdx.x >> 5) % WY * 8 + ((threadIdx.x >> 1) & 7); }
  FASTALEX_DEVICE static int tx() { return (threadIdx.x >> 5) / WY * 4 + ((threadIdx.x >> 3) & 2) + (threadIdx.x & 1); }
  // Column j of the thread, from its first.
  FASTALEX_DEVICE static constexpr int column(int j) { return j % 4 + j / 4 * 4 * TX; }
};

// Half arithmetic is for GPUs without tensor cores.
template <typename Math>
FASTALEX_DEVICE constexpr bool is_compiled() {
  return sizeof(Math) == 4 || (FASTALEX_SM >= 53 && FASTALEX_SM <= 75) || FASTALEX_SM == 9999;
}

template <typename Math, int TM, int TN>
struct Sums;

template <int TM, int TN>
struct Sums<float, TM, TN> {
  float total[TM][TN];

  FASTALEX_DEVICE void clear() {
#pragma unroll
    for (int i = 0; i < TM; ++i)
#pragma unroll
      for (int j = 0; j < TN; ++j) total[i][j] = 0;
  }
  FASTALEX_DEVICE void add_product(int i, int j, u32 x, u32 y) {
    total[i][j] = fmaf(bits_to_float(x), bits_to_float(y), total[i][j]);
  }
  FASTALEX_DEVICE void flush() {}
};

template <int TM, int TN>
struct Sums<Half, TM, TN> {
  Half2 pair[TM][TN];
  float total[TM][TN];

  FASTALEX_DEVICE void clear() {
#pragma unroll
    for (int i = 0; i < TM; ++i)
#pragma unroll
      for (int j = 0; j < TN; ++j) {
        pair[i][j] = Half2{0};
        total[i][j] = 0;
      }
  }
  FASTALEX_DEVICE void add_product(int i, int j, u32 x, u32 y) { pair[i][j] = fma(Half2{x}, Half2{y}, pair[i][j]); }
  FASTALEX_DEVICE void flush() {  // one conversion instead of two: they run at a quarter of the rate
#pragma unroll
    for (int i = 0; i < TM; ++i)
#pragma unroll
      for (int j = 0; j < TN; ++j) {
        total[i][j] += low(cuda::add(low_low(pair[i][j]), high_high(pair[i][j])));
        pair[i][j] = Half2{0};
      }
  }
};

// sums += products of `Words` words of each row. pixels, columns: the thread's first rows in shared memory, from where
// its next pixel and the next channel are so many bytes on. Bits of x outside `mask` count as zeros.
template <class S, int Words, int PixelBytes, int ColumnBytes, u32 Mask, class Accumulators>
FASTALEX_DEVICE void multiply(const u8* pixels, const u8* columns, Accumulators& sums) {
  u32 y[S::TN][Words];
#pragma unroll
  for (int j = 0; j < S::TN; ++j) vector::load_words(columns + S::column(j) * ColumnBytes, y[j]);
#pragma unroll
  for (int i = 0; i < S::TM; ++i) {
    u32 x[Words];
    vector::load_words(pixels + i * PixelBytes, x);
#pragma unroll
    for (int k = 0; k < Words; ++k)
#pragma unroll
      for (int j = 0; j < S::TN; ++j) sums.add_product(i, j, x[k] & Mask, y[j][k]);
  }
}

// One stage of tiles that lie as kRowBytes says.
template <class S, class Accumulators>
FASTALEX_DEVICE void multiply_stage(const u8* pixels, const u8* columns, Accumulators& sums) {
#pragma unroll 1  // more would take registers for loads ahead
  for (int unit = 0; unit < kUnits; ++unit)
    multiply<S, 4, S::TY * kRowBytes, kRowBytes, ~0u>(pixels + unit * 16, columns + unit * 16, sums);
}

// Results -------------------------------------------------------------------------------------------------------------

FASTALEX_DEVICE void put(float* to, float v) { *to = v; }
FASTALEX_DEVICE void put(Half* to, float v) { *to = to_half(v); }
FASTALEX_DEVICE float value(float v) { return v; }
FASTALEX_DEVICE float value(Half v) { return to_float(v); }

// Finishes one pixel of the thread: bias, activation, and only the channels that exist. If a.partial is set, stores the
// sum unchanged: a part of a split sum, or the input of a tanh, which is too large to be inlined here so often and left
// to split_reduce.
template <typename T, class S>
FASTALEX_DEVICE void store_pixel(const ConvArgs& a, int group, int part, int pixel, int column0,
                                 const float (&sums)[S::TN]) {
  const u64 pixels = static_cast<u64>(a.n) * a.out_h * a.out_w;
#pragma unroll
  for (int j = 0; j < S::TN; j += 4) {
    const int column = column0 + S::column(j);
    float v[4] = {sums[j], sums[j + 1], sums[j + 2], sums[j + 3]};
    if (column >= a.w_rows) continue;
    if (a.partial) {
      const u64 row = (static_cast<u64>(part) * a.groups + group) * pixels + pixel;
      vector::store(a.partial + row * a.w_rows + column, v);
      continue;
    }
    float bias[4];
    vector::load(a.bias + group * a.w_rows + column, bias);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      v[i] += bias[i];
      if (a.activation == kActRelu) v[i] = v[i] < 0 ? 0 : v[i];  // a NaN stays
    }
    T* out = static_cast<T*>(a.out) + static_cast<u64>(pixel) * a.out_pitch + group * a.out_c_group + column;
    if (a.out_c_group % 4 == 0) {
      if (column < a.out_c_group) vector::store(out, v);
    } else {
#pragma unroll
      for (int i = 0; i < 4; ++i)
        if (column + i < a.out_c_group) put(out + i, v[i]);
    }
  }
}

// Writes zeros to the padding channels of `count` pixels. One of the blocks that compute these pixels does it.
template <typename T>
FASTALEX_DEVICE void zero_padding(const ConvArgs& a, int group, int first_pixel, int count, int threads) {
  const int channels = a.groups * a.out_c_group, padding = a.out_pitch - channels;
  if (a.partial || blockIdx.y > 0 || group + 1 < a.groups || padding == 0) return;
  T* out = static_cast<T*>(a.out) + static_cast<u64>(first_pixel) * a.out_pitch + channels;
  for (int i = threadIdx.x; i < count * padding; i += threads)
    put(out + static_cast<u64>(i / padding) * a.out_pitch + i % padding, 0);
}

// Part `part` of a.split of `count` stages begins here, and ends where the next begins.
FASTALEX_DEVICE int part_begin(const ConvArgs& a, int count, int part) {
  return static_cast<int>(static_cast<long long>(count) * part / a.split);
}

}  // namespace simt
}  // namespace cuda
}  // namespace fastalex
#endif  // FASTALEX_CUDA_KERNELS_SIMT_TILE_CUH
