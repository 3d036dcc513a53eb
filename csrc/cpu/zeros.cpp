#include "cpu/zeros.h"

#include <algorithm>

#include "fastalex.h"

namespace fastalex {
namespace {

// The share of rows above which all are read: leaving out few does not pay for listing and jumping over them. To
// measure the break-even, compile with a share of 1 and time densities near 1 with `benchmarks/run.py zeros`.
#ifndef FASTALEX_DENSE_SHARE
#define FASTALEX_DENSE_SHARE 0.95
#endif
const double kDense = FASTALEX_DENSE_SHARE;

int part_rows(const FcLayer& layer) { return layer.byte_rows() ? FASTALEX_INT4_GROUP : kPartUnits; }

int parts_of(const FcLayer& layer) { return (layer.rows + part_rows(layer) - 1) / part_rows(layer); }

// Sets used[row] for the rows of weights of which an image has an input that is not zero; a NaN is not.
// Returns their number.
int mark_used(const FcLayer& layer, const FcArgs& task, uint8_t* used) {
  for (int row = 0; row < layer.rows; ++row) used[row] = 0;
  for (int image = 0; image < task.n; ++image) {
    const float* in = task.in + static_cast<int64_t>(image) * task.in_stride;
    if (layer.products == 1)
      for (int i = 0; i < layer.k; ++i) used[i] |= in[i] != 0;
    else
      for (int i = 0; i < layer.k; ++i) used[i / layer.products] |= in[i] != 0;
  }
  int count = 0;
  for (int row = 0; row < layer.rows; ++row) count += used[row];
  return count;
}

bool may_skip(const FcLayer& layer, const FcArgs& task) {
  if (!layer.skips_rows) return false;
  for (int image = 0; layer.byte_rows() && image < task.n; ++image)
    if (task.row_zero[image] != 0 || task.row_scale[image] != task.row_scale[image]) return false;
  return true;
}

// Lists the rows part by part. For products of bytes, each part is padded.
void fill_list(const FcLayer& layer, const uint8_t* used, int32_t* active, int32_t* starts, bool all) {
  int count = 0;
  for (int begin = 0; begin < layer.rows; begin += part_rows(layer)) {
    *starts++ = count;
    const int end = std::min(begin + part_rows(layer), layer.rows);
    for (int row = begin; row < end; ++row) {
      active[count] = row;
      count += all || used[row];
    }
    if (layer.byte_rows())
      for (; count % kListedRows; ++count) active[count] = begin;
  }
  *starts = count;
}

// Copies the byte planes in the order of the list; padding repeats a row that came before, and gets zeros.
void list_planes(const FcLayer& layer, const FcArgs& task, uint8_t* listed) {
  for (int plane = 0; plane < task.n * task.byte_planes; ++plane) {
    const uint8_t* from = task.prepared + plane * task.plane;
    uint8_t* to = listed + plane * task.listed_plane;
    for (int i = 0; i < task.active_count; ++i) to[i] = from[task.active[i]];
    for (int part = 0; part < parts_of(layer); ++part)
      for (int i = task.active_starts[part + 1] - 1;
           i > task.active_starts[part] && task.active[i] <= task.active[i - 1]; --i)
        to[i] = 0;
  }
}

}  // namespace

size_t list_entries(const FcLayer& layer) {
  return static_cast<size_t>(layer.rows) + kListedRows + static_cast<size_t>(parts_of(layer)) * kListedRows + 1;
}

// A value more is written than is kept.
size_t listed_plane(const FcLayer& layer) {
  return odd_lines(static_cast<size_t>(layer.rows) + static_cast<size_t>(parts_of(layer)) * kListedRows + 1);
}

void list_active(const FcLayer& layer, NetworkContext* context, FcArgs* task) {
  uint8_t* used = context->used.as<uint8_t>();
  const bool skip = may_skip(layer, *task) && mark_used(layer, *task, used) <= kDense * layer.rows;
  if (!skip && !layer.byte_rows()) return;
  int32_t* active = context->active.as<int32_t>();
  int32_t* starts = active + list_entries(layer) - parts_of(layer) - 1;
  fill_list(layer, used, active, starts, !skip);
  task->active = active;
  task->active_starts = starts;
  task->active_count = starts[parts_of(layer)];
  if (!layer.byte_rows()) return;
  task->listed = task->prepared;
  task->listed_plane = task->plane;
  if (!skip) return;  // the planes have the order of the rows, and zeros after the last one
  uint8_t* listed = context->listed.as<uint8_t>();
  task->listed = listed;
  task->listed_plane = static_cast<int64_t>(listed_plane(layer));
  list_planes(layer, *task, listed);
}

}  // namespace fastalex
