// The input of a fully connected layer in the form that its products take: byte planes, bf16, or rounded floats.
//
// Products of bytes: each value of the input is split into byte planes of 8 bits, x = scale * sum_d plane[d] 256^d, and
// sum_k w[k] x[k] = scale * sum_d 256^d (sum_k w[k] plane[d][k]), where every inner sum is exact. Three byte planes
// keep 24 bits of a row's largest value, as fp32 does, at three quarters of an instruction for 16 products; the weights
// are never widened. Processors without products of bytes (VNNI) take one plane, or none.
#ifndef FASTALEX_CPU_KERNELS_FC_PREPARE_H
#define FASTALEX_CPU_KERNELS_FC_PREPARE_H

#include "cpu/kernels/tile.h"
#include "cpu/kernels/values.h"
#include "fastalex.h"

namespace {

struct RowScale {
  float scale;
  int zero;  // of the top plane
};

// The scale that spreads the row's largest magnitude over all bits of the byte planes. Negative values cost one bit,
// for the sign.
RowScale row_scale(const fastalex::FcArgs& task, const float* in) {
  if (task.byte_planes == 1) return {task.fixed_scale, task.fixed_zero};
  Vec most = Vec{}, least = Vec{};
  IntVec finite = ~IntVec{};
  for (int i = 0; i < task.k; i += kLanes) {
    const Vec v = load_lanes(in + i, 0, task.k - i);
    finite &= v - v == Vec{};  // not for NaN and infinities
    most = larger(v, most);
    least = larger(-v, least);
  }
  float largest = 0, lowest = 0;
  for (int i = 0; i < kLanes; ++i) {
    if (!finite[i]) return {__builtin_nanf(""), 0};
    largest = most[i] > largest ? most[i] : largest;
    lowest = least[i] > lowest ? least[i] : lowest;
  }
  const bool negative = lowest > 0;
  largest = lowest > largest ? lowest : largest;
  const int bits = 8 * task.byte_planes - negative;
  const float scale = largest / static_cast<float>((1 << bits) - 1);
  return {scale > __FLT_MIN__ ? scale : __FLT_MIN__, negative ? 128 : 0};
}

// The quantization of a row's values, as Activations describes it.
fastalex::Activations quantized_row(const fastalex::FcArgs& task, const RowScale& range) {
  fastalex::Activations quantized = {};
  quantized.inverse = range.scale == range.scale ? 1.0f / range.scale : 0.0f;
  const int bits = 8 * task.byte_planes;
  quantized.low = !range.zero ? 0.0f : task.byte_planes == 1 ? -127.0f : -static_cast<float>(1 << (bits - 1));
  quantized.high = static_cast<float>((1 << (bits - (range.zero ? 1 : 0))) - 1);
  quantized.zero = range.zero << 8 * (task.byte_planes - 1);
  return quantized;
}

inline bool in_byte_planes(int form) { return form >= fastalex::kFcBytePlanes; }

// Groups of products that share a scale in int4.
inline int groups_of(const fastalex::FcArgs& task) { return (task.k + FASTALEX_INT4_GROUP - 1) / FASTALEX_INT4_GROUP; }

void sum_planes(const fastalex::FcArgs& task, const uint8_t* planes, int32_t* sums) {
  for (int begin = 0; begin < task.k; begin += FASTALEX_INT4_GROUP) {
    const int end = begin + FASTALEX_INT4_GROUP < task.k ? begin + FASTALEX_INT4_GROUP : task.k;
    for (int d = 0; d < task.byte_planes; ++d) {
      int32_t sum = 0;
      for (int i = begin; i < end; ++i) sum += planes[d * task.plane + i];
      *sums++ = sum;
    }
  }
}

void prepare_planes(const fastalex::FcArgs& task, int row) {
  const float* in = task.in + static_cast<int64_t>(row) * task.in_stride;
  uint8_t* planes = task.prepared + row * task.byte_planes * task.plane;
  const RowScale range = row_scale(task, in);
  const fastalex::Activations to = quantized_row(task, range);
  task.row_scale[row] = range.scale;
  task.row_zero[row] = range.zero;
  for (int i = 0; i < task.plane; i += kLanes) {
    float values[kLanes] = {};
    const int count = task.k - i;
    if (count > 0) memcpy(values, in + i, (count < kLanes ? count : static_cast<int>(kLanes)) * sizeof(float));
    const IntVec q = quantize_values(to, load(values));
    for (int d = 0; d < task.byte_planes; ++d) store_bytes(planes + d * task.plane + i, (q >> 8 * d) & splat_unit(255));
  }
  // Rows are read four at a time: what is read past the last one counts for nothing.
  for (int d = 0; d < task.byte_planes; ++d) memset(planes + d * task.plane + task.k, 0, task.plane - task.k);
  const int groups = groups_of(task);
  if (task.storage == FASTALEX_INT4)
    sum_planes(task, planes, task.plane_sums + static_cast<int64_t>(row) * groups * task.byte_planes);
}

// int8 precision without byte planes: replaces a row by the values that its quantized values stand for.
void round_to_quantized(const fastalex::FcArgs& task, float* in) {
  const fastalex::Activations to = quantized_row(task, {task.fixed_scale, task.fixed_zero});
  for (int k = 0; k < task.k; k += kLanes)
    store(in + k, to_float(quantize_values(to, load(in + k)) - splat_unit(to.zero)) * splat(task.fixed_scale));
}

void fc_prepare(const void* erased, int row, int) {
  const fastalex::FcArgs& task = *static_cast<const fastalex::FcArgs*>(erased);
  float* in = task.in + static_cast<int64_t>(row) * task.in_stride;
  if (in_byte_planes(task.form)) return prepare_planes(task, row);
  if (task.form != fastalex::kFcBf16) {
    if (task.byte_planes == 1) round_to_quantized(task, in);
    return;
  }
  fastalex::Activations to = {};
  to.data = task.prepared + row * task.plane;
  to.dtype = fastalex::kBfloat16;
  for (int k = 0; k < task.k; k += kLanes) store_values(to, k, load(in + k), task.k - k);
  memset(static_cast<uint16_t*>(to.data) + task.k, 0, task.plane - 2 * static_cast<int64_t>(task.k));
}

}  // namespace
#endif  // FASTALEX_CPU_KERNELS_FC_PREPARE_H
