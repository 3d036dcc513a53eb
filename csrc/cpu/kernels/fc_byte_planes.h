// Fully connected layers by products of bytes, for throughput: a unit of 4 bytes holds an output's weights of four
// inputs (int8) or eight (int4), ready for the products, so that several images share what is read.
#ifndef FASTALEX_CPU_KERNELS_FC_BYTE_PLANES_H
#define FASTALEX_CPU_KERNELS_FC_BYTE_PLANES_H

#include "cpu/kernels/fc_prepare.h"
#include "cpu/kernels/fc_tiles.h"
#include "cpu/kernels/products.h"
#include "cpu/kernels/values.h"
#include "fastalex.h"

namespace {

#if defined(FASTALEX_USE_BYTES)

// Combines the byte planes' sums of one row and vector into one value, not yet scaled.
template <int PLANES>
inline Vec joined_planes(const IntVec (&sum)[PLANES]) {
  Vec value = to_float(sum[PLANES - 1]);
  for (int d = PLANES - 2; d >= 0; --d) value = value * splat(256.0f) + to_float(sum[d]);
  return value;
}

// sum[i][j][d] += the products of the unit at `at` of plane d of row i with the weights w[j].
template <int PLANES, int ROWS>
inline __attribute__((always_inline)) void add_units(const uint8_t* const (&in)[ROWS][PLANES], int64_t at,
                                                     const IntVec (&w)[2], IntVec (&sum)[ROWS][2][PLANES]) {
#pragma GCC unroll 4
  for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 3
    for (int d = 0; d < PLANES; ++d) {
      const int32_t unit = unit_at(in[i][d] + at);
      for (int j = 0; j < 2; ++j) sum[i][j][d] = add_bytes(sum[i][j][d], unit, w[j]);
    }
}

// Rows of the batch in a tile, whose sums for two vectors of weights are to stay in registers.
template <int PLANES>
struct PlaneRows {
  enum { kCount = kRows < 8 && PLANES > 1 ? 2 : 4 };
};

// The quantized values of a unit, + 8, of the low or the high halves of its bytes.
inline IntVec nibbles(IntVec w, int high) { return (high ? w >> 4 : w) & splat_unit(0x0f0f0f0f); }

// Whether some of `count` rows have negative values, so that their top plane has a zero.
inline bool any_shifted(const fastalex::FcArgs& task, int row, int count) {
  bool shifted = false;
  for (int i = 0; i < count; ++i) shifted |= task.row_zero[row + i] != 0;
  return shifted;
}

inline void store_row(const fastalex::FcArgs& task, int64_t lane, int row, Vec value) {
  store(task.out + static_cast<int64_t>(row) * task.out_stride + lane,
        activate(value * splat(task.row_scale[row]) + load(task.bias + lane), task.activation));
}

// Scales and stores the whole sums of int8 of a row and vector.
template <int PLANES>
inline void store_int8(const fastalex::FcArgs& task, int64_t lane, int row, IntVec (&sum)[PLANES]) {
  sum[PLANES - 1] -= load_units(task.sums + lane) * splat_unit(task.row_zero[row]);
  store_row(task, lane, row, joined_planes(sum) * load(task.scale + lane));
}

template <int PLANES, int ROWS>
void int8_rows(const fastalex::FcArgs& task, int panel, int row) {
  IntVec sum[ROWS][kVectors][PLANES] = {};
  const uint8_t* in[ROWS][PLANES];
  for (int i = 0; i < ROWS; ++i)
    for (int d = 0; d < PLANES; ++d) in[i][d] = task.prepared + ((row + i) * PLANES + d) * task.plane;
  const int32_t* w = static_cast<const int32_t*>(task.weights) + static_cast<int64_t>(panel) * task.rows * kPanel;
  for (int64_t u = 0; u < 4 * static_cast<int64_t>(task.rows); u += 4, w += kPanel) {
    IntVec weight[kVectors];
    for (int j = 0; j < kVectors; ++j) weight[j] = load_units(w + j * kLanes);
    add_units<PLANES, ROWS>(in, u, weight, sum);
  }
  for (int i = 0; i < ROWS; ++i)
    for (int j = 0; j < kVectors; ++j)
      store_int8(task, static_cast<int64_t>(panel) * kPanel + j * kLanes, row + i, sum[i][j]);
}

#if defined(FASTALEX_USE_TILES)
template <int PLANES>
void plane_tiles(const fastalex::FcArgs& task, int panel) {
  const TileAt weights = {
      static_cast<const char*>(task.weights) + static_cast<int64_t>(panel) * task.rows * task.panel_bytes,
      task.panel_bytes};
  Tiles tiles;
  byte_tiles<PLANES>(task.n, task.prepared, task.plane, weights, task.rows, &tiles, [&](int image, int j, auto& sum) {
    store_int8(task, static_cast<int64_t>(panel) * kPanel + j * kLanes, image, sum);
  });
}
#endif

// sum_k (nibble - 8) (plane - zero) = sum nibble plane - 8 sum plane - zero (sum nibble - 8 count). The last term needs
// products with ones, and is there only where a row has a zero (SHIFTED).
template <int PLANES, int ROWS, bool SHIFTED>
void int4_rows(const fastalex::FcArgs& task, int panel, int row) {
  enum { kGroupUnits = FASTALEX_INT4_GROUP / 8 };
  Vec total[ROWS][kVectors] = {};
  const uint8_t* in[ROWS][PLANES];
  for (int i = 0; i < ROWS; ++i)
    for (int d = 0; d < PLANES; ++d) in[i][d] = task.prepared + ((row + i) * PLANES + d) * task.plane;
  const int32_t* w = static_cast<const int32_t*>(task.weights) + static_cast<int64_t>(panel) * task.rows * kPanel;
  const int groups = groups_of(task);
  const float* scale = task.scale + static_cast<int64_t>(panel) * groups * kPanel;
  for (int group = 0; group < groups; ++group, scale += kPanel) {
    IntVec sum[ROWS][kVectors][PLANES] = {}, ones[kVectors] = {};
    const int begin = group * kGroupUnits;
    const int units = task.rows - begin < kGroupUnits ? task.rows - begin : static_cast<int>(kGroupUnits);
    for (int64_t u = 8 * static_cast<int64_t>(begin); u < 8 * static_cast<int64_t>(begin + units);
         u += 8, w += kPanel) {
      IntVec low[kVectors], high[kVectors];
      for (int j = 0; j < kVectors; ++j) {
        low[j] = nibbles(load_units(w + j * kLanes), 0);   // products 0 to 3
        high[j] = nibbles(load_units(w + j * kLanes), 1);  // 4 to 7
        if (SHIFTED) ones[j] = add_bytes(add_bytes(ones[j], 0x01010101, low[j]), 0x01010101, high[j]);
      }
      add_units<PLANES, ROWS>(in, u, low, sum);
      add_units<PLANES, ROWS>(in, u + 4, high, sum);
    }
    for (int i = 0; i < ROWS; ++i) {
      const int32_t* plane_sums = task.plane_sums + (static_cast<int64_t>(row + i) * groups + group) * PLANES;
      for (int j = 0; j < kVectors; ++j) {
        for (int d = 0; d < PLANES; ++d) sum[i][j][d] -= splat_unit(8 * plane_sums[d]);
        if (SHIFTED)
          sum[i][j][PLANES - 1] -= splat_unit(task.row_zero[row + i]) * (ones[j] - splat_unit(8 * 8 * units));
        total[i][j] += joined_planes(sum[i][j]) * load(scale + j * kLanes);
      }
    }
  }
  for (int i = 0; i < ROWS; ++i)
    for (int j = 0; j < kVectors; ++j)
      store_row(task, static_cast<int64_t>(panel) * kPanel + j * kLanes, row + i, total[i][j]);
}

// A row with a NaN or an infinity has no byte planes: its products are computed one by one.
void unbounded_row(const fastalex::FcArgs& task, int panel, int row) {
  const bool nibbles = task.form == fastalex::kFcBytePlanes4;
  const int in_unit = nibbles ? 8 : 4, groups = groups_of(task);
  const float* in = task.in + static_cast<int64_t>(row) * task.in_stride;
  const int32_t* w = static_cast<const int32_t*>(task.weights) + static_cast<int64_t>(panel) * task.rows * kPanel;
  for (int j = 0; j < kVectors; ++j) {
    const int64_t lane = static_cast<int64_t>(panel) * kPanel + j * kLanes;
    Vec sum = Vec{};
    for (int k = 0; k < task.k; ++k) {
      const IntVec unit = load_units(w + static_cast<int64_t>(k / in_unit) * kPanel + j * kLanes);
      const int i = k % in_unit;
      const IntVec q =
          nibbles ? ((unit >> (i % 4 * 8 + i / 4 * 4)) & splat_unit(15)) - splat_unit(8) : (unit << (24 - 8 * i)) >> 24;
      const float* scale =
          nibbles ? task.scale + (static_cast<int64_t>(panel) * groups + k / FASTALEX_INT4_GROUP) * kPanel + j * kLanes
                  : task.scale + lane;
      sum += splat(in[k]) * (to_float(q) * load(scale));
    }
    store(task.out + static_cast<int64_t>(row) * task.out_stride + lane,
          activate(sum + load(task.bias + lane), task.activation));
  }
}

template <int PLANES, int ROWS>
inline void plane_rows(const fastalex::FcArgs& task, int panel, int row) {
  if (task.form == fastalex::kFcBytePlanes) return int8_rows<PLANES, ROWS>(task, panel, row);
  if (any_shifted(task, row, ROWS))
    int4_rows<PLANES, ROWS, true>(task, panel, row);
  else
    int4_rows<PLANES, ROWS, false>(task, panel, row);
}

template <int PLANES>
void plane_panel(const fastalex::FcArgs& task, int panel) {
  enum { kTile = PlaneRows<PLANES>::kCount };
  int row = 0;
#if defined(FASTALEX_USE_TILES)
  if (task.form == fastalex::kFcBytePlanes && bytes_by_tiles(task)) {
    plane_tiles<PLANES>(task, panel);
    row = task.n;
  }
#endif
  for (; row + kTile <= task.n; row += kTile) plane_rows<PLANES, kTile>(task, panel, row);
  for (; row < task.n; ++row) plane_rows<PLANES, 1>(task, panel, row);
  for (row = 0; row < task.n; ++row)
    if (task.row_scale[row] != task.row_scale[row]) unbounded_row(task, panel, row);
}

void fc_byte_planes(const fastalex::FcArgs& task, int panel) {
  if (task.byte_planes == 1) return plane_panel<1>(task, panel);
#if defined(FASTALEX_USE_VNNI)
  if (task.byte_planes == 2) return plane_panel<2>(task, panel);
  plane_panel<fastalex::kMaxBytePlanes>(task, panel);
#endif
}

#else

void fc_byte_planes(const fastalex::FcArgs&, int) {}  // CpuKernels::byte_planes is 0: no layer has this form

#endif

}  // namespace
#endif  // FASTALEX_CPU_KERNELS_FC_BYTE_PLANES_H
