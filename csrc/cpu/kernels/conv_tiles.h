// conv+bias+activation by tiles (tile_steps.h), of int8 and bf16: as in conv.h an implicit GEMM over the padded NHWC
// input. A tile's rows are neighboring outputs of a row, whose windows lie the same distance apart, so that tiles of
// the input are loaded from where it lies. Two tiles share the weights.
#ifndef FASTALEX_CPU_KERNELS_CONV_TILES_H
#define FASTALEX_CPU_KERNELS_CONV_TILES_H

#include "cpu/kernels/conv.h"
#include "cpu/kernels/tile_steps.h"

#if defined(FASTALEX_USE_TILES)

namespace {

// As few tiles as cover a row of outputs, all alike: the last one ends with the row, and computes some outputs again.
struct RowOfTiles {
  int count, rows, last;
  explicit RowOfTiles(int width)
      : count((width + kTileRows - 1) / kTileRows), rows((width + count - 1) / count), last(width - rows) {}
  int first(int tile) const { return tile + 1 < count ? tile * rows : last; }
};

// The kernel rows that one of the tiles needs. Where the others do not, they read zeros from the border.
template <int INPUTS>
inline KernelRows common_rows(const fastalex::ConvArgs& task, const TilePlace (&at)[2]) {
  KernelRows rows = at[0].rows;
  if (INPUTS == 1 || task.in.zero) return rows;
  if (at[1].rows.first < rows.first) rows.first = at[1].rows.first;
  if (at[1].rows.last > rows.last) rows.last = at[1].rows.last;
  return rows;
}

template <int DTYPE, int INPUTS>
void conv_tiles_at(const fastalex::ConvArgs& task, const PanelWork& panel, const TilePlace (&at)[2], int rows,
                   Tiles* tiles) {
  const int64_t column = static_cast<int64_t>(task.stride) * task.in.c * bytes_of(DTYPE);
  const char* window[2] = {};
  for (int i = 0; i < INPUTS; ++i) window[i] = window_at(task, panel, at[i], bytes_of(DTYPE));
  const KernelRows needed = common_rows<INPUTS>(task, at);
  const int steps = task.units / task.step_units, per_row = steps / task.kernel;
  const int64_t step_bytes = static_cast<int64_t>(task.step_units) * kPanel * 4;
  tiles->zero_sums<INPUTS>();
  for (int step = needed.first * per_row; step < needed.last * per_row; ++step) {
    const int32_t offset = task.offsets[step];
    const char* const in[2] = {window[0] + offset, window[INPUTS - 1] + offset};
    tiles->add<DTYPE, INPUTS>(in, column, {panel.weights + step * step_bytes, kPanel * 4});
  }
  typename Products<DTYPE>::Sum sums[2][kTileRows * kVectors];
  void* const to[2] = {sums[0], sums[1]};
  tiles->store_sums<INPUTS>(to, kPanel * 4);
  for (int i = 0; i < INPUTS; ++i)
    store_results(task, panel, sums[i], rows, place_of(task.out, at[i].image, at[i].y, at[i].x) + panel.channel);
}

template <int DTYPE>
void conv_tiles(const void* erased, int unit, int) {
  const fastalex::ConvArgs& task = *static_cast<const fastalex::ConvArgs*>(erased);
  const ConvUnit work = conv_unit(task, unit);
  const RowOfTiles row(task.out.w);
  const auto place = [&](int tile) {
    const int y = work.begin + tile / row.count;
    return TilePlace{work.image, y, row.first(tile % row.count), kernel_rows(task, y)};
  };
  Tiles tiles;
  tiles.shape({row.rows, task.step_units});
  const int count = (work.end - work.begin) * row.count;
  for (int tile = 0; tile < count; tile += 2) {
    const TilePlace at[2] = {place(tile), place(tile + 1 < count ? tile + 1 : tile)};
    if (tile + 1 < count)
      conv_tiles_at<DTYPE, 2>(task, work.panel, at, row.rows, &tiles);
    else
      conv_tiles_at<DTYPE, 1>(task, work.panel, at, row.rows, &tiles);
  }
}

}  // namespace

#endif  // FASTALEX_USE_TILES
#endif  // FASTALEX_CPU_KERNELS_CONV_TILES_H
