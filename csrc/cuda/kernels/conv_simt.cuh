// Convolution + bias + activation as implicit GEMM without tensor cores, in float (FFMA) or in pairs of halves (HFMA2):
//
//   y[m, o] = act(b[o] + sum_k x[pixel m shifted by (r, s)(k), c(k)] w[o, k]),  k = (r R + s) C + c
//
// A block makes kPixels x kColumns results of one group from one range of k, stage by stage through shared memory. Both
// factors lie there as in global memory, k fastest, so nothing is transposed: a thread reads 16 bytes along k of each
// of its TM pixels and TN channels and multiplies them all. In half the two sums of an accumulator are those of even
// and odd k; after kHalfSum products they are added to a sum in float.
#ifndef FASTALEX_CUDA_CONV_SIMT_CUH
#define FASTALEX_CUDA_CONV_SIMT_CUH

#include "args.h"
#include "ptx.h"
#include "vector.cuh"

namespace fastalex {
namespace cuda {
namespace simt {

// Threads, tiles and sums ---------------------------------------------------------------------------------------------

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

  // Of the 16 lanes of half a warp, each with its pair neighbour shares the pixel, each with the lane two on the
  // channels: so 16-byte reads of either take two turns of the banks instead of four.
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

// One pixel of the thread: bias, activation, and the channels that exist. Or, where a.partial is set, the sum as it is:
// a part of a split sum, or what tanh, too large to be here so often, is left to split_reduce for.
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

// Zeros in the padding channels of `count` pixels. One block of those that make these pixels does it.
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

// Copies to shared memory ---------------------------------------------------------------------------------------------

// A thread's share of a stage of `Rows` rows in registers: kLoads vectors, all of the same unit of their rows.
// Math: the type in shared memory.
template <typename T, typename Math, int Rows, int Threads>
struct Copies {
  static constexpr int kWiden = sizeof(Math) / sizeof(T);  // units in shared memory for one in global memory
  static constexpr int kRowUnits = kUnits / kWiden, kLoads = ceil_div(Rows * kRowUnits, Threads);
  static_assert(Threads % kRowUnits == 0, "a thread keeps its unit of a row");
  Bits128 values[kLoads];

  FASTALEX_DEVICE static int row(int i) { return (static_cast<int>(threadIdx.x) + i * Threads) / kRowUnits; }
  FASTALEX_DEVICE static int unit() { return threadIdx.x % kRowUnits; }

  FASTALEX_DEVICE void store(u8* smem) const {
    u8* to = smem + row(0) * kRowBytes + unit() * kWiden * 16;
#pragma unroll
    for (int i = 0; i < kLoads; ++i, to += Threads / kRowUnits * kRowBytes)
      if (Rows * kRowUnits % Threads == 0 || row(i) < Rows) put_unit(to, values[i]);
  }
  FASTALEX_DEVICE static void put_unit(u8* to, const Bits128& v) {
    if (kWiden == 1) {
      *reinterpret_cast<Bits128*>(to) = v;
    } else {
      const Half2 h[4] = {{v.x}, {v.y}, {v.z}, {v.w}};
#pragma unroll
      for (int i = 0; i < 4; i += 2) {
        const float f[4] = {low(h[i]), high(h[i]), low(h[i + 1]), high(h[i + 1])};
        vector::store(reinterpret_cast<float*>(to) + 2 * i, f);
      }
    }
  }
};

// Rows of weights; those past the last repeat it, their results are not stored.
template <typename T, typename Math, class S>
struct WeightCopies : Copies<T, Math, S::kColumns, S::kThreads> {
  typedef Copies<T, Math, S::kColumns, S::kThreads> Base;
  const ConvArgs& args;
  int place;                // in a row
  int start[Base::kLoads];  // units from the first of all to the row's first

  FASTALEX_DEVICE WeightCopies(const ConvArgs& a, int group, int column0, int stage)
      : args(a), place(stage * Base::kRowUnits + Base::unit()) {
#pragma unroll
    for (int i = 0; i < Base::kLoads; ++i) {
      const int row = group * a.w_rows + smaller(column0 + Base::row(i), a.w_rows - 1);
      start[i] = row * (a.w_pitch / (16 / static_cast<int>(sizeof(T))));
    }
  }
  FASTALEX_DEVICE void load() {  // one stage
    const Bits128* w = static_cast<const Bits128*>(args.w);
#pragma unroll
    for (int i = 0; i < Base::kLoads; ++i) Base::values[i] = w[start[i] + place];
    place += Base::kRowUnits;
  }
};

// Bit i: start + i is in 0 .. size - 1, i < kernel.
FASTALEX_DEVICE u32 bits_inside(int start, int size, int kernel) {
  const int first = larger(0, -start), end = smaller(kernel, size - start);
  return first < end ? (1u << end) - (1u << first) : 0;
}

// Values of a pixel in a row of weights.
FASTALEX_HOST_DEVICE constexpr int window_channels(int groups, int in_c_group) {
  return groups == 1 && in_c_group <= 4 ? 4 : in_c_group;
}

constexpr int kLargestKernel = 12;  // rows of a window have bits 0 .. 15; the last stage may go four rows past the end

// Rows of windows, where a pixel's channels of a group are whole units. The thread's rows share their place in the
// window, (r, s, unit c), which steps by a stage.
template <typename T, typename Math, class S>
struct WindowCopies : Copies<T, Math, S::kPixels, S::kThreads> {
  typedef Copies<T, Math, S::kPixels, S::kThreads> Base;
  static constexpr int kUnit = 16 / static_cast<int>(sizeof(T));
  const ConvArgs& args;
  int channels;  // units of a pixel in a window
  int c;
  u32 place_bits;            // of r and s, as in `inside`
  int place;                 // units from a window's first to (r, s, c)
  int start[Base::kLoads];   // units from the tensor's first to the window's first
  u32 inside[Base::kLoads];  // bits 0 .. 15: rows of the window in the image; 16 .. 31: columns

  // From the arguments each time: registers are scarce, and these are needed once in many stages.
  FASTALEX_DEVICE int pitch() const { return args.in_pitch / kUnit; }

  FASTALEX_DEVICE WindowCopies(const ConvArgs& a, int group, int pixel0, int stage)
      : args(a), channels(window_channels(a.groups, a.in_c_group) / kUnit) {
    const int unit = stage * Base::kRowUnits + Base::unit(), tap = unit / channels;
    c = unit % channels;
    place_bits = 1u << tap / a.kernel | 0x10000u << tap % a.kernel;
    place = (tap / a.kernel * a.in_w + tap % a.kernel) * pitch() + c;
#pragma unroll
    for (int i = 0; i < Base::kLoads; ++i) {
      const int pixel = pixel0 + Base::row(i), line = pixel / a.out_w, n = line / a.out_h;
      const int y = line % a.out_h * a.stride - a.pad, x = pixel % a.out_w * a.stride - a.pad;
      start[i] = ((n * a.in_h + y) * a.in_w + x) * pitch() + group * (a.in_c_group / kUnit);
      inside[i] = n < a.n ? bits_inside(y, a.in_h, a.kernel) | bits_inside(x, a.in_w, a.kernel) << 16 : 0;
    }
  }
  FASTALEX_DEVICE void load() {  // one stage
    const Bits128* in = static_cast<const Bits128*>(args.in);
#pragma unroll
    for (int i = 0; i < Base::kLoads; ++i) {
      Base::values[i] = Bits128{0, 0, 0, 0};
      if ((inside[i] & place_bits) == place_bits) Base::values[i] = in[start[i] + place];
    }
    place += Base::kRowUnits;
    for (c += Base::kRowUnits; c >= channels; c -= channels) {
      place += pitch() - channels;
      place_bits += place_bits & 0xffff0000u;  // the next column
      if (!(place_bits >> (16 + args.kernel))) continue;
      place_bits = (place_bits & 0xffff) << 1 | 0x10000u;  // the next row
      place += (args.in_w - args.kernel) * pitch();
    }
  }
};

// Kernels -------------------------------------------------------------------------------------------------------------

constexpr int kHalfSum = 64;  // products added in half, in two chains

template <typename T, typename Math, class S>
FASTALEX_DEVICE void store_tile(const ConvArgs& a, int group, int part, int pixel0, int column0,
                                const Sums<Math, S::TM, S::TN>& sums) {
  const int pixels = a.n * a.out_h * a.out_w;
#pragma unroll
  for (int i = 0; i < S::TM; ++i) {
    const int pixel = pixel0 + S::ty() + i * S::TY;
    if (pixel < pixels) store_pixel<T, S>(a, group, part, pixel, column0 + S::tx() * 4, sums.total[i]);
  }
  zero_padding<T>(a, group, pixel0, smaller(S::kPixels, pixels - pixel0), S::kThreads);
}

// Windows of at most kLargestKernel x kLargestKernel pixels with whole units of channels in a group. While a stage is
// multiplied, the next is on its way in registers.
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
    multiply_stage<S>(smem + S::ty() * kRowBytes, columns + S::tx() * 4 * kRowBytes, sums);
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
    multiply_stage<S>(smem + S::ty() * kRowBytes, columns + S::tx() * 4 * kRowBytes, sums);
  }
  store_tile<T, float, S>(a, group, part, pixel0, column0, sums);
}

// First layer ---------------------------------------------------------------------------------------------------------

// 11x11 windows of three colours at stride 4. A stage is one row of the windows: the image's row is stored without the
// fourth value of its pixels, so that a window is 33 values in a row and nothing is multiplied by padding. Windows
// begin 12 values apart: whole units of 4.
constexpr int kFirstKernel = 11, kFirstStride = 4, kColours = 3;
constexpr int kFirstProducts = kFirstKernel * kColours, kFirstUnits = kFirstProducts / 4;  // and one product more
constexpr int kFirstRow = round_up(kFirstProducts, 4);                                     // of weights, in values
constexpr int kFirstHalfSum = 2 * kFirstProducts;

template <class S>
FASTALEX_HOST_DEVICE constexpr int first_pixels() {  // of the image that a block's windows touch, and one more
  return S::kPixels * kFirstStride + kFirstKernel - kFirstStride + 1;
}
template <typename T, class S>
FASTALEX_HOST_DEVICE constexpr int first_shared_bytes() {
  return (first_pixels<S>() * kColours + S::kColumns * kFirstRow) * static_cast<int>(sizeof(T));
}

// kPixels pixels of 4 values become three words. from: the first, read where `valid` says so, else zeros.
template <typename T>
struct Colours;
template <>
struct Colours<float> {
  static constexpr int kPixels = 1;
  static constexpr u32 kLastMask = ~0u;
  FASTALEX_DEVICE static void copy(u8* to, const float* from, bool valid, bool) {
    u32 v[4] = {0, 0, 0, 0};
    if (valid) vector::load_words(from, v);
    u32* words = reinterpret_cast<u32*>(to);
    words[0] = v[0], words[1] = v[1], words[2] = v[2];
  }
};
template <>
struct Colours<Half> {
  static constexpr int kPixels = 2;
  static constexpr u32 kLastMask = 0xffff;  // product 33 is the next pixel's
  FASTALEX_DEVICE static void copy(u8* to, const Half* from, bool valid0, bool valid1) {
    u32 p[2] = {0, 0}, q[2] = {0, 0};
    if (valid0) vector::load_words(from, p);
    if (valid1) vector::load_words(from + 4, q);
    u32* words = reinterpret_cast<u32*>(to);
    words[0] = p[0], words[1] = byte_permute(p[1], q[0], 0x5410), words[2] = byte_permute(q[0], q[1], 0x5432);
  }
};

// Row r of the windows of pixels x0 .. of output row `line` (over all images).
template <typename T, class S>
FASTALEX_DEVICE void copy_first_image(u8* smem, const ConvArgs& a, int line, int x0, int r) {
  constexpr int P = Colours<T>::kPixels, kCount = first_pixels<S>() / P;
  const int y = line % a.out_h * kFirstStride - a.pad + r, left = x0 * kFirstStride - a.pad;
  const bool row = y >= 0 && y < a.in_h;
  const T* in = static_cast<const T*>(a.in) + (static_cast<u64>(line / a.out_h) * a.in_h + (row ? y : 0)) * a.in_w * 4;
#pragma unroll
  for (int i = 0; i < ceil_div(kCount, S::kThreads); ++i) {
    const int own = threadIdx.x + i * S::kThreads, x = left + own * P;
    if (own < kCount)
      Colours<T>::copy(smem + own * 12, in + static_cast<long long>(x) * 4, row && x >= 0 && x < a.in_w,
                       row && x + 1 >= 0 && x + 1 < a.in_w);
  }
}

// Row r of the windows' weights; those of channels that do not exist are zeros. A thread keeps its place in the rows,
// so that its rows are equally far apart.
template <typename T, class S>
FASTALEX_DEVICE void copy_first_weights(u8* smem, const ConvArgs& a, int column0, int r) {
  constexpr int P = Colours<T>::kPixels, kCopies = ceil_div(kFirstKernel, P);
  constexpr int kLanes = S::kThreads % kCopies == 0 ? kCopies : kCopies <= 8 ? 8 : 16, kStep = S::kThreads / kLanes;
  static_assert(S::kThreads % kLanes == 0, "a thread keeps its place");
  const int first = threadIdx.x / kLanes, own = threadIdx.x % kLanes, rows = a.w_rows - column0 - first;
  const T* from = static_cast<const T*>(a.w) + (column0 + first) * a.w_pitch + (r * kFirstKernel + own * P) * 4;
  const int step = kStep * a.w_pitch;
  smem += first * kFirstRow * static_cast<int>(sizeof(T)) + own * 12;
#pragma unroll
  for (int i = 0; i < ceil_div(S::kColumns, kStep); ++i, from += step, smem += kStep * kFirstRow * sizeof(T))
    if ((kLanes == kCopies || own < kCopies) && (S::kColumns % kStep == 0 || first + i * kStep < S::kColumns))
      Colours<T>::copy(smem, from, i * kStep < rows, i * kStep < rows && (own + 1) * P <= kFirstKernel);
}

// A block makes kPixels neighbouring pixels of one output row.
// Grid: (n out_h x runs of kPixels of out_w, out_c / kColumns, split).
template <typename T, class S>
__global__ void __launch_bounds__(S::kThreads, S::kBlocks) conv_first(const ConvArgs a) {
  FASTALEX_SHARED(smem);
  if (!is_compiled<T>()) return;
  constexpr int kBytes = sizeof(T), kUnitWords = kBytes;  // a unit is 4 values
  constexpr int kPixelBytes = S::TY * kFirstStride * kColours * kBytes, kColumnBytes = kFirstRow * kBytes;
  const int runs = ceil_div(a.out_w, S::kPixels), line = blockIdx.x / runs, x0 = blockIdx.x % runs * S::kPixels;
  const int column0 = blockIdx.y * S::kColumns, part = blockIdx.z;
  const int begin = part_begin(a, kFirstKernel, part), end = part_begin(a, kFirstKernel, part + 1);
  u8* const weights = smem + first_pixels<S>() * kColours * kBytes;
  const u8* const pixels = smem + S::ty() * kFirstStride * kColours * kBytes;
  const u8* const columns = weights + S::tx() * 4 * kColumnBytes;

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
    multiply<S, 1, kPixelBytes, kColumnBytes, Colours<T>::kLastMask>(pixels + kFirstUnits * kUnitWords * 4,
                                                                     columns + kFirstUnits * kUnitWords * 4, sums);
    if (r % 2 == 1 || r + 1 == end) sums.flush();
  }

#pragma unroll
  for (int i = 0; i < S::TM; ++i) {
    const int x = x0 + S::ty() + i * S::TY;
    if (x < a.out_w) store_pixel<T, S>(a, 0, part, line * a.out_w + x, column0 + S::tx() * 4, sums.total[i]);
  }
  zero_padding<T>(a, 0, line * a.out_w + x0, smaller(S::kPixels, a.out_w - x0), S::kThreads);
}

}  // namespace simt
}  // namespace cuda
}  // namespace fastalex
#endif  // FASTALEX_CUDA_CONV_SIMT_CUH
