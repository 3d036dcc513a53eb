// Fully connected layers on many vectors, where weights are worth keeping in shared memory:
//   y[v, o] = act(b[o] + sum_i w[o, i] x[v, i])
// gemm_fc_mma: half vectors and int8 or int4 weights on tensor cores. Quantized weights become halves, exactly, between
// their registers and shared memory; the sums are scaled in float, after the last product (int8, one scale a row) or
// after every group of 128 (int4). (Half weights are a 1x1 convolution, conv_mma.cuh.)
// gemm_fc_simt: every type, in float.
//
// Grid of both: x = tiles of outputs, y = tiles of vectors, z = ranges of the sum.
#ifndef FASTALEX_CUDA_KERNELS_GEMM_FC_CUH
#define FASTALEX_CUDA_KERNELS_GEMM_FC_CUH

#include "cuda/kernels/fully_connected.cuh"
#include "cuda/kernels/mma_tile.cuh"

namespace fastalex {
namespace cuda {
namespace gemm_fc {

using fully_connected::kFp16;
using fully_connected::kFp32;
using fully_connected::kInt4;
using fully_connected::kInt8;

template <int STORAGE>
struct Unit {  // 16 bytes of a row of weights
  static constexpr int kValues = fully_connected::Unit<STORAGE>::kValues;
};

// Bytes from the first row's first value to `k` of row `row`. k is a multiple of a unit's values.
template <int STORAGE>
FASTALEX_DEVICE const char* weights_at(const FullyConnectedArgs& a, int row, int k) {
  const long long units =
      static_cast<long long>(row) * (a.w_pitch / Unit<STORAGE>::kValues) + k / Unit<STORAGE>::kValues;
  return static_cast<const char*>(a.w) + units * 16;
}

// The scale of an int4 row's group of 128 values.
FASTALEX_DEVICE Half scale_at(const FullyConnectedArgs& a, int row, int k) {
  const int groups = a.w_pitch / fully_connected::kGroup;
  return static_cast<const Half*>(a.scale)[static_cast<long long>(row) * groups + k / fully_connected::kGroup];
}

// The range of stages of `size` products that a block sums.
struct Range {
  int first, count;
  FASTALEX_DEVICE Range(const FullyConnectedArgs& a, int size) {
    const int all = a.w_pitch / size, part = ceil_div(all, a.split);
    first = smaller(static_cast<int>(blockIdx.z) * part, all);
    count = smaller(part, all - first);
  }
};

// Tensor cores
// ----------------------------------------------------------------------------------------------------------

// Two groups' scales of int4 rows lie behind the stages: [2, BN] floats, those of group g at g % 2.
template <class Tile, int STORAGE>
struct MmaShared {
  static constexpr int SCALES = Tile::STAGES * Tile::STAGE_BYTES;  // where they start
  static constexpr int BYTES = larger(SCALES + (STORAGE == kInt4 ? 2 * Tile::BN * 4 : 0), +Tile::SHARED_BYTES);
};

// Vectors [BM, BK] and weights [BN, BK] of a stage, the latter as quantized values (divided,
// fully_connected::QuantizedHalves).
template <class Tile, int STORAGE>
struct MmaLoader {
  static constexpr int CHUNKS = Tile::BK / 8, VECTOR_STEP = Tile::THREADS / CHUNKS, VECTORS = Tile::BM / VECTOR_STEP;
  static constexpr int VALUES = Unit<STORAGE>::kValues, UNITS = Tile::BK / VALUES;  // units of a row in a stage
  static constexpr int ROW_STEP = Tile::THREADS / UNITS, ROWS = ceil_div(Tile::BN, ROW_STEP);
  static_assert(VECTOR_STEP % 8 == 0 && ROW_STEP % 8 == 0, "the swizzle repeats every 8 rows");

  const FullyConnectedArgs& args;
  float* group_scales;  // [2, BN] in shared memory
  int vector, row;      // this thread's first
  int k;                // of the next stage
  Bits128 vectors[VECTORS], weights[ROWS];
  Half scales[ROWS];

  FASTALEX_DEVICE MmaLoader(const FullyConnectedArgs& a, float* scales, int first_vector, int first_row, int first)
      : args(a),
        group_scales(scales),
        vector(first_vector + threadIdx.x / CHUNKS),
        row(first_row + threadIdx.x / UNITS),
        k(first) {}

  // If a block has more threads than the rows have units, whole warps get none.
  FASTALEX_DEVICE static bool has_rows() {
    return ROW_STEP <= Tile::BN || static_cast<int>(threadIdx.x) / UNITS < Tile::BN;
  }

  FASTALEX_DEVICE void fetch() {
    const int at = k + threadIdx.x % CHUNKS * 8, unit = k + threadIdx.x % UNITS * VALUES;
#pragma unroll
    for (int i = 0; i < VECTORS; ++i) {
      const int v = vector + i * VECTOR_STEP;
      const Half* from = static_cast<const Half*>(args.in) + static_cast<long long>(v) * args.in_pitch + at;
      vectors[i] = v < args.n && at < args.in_pitch ? *reinterpret_cast<const Bits128*>(from) : Bits128{0, 0, 0, 0};
    }
#pragma unroll
    for (int i = 0; i < ROWS; ++i) {  // rows past the end become columns that are not stored
      const int r = smaller(row + i * ROW_STEP, args.out_pitch - 1);
      weights[i] = has_rows() ? load_stream(weights_at<STORAGE>(args, r, unit)) : Bits128{0, 0, 0, 0};
      if (STORAGE == kInt4) scales[i] = has_rows() ? scale_at(args, r, k) : Half{0};
    }
    k += Tile::BK;
  }

  FASTALEX_DEVICE void store(unsigned char* stage) const {
    const int first_vector = threadIdx.x / CHUNKS, first_row = threadIdx.x / UNITS, unit = threadIdx.x % UNITS;
#pragma unroll
    for (int i = 0; i < VECTORS; ++i)
      *reinterpret_cast<Bits128*>(stage + swizzle<Tile::BK>(first_vector + i * VECTOR_STEP, threadIdx.x % CHUNKS)) =
          vectors[i];
    if (!has_rows()) return;
    stage += Tile::BM * Tile::BK * 2;
#pragma unroll
    for (int i = 0; i < ROWS; ++i) {
      Half2 pairs[VALUES / 2];
      fully_connected::unpack<STORAGE>(weights[i], 0, pairs);
#pragma unroll
      for (int c = 0; c < VALUES / 8; ++c)
        *reinterpret_cast<Bits128*>(stage + swizzle<Tile::BK>(first_row + i * ROW_STEP, unit * (VALUES / 8) + c)) =
            Bits128{pairs[4 * c].bits, pairs[4 * c + 1].bits, pairs[4 * c + 2].bits, pairs[4 * c + 3].bits};
    }
    if (STORAGE == kInt4 && unit == 0) {
      float* to = group_scales + (k - Tile::BK) / fully_connected::kGroup % 2 * Tile::BN + first_row;
#pragma unroll
      for (int i = 0; i < ROWS; ++i)
        to[i * ROW_STEP] = to_float(scales[i]) * fully_connected::QuantizedHalves<kInt4>::kDivisor;
    }
  }
};

// sums += scale * part after each group of int4 weights. A group's scales are read after the barrier of its last stage
// and before that of the next; their memory is overwritten after that one.
template <class Tile>
struct GroupSums {
  static constexpr int STAGES = fully_connected::kGroup / Tile::BK;  // of a group
  static_assert(STAGES > 1, "else the scales of the group after the next come too early");

  const float* scales;  // of this thread's first column
  int stage;            // the next one
  MmaSums<Tile> sums;

  // first_stage: a group's first.
  FASTALEX_DEVICE GroupSums(const float* group_scales, int first_stage)
      : scales(group_scales + threadIdx.x / 32 % Tile::WARPS_N * Tile::WN + threadIdx.x % 4 * 2), stage(first_stage) {
    clear<Tile>(sums);
  }

  FASTALEX_DEVICE void end_stage(MmaSums<Tile>& parts) {
    const int group = stage++ / STAGES;
    if (stage % STAGES) return;
#pragma unroll
    for (int j = 0; j < Tile::NI; ++j) {
      const float2 scale = *reinterpret_cast<const float2*>(scales + group % 2 * Tile::BN + j * 8);
#pragma unroll
      for (int i = 0; i < Tile::MI; ++i)
#pragma unroll
        for (int k = 0; k < 4; ++k) sums[i][j][k] = fmaf(parts[i][j][k], k % 2 ? scale.y : scale.x, sums[i][j][k]);
    }
    clear<Tile>(parts);
  }
};

// Times the rows' scale (int8).
template <class Tile>
FASTALEX_DEVICE void scale_columns(const FullyConnectedArgs& a, int first_row, MmaSums<Tile>& sums) {
  const int column = first_row + threadIdx.x / 32 % Tile::WARPS_N * Tile::WN + threadIdx.x % 4 * 2;
  const float* scale = static_cast<const float*>(a.scale);
#pragma unroll
  for (int j = 0; j < Tile::NI; ++j)
#pragma unroll
    for (int k = 0; k < 2; ++k) {
      const int n = column + j * 8 + k;
      const float s = n < a.out_pitch ? scale[n] * fully_connected::QuantizedHalves<kInt8>::kDivisor : 0;
#pragma unroll
      for (int i = 0; i < Tile::MI; ++i) {
        sums[i][j][k] *= s;
        sums[i][j][k + 2] *= s;
      }
    }
}

// The tile's sums, with their scales.
template <class Tile, int STORAGE>
struct MmaProducts {
  FASTALEX_DEVICE static void sum(const FullyConnectedArgs& a, unsigned char* smem, int first_vector, int first_row,
                                  MmaSums<Tile>& sums) {
    constexpr int kStages = fully_connected::kGroup / Tile::BK;
    const Range range(a, fully_connected::kGroup);
    clear<Tile>(sums);
    MmaLoader<Tile, STORAGE> loader(a, nullptr, first_vector, first_row, range.first * fully_connected::kGroup);
    multiply_staged<Tile>(loader, smem, range.count * kStages, sums);
    scale_columns<Tile>(a, first_row, sums);
  }
};
template <class Tile>
struct MmaProducts<Tile, kInt4> {
  FASTALEX_DEVICE static void sum(const FullyConnectedArgs& a, unsigned char* smem, int first_vector, int first_row,
                                  MmaSums<Tile>& sums) {
    constexpr int kStages = GroupSums<Tile>::STAGES;
    const Range range(a, fully_connected::kGroup);
    float* scales = reinterpret_cast<float*>(smem + MmaShared<Tile, kInt4>::SCALES);
    MmaSums<Tile> parts;
    clear<Tile>(parts);
    GroupSums<Tile> groups(scales, range.first * kStages);
    MmaLoader<Tile, kInt4> loader(a, scales, first_vector, first_row, range.first * fully_connected::kGroup);
    multiply_staged<Tile>(loader, smem, range.count * kStages, parts, groups);
#pragma unroll
    for (int i = 0; i < Tile::MI; ++i)
#pragma unroll
      for (int j = 0; j < Tile::NI; ++j)
#pragma unroll
        for (int k = 0; k < 4; ++k) sums[i][j][k] = groups.sums[i][j][k];
  }
};

template <class Tile, int STORAGE>
__global__ void __launch_bounds__(Tile::THREADS) gemm_fc_mma(const FullyConnectedArgs a) {
  FASTALEX_SHARED(smem);
  if (!FASTALEX_MMA_COMPILED(Tile::GENERATION)) return;
  const int first_vector = blockIdx.y * Tile::BM, first_row = blockIdx.x * Tile::BN;
  MmaSums<Tile> sums;
  MmaProducts<Tile, STORAGE>::sum(a, smem, first_vector, first_row, sums);

  const int rows = a.n - first_vector, columns = a.out_pitch - first_row;
  if (a.split > 1) {
    float* to = a.partial + (static_cast<long long>(blockIdx.z) * a.n + first_vector) * a.out_pitch + first_row;
    store_partial<Tile>(sums, to, rows, columns, a.out_pitch);
    return;
  }
  MmaResult result;
  result.bias = a.bias + first_row;
  result.out = static_cast<Half*>(a.out) + static_cast<long long>(first_vector) * a.out_pitch + first_row;
  result.rows = rows;
  result.columns = result.biases = smaller(columns, +Tile::BN);
  result.real = smaller(a.out_c - first_row, +Tile::BN);
  result.pitch = a.out_pitch;
  result.activation = a.activation;
  store_tile<Tile>(sums, smem, result);
}

// Float sums without tensor cores
// ---------------------------------------------------------------------------------------

// A block's tile: vectors, outputs, products of a stage. Each of the 128 threads makes 8 x 4 sums.
constexpr int kSimtVectors = 64, kSimtRows = 64, kSimtProducts = 32, kSimtThreads = 128;
constexpr int kSimtPitch = kSimtRows + 4;  // of a row of shared memory, one product of all vectors or outputs
constexpr int kSimtShared = 2 * kSimtProducts * kSimtPitch * 4;

FASTALEX_DEVICE float4 load_four(const float* from) { return *reinterpret_cast<const float4*>(from); }
FASTALEX_DEVICE float4 load_four(const Half* from) {
  const uint2 v = *reinterpret_cast<const uint2*>(from);
  return make_float4(low(Half2{v.x}), high(Half2{v.x}), low(Half2{v.y}), high(Half2{v.y}));
}

// One stage in flight: first in registers, then in shared memory as floats, product by product.
template <typename T, int STORAGE>
struct SimtLoader {
  static constexpr int VALUES = Unit<STORAGE>::kValues, UNITS = kSimtProducts / VALUES;
  static constexpr int COUNT = ceil_div(UNITS * kSimtRows, kSimtThreads);
  static constexpr int QUARTERS = kSimtProducts / 4 * kSimtVectors / kSimtThreads;

  const FullyConnectedArgs& args;
  int first_vector, first_row, k;
  float4 vectors[QUARTERS];  // four products of one vector each
  Bits128 weights[COUNT];
  float scales[COUNT];

  FASTALEX_DEVICE SimtLoader(const FullyConnectedArgs& a, int vector, int row, int first)
      : args(a), first_vector(vector), first_row(row), k(first) {}

  FASTALEX_DEVICE void fetch() {
#pragma unroll
    for (int i = 0; i < QUARTERS; ++i) {
      const int index = threadIdx.x + i * kSimtThreads, at = k + index / kSimtVectors * 4;
      const int v = first_vector + index % kSimtVectors;
      const T* from = static_cast<const T*>(args.in) + static_cast<long long>(v) * args.in_pitch + at;
      vectors[i] = v < args.n && at < args.in_pitch ? load_four(from) : make_float4(0, 0, 0, 0);
    }
#pragma unroll
    for (int i = 0; i < COUNT; ++i) {
      const int index =
          (threadIdx.x + i * kSimtThreads) % (UNITS * kSimtRows);  // past the end: once more from the start
      const int row = smaller(first_row + index % kSimtRows, args.out_pitch - 1);
      weights[i] = load_stream(weights_at<STORAGE>(args, row, k + index / kSimtRows * VALUES));
      if (STORAGE == kInt4) scales[i] = to_float(scale_at(args, row, k));
    }
    k += kSimtProducts;
  }

  // x, w: [kSimtProducts, kSimtPitch]
  FASTALEX_DEVICE void store(float* x, float* w) const {
#pragma unroll
    for (int i = 0; i < QUARTERS; ++i) {
      const int index = threadIdx.x + i * kSimtThreads;
      float* to = x + index / kSimtVectors * 4 * kSimtPitch + index % kSimtVectors;
      to[0] = vectors[i].x;
      to[kSimtPitch] = vectors[i].y;
      to[2 * kSimtPitch] = vectors[i].z;
      to[3 * kSimtPitch] = vectors[i].w;
    }
#pragma unroll
    for (int i = 0; i < COUNT; ++i) {
      const int index = threadIdx.x + i * kSimtThreads;
      if (index >= UNITS * kSimtRows) continue;
      float values[VALUES];
      fully_connected::unpack<STORAGE>(weights[i], 0, values);
      float* to = w + index / kSimtRows * VALUES * kSimtPitch + index % kSimtRows;
#pragma unroll
      for (int j = 0; j < VALUES; ++j) to[j * kSimtPitch] = STORAGE == kInt4 ? values[j] * scales[i] : values[j];
    }
  }
};

// sums[i][j] of vectors 8 (thread / 16) + i and outputs 4 (thread % 16) + j.
FASTALEX_DEVICE void simt_multiply(const float* x, const float* w, float (&sums)[8][4]) {
  x += threadIdx.x / 16 * 8;
  w += threadIdx.x % 16 * 4;
#pragma unroll 8
  for (int k = 0; k < kSimtProducts; ++k) {
    const float4 a = load_four(x + k * kSimtPitch), b = load_four(x + k * kSimtPitch + 4);
    const float4 c = load_four(w + k * kSimtPitch);
    const float left[8] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w}, right[4] = {c.x, c.y, c.z, c.w};
#pragma unroll
    for (int i = 0; i < 8; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j) sums[i][j] = fmaf(left[i], right[j], sums[i][j]);
  }
}

FASTALEX_DEVICE void store_four(float* to, const float (&v)[4]) {
  *reinterpret_cast<float4*>(to) = make_float4(v[0], v[1], v[2], v[3]);
}
FASTALEX_DEVICE void store_four(Half* to, const float (&v)[4]) {
  *reinterpret_cast<uint2*>(to) = make_uint2(to_half2(v[0], v[1]).bits, to_half2(v[2], v[3]).bits);
}

FASTALEX_DEVICE float simt_activated(float v, int activation) {
  return activation == kActRelu ? (v < 0 ? 0 : v) : activation == kActTanh ? tanhf(v) : v;
}

// Scales the thread's sums and stores them as they are or with bias and activation.
template <typename T, int STORAGE>
FASTALEX_DEVICE void simt_store(const FullyConnectedArgs& a, int first_vector, int first_row,
                                const float (&sums)[8][4]) {
  const int row = first_row + threadIdx.x % 16 * 4, vector = first_vector + threadIdx.x / 16 * 8;
  if (row >= a.out_pitch) return;  // a multiple of 4
  float scale[4] = {1, 1, 1, 1}, bias[4] = {0, 0, 0, 0};
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    if (STORAGE == kInt8) scale[j] = static_cast<const float*>(a.scale)[row + j];
    if (a.split == 1) bias[j] = a.bias[row + j];
  }
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    if (vector + i >= a.n) continue;
    float v[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) v[j] = fmaf(sums[i][j], scale[j], bias[j]);
    const long long at = static_cast<long long>(vector + i) * a.out_pitch + row;
    if (a.split > 1) {
      store_four(a.partial + static_cast<long long>(blockIdx.z) * a.n * a.out_pitch + at, v);
    } else {
#pragma unroll
      for (int j = 0; j < 4; ++j) v[j] = row + j < a.out_c ? simt_activated(v[j], a.activation) : 0;
      store_four(static_cast<T*>(a.out) + at, v);
    }
  }
}

template <typename T, int STORAGE>
__global__ void __launch_bounds__(kSimtThreads, 1) gemm_fc_simt(const FullyConnectedArgs a) {
  FASTALEX_SHARED(smem);
  float* const x = reinterpret_cast<float*>(smem);  // [kSimtProducts, kSimtPitch] of vectors
  float* const w = x + kSimtProducts * kSimtPitch;  // the same of outputs
  const int first_vector = blockIdx.y * kSimtVectors, first_row = blockIdx.x * kSimtRows;
  const Range range(a, kSimtProducts);
  SimtLoader<T, STORAGE> loader(a, first_vector, first_row, range.first * kSimtProducts);
  float sums[8][4];
#pragma unroll
  for (int i = 0; i < 8; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j) sums[i][j] = 0;
  if (range.count > 0) loader.fetch();
#pragma unroll 1
  for (int t = 0; t < range.count; ++t) {
    loader.store(x, w);
    __syncthreads();
    if (t + 1 < range.count) loader.fetch();
    simt_multiply(x, w, sums);
    __syncthreads();
  }
  simt_store<T, STORAGE>(a, first_vector, first_row, sums);
}

}  // namespace gemm_fc
}  // namespace cuda
}  // namespace fastalex
#endif  // FASTALEX_CUDA_KERNELS_GEMM_FC_CUH
