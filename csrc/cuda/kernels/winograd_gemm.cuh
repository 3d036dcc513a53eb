// The matrix products of conv_winograd.cuh, one for each position of a tile.
#ifndef FASTALEX_CUDA_KERNELS_WINOGRAD_GEMM_CUH
#define FASTALEX_CUDA_KERNELS_WINOGRAD_GEMM_CUH

#include "cuda/kernels/simt_tile.cuh"
#include "cuda/kernels/winograd_algorithms.cuh"

namespace fastalex {
namespace cuda {

// TY x TX threads in warps of WarpY x 32 / WarpY, each TM tiles and TN output channels: rows ty, ty + TY, .. and
// columns tx, tx + TX, .. of shared memory, where both lie in rows of simt::kUnits units, as simt::kRowBytes says.
// Blocks: how many a multiprocessor should hold, which limits the registers.
template <int WarpY, int TY_, int TX_, int TM_, int TN_, int Blocks>
struct WinogradShape : simt::Threads<WarpY, TY_, TX_> {
  static constexpr int TY = TY_, TX = TX_, TM = TM_, TN = TN_;
  static constexpr int kThreads = TY * TX, kTiles = TY * TM, kColumns = TX * TN, kBlocks = Blocks;
  static constexpr int kUnroll = kThreads * Blocks > 256 ? 1 : 4;  // more takes registers for loads ahead
  static constexpr int kSharedBytes = (kTiles + kColumns) * simt::kRowBytes;
  static constexpr int kNeighbors = 1;
  FASTALEX_HOST_DEVICE static constexpr int column(int j) { return j * TX; }
};

// The products of so many stages are summed in half, even and odd ones apart, then the two together; the rest is float.
constexpr int kWinogradHalfStages = 2, kWinogradHalfSum = kWinogradHalfStages * simt::stage_products<Half>();

// A thread's share of the units of `Rows` rows of a stage, from global to shared memory by way of registers: a unit of
// every kStep-th row. Rows past the end of the matrix repeat the last one; what they are multiplied to is not stored.
template <int Rows, int Threads, bool Column>
struct WinogradRows {
  static constexpr int kStep = Threads / simt::kUnits, kLoads = ceil_div(Rows, kStep);
  static_assert(Threads % simt::kUnits == 0, "a thread keeps its unit of a row");
  u32 units[kLoads][4] = {};
  const Bits128* from;  // the thread's unit of the block's first row
  u32 start[kLoads];    // units from there

  // matrix_rows: to the end of the matrix, from the block's first on.
  FASTALEX_DEVICE WinogradRows(const void* block, int matrix_rows, int row_units)
      : from(static_cast<const Bits128*>(block) + threadIdx.x % simt::kUnits) {
#pragma unroll
    for (int i = 0; i < kLoads; ++i) start[i] = smaller(row() + i * kStep, matrix_rows - 1) * row_units;
  }
  FASTALEX_DEVICE static int row() { return threadIdx.x / simt::kUnits; }
  FASTALEX_DEVICE void load(bool wanted) {  // one stage
#pragma unroll
    for (int i = 0; i < kLoads; ++i) load_ahead(units[i], from + start[i], wanted);
    from += simt::kUnits;
  }
  // place: of the thread's first row in shared memory; the others follow as in the matrix.
  FASTALEX_DEVICE void store(u8* smem, int place) const {
    smem += place * simt::kRowBytes + threadIdx.x % simt::kUnits * 16;
#pragma unroll
    for (int i = 0; i < kLoads; ++i)
      if ((i + 1) * kStep <= Rows || row() + i * kStep < Rows)
        simt::store_unit<Column>(smem + i * kStep * simt::kRowBytes, units[i]);
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
  static_assert(S::kThreads / simt::kUnits == 2 * S::TX, "the rows of one load are one run of each thread");
  FASTALEX_DEVICE static int place(int row) { return row % 2 * S::TX + row / 2; }
  FASTALEX_DEVICE static void store(Half* to, const float* v) { *reinterpret_cast<Half2*>(to) = to_half2(v[0], v[1]); }
};

// products[p, g, t, o] = sum_c V[p, g, t, c] U[p, g, o, c], a matrix product for each position p and group g. A block
// computes kTiles x kColumns of one of them; while a stage is multiplied, the next one is loaded into registers. The
// order of the sum over c is the same for every shape. Grid: (tiles / kTiles, w_rows / kColumns, positions groups).
template <typename Real, class S>
__global__ void __launch_bounds__(S::kThreads, S::kBlocks) winograd_gemm(const WinogradArgs a) {
  FASTALEX_SHARED(smem);
  typedef WinogradColumns<Real, S> Columns;
  typedef WinogradRows<S::kTiles, S::kThreads, false> TileRows;
  typedef WinogradRows<S::kColumns, S::kThreads, true> ColumnRows;
  const int ty = S::ty(threadIdx.x), tx = S::tx(threadIdx.x);
  const int tile0 = blockIdx.x * S::kTiles, column0 = blockIdx.y * S::kColumns;
  const Real* v =
      static_cast<const Real*>(a.transformed) + (static_cast<u64>(blockIdx.z) * a.tiles + tile0) * a.v_pitch;
  const Real* w = static_cast<const Real*>(a.w) + (static_cast<u64>(blockIdx.z) * a.w_rows + column0) * a.w_pitch;
  u8* const columns = smem + S::kTiles * simt::kRowBytes;

  simt::Sums<Real, S::TM, S::TN> sums;
  sums.clear();
  constexpr int kUnit = 16 / static_cast<int>(sizeof(Real));
  TileRows next_v(v, a.tiles - tile0, a.v_pitch / kUnit);
  ColumnRows next_w(w, a.w_rows - column0, a.w_pitch / kUnit);
  next_v.load(true);
  next_w.load(true);
  const int stages = a.v_pitch / simt::stage_products<Real>();
  for (int stage = 1; stage <= stages; ++stage) {
    __syncthreads();  // the stage before has been read
    next_v.store(smem, TileRows::row());
    next_w.store(columns, Columns::place(ColumnRows::row()));
    __syncthreads();
    next_v.load(stage < stages);
    next_w.load(stage < stages);
    simt::multiply_stage<S>(smem + ty * simt::kRowBytes, columns + tx * simt::kRowBytes, sums);
    if (stage % kWinogradHalfStages == 0 || stage == stages) sums.flush();
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
