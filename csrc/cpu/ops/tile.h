// The one inner loop of convolutions: ROWS input positions times a panel of outputs.
//
//   sum[i][j] += sum_u in[i][u] * w[u][j]    over units u of 4 bytes: one float, two bf16, two or four levels
#ifndef FASTALEX_CPU_OPS_TILE_H
#define FASTALEX_CPU_OPS_TILE_H

#include "simd.h"

namespace {

template <int NUMERIC>
struct Products;

template <>
struct Products<fastalex::kFloat32> {
  typedef Vec Sum;
  static Sum add(Sum sum, int32_t unit, IntVec w) {
    float value;
    memcpy(&value, &unit, sizeof value);
    return sum + splat(value) * as_floats(w);
  }
};

template <>
struct Products<fastalex::kBfloat16> {
  typedef Vec Sum;
  static Sum add(Sum sum, int32_t unit, IntVec w) {
#if defined(FASTALEX_USE_BF16)
    return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(splat_unit(unit)), reinterpret_cast<__m512bh>(w));
#else
    sum += even_bf16(splat_unit(unit)) * even_bf16(w);
    return sum + odd_bf16(splat_unit(unit)) * odd_bf16(w);
#endif
  }
};

template <>
struct Products<fastalex::kLevels> {
  typedef IntVec Sum;
  static Sum add(Sum sum, int32_t unit, IntVec w) {
#if defined(FASTALEX_USE_VNNI)
    return reinterpret_cast<IntVec>(_mm512_dpbusd_epi32(reinterpret_cast<__m512i>(sum),
                                                        reinterpret_cast<__m512i>(splat_unit(unit)),
                                                        reinterpret_cast<__m512i>(w)));
#else
    return add_pairs(sum, splat_unit(unit), w);
#endif
  }
};

template <int NUMERIC, int ROWS>
struct Tile {
  typename Products<NUMERIC>::Sum sum[ROWS][kVectors];
};

// in[i]: the window's start. The accumulators stay in registers over a run; where sums are rounded (all but levels) a
// run is a part (kPartUnits), whose sum is then added to the tile's.
template <int NUMERIC, int ROWS>
inline __attribute__((always_inline)) void multiply(const char* const* in, const fastalex::Run* runs, int run_count,
                                                    const char* w, Tile<NUMERIC, ROWS>* tile) {
  typedef typename Products<NUMERIC>::Sum Sum;
  Sum sum[ROWS][kVectors];
  const char* base[ROWS];
#pragma GCC unroll 8
  for (int i = 0; i < ROWS; ++i) {
    base[i] = in[i];
    for (int j = 0; j < kVectors; ++j) tile->sum[i][j] = sum[i][j] = Sum{};
  }
  for (int r = 0; r < run_count; ++r) {
    const int64_t begin = runs[r].offset, end = begin + 4 * static_cast<int64_t>(runs[r].units);
    for (int64_t u = begin; u < end; u += 4, w += 4 * kPanel) {
      IntVec weight[kVectors];
#pragma GCC unroll 2
      for (int j = 0; j < kVectors; ++j) weight[j] = load_units(w + 4 * j * kLanes);
#pragma GCC unroll 8
      for (int i = 0; i < ROWS; ++i) {
        const int32_t unit = unit_at(base[i] + u);
#pragma GCC unroll 2
        for (int j = 0; j < kVectors; ++j) sum[i][j] = Products<NUMERIC>::add(sum[i][j], unit, weight[j]);
      }
    }
    if (NUMERIC != fastalex::kLevels && r + 1 < run_count) {
#pragma GCC unroll 8
      for (int i = 0; i < ROWS; ++i) {
        for (int j = 0; j < kVectors; ++j) {
          tile->sum[i][j] += sum[i][j];
          sum[i][j] = Sum{};
        }
      }
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < ROWS; ++i)
    for (int j = 0; j < kVectors; ++j) tile->sum[i][j] += sum[i][j];
}

// Calls body(integral constant ROWS, first row) for tiles of kRows, 4, 2 and 1 rows that cover `count` rows.
template <int ROWS>
struct RowCount {
  enum { kCount = ROWS };
};
template <typename Body>
inline __attribute__((always_inline)) void for_row_tiles(int count, const Body& body) {
  int row = 0;
  for (; row + kRows <= count; row += kRows) body(RowCount<kRows>(), row);
  if (row + 4 <= count) {
    body(RowCount<4>(), row);
    row += 4;
  }
  if (row + 2 <= count) {
    body(RowCount<2>(), row);
    row += 2;
  }
  if (row < count) body(RowCount<1>(), row);
}

}  // namespace
#endif  // FASTALEX_CPU_OPS_TILE_H
