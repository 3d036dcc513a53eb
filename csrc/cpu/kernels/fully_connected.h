// fully connected+bias+activation. A unit of work is a panel of outputs for the whole batch, so the weights are read
// once from memory; for small batches, whose cost is that reading, they are widened in registers.
#ifndef FASTALEX_CPU_KERNELS_FULLY_CONNECTED_H
#define FASTALEX_CPU_KERNELS_FULLY_CONNECTED_H

#include "cpu/kernels/fc_byte_planes.h"
#include "cpu/kernels/tile.h"
#include "cpu/kernels/values.h"
#include "fastalex.h"

namespace {

// Batch rows per tile: their inputs lie far apart, so the addresses of the rows take registers too.
enum { kBatchRows = kRows < 8 ? kRows : 8 };

// Calls body(RowCount<ROWS>, first row) for tiles of kBatchRows, 4, 2 and 1 rows that cover `count` rows.
template <typename Body>
inline void for_batch_rows(int count, const Body& body) {
  int row = 0;
  for (; row + kBatchRows <= count; row += kBatchRows) body(RowCount<kBatchRows>(), row);
  for (; row + 4 <= count; row += 4) body(RowCount<4>(), row);
  for (; row + 2 <= count; row += 2) body(RowCount<2>(), row);
  if (row < count) body(RowCount<1>(), row);
}

// Weights widened to floats: kProducts vectors for each unit of a vector of lanes.
struct FloatUnits {
  typedef float Unit;
  enum { kProducts = 1 };
  static Vec product(const float* unit, int) { return load(unit); }
};
struct HalfUnits {
  typedef uint16_t Unit;
  enum { kProducts = 1 };
  static Vec product(const uint16_t* unit, int) { return widen(unit); }
};
struct ByteUnits {
  typedef int8_t Unit;
  enum { kProducts = 1 };
  static Vec product(const int8_t* unit, int) { return widen(unit); }
};
struct Bf16Units {
  typedef int32_t Unit;
  enum { kProducts = 2 };
  static Vec product(const int32_t* unit, int i) {
    return i == 0 ? even_bf16(load_units(unit)) : odd_bf16(load_units(unit));
  }
};
struct NibbleUnits {
  typedef int32_t Unit;
  enum { kProducts = 8 };
  static Vec product(const int32_t* unit, int i) {
    return to_float(((load_units(unit) >> (i % 4 * 8 + i / 4 * 4)) & splat_unit(15)) - splat_unit(8));
  }
};

// A part of the products, at most kPartUnits of them: begin, in products, and how many units.
struct FcPart {
  int begin, units;
  bool first, last;
};

// Combines a part's sums with the parts before it: scales them (int4), adds them, and after the last part applies the
// scale (int8), bias and activation.
inline Vec joined(const fastalex::FcArgs& task, int panel, int j, const FcPart& part, const float* out, Vec sum) {
  const int64_t lane = static_cast<int64_t>(panel) * kPanel + j * kLanes;
  if (task.form == fastalex::kFcNibbles) {
    const int groups = groups_of(task);
    sum *= load(task.scale + (static_cast<int64_t>(panel) * groups + part.begin / FASTALEX_INT4_GROUP) * kPanel +
                j * kLanes);
  }
  if (!part.first) sum += load(out + j * kLanes);
  if (!part.last) return sum;
  if (task.storage == FASTALEX_INT8) sum *= load(task.scale + lane);
  return activate(sum + load(task.bias + lane), task.activation);
}

template <class Units, int ROWS>
void fc_rows(const fastalex::FcArgs& task, int panel, const FcPart& part, const typename Units::Unit* w, int row) {
  Vec sum[ROWS][kVectors];
  const float* in[ROWS];
#pragma GCC unroll 8
  for (int i = 0; i < ROWS; ++i) {
    in[i] = task.in + static_cast<int64_t>(row + i) * task.in_stride + part.begin;
    for (int j = 0; j < kVectors; ++j) sum[i][j] = Vec{};
  }
  const int products = part.units * Units::kProducts;
  for (int k = 0; k < products; k += Units::kProducts, w += kPanel) {
#pragma GCC unroll 8
    for (int p = 0; p < Units::kProducts; ++p) {
      Vec weight[kVectors];
      for (int j = 0; j < kVectors; ++j) weight[j] = Units::product(w + j * kLanes, p);
#pragma GCC unroll 8
      for (int i = 0; i < ROWS; ++i) {
        const Vec value = splat(in[i][k + p]);
        for (int j = 0; j < kVectors; ++j) sum[i][j] += value * weight[j];
      }
    }
  }
  for (int i = 0; i < ROWS; ++i) {
    float* out = task.out + static_cast<int64_t>(row + i) * task.out_stride + static_cast<int64_t>(panel) * kPanel;
    for (int j = 0; j < kVectors; ++j) store(out + j * kLanes, joined(task, panel, j, part, out, sum[i][j]));
  }
}

template <class Units>
void fc_part(const fastalex::FcArgs& task, int panel, const FcPart& part, const typename Units::Unit* w) {
  for_batch_rows(task.n,
                 [&](auto rows, int row) { fc_rows<Units, decltype(rows)::kCount>(task, panel, part, w, row); });
}

// Widens the weights of a part to floats, once for all rows of a large batch.
template <class Units>
void fc_widened_part(const fastalex::FcArgs& task, int panel, FcPart part, const typename Units::Unit* w) {
  float wide[fastalex::kPartUnits * kPanel], *to = wide;
  for (int unit = 0; unit < part.units; ++unit, w += kPanel)
    for (int p = 0; p < Units::kProducts; ++p, to += kPanel)
      for (int j = 0; j < kVectors; ++j) store(to + j * kLanes, Units::product(w + j * kLanes, p));
  part.units *= Units::kProducts;
  fc_part<FloatUnits>(task, panel, part, wide);
}

template <class Units>
void fc_panel(const fastalex::FcArgs& task, int panel) {
  typedef typename Units::Unit Unit;
  const Unit* w = static_cast<const Unit*>(task.weights) + static_cast<int64_t>(panel) * task.units * kPanel;
  const int length = fastalex::kPartUnits / Units::kProducts;  // of a part, in units
  for (int unit = 0; unit < task.units; unit += length) {
    const int count = task.units - unit < length ? task.units - unit : length;
    const FcPart part = {unit * Units::kProducts, count, unit == 0, unit + count == task.units};
    const Unit* weights = w + static_cast<int64_t>(unit) * kPanel;
    if (task.n > kBatchRows && sizeof(Unit) < Units::kProducts * sizeof(float))
      fc_widened_part<Units>(task, panel, part, weights);
    else
      fc_part<Units>(task, panel, part, weights);
  }
}

// bf16 times bf16.
template <int ROWS>
void fc_bf16_rows(const fastalex::FcArgs& task, int panel, int row) {
  const char* in[ROWS];
  for (int i = 0; i < ROWS; ++i)
    in[i] = reinterpret_cast<const char*>(task.prepared) + static_cast<int64_t>(row + i) * task.plane;
  const char* w = static_cast<const char*>(task.weights) + static_cast<int64_t>(panel) * task.units * kPanel * 4;
  Vec sums[ROWS * kVectors];
  multiply<fastalex::kBfloat16, ROWS>(in, nullptr, task.units, w, sums);
  for (int i = 0; i < ROWS; ++i)
    for (int j = 0; j < kVectors; ++j) {
      const int64_t lane = static_cast<int64_t>(panel) * kPanel + j * kLanes;
      store(task.out + static_cast<int64_t>(row + i) * task.out_stride + lane,
            activate(sums[i * kVectors + j] + load(task.bias + lane), task.activation));
    }
}

void fully_connected(const void* erased, int panel, int) {
  const fastalex::FcArgs& task = *static_cast<const fastalex::FcArgs*>(erased);
  if (task.form == fastalex::kFcBytePlanes || task.form == fastalex::kFcBytePlanes4) return fc_byte_planes(task, panel);
  if (task.form == fastalex::kFcNibbles) return fc_panel<NibbleUnits>(task, panel);
  if (task.form == fastalex::kFcBf16)
    return for_batch_rows(task.n, [&](auto rows, int row) { fc_bf16_rows<decltype(rows)::kCount>(task, panel, row); });
  if (task.storage == FASTALEX_BF16) return fc_panel<Bf16Units>(task, panel);
  if (task.storage == FASTALEX_FP16) return fc_panel<HalfUnits>(task, panel);
  if (task.storage == FASTALEX_INT8) return fc_panel<ByteUnits>(task, panel);
  fc_panel<FloatUnits>(task, panel);
}

}  // namespace
#endif  // FASTALEX_CPU_KERNELS_FULLY_CONNECTED_H
