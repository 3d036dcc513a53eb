#include "cuda/weights/columns.h"

#include <algorithm>
#include <cstring>

#include "common/error.h"
#include "cuda/candidates/candidate.h"

namespace fastalex {
namespace {

const int kBlock = 64;  // columns of a tile that stay in the cache while they are filled

// Where the values of a layout are.
struct Place {
  explicit Place(const StreamedLayout& layout)
      : outputs(cuda::column_outputs(layout.storage)),
        tiles((layout.rows + outputs - 1) / outputs),
        inputs(layout.row_values),
        groups(layout.row_values / FASTALEX_INT4_GROUP) {}

  size_t scale(int row, int group) const {  // of int4
    return (static_cast<size_t>(row / outputs) * groups + group) * outputs + row % outputs;
  }
  size_t scale_bytes(int storage) const {
    const size_t all = static_cast<size_t>(tiles) * outputs;
    return storage == FASTALEX_INT8   ? all * sizeof(float)
           : storage == FASTALEX_INT4 ? all * groups * sizeof(uint16_t)
                                      : 0;
  }

  int outputs, tiles, inputs, groups;
};

// Calls visit(index in rows, index in columns) for every value, a few columns of a tile at a time.
template <class Visit>
void for_each_value(const StreamedLayout& layout, const Place& place, const Visit& visit) {
  for (int tile = 0; tile < place.tiles; ++tile)
    for (int first = 0; first < place.inputs; first += kBlock)
      for (int row = tile * place.outputs; row < std::min((tile + 1) * place.outputs, layout.rows); ++row) {
        const size_t in_row = static_cast<size_t>(row) * place.inputs;
        const size_t tile_values = static_cast<size_t>(tile) * place.inputs * place.outputs;
        const size_t in_tile = tile_values + (row - tile * place.outputs);
        for (int input = first; input < std::min(first + kBlock, place.inputs); ++input)
          visit(in_row + input, in_tile + static_cast<size_t>(input) * place.outputs);
      }
}

// `to` is zero.
void copy_nibble(const char* from, size_t from_index, char* to, size_t to_index) {
  const int nibble = int4_value(from + from_index / 8 * 4, from_index % 8) + 8;
  const size_t within = to_index % 8 / 2 + 4 * (to_index % 2);
  to[to_index / 8 * 4 + within / 2] |= static_cast<char>(nibble << (within % 2 * 4));
}

// Copies all values from `from` to `to`, one of which has rows and the other columns.
template <bool TO_COLUMNS>
void copy_values(const StreamedLayout& layout, const char* from, char* to) {
  const Place place(layout);
  const size_t bytes = layout.storage == FASTALEX_FP16 ? 2 : 1;
  for_each_value(layout, place, [&](size_t in_row, size_t in_column) {
    const size_t source = TO_COLUMNS ? in_row : in_column, target = TO_COLUMNS ? in_column : in_row;
    if (layout.storage == FASTALEX_INT4)
      copy_nibble(from, source, to, target);
    else
      std::memcpy(to + target * bytes, from + source * bytes, bytes);
  });
}

template <bool TO_COLUMNS>
void copy_scales(const StreamedLayout& layout, const char* from, char* to) {
  const Place place(layout);
  if (layout.storage == FASTALEX_INT8) std::memcpy(to, from, layout.rows * sizeof(float));
  if (layout.storage != FASTALEX_INT4) return;
  for (int row = 0; row < layout.rows; ++row)
    for (int group = 0; group < place.groups; ++group) {
      const size_t in_row = static_cast<size_t>(row) * place.groups + group, in_column = place.scale(row, group);
      std::memcpy(to + (TO_COLUMNS ? in_column : in_row) * sizeof(uint16_t),
                  from + (TO_COLUMNS ? in_row : in_column) * sizeof(uint16_t), sizeof(uint16_t));
    }
}

}  // namespace

PackedValues to_columns(const StreamedLayout& layout, const PackedValues& rows) {
  FASTALEX_ASSERT(layout.storage != FASTALEX_FP32);
  const Place place(layout);
  PackedValues columns;
  columns.values.resize(static_cast<size_t>(place.tiles) * place.inputs * cuda::kColumnBytes);
  columns.scale.resize(place.scale_bytes(layout.storage));
  copy_values<true>(layout, rows.values.data(), columns.values.data());
  copy_scales<true>(layout, rows.scale.data(), columns.scale.data());
  return columns;
}

PackedValues to_rows(const StreamedLayout& layout, const PackedValues& columns) {
  PackedValues rows;
  rows.values.resize(layout.rows * layout.row_bytes);
  rows.scale.resize(layout.rows * layout.row_scale_bytes);
  copy_values<false>(layout, columns.values.data(), rows.values.data());
  copy_scales<false>(layout, columns.scale.data(), rows.scale.data());
  return rows;
}

}  // namespace fastalex
