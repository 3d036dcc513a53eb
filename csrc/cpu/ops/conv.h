// conv+bias+activation as an implicit GEMM over the padded NHWC input: every window is a list of contiguous runs
// (for one group, a kernel row of all channels), so no im2col buffer is written and no border is tested.
#ifndef FASTALEX_CPU_OPS_CONV_H
#define FASTALEX_CPU_OPS_CONV_H

#include "tile.h"

namespace {

struct Place {
  const float* in;
  float* out;
};

inline Place place_of(const fastalex::ConvTask& task, int pixel, int group, int channel) {
  const int y = pixel / task.out.w, x = pixel % task.out.w;
  Place place;
  place.in = task.in + static_cast<int64_t>(y) * task.stride * task.in_row +
             static_cast<int64_t>(x) * task.stride * task.in_c + group * task.in_per_group;
  place.out = task.out.data + static_cast<int64_t>(y) * task.out.row + static_cast<int64_t>(x) * task.out.c + channel;
  return place;
}

struct PanelWork {
  const float* weights;
  const float* bias;
  int group, channel, width;
};

template <int ROWS>
void conv_tile(const fastalex::ConvTask& task, const PanelWork& panel, const fastalex::Block& block, int pixel,
               bool first, bool last) {
  const float* in[ROWS];
  float* out[ROWS];
  for (int i = 0; i < ROWS; ++i) {
    const Place place = place_of(task, pixel + i, panel.group, panel.channel);
    in[i] = place.in;
    out[i] = place.out;
  }
  Tile<ROWS> tile;
  multiply<ROWS>(in, task.runs + block.first, block.last - block.first,
                 panel.weights + static_cast<int64_t>(block.k) * kPanel, &tile);
  for (int i = 0; i < ROWS; ++i) finish(tile.sum[i], panel.bias, out[i], panel.width, first, last, task.activation);
}

void conv(const void* erased, int unit) {
  const fastalex::ConvTask& task = *static_cast<const fastalex::ConvTask*>(erased);
  const int index = unit / task.units_per_panel;
  const int local = index % task.panels_per_group;
  PanelWork panel;
  panel.group = index / task.panels_per_group;
  panel.channel = panel.group * task.out_per_group + local * kPanel;
  panel.width = task.out_per_group - local * kPanel < kPanel ? task.out_per_group - local * kPanel : kPanel;
  panel.weights = task.weights + static_cast<int64_t>(index) * task.k * kPanel;
  panel.bias = task.bias + static_cast<int64_t>(index) * kPanel;

  const int begin = unit % task.units_per_panel * task.pixels_per_unit;
  const int pixels = task.out.h * task.out.w;
  const int end = begin + task.pixels_per_unit < pixels ? begin + task.pixels_per_unit : pixels;
  for (int b = 0; b < task.block_count; ++b) {  // one block of weights stays in L1 for all positions of the unit
    const bool first = b == 0, last = b + 1 == task.block_count;
    int pixel = begin;
    for (; pixel + kRows <= end; pixel += kRows) conv_tile<kRows>(task, panel, task.blocks[b], pixel, first, last);
    for (; pixel + 2 <= end; pixel += 2) conv_tile<2>(task, panel, task.blocks[b], pixel, first, last);
    for (; pixel < end; ++pixel) conv_tile<1>(task, panel, task.blocks[b], pixel, first, last);
  }
}

}  // namespace
#endif  // FASTALEX_CPU_OPS_CONV_H
