// Winograd convolution of stride 1 with bias and activation: Y = A^T [ sum_c (G g G^T) . (B^T d B) ] A for each tile of
// m x m outputs and r x r weights, F(m x m, r x r) in the terms of Lavin & Gray (arXiv 1509.09308): n^2 = (m + r - 1)^2
// products instead of m^2 r^2. Three kernels: input transform, n^2 matrix products along c, output transform. The
// weights G g G^T come transformed from the host (winograd.h).
//
// Cook-Toom: a polynomial product of degree n - 1 is known from its values at n points p_j, the last of them infinity.
// With N_j = prod_{k != j} (p_j - p_k) over the finite points
//   A^T[i][j] = p_j^i                     and 1 for i = m - 1 at infinity (i < m)
//   G[j][i]   = p_j^i / N_j               and 1 for i = r - 1 at infinity (i < r)
//   B^T[j][i] = coefficient of x^i in prod_{k != j} (x - p_k), all finite k at infinity
// winograd.cpp computes the three from the points and is what the constants below were printed from.
//
// A NaN or an infinity in the input spoils all outputs of the tiles that read it, not only those whose window does.
#ifndef FASTALEX_CUDA_CONV_WINOGRAD_CUH
#define FASTALEX_CUDA_CONV_WINOGRAD_CUH

#include "args.h"
#include "ptx.h"
#include "vector.cuh"

namespace fastalex {
namespace cuda {

// The three kernels of a convolution share these. tiles = n tiles_y tiles_x.
struct WinogradArgs {
  const void* in;     // tensor
  const void* w;      // [positions, groups, w_rows, w_pitch]; rows and products past the end are zeros
  const float* bias;  // [groups, w_rows]
  void* out;          // tensor
  void* transformed;  // [positions, groups, tiles, v_pitch] of the tensors' type, zeros from in_c_group on
  void* products;     // [positions, groups, tiles, w_rows] of the tensors' type
  int in_h, in_w, in_pitch, out_h, out_w, out_pitch;
  int in_c_group, out_c_group, groups, pad;
  int w_rows, w_pitch, v_pitch;
  int tiles, tiles_y, tiles_x;
  int activation;
};

// The algorithms. For each: outputs of a tile's edge, weights of a kernel's edge, B^T and A^T.

// F(2x2, 3x3) at 0, 1, -1: of all small points the ones with the least error, 1.5 times that of direct sums (rms).
struct Winograd2x3 {
  static constexpr int kOut = 2, kKernel = 3, kIn = 4;
  FASTALEX_DEVICE static float bt(int i, int j) {
    const float m[kIn][kIn] = {{-1, 0, 1, 0}, {0, 1, 1, 0}, {0, -1, 1, 0}, {0, -1, 0, 1}};
    return m[i][j];
  }
  FASTALEX_DEVICE static float at(int i, int j) {
    const float m[kOut][kIn] = {{1, 1, 1, 0}, {0, 1, -1, 1}};
    return m[i][j];
  }
};

// F(4x4, 3x3) at 0, 3/2, -3/2, 5/8, -5/8: of all sets of points among 1/4 .. 4 with small denominators the one with the
// least error. Against the customary 0, 1, -1, 2, -2 the measured error is 0.45 (rms) and 0.29 times (max) as large,
// and the bound, max |A^T| (|G| |G^T| . |B^T| |B|) |A| / 9, 63 instead of 256. All constants are exact in float.
struct Winograd4x3 {
  static constexpr int kOut = 4, kKernel = 3, kIn = 6;
  FASTALEX_DEVICE static float bt(int i, int j) {
    const float m[kIn][kIn] = {{0.87890625f, 0, -2.640625f, 0, 1, 0},    {0, -0.5859375f, -0.390625f, 1.5f, 1, 0},
                               {0, 0.5859375f, -0.390625f, -1.5f, 1, 0}, {0, -1.40625f, -2.25f, 0.625f, 1, 0},
                               {0, 1.40625f, -2.25f, -0.625f, 1, 0},     {0, 0.87890625f, 0, -2.640625f, 0, 1}};
    return m[i][j];
  }
  FASTALEX_DEVICE static float at(int i, int j) {
    const float m[kOut][kIn] = {{1, 1, 1, 1, 1, 0},
                                {0, 1.5f, -1.5f, 0.625f, -0.625f, 0},
                                {0, 2.25f, 2.25f, 0.390625f, 0.390625f, 0},
                                {0, 3.375f, -3.375f, 0.244140625f, -0.244140625f, 1}};
    return m[i][j];
  }
};

// F(3x3, 5x5) at 0, 1, 1/2, -3/4, -5/4, 5/2, found in the same way. Against 0, 1, -1, 2, -2, 1/2 the error is 0.74
// (rms) and 0.48 times (max) as large, the bound 165 instead of 265.
struct Winograd3x5 {
  static constexpr int kOut = 3, kKernel = 5, kIn = 7;
  FASTALEX_DEVICE static float bt(int i, int j) {
    const float m[kIn][kIn] = {
        {-1.171875f, 1.484375f, 3.5f, -2.8125f, -2, 1, 0}, {0, 1.171875f, -0.3125f, -3.8125f, -1, 1, 0},
        {0, 2.34375f, 1.71875f, -3.5625f, -1.5f, 1, 0},    {0, -1.5625f, 4.0625f, -0.75f, -2.75f, 1, 0},
        {0, -0.9375f, 1.9375f, 1.25f, -3.25f, 1, 0},       {0, 0.46875f, -0.40625f, -1.5625f, 0.5f, 1, 0},
        {0, -1.171875f, 1.484375f, 3.5f, -2.8125f, -2, 1}};
    return m[i][j];
  }
  FASTALEX_DEVICE static float at(int i, int j) {
    const float m[kOut][kIn] = {
        {1, 1, 1, 1, 1, 1, 0}, {0, 1, 0.5f, -0.75f, -1.25f, 2.5f, 0}, {0, 1, 0.25f, 0.5625f, 1.5625f, 6.25f, 1}};
    return m[i][j];
  }
};

// A tile's place: image and first output row and column.
struct WinogradTile {
  int image, y, x;
};
FASTALEX_DEVICE WinogradTile winograd_tile(const WinogradArgs& a, int tile, int edge) {
  const u32 row = static_cast<u32>(tile) / a.tiles_x, image = row / a.tiles_y;  // unsigned: shorter code
  return {static_cast<int>(image), static_cast<int>(row - image * a.tiles_y) * edge,
          (tile - static_cast<int>(row) * a.tiles_x) * edge};
}

// How tensors' types enter and leave: channels that one thread transforms, and the power of two that transformed inputs
// are stored with.
//
// B^T d B of F(2x2, 3x3) may be four times as large as d, more than a half can hold. A quarter of it always fits, for
// every finite d; it is rounded to half once, after a transform in float. The factor is exact (but for values below
// 2^-14, whose error becomes 2^-23 at most) and is undone in float. The products, a quarter too, are sums in float and
// rounded to half for the way to the last kernel: that is most of this algorithm's memory traffic, and adds a rounding
// to those of a chunk's sums in half.
template <typename Real>
struct WinogradType;
template <>
struct WinogradType<float> {
  static constexpr int kChannels = 1;
  static constexpr float kScale = 1;
  FASTALEX_DEVICE static void load(const float* p, float (&v)[1]) { v[0] = *p; }
  FASTALEX_DEVICE static void store(float* p, const float (&v)[1]) { *p = v[0]; }
};
template <>
struct WinogradType<Half> {
  static constexpr int kChannels = 4;
  static constexpr float kScale = 0.25f;
  FASTALEX_DEVICE static void load(const Half* p, float (&v)[4]) { vector::load(p, v); }
  FASTALEX_DEVICE static void store(Half* p, const float (&v)[4]) { vector::store(p, v); }
};

constexpr int kWinogradTransformThreads = 128;

// sum + factor v; of the first term that counts the product alone. `first` is known when the loops are unrolled.
FASTALEX_DEVICE void winograd_add(float factor, float v, bool& first, float& sum) {
  if (factor == 0) return;
  sum = first ? factor * v : fmaf(factor, v, sum);
  first = false;
}

// V[i, j] = (B^T d B)[i, j] for each tile, group and channel, d = 0 outside the image.
// A thread transforms kChannels channels of one tile; threads run over (tile, channel), channel fastest.
// Grid: (tiles v_pitch / kChannels / 128, groups).
template <class F, typename Real>
__global__ void __launch_bounds__(kWinogradTransformThreads) winograd_input(const WinogradArgs a) {
  typedef WinogradType<Real> Type;
  constexpr int C = Type::kChannels, N = F::kIn;
  const u32 vectors = a.v_pitch / C, index = blockIdx.x * kWinogradTransformThreads + threadIdx.x;
  const int tile = index / vectors, c = index % vectors * C, group = blockIdx.y;
  if (tile >= a.tiles) return;
  const WinogradTile at = winograd_tile(a, tile, F::kOut);
  const int y = at.y - a.pad, x = at.x - a.pad;
  const Real* column = static_cast<const Real*>(a.in) + group * a.in_c_group + c +
                       ((static_cast<long long>(at.image) * a.in_h + y) * a.in_w + x) * a.in_pitch;
  const long long line = static_cast<long long>(a.in_w) * a.in_pitch;

  float partly[N][N][C];  // B^T d
#pragma unroll
  for (int j = 0; j < N; ++j, column += a.in_pitch) {
    const bool inside = x + j >= 0 && x + j < a.in_w && c < a.in_c_group;
    const Real* in = column;
    float d[N][C];
#pragma unroll
    for (int i = 0; i < N; ++i, in += line) {
#pragma unroll
      for (int e = 0; e < C; ++e) d[i][e] = 0;
      if (inside && y + i >= 0 && y + i < a.in_h) Type::load(in, d[i]);
    }
#pragma unroll
    for (int i = 0; i < N; ++i) {
#pragma unroll
      for (int e = 0; e < C; ++e) {
        bool first = true;
#pragma unroll
        for (int k = 0; k < N; ++k) winograd_add(F::bt(i, k), d[k][e], first, partly[i][j][e]);
      }
    }
  }

  const u64 step = static_cast<u64>(a.groups) * a.tiles * a.v_pitch;  // from one position to the next
  Real* out = static_cast<Real*>(a.transformed) + (static_cast<u64>(group) * a.tiles + tile) * a.v_pitch + c;
#pragma unroll
  for (int i = 0; i < N; ++i) {
#pragma unroll
    for (int j = 0; j < N; ++j, out += step) {
      float v[C];
#pragma unroll
      for (int e = 0; e < C; ++e) {
        bool first = true;
#pragma unroll
        for (int k = 0; k < N; ++k) winograd_add(F::bt(j, k) * Type::kScale, partly[i][k][e], first, v[e]);
      }
      Type::store(out, v);
    }
  }
}

// A stage of the matrix products is four units of 16 bytes of each row: 16 floats or 32 halves along c. In shared
// memory a row takes five, so that the eight rows that a quarter of a warp reads at a time lie in different banks.
constexpr int kWinogradUnits = 4, kWinogradRowBytes = (kWinogradUnits + 1) * 16;
template <typename Real>
FASTALEX_HOST_DEVICE constexpr int winograd_stage() {
  return kWinogradUnits * 16 / static_cast<int>(sizeof(Real));
}

// TY x TX threads, each TM tiles and TN output channels: rows ty, ty + TY, .. and columns tx, tx + TX, ..
template <int TY_, int TX_, int TM_, int TN_>
struct WinogradShape {
  static constexpr int TY = TY_, TX = TX_, TM = TM_, TN = TN_;
  static constexpr int kThreads = TY * TX, kTiles = TY * TM, kColumns = TX * TN;
  static constexpr int kSharedBytes = (kTiles + kColumns) * kWinogradRowBytes;
};

FASTALEX_DEVICE Bits128 winograd_unit(const unsigned char* smem, int row, int unit) {
  return *reinterpret_cast<const Bits128*>(smem + row * kWinogradRowBytes + unit * 16);
}
FASTALEX_DEVICE u32 winograd_word(const Bits128& v, int i) { return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w; }

// Sums of products of the thread's tiles and columns.
template <typename Real, class S>
struct WinogradSums;

template <class S>
struct WinogradSums<float, S> {
  static constexpr int kFlush = 1, kUnroll = kWinogradUnits;
  float total[S::TM][S::TN];

  FASTALEX_DEVICE void clear() {
#pragma unroll
    for (int i = 0; i < S::TM; ++i)
#pragma unroll
      for (int j = 0; j < S::TN; ++j) total[i][j] = 0;
  }
  FASTALEX_DEVICE void add_product(int i, int j, u32 x, u32 y) {
    total[i][j] = fmaf(bits_to_float(x), bits_to_float(y), total[i][j]);
  }
  FASTALEX_DEVICE void flush() {}
};

// The products of two stages are summed in half, even and odd ones apart, then the two together; the rest is float.
constexpr int kWinogradHalfSum = 2 * winograd_stage<Half>();
template <class S>
struct WinogradSums<Half, S> {
  static constexpr int kFlush = kWinogradHalfSum / winograd_stage<Half>();  // stages
  static constexpr int kUnroll = 1;                                         // more would take registers for loads ahead
  Half2 pair[S::TM][S::TN];
  float total[S::TM][S::TN];

  FASTALEX_DEVICE void clear() {
#pragma unroll
    for (int i = 0; i < S::TM; ++i)
#pragma unroll
      for (int j = 0; j < S::TN; ++j) {
        pair[i][j] = Half2{0};
        total[i][j] = 0;
      }
  }
  FASTALEX_DEVICE void add_product(int i, int j, u32 x, u32 y) { pair[i][j] = fma(Half2{x}, Half2{y}, pair[i][j]); }
  FASTALEX_DEVICE void flush() {
#pragma unroll
    for (int i = 0; i < S::TM; ++i)
#pragma unroll
      for (int j = 0; j < S::TN; ++j) {
        total[i][j] += low(add(low_low(pair[i][j]), high_high(pair[i][j])));
        pair[i][j] = Half2{0};
      }
  }
};

// sums += products of one stage.
template <class S, class Sums>
FASTALEX_DEVICE void winograd_products(const unsigned char* tiles, const unsigned char* columns, Sums& sums) {
#pragma unroll Sums::kUnroll
  for (int unit = 0; unit < kWinogradUnits; ++unit) {
    Bits128 b[S::TN];
#pragma unroll
    for (int j = 0; j < S::TN; ++j) b[j] = winograd_unit(columns, j * S::TX, unit);
#pragma unroll
    for (int i = 0; i < S::TM; ++i) {
      const Bits128 v = winograd_unit(tiles, i * S::TY, unit);
#pragma unroll
      for (int k = 0; k < 4; ++k)
#pragma unroll
        for (int j = 0; j < S::TN; ++j) sums.add_product(i, j, winograd_word(v, k), winograd_word(b[j], k));
    }
  }
}

// A thread's share of the units of `Rows` rows of a stage, from global to shared memory by way of registers: a unit of
// every kStep-th row.
template <int Rows, int Threads>
struct WinogradRows {
  static constexpr int kStep = Threads / kWinogradUnits, kLoads = ceil_div(Rows, kStep);
  Bits128 units[kLoads];
  int rows;  // to the end of the block's rows or of the matrix, from the thread's first row on

  // Rows past the end of the matrix are zeros.
  FASTALEX_DEVICE explicit WinogradRows(int matrix_rows) {
    rows = smaller(Rows, matrix_rows) - static_cast<int>(threadIdx.x) / kWinogradUnits;
#pragma unroll
    for (int i = 0; i < kLoads; ++i) units[i] = {0, 0, 0, 0};
  }
  FASTALEX_DEVICE void load(const Bits128* from, int row_units) {  // from: the thread's first unit
#pragma unroll
    for (int i = 0; i < kLoads; ++i)
      if (i * kStep < rows) units[i] = from[i * kStep * row_units];
  }
  // place: in shared memory, of the thread's first row; the others follow as in the matrix.
  FASTALEX_DEVICE void store(unsigned char* smem, int place) const {
    const int first = threadIdx.x / kWinogradUnits;
    smem += place * kWinogradRowBytes + threadIdx.x % kWinogradUnits * 16;
#pragma unroll
    for (int i = 0; i < kLoads; ++i)
      if ((i + 1) * kStep <= Rows || first + i * kStep < Rows)
        *reinterpret_cast<Bits128*>(smem + i * kStep * kWinogradRowBytes) = units[i];
  }
};

// A thread's columns in the matrix: kRun neighbours at a time, from row tx of shared memory and kRun - 1 further ones,
// TX apart. So halves leave in pairs, and what is read together lies in different banks all the same.
template <typename Real, class S>
struct WinogradColumns;
template <class S>
struct WinogradColumns<float, S> {
  static constexpr int kRun = 1;
  FASTALEX_DEVICE static int place(int row) { return row; }
  FASTALEX_DEVICE static void store(float* to, const float* v) { *to = *v; }
};
template <class S>
struct WinogradColumns<Half, S> {
  static constexpr int kRun = 2;
  static_assert(S::kThreads / kWinogradUnits == 2 * S::TX, "the rows of one load are one run of each thread");
  FASTALEX_DEVICE static int place(int row) { return row % 2 * S::TX + row / 2; }
  FASTALEX_DEVICE static void store(Half* to, const float* v) { *reinterpret_cast<Half2*>(to) = to_half2(v[0], v[1]); }
};

// products[p, g, t, o] = sum_c V[p, g, t, c] U[p, g, o, c], a matrix product for each position p and group g. A block
// computes kTiles x kColumns of one of them; while a stage is multiplied, the next is on its way in registers. The
// order of the sum over c is the same for every shape. Grid: (tiles / kTiles, w_rows / kColumns, positions groups).
template <typename Real, class S>
__global__ void __launch_bounds__(S::kThreads, 1) winograd_gemm(const WinogradArgs a) {
  FASTALEX_SHARED(smem);
  static_assert(S::kThreads % kWinogradUnits == 0, "a thread keeps its unit of a row");
  typedef WinogradColumns<Real, S> Columns;
  constexpr int kUnit = 16 / static_cast<int>(sizeof(Real));
  const int ty = threadIdx.x / S::TX, tx = threadIdx.x % S::TX;
  const int tile0 = blockIdx.x * S::kTiles, column0 = blockIdx.y * S::kColumns;
  const int v_units = a.v_pitch / kUnit, w_units = a.w_pitch / kUnit, stages = v_units / kWinogradUnits;
  const int own_row = threadIdx.x / kWinogradUnits, own_unit = threadIdx.x % kWinogradUnits;
  const Bits128* v = static_cast<const Bits128*>(a.transformed) + own_unit +
                     (static_cast<u64>(blockIdx.z) * a.tiles + tile0 + own_row) * v_units;
  const Bits128* w = static_cast<const Bits128*>(a.w) + own_unit +
                     (static_cast<u64>(blockIdx.z) * a.w_rows + column0 + own_row) * w_units;
  unsigned char* const columns = smem + S::kTiles * kWinogradRowBytes;

  WinogradSums<Real, S> sums;
  sums.clear();
  WinogradRows<S::kTiles, S::kThreads> next_v(a.tiles - tile0);
  WinogradRows<S::kColumns, S::kThreads> next_w(a.w_rows - column0);
  next_v.load(v, v_units);
  next_w.load(w, w_units);
  for (int stage = 0; stage < stages;) {
#pragma unroll
    for (int i = 0; i < WinogradSums<Real, S>::kFlush; ++i) {
      if (stage == stages) break;
      __syncthreads();  // the stage before has been read
      next_v.store(smem, own_row);
      next_w.store(columns, Columns::place(own_row));
      __syncthreads();
      if (++stage < stages) {
        v += kWinogradUnits;
        w += kWinogradUnits;
        next_v.load(v, v_units);
        next_w.load(w, w_units);
      }
      winograd_products<S>(smem + ty * kWinogradRowBytes, columns + tx * kWinogradRowBytes, sums);
    }
    sums.flush();
  }

  const int column = column0 + tx * Columns::kRun;
  Real* out =
      static_cast<Real*>(a.products) + column + (static_cast<u64>(blockIdx.z) * a.tiles + tile0 + ty) * a.w_rows;
#pragma unroll
  for (int i = 0; i < S::TM; ++i, out += S::TY * a.w_rows) {
    if (tile0 + ty + i * S::TY >= a.tiles) break;
#pragma unroll
    for (int j = 0; j < S::TN; j += Columns::kRun)
      if (column + j * S::TX < a.w_rows) Columns::store(out + j * S::TX, sums.total[i] + j);
  }
}

// Y = act(A^T m A + bias) for each tile and output channel, and zeros in the padding channels.
// A thread computes kChannels channels of one tile, all of one group; threads run over (tile, channel), channel
// fastest. Grid: (tiles out_pitch / kChannels / 128).
template <class F, typename Real>
__global__ void __launch_bounds__(kWinogradTransformThreads) winograd_output(const WinogradArgs a) {
  typedef WinogradType<Real> Type;
  constexpr int C = Type::kChannels, N = F::kIn, M = F::kOut;
  const u32 vectors = a.out_pitch / C, index = blockIdx.x * kWinogradTransformThreads + threadIdx.x;
  const int tile = index / vectors, channel = index % vectors * C;
  if (tile >= a.tiles) return;
  const int left = a.groups * a.out_c_group - channel;  // channels from the thread's first on

  float partly[M][N][C];  // A^T m
  float bias[C] = {};
  if (left > 0) {
    const int group = static_cast<u32>(channel) / a.out_c_group, row = channel - group * a.out_c_group;
#pragma unroll
    for (int e = 0; e < C; ++e) bias[e] = a.bias[group * a.w_rows + row + e];
    const u64 step = static_cast<u64>(a.groups) * a.tiles * a.w_rows;  // from one position to the next
    const Real* in = static_cast<const Real*>(a.products) + (static_cast<u64>(group) * a.tiles + tile) * a.w_rows + row;
#pragma unroll
    for (int j = 0; j < N; ++j) {
      float m[N][C];
#pragma unroll
      for (int i = 0; i < N; ++i) Type::load(in + (i * N + j) * step, m[i]);
#pragma unroll
      for (int i = 0; i < M; ++i) {
#pragma unroll
        for (int e = 0; e < C; ++e) {
          bool first = true;
#pragma unroll
          for (int k = 0; k < N; ++k) winograd_add(F::at(i, k), m[k][e], first, partly[i][j][e]);
        }
      }
    }
  } else {
#pragma unroll
    for (int i = 0; i < M; ++i)
#pragma unroll
      for (int j = 0; j < N; ++j)
#pragma unroll
        for (int e = 0; e < C; ++e) partly[i][j][e] = 0;
  }

  const WinogradTile at = winograd_tile(a, tile, M);
  Real* line = static_cast<Real*>(a.out) + channel +
               ((static_cast<u64>(at.image) * a.out_h + at.y) * a.out_w + at.x) * a.out_pitch;
#pragma unroll
  for (int i = 0; i < M; ++i, line += static_cast<u64>(a.out_w) * a.out_pitch) {
    Real* out = line;
#pragma unroll
    for (int j = 0; j < M; ++j, out += a.out_pitch) {
      float y[C];
#pragma unroll
      for (int e = 0; e < C; ++e) {
        bool first = true;
        float sum;
#pragma unroll
        for (int k = 0; k < N; ++k) winograd_add(F::at(j, k), partly[i][k][e], first, sum);
        y[e] = fmaf(sum, 1 / Type::kScale, bias[e]);
      }
      vector::activate(y, a.activation);
#pragma unroll
      for (int e = 0; e < C; ++e) y[e] = e < left ? y[e] : 0;  // where the input is infinite, padding is not a number
      if (at.y + i < a.out_h && at.x + j < a.out_w) Type::store(out, y);
    }
  }
}

}  // namespace cuda
}  // namespace fastalex
#endif  // FASTALEX_CUDA_CONV_WINOGRAD_CUH
