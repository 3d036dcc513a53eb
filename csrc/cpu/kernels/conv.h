// conv+bias+activation as an implicit GEMM over the padded NHWC input: every window is a list of units at fixed
// distances, so no im2col buffer is written. A tile lies in one row of the output: kernel rows that meet nothing but
// the border are left out.
#ifndef FASTALEX_CPU_KERNELS_CONV_H
#define FASTALEX_CPU_KERNELS_CONV_H

#include "cpu/kernels/tile.h"
#include "cpu/kernels/values.h"

namespace {

inline int bytes_of(int dtype) {
  return dtype == fastalex::kFloat32 ? 4 : dtype == fastalex::kBfloat16 ? 2 : static_cast<int>(sizeof(Quantized));
}

struct PanelWork {
  const char* weights;
  const float* bias;
  const float* scale;
  const int32_t* offset;
  int group, channel, width;
};

inline PanelWork panel_work(const fastalex::ConvArgs& task, int index) {
  PanelWork panel;
  const int local = index % task.panels_per_group;
  panel.group = index / task.panels_per_group;
  panel.channel = panel.group * task.out_per_group + local * kPanel;
  panel.width = task.out_per_group - local * kPanel < kPanel ? task.out_per_group - local * kPanel : kPanel;
  panel.weights = static_cast<const char*>(task.weights) + static_cast<int64_t>(index) * task.units * kPanel * 4;
  panel.bias = task.bias + static_cast<int64_t>(index) * kPanel;
  panel.scale = task.scale + static_cast<int64_t>(index) * kPanel;
  panel.offset = task.offset + static_cast<int64_t>(index) * kPanel;
  return panel;
}

// Turns the sums of products of vector j of the panel into results, before the activation.
template <typename Sum>
struct Results;
template <>
struct Results<Vec> {
  Results(const PanelWork& panel, int j) : bias(load(panel.bias + j * kLanes)) {}
  Vec operator()(Vec sum) const { return sum + bias; }
  Vec bias;
};
template <>
struct Results<IntVec> {
  Results(const PanelWork& panel, int j)
      : bias(load(panel.bias + j * kLanes)),
        scale(load(panel.scale + j * kLanes)),
        offset(load_units(panel.offset + j * kLanes)) {}
  Vec operator()(IntVec sum) const { return to_float(sum + offset) * scale + bias; }
  Vec bias, scale;
  IntVec offset;
};

// Stores the results of `rows` consecutive positions, starting at value `out` of the output. sums: [row][kVectors].
template <typename Sum>
__attribute__((noinline)) void store_results(const fastalex::ConvArgs& task, const PanelWork& panel, const Sum* sums,
                                             int rows, int64_t out) {
  for (int j = 0; j < kVectors && j * kLanes < panel.width; ++j) {
    const Results<Sum> result(panel, j);
    int64_t place = out + j * kLanes;
    for (int i = 0; i < rows; ++i, place += task.out.c)
      store_values(task.out, place, activate(result(sums[i * kVectors + j]), task.activation),
                   panel.width - j * kLanes);
  }
}

// The kernel rows that lie within the image for one row of outputs; all of them if the border's quantized value is not
// zero, since ConvArgs::offset counts on it.
struct KernelRows {
  int first, last;
};
inline KernelRows kernel_rows(const fastalex::ConvArgs& task, int y) {
  if (task.in.zero) return {0, task.kernel};
  const int top = y * task.stride - task.pad, rest = task.in.h - top;
  return {top < 0 ? -top : 0, rest < task.kernel ? rest : task.kernel};
}

// A run of `width` outputs that starts at (y, x).
struct TilePlace {
  int image, y, x;
  KernelRows rows;
};

// The first byte of the window of a run's first output; `bytes`: of a value.
inline const char* window_at(const fastalex::ConvArgs& task, const PanelWork& panel, const TilePlace& at, int bytes) {
  return static_cast<const char*>(task.in.data) +
         (place_of(task.in, at.image, at.y * task.stride, at.x * task.stride) + panel.group * task.in_per_group) *
             bytes;
}

template <int DTYPE, int ROWS>
void conv_tile(const fastalex::ConvArgs& task, const PanelWork& panel, const TilePlace& at) {
  const int64_t column = static_cast<int64_t>(task.stride) * task.in.c * bytes_of(DTYPE);
  const char* in[ROWS];
  in[0] = window_at(task, panel, at, bytes_of(DTYPE));
  for (int i = 1; i < ROWS; ++i) in[i] = in[i - 1] + column;
  const int per_row = task.units / task.kernel, first = at.rows.first * per_row;
  typename Products<DTYPE>::Sum sums[ROWS * kVectors];
  multiply<DTYPE, ROWS>(in, task.offsets + first, (at.rows.last - at.rows.first) * per_row,
                        panel.weights + static_cast<int64_t>(first) * kPanel * 4, sums);
  store_results(task, panel, sums, ROWS, place_of(task.out, at.image, at.y, at.x) + panel.channel);
}

// A unit of work: rows [begin, end) of a panel of an image.
struct ConvUnit {
  PanelWork panel;
  int image, begin, end;
};
inline ConvUnit conv_unit(const fastalex::ConvArgs& task, int unit) {
  const int panels = task.groups * task.panels_per_group;
  ConvUnit work;
  work.panel = panel_work(task, unit / task.units_per_panel % panels);
  work.image = unit / task.units_per_panel / panels;
  work.begin = unit % task.units_per_panel * task.rows_per_unit;
  work.end = work.begin + task.rows_per_unit < task.out.h ? work.begin + task.rows_per_unit : task.out.h;
  return work;
}

template <int DTYPE>
void conv(const void* erased, int unit, int) {
  const fastalex::ConvArgs& task = *static_cast<const fastalex::ConvArgs*>(erased);
  const ConvUnit work = conv_unit(task, unit);
  for (int y = work.begin; y < work.end; ++y) {
    const KernelRows rows = kernel_rows(task, y);
    for_row_tiles(task.out.w, [&](auto count, int x) {
      conv_tile<DTYPE, decltype(count)::kCount>(task, work.panel, TilePlace{work.image, y, x, rows});
    });
  }
}

}  // namespace
#endif  // FASTALEX_CPU_KERNELS_CONV_H
