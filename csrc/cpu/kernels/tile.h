// The one inner loop of convolutions: ROWS input positions times a panel of outputs.
//
//   sum[i][j] = sum_u in[i][u] * w[u][j]    over units u of 4 bytes: one float, two bf16, two or four quantized
#ifndef FASTALEX_CPU_KERNELS_TILE_H
#define FASTALEX_CPU_KERNELS_TILE_H

#include "cpu/kernels/kernel_table.h"
#include "cpu/kernels/products.h"
#include "cpu/kernels/simd.h"

namespace {

// to[i][j] = the sum above; in[i]: the window's start. offsets: bytes from there to each unit; null: the units are
// contiguous. The accumulators stay in registers over a part (kPartUnits), whose sums are then added to `to`; sums of
// quantized products are exact and need no parts.
template <int DTYPE, int ROWS>
inline __attribute__((always_inline)) void multiply(const char* const* in, const int32_t* offsets, int units,
                                                    const char* w, typename Products<DTYPE>::Sum* to) {
  typedef typename Products<DTYPE>::Sum Sum;
  const int part = DTYPE == fastalex::kQuantized ? units : static_cast<int>(fastalex::kPartUnits);
  const char* base[ROWS];
#pragma GCC unroll 14
  for (int i = 0; i < ROWS; ++i) base[i] = in[i];
  int64_t begin = 0;
  do {
    const int64_t end = begin + part < units ? begin + part : units;
    Sum sum[ROWS][kVectors];
#pragma GCC unroll 14
    for (int i = 0; i < ROWS; ++i)
      for (int j = 0; j < kVectors; ++j) sum[i][j] = Sum{};
    for (int64_t u = begin; u < end; ++u, w += 4 * kPanel) {
      const int64_t offset = offsets ? offsets[u] : 4 * u;
      IntVec weight[kVectors];
#pragma GCC unroll 2
      for (int j = 0; j < kVectors; ++j) weight[j] = load_units(w + 4 * j * kLanes);
#pragma GCC unroll 14
      for (int i = 0; i < ROWS; ++i) {
        const int32_t unit = unit_at(base[i] + offset);
#pragma GCC unroll 2
        for (int j = 0; j < kVectors; ++j) sum[i][j] = Products<DTYPE>::add(sum[i][j], unit, weight[j]);
      }
    }
    if (begin > 0) {
#pragma GCC unroll 14
      for (int i = 0; i < ROWS; ++i)
        for (int j = 0; j < kVectors; ++j) sum[i][j] += to[i * kVectors + j];
    }
#pragma GCC unroll 14
    for (int i = 0; i < ROWS; ++i)
      for (int j = 0; j < kVectors; ++j) to[i * kVectors + j] = sum[i][j];
    begin = end;
  } while (begin < units);
}

template <int ROWS>
struct RowCount {
  enum { kCount = ROWS };
};

template <int ROWS, typename Body>
struct RowTile {
  static void run(int rows, int first, const Body& body) {
    if (rows == ROWS) return body(RowCount<ROWS>(), first);
    RowTile<ROWS - 1, Body>::run(rows, first, body);
  }
};
template <typename Body>
struct RowTile<0, Body> {
  static void run(int, int, const Body&) {}
};

// Calls body(RowCount<ROWS>, first row) for as few tiles of at most kRows rows as cover `count` rows, all alike.
template <typename Body>
inline void for_row_tiles(int count, const Body& body) {
  int tiles = (count + kRows - 1) / kRows;
  for (int first = 0; tiles > 0; --tiles) {
    const int rows = (count - first + tiles - 1) / tiles;
    RowTile<kRows, Body>::run(rows, first, body);
    first += rows;
  }
}

}  // namespace
#endif  // FASTALEX_CPU_KERNELS_TILE_H
