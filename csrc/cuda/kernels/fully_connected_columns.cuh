// Fully connected layers on one or two vectors with the weights by column (args.h): a column that meets a zero is not
// read, and the result has the bits that it has if all are read.
#ifndef FASTALEX_CUDA_KERNELS_FULLY_CONNECTED_COLUMNS_CUH
#define FASTALEX_CUDA_KERNELS_FULLY_CONNECTED_COLUMNS_CUH

#include "cuda/kernels/fully_connected.cuh"
#include "cuda/kernels/vector.cuh"

namespace fastalex {
namespace cuda {
namespace fully_connected_columns {

using fully_connected::kFp16;
using fully_connected::kInt4;
using fully_connected::kInt8;

constexpr int kChunk = 32;  // neighboring columns that the lanes of a warp list at once
constexpr int kRing = 64;   // entries of a warp's list

// VECTORS: of the batch. A lane has LANE_BYTES of each of its warp's columns, AHEAD of which are under way at a time.
// The warps of a block that have the same outputs, K_WARPS of them, share its columns chunk by chunk.
template <typename T, int STORAGE, int VECTORS, int LANE_BYTES, int K_WARPS, int AHEAD>
struct Shape {
  typedef T Type;
  static constexpr int kStorage = STORAGE, kVectors = VECTORS, kLaneBytes = LANE_BYTES, kKWarps = K_WARPS,
                       kAhead = AHEAD;
  static constexpr int kTileWarps = kColumnBytes / (32 * LANE_BYTES);  // side by side
  static constexpr int kThreads = 32 * kTileWarps * K_WARPS;
  static constexpr int kOutputs = column_outputs(STORAGE) / (32 * kTileWarps);  // of a lane
  static constexpr int kSums = VECTORS * kOutputs;
  static constexpr bool kHalfSum = sizeof(T) == 2 && STORAGE >= kInt8;
  // Columns of a run, whose products are added up before they join the sum: as halves, or for the sake of their scale.
  static constexpr int kRun = STORAGE == kInt4 ? 32 : kHalfSum ? 16 : 0;
  static constexpr int kHalfProducts = kHalfSum ? kRun : 0;
  static constexpr int kEntryWords = sizeof(T) * VECTORS == 8 ? 4 : 2;
  static constexpr int kRingBytes = kThreads / 32 * kRing * kEntryWords * 4;
  static constexpr int kShared = kRingBytes + kThreads / 2 * kSums * static_cast<int>(sizeof(float));
  static_assert((AHEAD & (AHEAD - 1)) == 0 && 3 * AHEAD + kChunk <= kRing, "what is listed fits, in whole groups");
  static_assert(kQuantGroup % kChunk == 0 && (K_WARPS & (K_WARPS - 1)) == 0 && kOutputs % 8 == 0, "whole pieces");
};

// The list
// ----------------------------------------------------------------------------------------------------------------

// A column that is read, and what it is multiplied by.
template <typename S>
struct Entry {
  u32 place;                  // bytes from the first column; the lowest bits are flags
  u32 x[S::kEntryWords - 1];  // half: both vectors, or the only one twice
};
constexpr u32 kRunEnds = 1, kTileEnds = 2, kFlags = 3;

FASTALEX_DEVICE u32 load_bits(const float* p) { return float_to_bits(*p); }
FASTALEX_DEVICE u32 load_bits(const Half* p) { return p->bits; }

// -0 is a zero; denormal numbers, infinities and NaN are none.
template <typename T>
FASTALEX_DEVICE bool is_zero(u32 bits) {
  return (bits & (sizeof(T) == 2 ? 0x7fffu : 0x7fffffffu)) == 0;
}

FASTALEX_DEVICE void pack(u32* to, const u32 (&x)[1], Half) { to[0] = x[0] | x[0] << 16; }
FASTALEX_DEVICE void pack(u32* to, const u32 (&x)[2], Half) { to[0] = x[0] | x[1] << 16; }
FASTALEX_DEVICE void pack(u32* to, const u32 (&x)[1], float) { to[0] = x[0]; }
FASTALEX_DEVICE void pack(u32* to, const u32 (&x)[2], float) { to[0] = x[0], to[1] = x[1], to[2] = 0; }

// The list of the columns that a warp reads, tile after tile, in the order of the columns: a ring of which it makes a
// chunk at a time. All lanes have the same values but for `x`. A tile's last group of AHEAD entries is filled up with
// products of zeros.
template <typename S>
struct List {
  u32* ring;
  u32 made;            // entries until now
  int tile, chunk;     // the next ones
  int begin, end;      // chunks of the block, of which the warp has the first and each K_WARPS-th after it
  u32 x[S::kVectors];  // of the lane's column of the next chunk

  FASTALEX_DEVICE void load_x(const ColumnsArgs& a) {
    const int k = chunk * kChunk + static_cast<int>(threadIdx.x) % 32;
    const bool inside = chunk < end && k < a.in_pitch;
    const typename S::Type* in = static_cast<const typename S::Type*>(a.in);
#pragma unroll
    for (int v = 0; v < S::kVectors; ++v) x[v] = inside ? load_bits(in + static_cast<u64>(v) * a.in_pitch + k) : 0;
  }

  FASTALEX_DEVICE void start(const ColumnsArgs& a, int first_chunk, int last_chunk) {
    made = 0;
    tile = static_cast<int>(blockIdx.x);
    begin = chunk = first_chunk;
    end = last_chunk;
    load_x(a);
  }

  FASTALEX_DEVICE void put(u32 index, u32 place, const u32 (&values)[S::kVectors]) {
    u32 words[S::kEntryWords];
    words[0] = place;
    pack(words + 1, values, typename S::Type());
    vector::store_words(ring + index % kRing * S::kEntryWords, words);
  }

  FASTALEX_DEVICE Entry<S> get(u32 index) const {
    u32 words[S::kEntryWords];
    vector::load_words(ring + index % kRing * S::kEntryWords, words);
    Entry<S> entry;
    entry.place = words[0];
#pragma unroll
    for (int i = 1; i < S::kEntryWords; ++i) entry.x[i - 1] = words[i];
    return entry;
  }

  FASTALEX_DEVICE void make_chunk(const ColumnsArgs& a) {
    const u32 lane = threadIdx.x % 32;
    bool needed = chunk < end && !a.skip;
#pragma unroll
    for (int v = 0; v < S::kVectors; ++v) needed = needed || !is_zero<typename S::Type>(x[v]);
    const u32 all = __ballot_sync(0xffffffffu, needed), run = S::kRun == 16 ? 0xffffu << (lane & 16) : 0xffffffffu;
    const u32 count = __popc(all), before = __popc(all & ((1u << lane) - 1));
    const bool closes = chunk + S::kKWarps >= end;
    u32 padding = closes ? (0u - made - count) % S::kAhead : 0;
    if (closes && count + padding == 0) padding = S::kAhead;  // an entry has to close the tile
    __syncwarp();                                             // all lanes have read what is overwritten
    if (needed) {
      const u32 column = static_cast<u32>(tile) * a.w_pitch + chunk * kChunk + lane;
      u32 flags = (all & run) >> lane == 1 ? kRunEnds : 0;
      if (closes && padding == 0 && before + 1 == count) flags |= kTileEnds;
      put(made + before, column * kColumnBytes | flags, x);
    }
    if (lane < padding) {
      u32 zeros[S::kVectors] = {};
      put(made + count + lane, lane + 1 == padding ? kTileEnds : 0, zeros);
    }
    __syncwarp();
    made += count + padding;
    chunk += S::kKWarps;
    if (closes) {
      chunk = begin;
      tile += static_cast<int>(gridDim.x);
    }
    load_x(a);
  }

  // Lists until `index` or the end; returns whether entries up to `index` are there.
  FASTALEX_DEVICE bool reach(const ColumnsArgs& a, u32 index) {
    while (made < index && tile < a.tiles) make_chunk(a);
    return made >= index;
  }
};

// Sums
// ----------------------------------------------------------------------------------------------------------------

template <int LANE_BYTES>
FASTALEX_DEVICE Bits128 load_column(const char* p) {
  if (LANE_BYTES == 16) return load_stream(p);
  const uint2 v = load_stream_8(p);
  return Bits128{v.x, v.y, 0, 0};
}

// A lane's sums, [VECTORS][kOutputs]. A product of a zero may be left out of them, without a trace in the result: it is
// a zero of some sign, and a sum keeps its value if it is added; only the sign of a sum that is zero itself may differ,
// which finish() levels.
template <typename S, bool HALF = S::kHalfSum>
struct Sums {  // float
  float sums[S::kSums], runs[S::kRun ? S::kSums : 1];

  FASTALEX_DEVICE void clear() {
#pragma unroll
    for (int i = 0; i < S::kSums; ++i) sums[i] = 0;
#pragma unroll
    for (int i = 0; i < (S::kRun ? S::kSums : 1); ++i) runs[i] = 0;
  }
  FASTALEX_DEVICE static float value(const Entry<S>& entry, int v, float) { return bits_to_float(entry.x[v]); }
  FASTALEX_DEVICE static float value(const Entry<S>& entry, int v, Half) {
    return v ? high(Half2{entry.x[0]}) : low(Half2{entry.x[0]});
  }
  FASTALEX_DEVICE void add(const Bits128& bits, const Entry<S>& entry) {
    float* to = S::kRun ? runs : sums;
    float x[S::kVectors];
#pragma unroll
    for (int v = 0; v < S::kVectors; ++v) x[v] = value(entry, v, typename S::Type());
#pragma unroll
    for (int first = 0; first < S::kOutputs; first += 8) {
      float w[8];
      fully_connected::unpack<S::kStorage>(bits, first, w);
#pragma unroll
      for (int v = 0; v < S::kVectors; ++v)
#pragma unroll
        for (int i = 0; i < 8; ++i) to[v * S::kOutputs + first + i] = fmaf(w[i], x[v], to[v * S::kOutputs + first + i]);
    }
  }
  template <int V>
  FASTALEX_DEVICE void join(int first, const float (&scale)[V]) {
#pragma unroll
    for (int v = 0; v < S::kVectors; ++v)
#pragma unroll
      for (int i = 0; i < V; ++i) {
        const int at = v * S::kOutputs + first + i;
        sums[at] = fmaf(runs[at], scale[i], sums[at]);
        runs[at] = 0;
      }
  }
  FASTALEX_DEVICE void join() {}
};

template <typename S>
struct Sums<S, true> {
  float sums[S::kSums];
  Half2 runs[S::kSums / 2];

  FASTALEX_DEVICE void clear() {
#pragma unroll
    for (int i = 0; i < S::kSums; ++i) sums[i] = 0;
#pragma unroll
    for (int i = 0; i < S::kSums / 2; ++i) runs[i] = Half2{0};
  }
  FASTALEX_DEVICE void add(const Bits128& bits, const Entry<S>& entry) {
    const Half2 both = {entry.x[0]}, x[2] = {S::kVectors == 1 ? both : low_low(both), high_high(both)};
#pragma unroll
    for (int first = 0; first < S::kOutputs; first += 8) {
      Half2 w[4];
      fully_connected::unpack<S::kStorage>(bits, first, w);
#pragma unroll
      for (int v = 0; v < S::kVectors; ++v)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          Half2& to = runs[(v * S::kOutputs + first) / 2 + i];
          to = fma(w[i], x[v], to);
        }
    }
  }
  template <int V>
  FASTALEX_DEVICE void join(int first, const float (&scale)[V]) {
#pragma unroll
    for (int v = 0; v < S::kVectors; ++v)
#pragma unroll
      for (int i = 0; i < V; i += 2) {
        const int at = v * S::kOutputs + first + i;
        sums[at] = fmaf(low(runs[at / 2]), scale[i], sums[at]);
        sums[at + 1] = fmaf(high(runs[at / 2]), scale[i + 1], sums[at + 1]);
        runs[at / 2] = Half2{0};
      }
  }
  FASTALEX_DEVICE void join() {
#pragma unroll
    for (int i = 0; i < S::kSums / 2; ++i) {
      sums[2 * i] += low(runs[i]);
      sums[2 * i + 1] += high(runs[i]);
      runs[i] = Half2{0};
    }
  }
};

// Adds the run that ends with the column at `place` to the sums. lane: of the tile, whose warps lie side by side.
template <typename S>
FASTALEX_DEVICE void end_run(const ColumnsArgs& a, u32 place, int lane, Sums<S>& sums) {
  if (S::kStorage != kInt4) return sums.join();
  // All scales of a tile's groups, then those of the next tile, as the columns do.
  const Half* scales = static_cast<const Half*>(a.scale) +
                       static_cast<u64>(place / kColumnBytes / kQuantGroup) * column_outputs(kInt4) +
                       lane * S::kOutputs;
#pragma unroll
  for (int first = 0; first < S::kOutputs; first += 8) {
    float scale[8];
    vector::load(scales + first, scale);
    sums.join(first, scale);
  }
}

// Adds the sums of the warps with the same outputs up, in pairs; those of the first are the result.
template <typename S>
FASTALEX_DEVICE void add_warps(float* parts, int k_warp, int lane, float (&sums)[S::kSums]) {
#pragma unroll
  for (int half = S::kKWarps / 2; half; half /= 2) {
    __syncthreads();
    float* mine = parts + (k_warp % half * S::kSums * S::kTileWarps * 32 + lane * 4);
    constexpr int kStep = S::kTileWarps * 32 * 4;
    if (k_warp >= half && k_warp < 2 * half) {
#pragma unroll
      for (int i = 0; i < S::kSums; i += 4)
        *reinterpret_cast<float4*>(mine + i / 4 * kStep) = make_float4(sums[i], sums[i + 1], sums[i + 2], sums[i + 3]);
    }
    __syncthreads();
    if (k_warp < half) {
#pragma unroll
      for (int i = 0; i < S::kSums; i += 4) {
        const float4 other = *reinterpret_cast<const float4*>(mine + i / 4 * kStep);
        sums[i] += other.x, sums[i + 1] += other.y, sums[i + 2] += other.z, sums[i + 3] += other.w;
      }
    }
  }
}

// The whole sums of four neighboring outputs: scale, bias, activation, or partial sums. Adding +0 makes -0 a +0, so
// that zeros left out of the sum do not show.
template <typename S>
FASTALEX_DEVICE void finish(const ColumnsArgs& a, int vector, int row, const float* sums) {
  float v[4];
  if (S::kStorage == kInt8) vector::load(static_cast<const float*>(a.scale) + row, v);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    v[i] = S::kStorage == kInt8 ? sums[i] * v[i] : sums[i];
    if (S::kHalfSum) v[i] *= fully_connected::QuantizedHalves<S::kStorage>::kDivisor;
    v[i] += 0.0f;
  }
  const u64 at = static_cast<u64>(vector) * a.out_pitch + row;
  if (a.split > 1) return vector::store(a.partial + static_cast<u64>(blockIdx.z) * a.n * a.out_pitch + at, v);
  float bias[4];
  vector::load(a.bias + row, bias);
#pragma unroll
  for (int i = 0; i < 4; ++i) v[i] = row + i < a.out_c ? v[i] + bias[i] : 0.0f;
  vector::activate(v, a.activation);
  vector::store(static_cast<typename S::Type*>(a.out) + at, v);
}

// y[v, o] = act(b[o] + sum w[o, k] x[v, k]). A lane has the same outputs of every column that its warp reads, so that a
// column meets one input of each vector: the lanes never part. Each warp lists the columns that it needs and keeps the
// loads of the next AHEAD under way, from one tile to the next without a pause. Grid: (at most tiles; blocks that are
// resident take several in turn, 1, split).
template <typename T, int STORAGE, int VECTORS, int LANE_BYTES, int K_WARPS, int AHEAD>
__global__ void __launch_bounds__((Shape<T, STORAGE, VECTORS, LANE_BYTES, K_WARPS, AHEAD>::kThreads), 2)
    columns(const ColumnsArgs a) {
  typedef Shape<T, STORAGE, VECTORS, LANE_BYTES, K_WARPS, AHEAD> S;
  FASTALEX_SHARED(smem);
  const int warp = threadIdx.x / 32, k_warp = warp / S::kTileWarps;
  const int lane = warp % S::kTileWarps * 32 + threadIdx.x % 32;  // of the tile
  const int chunks = a.w_pitch / kChunk, part = round_up(ceil_div(chunks, a.split), K_WARPS);
  const int begin = static_cast<int>(blockIdx.z) * part;
  List<S> list;
  list.ring = reinterpret_cast<u32*>(smem) + warp * kRing * S::kEntryWords;
  list.start(a, begin + k_warp, smaller(chunks, begin + part));
  const char* weights = static_cast<const char*>(a.w) + lane * LANE_BYTES;

  Sums<S> sums;
  sums.clear();
  Entry<S> entries[AHEAD];
  Bits128 columns[AHEAD];
  list.reach(a, AHEAD);
#pragma unroll
  for (int i = 0; i < AHEAD; ++i) {
    entries[i] = list.get(i);
    columns[i] = load_column<LANE_BYTES>(weights + (entries[i].place & ~kFlags));
  }
  int tile = static_cast<int>(blockIdx.x);
  bool more = true;
  for (u32 next = AHEAD; more; next += AHEAD) {
    more = list.reach(a, next + AHEAD);
    u32 place = 0;
#pragma unroll
    for (int i = 0; i < AHEAD; ++i) {
      const Entry<S> entry = entries[i];
      place = entry.place;
      if (more) entries[i] = list.get(next + i);
      sums.add(columns[i], entry);
      if (more) columns[i] = load_column<LANE_BYTES>(weights + (entries[i].place & ~kFlags));
      if (S::kRun && (place & kRunEnds)) end_run<S>(a, place, lane, sums);
    }
    if (!(place & kTileEnds)) continue;
    add_warps<S>(reinterpret_cast<float*>(smem + S::kRingBytes), k_warp, lane, sums.sums);
    const int row = tile * column_outputs(STORAGE) + lane * S::kOutputs;
#pragma unroll
    for (int i = 0; i < S::kSums; i += 4)
      if (k_warp == 0 && row + i % S::kOutputs < a.out_pitch)
        finish<S>(a, i / S::kOutputs, row + i % S::kOutputs, sums.sums + i);
    sums.clear();
    tile += static_cast<int>(gridDim.x);
  }
}

}  // namespace fully_connected_columns
}  // namespace cuda
}  // namespace fastalex
#endif  // FASTALEX_CUDA_KERNELS_FULLY_CONNECTED_COLUMNS_CUH
