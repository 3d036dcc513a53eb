// conv+bias+activation as an implicit GEMM over the padded NHWC input: every window is a list of contiguous runs
// (for one group, a kernel row of all channels), so no im2col buffer is written and no border is tested.
#ifndef FASTALEX_CPU_OPS_CONV_H
#define FASTALEX_CPU_OPS_CONV_H

#include "tile.h"
#include "values.h"

namespace {

inline int bytes_of(int numeric) {
  return numeric == fastalex::kFloat32 ? 4 : numeric == fastalex::kBfloat16 ? 2 : static_cast<int>(sizeof(Level));
}

struct PanelWork {
  const char* weights;
  const float* bias;
  const float* scale;
  const int32_t* offset;
  int group, channel, width;
};

inline PanelWork panel_work(const fastalex::ConvTask& task, int index) {
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

inline Vec result_of(Vec sum, const PanelWork& panel, int j) { return sum + load(panel.bias + j * kLanes); }
inline Vec result_of(IntVec sum, const PanelWork& panel, int j) {
  const Vec levels = to_float(sum + load_units(panel.offset + j * kLanes));
  return levels * load(panel.scale + j * kLanes) + load(panel.bias + j * kLanes);
}

template <int NUMERIC, int ROWS>
void conv_tile(const fastalex::ConvTask& task, const PanelWork& panel, int image, int pixel) {
  const char* in[ROWS];
  int64_t out[ROWS];
  for (int i = 0; i < ROWS; ++i) {
    const int y = (pixel + i) / task.out.w, x = (pixel + i) % task.out.w;
    in[i] = static_cast<const char*>(task.in.data) +
            (place_of(task.in, image, y * task.stride, x * task.stride) + panel.group * task.in_per_group) *
                bytes_of(NUMERIC);
    out[i] = place_of(task.out, image, y, x) + panel.channel;
  }
  Tile<NUMERIC, ROWS> tile;
  multiply<NUMERIC, ROWS>(in, task.runs, task.run_count, panel.weights, &tile);
  for (int i = 0; i < ROWS; ++i)
    for (int j = 0; j < kVectors && j * kLanes < panel.width; ++j)
      store_values(task.out, out[i] + j * kLanes, activate(result_of(tile.sum[i][j], panel, j), task.activation),
                   panel.width - j * kLanes);
}

template <int NUMERIC>
void conv(const void* erased, int unit, int) {
  const fastalex::ConvTask& task = *static_cast<const fastalex::ConvTask*>(erased);
  const int panels = task.groups * task.panels_per_group, stretch = unit % task.units_per_panel;
  const int index = unit / task.units_per_panel % panels, image = unit / task.units_per_panel / panels;
  const PanelWork panel = panel_work(task, index);
  const int begin = stretch * task.pixels_per_unit, pixels = task.out.h * task.out.w;
  const int count = pixels - begin < task.pixels_per_unit ? pixels - begin : task.pixels_per_unit;
  for_row_tiles(count, [&](auto rows, int row) {
    conv_tile<NUMERIC, decltype(rows)::kCount>(task, panel, image, begin + row);
  });
}

}  // namespace
#endif  // FASTALEX_CPU_OPS_CONV_H
