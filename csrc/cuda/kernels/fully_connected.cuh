// Fully connected layers on a few vectors: every weight is read once, in its storage, and unpacked in registers.
#ifndef FASTALEX_CUDA_KERNELS_FULLY_CONNECTED_CUH
#define FASTALEX_CUDA_KERNELS_FULLY_CONNECTED_CUH

#include "cuda/kernels/args.h"
#include "cuda/kernels/ptx.h"

namespace fastalex {
namespace cuda {
namespace fully_connected {

enum Storage { kFp32 = 0, kFp16 = 1, kInt8 = 2, kInt4 = 3 };  // fastalex_storage

constexpr int kRows = 4;  // of a warp; out_pitch is a multiple of it
constexpr int kGroup = kQuantGroup;

template <int STORAGE>
struct Unit {  // one load of a lane from a row: 16 bytes
  static constexpr int kValues = STORAGE == kInt4 ? 32 : 16 >> (2 - STORAGE);
  static constexpr int kScales = STORAGE == kInt4 ? kRows : 1;  // that a warp loads beside them
};

// VECTORS: of a pass; the rest of a batch takes further passes. ROW_WARPS x K_WARPS warps a block: the former have rows
// of their own, the latter share them and split each tile of x. Products are summed in half where HALF_SUM, a chunk of
// them at a time.
template <typename T, int STORAGE, int VECTORS, int ROW_WARPS, int K_WARPS>
struct Shape {
  static constexpr int kThreads = 32 * ROW_WARPS * K_WARPS;
  static constexpr int kBlockRows = kRows * ROW_WARPS;
  static constexpr bool kHalfSum = sizeof(T) == 2 && STORAGE >= kInt8;
  static constexpr int kUnit = Unit<STORAGE>::kValues;
  static constexpr int kSegment = 32 * kUnit;  // values of a row that a warp reads at once
  // Values of x in shared memory: all 9216 of fc6 for one vector of halves.
  static constexpr int kTile = VECTORS > 4 ? 1024 : VECTORS > 1 ? 2048 : sizeof(T) == 2 ? 9216 : 6144;
  static constexpr int kSegments = kTile / kSegment;
  static constexpr int kShared = VECTORS * kTile * static_cast<int>(sizeof(T));
  static constexpr int kVector = 16 / static_cast<int>(sizeof(T));  // values of x in one load
  static constexpr int kPieces = kUnit / kVector;                   // such loads of a unit
  // Values unpacked at a time.
  static constexpr int kChunk = kHalfSum           ? (STORAGE == kInt4 && VECTORS == 1 ? 32 : 16)
                                : STORAGE == kInt4 ? 8
                                : sizeof(T) == 2   ? 8
                                                   : 4;
  static constexpr int kHalfProducts = kHalfSum ? kChunk / 2 : 0;
  static_assert(kTile % kSegment == 0 && kUnit % kChunk == 0 && kChunk % kVector == 0, "whole units");
};

// Weights to registers
// --------------------------------------------------------------------------------------------------

FASTALEX_DEVICE u32 word(const Bits128& bits, int i) {
  return i == 0 ? bits.x : i == 1 ? bits.y : i == 2 ? bits.z : bits.w;
}

// Unpacks chunk `first` .. first + COUNT - 1 of a unit exactly; int8 and int4 without their scale. The bits of a
// quantized value become the last bits of a float of 2^23 and more (integers are slow to convert), whose offset is then
// subtracted.
template <int STORAGE, int COUNT>
FASTALEX_DEVICE void unpack(const Bits128& bits, int first, float (&w)[COUNT]) {
  if (STORAGE == kFp32) {
#pragma unroll
    for (int i = 0; i < COUNT; ++i) w[i] = bits_to_float(word(bits, first + i));
  } else if (STORAGE == kFp16) {
#pragma unroll
    for (int i = 0; i < COUNT; i += 2) {
      const Half2 pair = {word(bits, (first + i) / 2)};
      w[i] = low(pair);
      w[i + 1] = high(pair);
    }
  } else if (STORAGE == kInt8) {
#pragma unroll
    for (int i = 0; i < COUNT; ++i)
      w[i] = bits_to_float(byte_permute(word(bits, (first + i) / 4), 0x4b000000u, 0x7440u + i % 4)) - 8388736.0f;
  } else {
#pragma unroll
    for (int i = 0; i < COUNT; i += 8) {
      const u32 even = word(bits, (first + i) / 8), odd = even >> 16;
#pragma unroll
      for (int j = 0; j < 4; ++j) {  // nibble j: 2^23 + 16^j (q + 8)
        const float unit = 1.0f / (1 << (4 * j)), offset = -8388608.0f * unit - 8.0f;
        w[i + 2 * j] = fmaf(bits_to_float(and_or(even, 0xfu << (4 * j), 0x4b000000u)), unit, offset);
        w[i + 2 * j + 1] = fmaf(bits_to_float(and_or(odd, 0xfu << (4 * j), 0x4b000000u)), unit, offset);
      }
    }
  }
}

// Quantized values as halves, divided by this so that no product is larger than x and sums stay in range.
template <int STORAGE>
struct QuantizedHalves {
  static constexpr float kDivisor = STORAGE == kInt4 ? 8.0f : 128.0f;
};

// int8: 1024 + byte, int4: 1024 + nibble or 1024 + 16 nibble, divided and without offset in one exact operation.
template <int STORAGE, int PAIRS>
FASTALEX_DEVICE void unpack(const Bits128& bits, int first, Half2 (&w)[PAIRS]) {
  const Half2 eighth = {0x30003000u}, minus_129 = {0xd808d808u}, part_128 = {0x20002000u}, minus_9 = {0xc880c880u};
  if (STORAGE == kInt8) {
#pragma unroll
    for (int i = 0; i < PAIRS; ++i) {
      const u32 four = word(bits, (first + 2 * i) / 4);
      w[i] = fma(Half2{byte_permute(four, 0x64646464u, i % 2 ? 0x4342u : 0x4140u)}, part_128, minus_9);
    }
  } else {
#pragma unroll
    for (int i = 0; i < PAIRS; i += 4) {
      const u32 four = word(bits, (first + 2 * i) / 8), next = four >> 8;
      w[i] = fma(Half2{and_or(four, 0x000f000fu, 0x64006400u)}, eighth, minus_129);
      w[i + 1] = fma(Half2{and_or(four, 0x00f000f0u, 0x64006400u)}, part_128, minus_9);
      w[i + 2] = fma(Half2{and_or(next, 0x000f000fu, 0x64006400u)}, eighth, minus_129);
      w[i + 3] = fma(Half2{and_or(next, 0x00f000f0u, 0x64006400u)}, part_128, minus_9);
    }
  }
}

// x in shared memory
// ----------------------------------------------------------------------------------------------------

// Piece `piece` of lane's unit lies at ((segment * kPieces + piece) * 32 + lane) * kVector: a warp's loads of 16 bytes
// are then neighbors, although the units are further apart.
template <typename S>
FASTALEX_DEVICE u32 place_of(u32 k) {  // k within the tile
  const u32 unit = k / S::kUnit, inside = k % S::kUnit;
  return ((unit / 32 * S::kPieces + inside / S::kVector) * 32 + unit % 32) * S::kVector + inside % S::kVector;
}

FASTALEX_DEVICE void copy_four(const float* from, bool valid, float* to) {
  *reinterpret_cast<float4*>(to) = valid ? *reinterpret_cast<const float4*>(from) : make_float4(0, 0, 0, 0);
}
FASTALEX_DEVICE void copy_four(const Half* from, bool valid, Half* to) {
  *reinterpret_cast<uint2*>(to) = valid ? *reinterpret_cast<const uint2*>(from) : make_uint2(0, 0);
}

// Copies `values` values of x from `first`, for the vectors from first_vector on; zeros past the ends. in_pitch is a
// multiple of 4.
template <typename S, typename T>
FASTALEX_DEVICE void fill_tile(const FullyConnectedArgs& a, T* tile, int first_vector, int vectors, int first,
                               int values) {
  const T* in = static_cast<const T*>(a.in);
  for (int v = 0; v < vectors; ++v) {
    const T* x = in + static_cast<u64>(first_vector + v) * a.in_pitch;
#pragma unroll 4
    for (int k = 4 * threadIdx.x; k < values; k += 4 * S::kThreads)
      copy_four(x + first + k, first_vector + v < a.n && first + k < a.in_pitch, tile + v * S::kTile + place_of<S>(k));
  }
}

FASTALEX_DEVICE void load_vector(const float* p, float (&x)[4]) {
  const float4 v = *reinterpret_cast<const float4*>(p);
  x[0] = v.x, x[1] = v.y, x[2] = v.z, x[3] = v.w;
}
FASTALEX_DEVICE void load_vector(const Half* p, float (&x)[8]) {
  const Bits128 v = *reinterpret_cast<const Bits128*>(p);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    x[2 * i] = low(Half2{word(v, i)});
    x[2 * i + 1] = high(Half2{word(v, i)});
  }
}

// Sums
// ------------------------------------------------------------------------------------------------------------------

// A warp's rows.
struct Rows {
  const char* weights;
  const Half* scales;  // int4
  u32 row_bytes, row_groups;
};

// The same unit of every row of a warp.
template <int STORAGE>
struct Fetched {
  Bits128 bits[kRows];
  Half scale[Unit<STORAGE>::kScales];
};

template <int STORAGE>
FASTALEX_DEVICE void fetch(const Rows& rows, u32 unit, Fetched<STORAGE>& to) {
  const char* weights = rows.weights + unit * 16;
#pragma unroll
  for (int r = 0; r < kRows; ++r, weights += rows.row_bytes) to.bits[r] = load_stream(weights);
  if (STORAGE == kInt4) {
    const Half* scales = rows.scales + unit / 4;
#pragma unroll
    for (int r = 0; r < Unit<STORAGE>::kScales; ++r, scales += rows.row_groups) to.scale[r] = *scales;
  }
}

// One chunk of every row, one vector, summed in float.
template <typename S, int STORAGE, typename T>
FASTALEX_DEVICE void add_chunk(const float (&w)[kRows][S::kChunk], const float (&scale)[kRows], const T* x,
                               float* sums) {
  float v[S::kChunk / S::kVector][S::kVector];
#pragma unroll
  for (int p = 0; p < S::kChunk / S::kVector; ++p) load_vector(x + p * 32 * S::kVector, v[p]);
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    float sum = STORAGE == kInt4 ? 0.0f : sums[r];
#pragma unroll
    for (int i = 0; i < S::kChunk; ++i) sum = fmaf(w[r][i], v[i / S::kVector][i % S::kVector], sum);
    sums[r] = STORAGE == kInt4 ? fmaf(sum, scale[r], sums[r]) : sum;
  }
}

FASTALEX_DEVICE Half2 sum_of_8(const Half2* w, const Half2* v) {
  Half2 sum = mul(w[0], v[0]);
#pragma unroll
  for (int i = 1; i < 8; ++i) sum = fma(w[i], v[i], sum);
  return sum;
}

// The same with kChunk / 2 products in each half of a register: sums of 8, at most two of which are added in half too.
template <typename S, int STORAGE>
FASTALEX_DEVICE void add_chunk(const Half2 (&w)[kRows][S::kChunk / 2], const float (&scale)[kRows], const Half* x,
                               float* sums) {
  Half2 v[S::kChunk / 2];
#pragma unroll
  for (int p = 0; p < S::kChunk / 8; ++p) {
    const Bits128 bits = *reinterpret_cast<const Bits128*>(x + p * 32 * 8);
#pragma unroll
    for (int i = 0; i < 4; ++i) v[4 * p + i] = Half2{word(bits, i)};
  }
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    Half2 sum = sum_of_8(w[r], v);
    if (S::kChunk == 32) sum = add(sum, sum_of_8(w[r] + S::kChunk / 2 - 8, v + S::kChunk / 2 - 8));
    const float both = low(sum) + high(sum);
    sums[r] = STORAGE == kInt4 ? fmaf(both, scale[r], sums[r]) : sums[r] + both;
  }
}

template <bool HALF_SUM, int CHUNK>
struct Unpacked {
  typedef float Row[CHUNK];
};
template <int CHUNK>
struct Unpacked<true, CHUNK> {
  typedef Half2 Row[CHUNK / 2];
};

// A unit of every row times the same values of up to VECTORS vectors. x: of this lane's unit. sums [VECTORS][kRows].
template <typename S, int STORAGE, int VECTORS, typename T>
FASTALEX_DEVICE void add_unit(const Fetched<STORAGE>& from, const T* x, int vectors, float (&sums)[VECTORS * kRows]) {
  float scale[kRows];
#pragma unroll
  for (int r = 0; r < kRows; ++r) scale[r] = STORAGE == kInt4 ? to_float(from.scale[r % Unit<STORAGE>::kScales]) : 1.0f;
#pragma unroll
  for (int first = 0; first < S::kUnit; first += S::kChunk) {
    typename Unpacked<S::kHalfSum, S::kChunk>::Row w[kRows];
#pragma unroll
    for (int r = 0; r < kRows; ++r) unpack<STORAGE>(from.bits[r], first, w[r]);
    const T* piece = x + first / S::kVector * 32 * S::kVector;
#pragma unroll
    for (int four = 0; four < VECTORS; four += 4) {
      if (four && four >= vectors) continue;
#pragma unroll
      for (int v = four; v < smaller(four + 4, VECTORS); ++v)
        add_chunk<S, STORAGE>(w, scale, piece + v * S::kTile, sums + v * kRows);
    }
  }
}

// Sums COUNT values over the 32 lanes: each step halves the values of a lane, half the lanes keep the first of them and
// half the others. The result of lane l, in v[0], is that of value l / (32 / COUNT).
template <int COUNT, int DISTANCE>
struct LaneSums {
  FASTALEX_DEVICE static void sum(float* v, int lane) {
    static_assert((COUNT & (COUNT - 1)) == 0 && COUNT <= 2 * DISTANCE, "a power of two, at most the lanes");
    constexpr int kKept = COUNT / 2;
    const bool upper = lane & DISTANCE;
#pragma unroll
    for (int i = 0; i < kKept; ++i) {
      const float mine = upper ? v[i + kKept] : v[i], theirs = upper ? v[i] : v[i + kKept];
      v[i] = mine + __shfl_xor_sync(0xffffffffu, theirs, DISTANCE);
    }
    LaneSums<kKept, DISTANCE / 2>::sum(v, lane);
  }
};
template <int DISTANCE>
struct LaneSums<1, DISTANCE> {
  FASTALEX_DEVICE static void sum(float* v, int) {
#pragma unroll
    for (int distance = DISTANCE; distance; distance /= 2) v[0] += __shfl_xor_sync(0xffffffffu, v[0], distance);
  }
};

FASTALEX_DEVICE float activated(float v, int activation) {
  if (activation == kActRelu) return v < 0 ? 0 : v;  // a NaN stays
  return activation == kActTanh ? tanhf(v) : v;
}
FASTALEX_DEVICE void store(float* p, float v) { *p = v; }
FASTALEX_DEVICE void store(Half* p, float v) { *p = to_half(v); }

// The whole sum of one output: scale, bias, activation, or a partial sum.
template <typename S, typename T, int STORAGE>
FASTALEX_DEVICE void finish(const FullyConnectedArgs& a, int vector, int row, float sum) {
  if (STORAGE == kInt8) sum *= static_cast<const float*>(a.scale)[row];
  if (S::kHalfSum) sum *= QuantizedHalves<STORAGE>::kDivisor;
  const u64 at = static_cast<u64>(vector) * a.out_pitch + row;
  if (a.split > 1)
    a.partial[static_cast<u64>(blockIdx.y) * a.n * a.out_pitch + at] = sum;
  else
    store(static_cast<T*>(a.out) + at, row < a.out_c ? activated(sum + a.bias[row], a.activation) : 0.0f);
}

// y[v, o] = act(b[o] + sum w[o, k] x[v, k]). A warp has kRows outputs and VECTORS vectors; its lanes go through the
// rows 16 bytes at a time, with the next 16 bytes of every row already under way. x comes through shared memory in
// tiles. Grid: (blocks of rows x passes of VECTORS vectors, the latter fastest, so that a pass finds the weights of the
// one before in the cache; split). The bound of one block keeps the compiler from spilling for the sake of more blocks:
// two hide the latency of the memory.
template <typename T, int STORAGE, int VECTORS, int ROW_WARPS, int K_WARPS>
__global__ void __launch_bounds__(32 * ROW_WARPS * K_WARPS, 1) stream(const FullyConnectedArgs a) {
  typedef Shape<T, STORAGE, VECTORS, ROW_WARPS, K_WARPS> S;
  FASTALEX_SHARED(smem);
  T* tile = reinterpret_cast<T*>(smem);  // [VECTORS][kTile]
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, k_warp = warp % K_WARPS;
  const int passes = ceil_div(a.n, VECTORS), first_vector = static_cast<int>(blockIdx.x) % passes * VECTORS;
  const int row = static_cast<int>(blockIdx.x) / passes * S::kBlockRows + warp / K_WARPS * kRows;
  const int vectors = VECTORS <= 4 ? VECTORS : smaller(VECTORS, round_up(a.n - first_vector, 4));
  const bool active = row < a.out_pitch;

  const int units = a.w_pitch / S::kUnit, segments = ceil_div(units, 32), range = ceil_div(segments, a.split);
  const int begin = static_cast<int>(blockIdx.y) * range, end = smaller(segments, begin + range);
  const u64 first_row = active ? row : 0;
  const u32 row_bytes = units * 16, row_groups = a.w_pitch / kGroup;
  const Rows rows = {static_cast<const char*>(a.w) + first_row * row_bytes,
                     static_cast<const Half*>(a.scale) + (STORAGE == kInt4 ? first_row * row_groups : 0), row_bytes,
                     row_groups};
  // Past the end of the rows the last unit stands in: x is zero there. A warp without rows goes through the first unit.
  const int last_unit = active ? units - 1 : 0;

  float sums[VECTORS * kRows];
#pragma unroll
  for (int i = 0; i < VECTORS * kRows; ++i) sums[i] = 0;
  Fetched<STORAGE> next;
  fetch(rows, smaller((begin + k_warp) * 32 + lane, last_unit), next);
  for (int first = begin; first < end; first += S::kSegments) {
    const int count = smaller(S::kSegments, end - first);
    if (first > begin) __syncthreads();
    fill_tile<S>(a, tile, first_vector, vectors, first * S::kSegment, count * S::kSegment);
    __syncthreads();
    // Each of the warps along k has the segments k_warp, k_warp + K_WARPS, ... of the tile.
#pragma unroll(VECTORS == 1 ? 2 : 1)
    for (int s = k_warp; s < count; s += K_WARPS) {
      const Fetched<STORAGE> now = next;
      const int following = s + K_WARPS < count ? first + s + K_WARPS : first + S::kSegments + k_warp;
      fetch(rows, following < end ? smaller(following * 32 + lane, last_unit) : last_unit, next);
      add_unit<S, STORAGE, VECTORS>(now, tile + (s * S::kPieces * 32 + lane) * S::kVector, vectors, sums);
    }
  }

  constexpr int kSums = VECTORS * kRows;
  LaneSums<kSums, 16>::sum(sums, lane);
  float sum = sums[0];
  const int index = lane / (32 / kSums);
  bool mine = active && lane % (32 / kSums) == 0;
  if (K_WARPS > 1) {
    float* parts = reinterpret_cast<float*>(smem);  // [warps][kSums]
    __syncthreads();
    if (lane % (32 / kSums) == 0) parts[warp * kSums + index] = sum;
    __syncthreads();
    mine = mine && k_warp == 0;
    sum = 0;
#pragma unroll
    for (int w = 0; w < K_WARPS; ++w) sum += parts[(warp - k_warp + w) * kSums + index];
  }
  const int vector = first_vector + index / kRows;
  if (mine && vector < a.n) finish<S, T, STORAGE>(a, vector, row + index % kRows, sum);
}

constexpr int kReduceThreads = 128;

// Sum of the split's layers, bias, activation: one value a thread. pixels: vectors. Grid: (blocks of values).
template <typename T>
__global__ void __launch_bounds__(kReduceThreads) reduce(const ReduceArgs a) {
  const int i = static_cast<int>(blockIdx.x) * kReduceThreads + threadIdx.x, values = a.pixels * a.rows;
  if (i >= values) return;
  float sum = 0;
#pragma unroll 4
  for (int s = 0; s < a.split; ++s) sum += a.partial[static_cast<u64>(s) * values + i];
  const int row = i % a.rows;
  store(static_cast<T*>(a.out) + i, row < a.out_c_group ? activated(sum + a.bias[row], a.activation) : 0.0f);
}

}  // namespace fully_connected
}  // namespace cuda
}  // namespace fastalex
#endif  // FASTALEX_CUDA_KERNELS_FULLY_CONNECTED_CUH
