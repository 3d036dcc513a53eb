// fully connected+bias+activation. A unit is a panel of outputs for the whole batch, so the weights are read once
// from memory; for small batches, whose cost is that reading, they are widened in registers.
#ifndef FASTALEX_CPU_OPS_FULLY_CONNECTED_H
#define FASTALEX_CPU_OPS_FULLY_CONNECTED_H

#include "tile.h"

namespace {

// int8 weights: the sum over a block is scaled by the output channel's scale before it is added up.
template <int ROWS>
inline void scale_and_finish(const fastalex::FcTask& task, int panel, int row, Tile<ROWS>* tile, bool first,
                             bool last) {
  for (int i = 0; i < ROWS; ++i) {
    if (task.scale)
      for (int j = 0; j < kVectors; ++j) tile->sum[i][j] *= load(task.scale + panel * kPanel + j * kLanes);
    finish(tile->sum[i], task.bias + panel * kPanel,
           task.out + static_cast<int64_t>(row + i) * task.out_stride + panel * kPanel, kPanel, first, last,
           task.activation);
  }
}

template <int ROWS, typename Weight>
void fc_rows(const fastalex::FcTask& task, int panel, const fastalex::Run& run, const Weight* w, int row, bool first,
             bool last) {
  const float* in[ROWS];
  for (int i = 0; i < ROWS; ++i) in[i] = task.in + static_cast<int64_t>(row + i) * task.in_stride;
  Tile<ROWS> tile;
  multiply<ROWS>(in, &run, 1, w, &tile);
  scale_and_finish<ROWS>(task, panel, row, &tile, first, last);
}

template <typename Weight>
void fc_block(const fastalex::FcTask& task, int panel, const fastalex::Run& run, const Weight* w, bool first,
              bool last) {
  int row = 0;
  for (; row + kRows <= task.n; row += kRows) fc_rows<kRows>(task, panel, run, w, row, first, last);
  for (; row + 2 <= task.n; row += 2) fc_rows<2>(task, panel, run, w, row, first, last);
  if (task.n == 1) {
    Tile<1> tile;
    multiply_one(task.in + run.offset, run.length, w, &tile);
    scale_and_finish<1>(task, panel, 0, &tile, first, last);
  } else if (row < task.n) {  // the order of the sum is that of the other rows: an image's place changes no bit
    fc_rows<1>(task, panel, run, w, row, first, last);
  }
}

template <typename Weight>
void fc_panel(const fastalex::FcTask& task, int panel) {
  const Weight* w = static_cast<const Weight*>(task.weights) + static_cast<int64_t>(panel) * task.k * kPanel;
  const int step = fastalex::kBlockFloats / kPanel;
  const bool widen_once = sizeof(Weight) < sizeof(float) && task.n > kRows;
  float wide[fastalex::kBlockFloats];
  for (int k = 0; k < task.k; k += step) {
    const fastalex::Run run = {k, task.k - k < step ? task.k - k : step};
    const bool first = k == 0, last = k + run.length == task.k;
    const Weight* block = w + static_cast<int64_t>(k) * kPanel;
    if (widen_once) {
      for (int i = 0; i < run.length * kPanel; i += kLanes) store(wide + i, widen(block + i));
      fc_block(task, panel, run, wide, first, last);
    } else {
      fc_block(task, panel, run, block, first, last);
    }
  }
}

void fully_connected(const void* erased, int panel) {
  const fastalex::FcTask& task = *static_cast<const fastalex::FcTask*>(erased);
  if (task.storage == FASTALEX_FP32)
    fc_panel<float>(task, panel);
  else if (task.storage == FASTALEX_FP16)
    fc_panel<uint16_t>(task, panel);
  else
    fc_panel<int8_t>(task, panel);
}

}  // namespace
#endif  // FASTALEX_CPU_OPS_FULLY_CONNECTED_H
