// The matrix products of conv_winograd.cuh, one for each position of a tile.
#ifndef FASTALEX_CUDA_KERNELS_WINOGRAD_GEMM_CUH
#define FASTALEX_CUDA_KERNELS_WINOGRAD_GEMM_CUH

#include "cuda/kernels/winograd_algorithms.cuh"

namespace fastalex {
namespace cuda {

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
  // place: the thread's first row in shared memory; the others follow as in the matrix.
  FASTALEX_DEVICE void store(unsigned char* smem, int place) const {
    const int first = threadIdx.x / kWinogradUnits;
    smem += place * kWinogradRowBytes + threadIdx.x % kWinogradUnits * 16;
#pragma unroll
    for (int i = 0; i < kLoads; ++i)
      if ((i + 1) * kStep <= Rows || first + i * kStep < Rows)
        *reinterpret_cast<Bits128*>(smem + i * kStep * kWinogradRowBytes) = units[i];
  }
};

// A thread's columns in the matrix: kRun neighbors at a time, from row tx of shared memory and kRun - 1 further ones,
// TX apart. Halves are thus stored in pairs, and values that are read together still lie in different banks.
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
// computes kTiles x kColumns of one of them; while a stage is multiplied, the next one is loaded into registers. The
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

}  // namespace cuda
}  // namespace fastalex
#endif  // FASTALEX_CUDA_KERNELS_WINOGRAD_GEMM_CUH
