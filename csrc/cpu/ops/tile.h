// The one inner loop of convolution and fully connected layers: ROWS input positions times a panel of outputs.
//
//   acc[i][j] += sum_k in[i][offset + k] * w[k][j]
//
// The accumulators stay in registers over a whole block of k. Blocks are added up in memory: a sum of short sums,
// whose rounding error grows with the block's length plus the number of blocks instead of their product.
#ifndef FASTALEX_CPU_OPS_TILE_H
#define FASTALEX_CPU_OPS_TILE_H

#include "simd.h"

namespace {

template <int ROWS>
struct Tile {
  Vec sum[ROWS][kVectors];
};

template <int ROWS, typename Weight>
inline __attribute__((always_inline)) void multiply(const float* const* in, const fastalex::Run* runs, int run_count,
                                                    const Weight* w, Tile<ROWS>* tile) {
  Vec sum[ROWS][kVectors];
  const float* base[ROWS];
#pragma GCC unroll 8
  for (int i = 0; i < ROWS; ++i) {
    base[i] = in[i];
    for (int j = 0; j < kVectors; ++j) sum[i][j] = Vec{};
  }
  for (int r = 0; r < run_count; ++r) {
    const int64_t end = static_cast<int64_t>(runs[r].offset) + runs[r].length;
    for (int64_t k = runs[r].offset; k < end; ++k, w += kPanel) {
      Vec weight[kVectors];
#pragma GCC unroll 2
      for (int j = 0; j < kVectors; ++j) weight[j] = widen(w + j * kLanes);
#pragma GCC unroll 8
      for (int i = 0; i < ROWS; ++i) {
        const Vec value = splat(base[i][k]);
#pragma GCC unroll 2
        for (int j = 0; j < kVectors; ++j) sum[i][j] += value * weight[j];
      }
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < ROWS; ++i)
    for (int j = 0; j < kVectors; ++j) tile->sum[i][j] = sum[i][j];
}

// One position: four partial sums hide the latency of the multiply-adds. The run is contiguous.
template <typename Weight>
inline void multiply_one(const float* in, int length, const Weight* w, Tile<1>* tile) {
  Vec sum[4][kVectors];
  for (int u = 0; u < 4; ++u)
    for (int j = 0; j < kVectors; ++j) sum[u][j] = Vec{};
  int k = 0;
  for (; k + 4 <= length; k += 4, w += 4 * kPanel) {
#pragma GCC unroll 4
    for (int u = 0; u < 4; ++u) {
      const Vec value = splat(in[k + u]);
#pragma GCC unroll 2
      for (int j = 0; j < kVectors; ++j) sum[u][j] += value * widen(w + u * kPanel + j * kLanes);
    }
  }
  for (; k < length; ++k, w += kPanel)
    for (int j = 0; j < kVectors; ++j) sum[0][j] += splat(in[k]) * widen(w + j * kLanes);
  for (int j = 0; j < kVectors; ++j) tile->sum[0][j] = (sum[0][j] + sum[1][j]) + (sum[2][j] + sum[3][j]);
}

// out = act(out + sum + bias): `first` leaves out the old value, `last` applies bias and activation.
// `width` outputs of the panel exist; a partial panel goes through a copy, so that nothing beyond is touched.
inline void finish(const Vec* sum, const float* bias, float* out, int width, bool first, bool last, int activation) {
  float buffer[kPanel];
  float* target = out;
  if (width < kPanel) {
    target = buffer;
    if (!first) memcpy(buffer, out, width * sizeof(float));
  }
  for (int j = 0; j < kVectors; ++j) {
    Vec value = sum[j];
    if (!first) value += load(target + j * kLanes);
    if (last) value = activate(value + load(bias + j * kLanes), activation);
    store(target + j * kLanes, value);
  }
  if (width < kPanel) memcpy(out, buffer, width * sizeof(float));
}

}  // namespace
#endif  // FASTALEX_CPU_OPS_TILE_H
