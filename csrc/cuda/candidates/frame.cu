// The tables of the frame kernels, in double, and their launches.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "common/error.h"
#include "cuda/candidates/candidate_table.h"
#include "cuda/candidates/frame.h"
#include "cuda/kernels/frame.cuh"
#include "cuda/kernels/frame_instances.h"

namespace fastalex {
namespace cuda {
namespace {

struct Row {
  KernelInfo kernel;
  int filter;
  Dtype dtype;
};

typedef CandidateTable<Row> Table;

const Table& table() {
  static const Table table({FASTALEX_FRAME_INSTANCES(FASTALEX_CANDIDATE_ROW)});
  return table;
}

// One axis of the resizing.
struct Axis {
  int filter, old_size, new_size, first, count;  // `count` of the new_size positions from `first` on
};
Axis row_axis(const FrameSpec& s) { return Axis{s.filter, s.height, s.resized_h, s.crop_y, s.out_h}; }
Axis column_axis(const FrameSpec& s) { return Axis{s.filter, s.width, s.resized_w, s.crop_x, s.out_w}; }

double scale_of(const Axis& axis) { return static_cast<double>(axis.old_size) / axis.new_size; }
double support_of(const Axis& axis) { return std::max(scale_of(axis), 1.0); }  // half of the filter's width

// Weights that the table has for each position.
int taps_of(const Axis& axis) {
  if (axis.filter == kNearest) return 0;
  return axis.filter == kLinear ? 1 : static_cast<int>(std::ceil(support_of(axis))) * 2 + 1;
}

// The range of old positions that contribute to a new one.
struct Span {
  int first, count;
};

Span nearest_span(const Axis& axis, int position) {
  const float scale = static_cast<float>(axis.old_size) / static_cast<float>(axis.new_size);
  return Span{std::min(static_cast<int>(static_cast<float>(position) * scale), axis.old_size - 1), 1};
}

// Sets `weight` to that of the second of the two neighbors.
Span linear_span(const Axis& axis, int position, int* weight) {
  const double center = std::min(std::max((position + 0.5) * scale_of(axis) - 0.5, 0.0), axis.old_size - 1.0);
  const int first = static_cast<int>(center);
  const float of_second = static_cast<float>(center - first);
  std::memcpy(weight, &of_second, sizeof of_second);
  return Span{first, std::min(2, axis.old_size - first)};
}

// A triangle as wide as 2 support around the center, its values at the old positions normalized to a sum of 1.
Span antialiased_span(const Axis& axis, int position, int* weights) {
  const double support = support_of(axis), center = (position + 0.5) * scale_of(axis), narrowing = 1 / support;
  const int first = std::max(static_cast<int>(center - support + 0.5), 0);
  const int count = std::min(static_cast<int>(center + support + 0.5), axis.old_size) - first;
  const auto triangle = [&](int i) { return std::max(0.0, 1 - std::fabs((i + first - center + 0.5) * narrowing)); };
  double sum = 0;
  for (int i = 0; i < count; ++i) sum += triangle(i);
  for (int i = 0; i < count; ++i) weights[i] = static_cast<int>(triangle(i) / sum * (1 << frame::kFractionBits) + 0.5);
  return Span{first, count};
}

Span span_of(const Axis& axis, int position, int* weights) {
  if (axis.filter == kNearest) return nearest_span(axis, position);
  return axis.filter == kLinear ? linear_span(axis, position, weights) : antialiased_span(axis, position, weights);
}

// Spans [count, 2], then weights [count, taps].
size_t table_ints(const Axis& axis) { return static_cast<size_t>(axis.count) * (2 + taps_of(axis)); }

void fill_table(const Axis& axis, int* table) {
  const int taps = taps_of(axis);
  std::fill(table, table + table_ints(axis), 0);
  for (int i = 0; i < axis.count; ++i) {
    const Span span =
        span_of(axis, axis.first + i, table + 2 * static_cast<size_t>(axis.count) + static_cast<size_t>(i) * taps);
    table[2 * i] = span.first;
    table[2 * i + 1] = span.count;
  }
}

struct Tile {
  int rows, cols;
};

// The largest tile, up to 8 x 32, whose part of the frame's rows fits the shared memory.
Tile tile_of(const FrameSpec& spec) {
  const Axis axis = row_axis(spec);
  Tile tile = {8, 32};
  while (tile.cols > 0) {
    const double height = (tile.rows - 1) * scale_of(axis) + 2 * support_of(axis) + 2;  // both ends rounded outwards
    if (std::min(height, static_cast<double>(axis.old_size)) * tile.cols * 3 <= frame::kSharedBytes) return tile;
    if (tile.cols > 8 || tile.rows == 1)
      tile.cols /= 2;
    else
      tile.rows /= 2;
  }
  return tile;
}

void check(const FrameSpec& s) {
  if (s.height < 1 || s.width < 1) invalid("a frame must have at least one pixel, not ", s.height, " x ", s.width);
  if (s.row_bytes < 3LL * s.width)
    invalid("the rows of a frame of ", s.width, " pixels must be at least ", 3LL * s.width, " bytes apart, not ",
            s.row_bytes);
  if (s.filter < kNearest || s.filter > kAntialiased) invalid("a frame's filter must be 0, 1 or 2, not ", s.filter);
  if (s.out_h < 1 || s.out_w < 1 || s.out_h > 65535 || s.crop_y < 0 || s.crop_x < 0 ||
      s.crop_y > s.resized_h - s.out_h || s.crop_x > s.resized_w - s.out_w)
    invalid("a crop of ", s.out_h, " x ", s.out_w, " pixels at row ", s.crop_y, " and column ", s.crop_x,
            " does not lie inside a picture of ", s.resized_h, " x ", s.resized_w);
  if (s.filter == kAntialiased && tile_of(s).cols == 0)
    invalid("a frame of ", s.height, " rows is too tall for the antialiased filter on the GPU; at most ",
            frame::kSharedBytes / 3, " rows are possible");
}

}  // namespace

FrameSpec frame_spec(const fastalex_frame& frame, int out_h, int out_w) {
  FrameSpec spec;
  std::memset(&spec, 0, sizeof spec);
  spec.height = frame.height;
  spec.width = frame.width;
  spec.row_bytes = frame.row_bytes;
  spec.filter = frame.filter;
  spec.resized_h = frame.resized_h;
  spec.resized_w = frame.resized_w;
  spec.crop_y = frame.crop_y;
  spec.crop_x = frame.crop_x;
  spec.out_h = out_h;
  spec.out_w = out_w;
  spec.swap = frame.swap;
  std::copy(frame.scale, frame.scale + 3, spec.scale);
  std::copy(frame.shift, frame.shift + 3, spec.shift);
  return spec;
}

size_t frame_table_bytes(const FrameSpec& spec) {
  check(spec);
  return (table_ints(row_axis(spec)) + table_ints(column_axis(spec))) * sizeof(int);
}

void frame_tables(const FrameSpec& spec, void* host_buffer) {
  check(spec);
  int* table = static_cast<int*>(host_buffer);
  fill_table(row_axis(spec), table);
  fill_table(column_axis(spec), table + table_ints(row_axis(spec)));
}

KernelLaunch frame_launch(Dtype dtype, const FrameSpec& spec, const void* pixels, const void* tables, void* out,
                          int pitch) {
  check(spec);
  FASTALEX_ASSERT(pitch == channel_pitch(3));
  FrameArgs a = {};
  a.pixels = static_cast<const u8*>(pixels);
  a.out = out;
  a.row_bytes = static_cast<u64>(spec.row_bytes);
  a.row_spans = static_cast<const int*>(tables);
  a.row_weights = a.row_spans + 2 * static_cast<size_t>(spec.out_h);
  a.column_spans = a.row_spans + table_ints(row_axis(spec));
  a.column_weights = a.column_spans + 2 * static_cast<size_t>(spec.out_w);
  a.row_taps = taps_of(row_axis(spec));
  a.column_taps = taps_of(column_axis(spec));
  a.out_h = spec.out_h;
  a.out_w = spec.out_w;
  a.swap = spec.swap;
  std::copy(spec.scale, spec.scale + 3, a.scale);
  std::copy(spec.shift, spec.shift + 3, a.shift);
  Grid grid = {ceil_div(spec.out_w, frame::kThreads), spec.out_h, 1};
  if (spec.filter == kAntialiased) {
    const Tile tile = tile_of(spec);
    a.tile_rows = tile.rows;
    a.tile_cols = tile.cols;
    grid = Grid{ceil_div(spec.out_w, tile.cols), ceil_div(spec.out_h, tile.rows), 1};
  }
  const KernelInfo& kernel =
      table().kernel([&](const Row& row) { return row.filter == spec.filter && row.dtype == dtype; });
  return KernelLaunch::make(kernel, grid, a);
}

std::vector<const KernelInfo*> frame_kernels() {
  std::vector<const KernelInfo*> list;
  for (const Row& row : table().rows()) list.push_back(&row.kernel);
  return list;
}

}  // namespace cuda
}  // namespace fastalex
