// Tiles, sums and results of the convolutions of conv_simt.cuh: the work of each thread, a stage's products in float or
// in pairs of halves, bias and activation.
#ifndef FASTALEX_CUDA_KERNELS_SIMT_TILE_CUH
#define FASTALEX_CUDA_KERNELS_SIMT_TILE_CUH

#include "cuda/kernels/args.h"
#include "cuda/kernels/ptx.h"
#include "cuda/kernels/simt_lanes.cuh"
#include "cuda/kernels/vector.cuh"

namespace fastalex {
namespace cuda {
namespace simt {

// A stage is four units of 16 bytes of each row: 16 floats or 32 halves along k. A row takes five, so that the eight
// rows that a quarter of a warp reads at a time lie in different banks.
constexpr int kUnits = 4, kRowBytes = (kUnits + 1) * 16;
// In shared memory word k of a unit of a column stands at this place of `Words`. A register's number modulo 4 is its
// bank (Maxwell, Pascal: the wiki page SGEMM of github.com/NervanaSystems/maxas), and words that are read together lie
// in neighboring registers from a multiple of their count on: word k of a pixel and word k of a column would always be
// in the same bank, and their product would take a clock more. Of the orders of four that part all of them, nvcc leaves
// the fewest sums in a factor's bank with 2, 0, 3, 1.
template <int Words>
FASTALEX_HOST_DEVICE constexpr int column_place(int k) {
  return Words == 4 ? (3 * k + 2) % 5 : (k + 1) % Words;
}
// Stores a unit of a column or of a pixel.
template <bool Column>
FASTALEX_DEVICE void store_unit(u8* to, const u32 (&w)[4]) {
  u32 placed[4];
#pragma unroll
  for (int k = 0; k < 4; ++k) placed[Column ? column_place<4>(k) : k] = w[k];
  vector::store_words(to, placed);
}

template <typename Math>
FASTALEX_HOST_DEVICE constexpr int stage_products() {
  return kUnits * 16 / static_cast<int>(sizeof(Math));
}

// WY x WX warps of 8 x 4 threads. A thread owns pixels ty + i TY, i < TM, and channels 4 tx .. 4 tx + 3 of each of TN /
// 4 runs of 4 TX channels. Blocks: how many a multiprocessor should hold, which limits the registers.
template <int WY, int WX, int TM_, int TN_, int Blocks>
struct Tile : Threads<8, 8 * WY, 4 * WX> {
  static constexpr int TY = 8 * WY, TX = 4 * WX, TM = TM_, TN = TN_;
  static constexpr int kThreads = TY * TX, kPixels = TY * TM, kColumns = TX * TN, kBlocks = Blocks, kUnroll = 1;
  static constexpr int kSharedBytes = (kPixels + kColumns) * kRowBytes;
  static constexpr int kNeighbors = 4;  // channels of a thread that lie side by side
  static_assert(TN % kNeighbors == 0, "channels come in fours");
  // Column j of the thread, from its first.
  FASTALEX_HOST_DEVICE static constexpr int column(int j) { return j % 4 + j / 4 * 4 * TX; }
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

// The pixels of a thread in groups, so that about eight sums lie between two products of the same sum, whose latency
// thus is hidden. More would take registers.
template <class S>
struct PixelGroups {
  static constexpr int kApart = 8, kCount = (S::TM * S::TN + kApart / 4) / kApart, kMost = ceil_div(S::TM, kCount);
  FASTALEX_HOST_DEVICE static constexpr int begin(int group) { return group * S::TM / kCount; }
};

template <class Groups, int Words, int PixelBytes>
FASTALEX_DEVICE void load_pixels(const u8* pixels, int group, u32 (&x)[Groups::kMost][Words]) {
  const int begin = Groups::begin(group), end = Groups::begin(group + 1);
#pragma unroll
  for (int i = 0; i < Groups::kMost; ++i)
    if (begin + i < end) vector::load_words(pixels + (begin + i) * PixelBytes, x[i]);
}

// sums += products of `Words` words of each row. pixels, columns: the thread's first rows in shared memory, from where
// its next pixel and the next channel are so many bytes on. Bits of x outside `mask` count as zeros. A group of pixels
// is read while the one before is multiplied. Word k of a column stands at its column_place().
template <class S, int Words, int PixelBytes, int ColumnBytes, u32 Mask, class Accumulators>
FASTALEX_DEVICE void multiply(const u8* pixels, const u8* columns, Accumulators& sums) {
  static_assert(pixel_turns<S>(PixelBytes / S::TY, 4 * Words) <= 2 &&
                    column_turns<S>(S::kNeighbors * ColumnBytes, 4 * Words) <= 2,
                "no read takes more than two turns of the banks");
  typedef PixelGroups<S> Groups;
  u32 x[2][Groups::kMost][Words], y[S::TN][Words];
  load_pixels<Groups, Words, PixelBytes>(pixels, 0, x[0]);
#pragma unroll
  for (int j = 0; j < S::TN; ++j) vector::load_words(columns + S::column(j) * ColumnBytes, y[j]);
#pragma unroll
  for (int group = 0; group < Groups::kCount; ++group) {
    if (group + 1 < Groups::kCount) load_pixels<Groups, Words, PixelBytes>(pixels, group + 1, x[(group + 1) % 2]);
    const int begin = Groups::begin(group), end = Groups::begin(group + 1);
#pragma unroll
    for (int k = 0; k < Words; ++k)
#pragma unroll
      for (int i = 0; i < Groups::kMost; ++i)
#pragma unroll
        for (int j = 0; j < S::TN; ++j)
          if (begin + i < end) sums.add_product(begin + i, j, x[group % 2][i][k] & Mask, y[j][column_place<Words>(k)]);
  }
}

// One stage of tiles that lie as kRowBytes says.
template <class S, class Accumulators>
FASTALEX_DEVICE void multiply_stage(const u8* pixels, const u8* columns, Accumulators& sums) {
#pragma unroll S::kUnroll
  for (int unit = 0; unit < kUnits; ++unit)
    multiply<S, 4, S::TY * kRowBytes, kRowBytes, ~0u>(pixels + unit * 16, columns + unit * 16, sums);
}

// Results -------------------------------------------------------------------------------------------------------------

FASTALEX_DEVICE void put(float* to, float v) { *to = v; }
FASTALEX_DEVICE void put(Half* to, float v) { *to = to_half(v); }
FASTALEX_DEVICE float value(float v) { return v; }
FASTALEX_DEVICE float value(Half v) { return to_float(v); }

// Finishes the pixels of a thread: bias, activation, and only the channels that exist. If a.partial is set, stores the
// sum unchanged: a part of a split sum, or the input of a tanh, which is too large to be inlined here so often and left
// to split_reduce.
template <typename T, class S>
struct Results {
  const ConvArgs& args;
  int group, part, column0;
  float bias[S::TN];

  FASTALEX_DEVICE Results(const ConvArgs& a, int group_, int part_, int column)
      : args(a), group(group_), part(part_), column0(column) {
#pragma unroll
    for (int j = 0; j < S::TN; j += 4) {
      float v[4] = {};
      if (!a.partial && column0 + S::column(j) < a.w_rows)
        vector::load(a.bias + group * a.w_rows + column0 + S::column(j), v);
#pragma unroll
      for (int i = 0; i < 4; ++i) bias[j + i] = v[i];
    }
  }

  FASTALEX_DEVICE void store(int pixel, const float (&sums)[S::TN]) const {
    const ConvArgs& a = args;
    const u64 row = (static_cast<u64>(part) * a.groups + group) * a.n * a.out_h * a.out_w + pixel;
    T* const out = static_cast<T*>(a.out) + static_cast<u64>(pixel) * a.out_pitch + group * a.out_c_group + column0;
#pragma unroll
    for (int j = 0; j < S::TN; j += 4) {
      const int column = column0 + S::column(j);
      float v[4] = {sums[j], sums[j + 1], sums[j + 2], sums[j + 3]};
      if (column >= a.w_rows) continue;
      if (a.partial) {
        vector::store(a.partial + row * a.w_rows + column, v);
        continue;
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        v[i] += bias[j + i];
        if (a.activation == kActRelu) v[i] = v[i] < 0 ? 0 : v[i];  // a NaN stays
      }
      if (a.out_c_group % 4 == 0) {
        if (column < a.out_c_group) vector::store(out + S::column(j), v);
      } else {
#pragma unroll
        for (int i = 0; i < 4; ++i)
          if (column + i < a.out_c_group) put(out + S::column(j) + i, v[i]);
      }
    }
  }
};

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
