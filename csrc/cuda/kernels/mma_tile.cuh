// A block's tile of a matrix product on tensor cores, half operands and float sums:
//   acc[m, n] = sum_k a[m, k] b[n, k], m < BM, n < BN
// Both operands pass through shared memory in stages of BK products, rows of k-contiguous halves. A Loader supplies
// them; the epilogue (store_tile, store_partial) processes the sums.
#ifndef FASTALEX_CUDA_KERNELS_MMA_TILE_CUH
#define FASTALEX_CUDA_KERNELS_MMA_TILE_CUH

#include "cuda/kernels/args.h"
#include "cuda/kernels/ptx.h"

namespace fastalex {
namespace cuda {

// The instructions that a kernel is built from. Turing: mma m16n8k8, and the next stage waits in registers. Ampere and
// newer: mma m16n8k16, and stages arrive by asynchronous copies.
enum MmaGeneration { kTuring, kAmpere };

// Bodies of the other generation compile to nothing.
#if FASTALEX_SM == 9999
#define FASTALEX_MMA_COMPILED(generation) true
#elif FASTALEX_SM >= 80
#define FASTALEX_MMA_COMPILED(generation) ((generation) == kAmpere)
#elif FASTALEX_SM >= 75
#define FASTALEX_MMA_COMPILED(generation) ((generation) == kTuring)
#else
#define FASTALEX_MMA_COMPILED(generation) false
#endif

// WARPS_M x WARPS_N warps, each with WM x WN sums in registers.
template <int BM_, int BN_, int BK_, int WARPS_M_, int WARPS_N_, int AMPERE_STAGES, MmaGeneration GENERATION_>
struct MmaTile {
  static constexpr int BM = BM_, BN = BN_, BK = BK_;
  static constexpr MmaGeneration GENERATION = GENERATION_;
  static constexpr int WARPS_N = WARPS_N_, THREADS = WARPS_M_ * WARPS_N * 32;
  static constexpr int WM = BM / WARPS_M_, WN = BN / WARPS_N;
  static constexpr int MI = WM / 16, NI = WN / 8;  // mma tiles of a warp
  static constexpr int STEPS = BK / 16;
  static constexpr int STAGES = GENERATION == kAmpere ? AMPERE_STAGES : 2;
  static constexpr int STAGE_BYTES = (BM + BN) * BK * 2;  // a [BM, BK], then b [BN, BK]
  static constexpr int OUT_PITCH = BN + 8;                // of the result in shared memory: no bank conflicts
  static constexpr int SHARED_BYTES = larger(STAGES * STAGE_BYTES, BM * OUT_PITCH * 2);
  static_assert(BK == 32 || BK == 64, "swizzled for these");
  static_assert(WM % 16 == 0 && WN % 16 == 0, "whole ldmatrix of 16 rows");
};

// Byte offset of a row's 16-byte chunk (8 halves) in a stage's operand. The chunks of a row are permuted by its index
// so that eight rows of one chunk lie in different banks.
template <int BK>
FASTALEX_DEVICE int swizzle(int row, int chunk) {
  return BK == 32 ? row * 64 + (((row >> 1) ^ chunk) & 3) * 16 : row * 128 + ((row ^ chunk) & 7) * 16;
}

// Operands of one step of 16 products, in mma's layout.
template <class Tile>
struct MmaFragments {
  u32 a[Tile::MI][4], b[Tile::NI][2];
};

template <class Tile>
using MmaSums = float[Tile::MI][Tile::NI][4];

// The byte offsets in a stage that this lane reads with ldmatrix in step 0; step s is at offset ^ 32 s.
template <class Tile>
struct MmaLane {
  int a, b;

  FASTALEX_DEVICE MmaLane() {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    a = swizzle<Tile::BK>(warp / Tile::WARPS_N * Tile::WM + lane % 16, lane / 16);
    b = Tile::BM * Tile::BK * 2 +
        swizzle<Tile::BK>(warp % Tile::WARPS_N * Tile::WN + lane / 16 * 8 + lane % 8, lane / 8 % 2);
  }

  FASTALEX_DEVICE void load(const unsigned char* stage, int step, MmaFragments<Tile>& f) const {
#pragma unroll
    for (int i = 0; i < Tile::MI; ++i) load_matrix_x4(f.a[i], stage + (a ^ step * 32) + i * (16 * Tile::BK * 2));
#pragma unroll
    for (int j = 0; j < Tile::NI; j += 2) {
      u32 pair[4];
      load_matrix_x4(pair, stage + (b ^ step * 32) + j * (8 * Tile::BK * 2));
      f.b[j][0] = pair[0];
      f.b[j][1] = pair[1];
      f.b[j + 1][0] = pair[2];
      f.b[j + 1][1] = pair[3];
    }
  }
};

template <class Tile>
FASTALEX_DEVICE void multiply(const MmaFragments<Tile>& f, MmaSums<Tile>& sums) {
#pragma unroll
  for (int i = 0; i < Tile::MI; ++i)
#pragma unroll
    for (int j = 0; j < Tile::NI; ++j) {
      if (Tile::GENERATION == kAmpere) {
        mma_m16n8k16(sums[i][j], f.a[i], f.b[j]);
      } else {
        const u32 first[2] = {f.a[i][0], f.a[i][1]}, second[2] = {f.a[i][2], f.a[i][3]};
        mma_m16n8k8(sums[i][j], first, f.b[j][0]);
        mma_m16n8k8(sums[i][j], second, f.b[j][1]);
      }
    }
}

template <class Tile>
FASTALEX_DEVICE void clear(MmaSums<Tile>& sums) {
#pragma unroll
  for (int i = 0; i < Tile::MI; ++i)
#pragma unroll
    for (int j = 0; j < Tile::NI; ++j)
#pragma unroll
      for (int k = 0; k < 4; ++k) sums[i][j][k] = 0;
}

// The sum over `stages` stages, each copied by a call of loader.fetch(stage). Fragments are read one step ahead of
// their use, across stages; a stage is refilled after the barrier behind its last read.
template <class Tile, class Loader>
FASTALEX_DEVICE void multiply_async(Loader& loader, unsigned char* smem, int stages, MmaSums<Tile>& sums) {
  const MmaLane<Tile> lane;
  if (stages == 0) return;
#pragma unroll
  for (int s = 0; s < Tile::STAGES - 1; ++s) {
    if (s < stages) loader.fetch(smem + s * Tile::STAGE_BYTES);
    copy_async_commit();
  }
  copy_async_wait<Tile::STAGES - 2>();
  __syncthreads();
  MmaFragments<Tile> fragments[2];
  lane.load(smem, 0, fragments[0]);
  int read = 0, write = (Tile::STAGES - 1) * Tile::STAGE_BYTES;
#pragma unroll 1
  for (int t = 0; t < stages; ++t) {
#pragma unroll
    for (int step = 0; step < Tile::STEPS; ++step) {
      if (step == Tile::STEPS - 1) {
        const int next = read == (Tile::STAGES - 1) * Tile::STAGE_BYTES ? 0 : read + Tile::STAGE_BYTES;
        read = t + 1 < stages ? next : read;  // the last stage is read once more, and the result unused
        copy_async_wait<Tile::STAGES - 2>();
        __syncthreads();
      }
      lane.load(smem + read, (step + 1) % Tile::STEPS, fragments[(step + 1) % 2]);
      multiply<Tile>(fragments[step % 2], sums);
      if (step == 0) {
        if (t + Tile::STAGES - 1 < stages) loader.fetch(smem + write);
        copy_async_commit();
        write = write == (Tile::STAGES - 1) * Tile::STAGE_BYTES ? 0 : write + Tile::STAGE_BYTES;
      }
    }
  }
}

// The default target of multiply_staged: does nothing with the sums after a stage.
template <class Tile>
struct KeepSums {
  FASTALEX_DEVICE void end_stage(MmaSums<Tile>&) const {}
};

// The same, but loader.fetch() reads the next stage into registers and loader.store(stage) moves it to shared memory.
// After each stage comes target.end_stage(sums); whatever else loader.store put in shared memory for that stage, and
// for the next, is visible by then.
template <class Tile, class Loader, class Target>
FASTALEX_DEVICE void multiply_staged(Loader& loader, unsigned char* smem, int stages, MmaSums<Tile>& sums,
                                     Target& target) {
  const MmaLane<Tile> lane;
  if (stages == 0) return;
  loader.fetch();
  loader.store(smem);
  __syncthreads();
  MmaFragments<Tile> fragments[2];
  lane.load(smem, 0, fragments[0]);
  int next = Tile::STAGE_BYTES;
#pragma unroll 1
  for (int t = 0; t < stages; ++t) {
    const bool more = t + 1 < stages;
#pragma unroll
    for (int step = 0; step < Tile::STEPS; ++step) {
      if (step == 0 && more) loader.fetch();
      const bool last = step == Tile::STEPS - 1;
      if (last) {
        if (more) loader.store(smem + next);
        __syncthreads();
      }
      if (!last || more)
        lane.load(smem + (last ? next : Tile::STAGE_BYTES - next), (step + 1) % Tile::STEPS, fragments[(step + 1) % 2]);
      multiply<Tile>(fragments[step % 2], sums);
    }
    target.end_stage(sums);
    next = Tile::STAGE_BYTES - next;
  }
}

template <class Tile, class Loader>
FASTALEX_DEVICE void multiply_staged(Loader& loader, unsigned char* smem, int stages, MmaSums<Tile>& sums) {
  KeepSums<Tile> keep;
  multiply_staged<Tile>(loader, smem, stages, sums, keep);
}

// The destination of a block's tile of the result.
struct MmaResult {
  const float* bias;  // of the tile's first column
  Half* out;          // of the tile's first row and column
  int rows, columns;  // of the tile that are stored
  int real;           // columns that are channels; the rest of `columns` is padding, stored as zeros
  int biases;         // columns that have a bias
  int pitch;          // of out
  int activation;
};

// Rotates the sums, four at a time, through one piece of code: separate code for each would be larger than the main
// loop.
template <class Tile>
FASTALEX_DEVICE void take_tanh(MmaSums<Tile>& sums) {
#pragma unroll 1
  for (int n = 0; n < Tile::MI * Tile::NI; ++n) {
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const float v = tanhf(sums[0][0][k]);
#pragma unroll
      for (int t = 1; t < Tile::MI * Tile::NI; ++t)
        sums[(t - 1) / Tile::NI][(t - 1) % Tile::NI][k] = sums[t / Tile::NI][t % Tile::NI][k];
      sums[Tile::MI - 1][Tile::NI - 1][k] = v;
    }
  }
}

// Adds the biases of this thread's columns; 0 for columns past the `count` that have one.
template <class Tile>
FASTALEX_DEVICE void add_bias(const float* bias, int count, MmaSums<Tile>& sums) {
  const int column = threadIdx.x / 32 % Tile::WARPS_N * Tile::WN + threadIdx.x % 4 * 2;
#pragma unroll
  for (int j = 0; j < Tile::NI; ++j) {
    const int n = column + j * 8;
    const float bias0 = n < count ? bias[n] : 0, bias1 = n + 1 < count ? bias[n + 1] : 0;
#pragma unroll
    for (int i = 0; i < Tile::MI; ++i) {
      sums[i][j][0] += bias0;
      sums[i][j][1] += bias1;
      sums[i][j][2] += bias0;
      sums[i][j][3] += bias1;
    }
  }
}

// Bias, activation and conversion in registers, then through shared memory to whole rows of the tile.
template <class Tile>
FASTALEX_DEVICE void store_tile(MmaSums<Tile>& sums, unsigned char* smem, const MmaResult& result) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int row = warp / Tile::WARPS_N * Tile::WM + lane / 4, column = warp % Tile::WARPS_N * Tile::WN + lane % 4 * 2;
  Half* const tile = reinterpret_cast<Half*>(smem);  // [BM, OUT_PITCH]
  add_bias<Tile>(result.bias, result.biases, sums);
  if (result.activation == kActTanh) take_tanh<Tile>(sums);
  __syncthreads();
#pragma unroll
  for (int j = 0; j < Tile::NI; ++j) {
    const int n = column + j * 8;
#pragma unroll
    for (int i = 0; i < Tile::MI * 2; ++i) {
      float v0 = sums[i / 2][j][i % 2 * 2], v1 = sums[i / 2][j][i % 2 * 2 + 1];
      if (result.activation == kActRelu) {
        v0 = v0 < 0 ? 0 : v0;
        v1 = v1 < 0 ? 0 : v1;
      }
      *reinterpret_cast<u32*>(tile + (row + i * 8) * Tile::OUT_PITCH + n) = to_half2(v0, v1).bits;
    }
  }
  __syncthreads();
  constexpr int CHUNKS = Tile::BN / 8;
  const bool aligned = (result.real == result.columns || result.real >= Tile::BN) && result.real % 8 == 0 &&
                       result.pitch % 8 == 0 && (reinterpret_cast<u64>(result.out) & 15) == 0;
#pragma unroll 1
  for (int i = threadIdx.x; i < Tile::BM * CHUNKS; i += Tile::THREADS) {
    const int m = i / CHUNKS, n = i % CHUNKS * 8;
    const Half* from = tile + m * Tile::OUT_PITCH + n;
    if (m >= result.rows || n >= result.columns) continue;
    Half* to = result.out + static_cast<long long>(m) * result.pitch + n;
    if (aligned) {
      *reinterpret_cast<Bits128*>(to) = *reinterpret_cast<const Bits128*>(from);
    } else {
      for (int k = 0; k < smaller(8, result.columns - n); ++k) to[k] = n + k < result.real ? from[k] : Half{0};
    }
  }
}

// The sums alone: partial [rows, pitch] at the tile's first row and column. pitch and columns are even.
template <class Tile>
FASTALEX_DEVICE void store_partial(const MmaSums<Tile>& sums, float* partial, int rows, int columns, int pitch) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int row = warp / Tile::WARPS_N * Tile::WM + lane / 4, column = warp % Tile::WARPS_N * Tile::WN + lane % 4 * 2;
  float* to = partial + static_cast<long long>(row) * pitch + column;
#pragma unroll
  for (int i = 0; i < Tile::MI * 2; ++i) {
    if (row + i * 8 < rows) {
#pragma unroll
      for (int j = 0; j < Tile::NI; ++j) {
        float2 v;
        v.x = sums[i / 2][j][i % 2 * 2];
        v.y = sums[i / 2][j][i % 2 * 2 + 1];
        if (column + j * 8 < columns) *reinterpret_cast<float2*>(to + j * 8) = v;
      }
    }
    to += 8 * pitch;
  }
}

}  // namespace cuda
}  // namespace fastalex
#endif  // FASTALEX_CUDA_KERNELS_MMA_TILE_CUH
