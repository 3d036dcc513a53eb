// Convolutions of int8 precision by Winograd's algorithm in integers, F(4 x 4, 3 x 3) at 0, 1, -1, 2, -2: the sums of
// direct convolution, to the bit, by a quarter of its products. For 16-bit quantized values.
//
// B^T d B and G g G^T with integer matrices (cpu/integer_winograd.h) fit 16 bits; sums of their products are kept
// modulo 2^32. A^T m A then gives 576 Y, Y being the sums of the convolution; times the inverse of 9 that is 64 Y,
// still modulo 2^32, which is exact as long as Y fits 26 bits (integer_sums_fit).
//
// A kernel of more than three rows is cut to pieces of 3 x 3, whose products are added up before A^T m A as if each
// were more channels. The last position of a piece of only two rows or columns has no weights and is left out.
#ifndef FASTALEX_CPU_KERNELS_WINOGRAD_INTEGER_H
#define FASTALEX_CPU_KERNELS_WINOGRAD_INTEGER_H

#include "cpu/kernels/conv.h"
#include "cpu/kernels/tile.h"
#include "cpu/kernels/values.h"
#include "cpu/kernels/winograd.h"

namespace {

#if defined(FASTALEX_USE_VNNI)

// Direct convolution by products of bytes: no layer has this form.
void integer_winograd_input(const fastalex::WinogradArgs&, int) {}
void integer_winograd_output(const fastalex::WinogradArgs&, int, int) {}

#else

enum { kTileOut = fastalex::kIntegerOut, kTileIn = fastalex::kIntegerIn, kTilePositions = kTileIn * kTileIn };

// 2 kLanes values modulo 2^16.
enum { kShorts = 2 * kLanes };
typedef uint16_t Shorts __attribute__((vector_size(kLanes * 4)));
typedef Shorts LooseShorts __attribute__((aligned(2), may_alias));

// The pieces of the kernel that meet at a position: columns of them and all, and those of the positions before.
struct PositionPieces {
  int columns, all, before;
};
struct Positions {
  PositionPieces at[kTilePositions];
  int all;
  explicit Positions(const fastalex::WinogradArgs& task) : all(0) {
    for (int y = 0; y < kTileIn; ++y)
      for (int x = 0; x < kTileIn; ++x) {
        const int rows = task.pieces - (y == kTileIn - 1 ? task.partial_pieces : 0);
        const int columns = task.pieces - (x == kTileIn - 1 ? task.partial_pieces : 0);
        at[y * kTileIn + x] = {columns, rows * columns, all};
        all += rows * columns;
      }
  }
};

// to = B^T d.
inline void integer_input_line(const Shorts (&d)[kTileIn], Shorts (&to)[kTileIn]) {
  const Shorts even = d[4] - (d[2] << 2), odd = d[3] - (d[1] << 2);
  const Shorts near = d[4] - d[2], far = (d[3] - d[1]) << 1;
  to[0] = ((d[0] - d[2]) << 2) + near;
  to[1] = even + odd;
  to[2] = even - odd;
  to[3] = near + far;
  to[4] = near - far;
  to[5] = ((d[1] - d[3]) << 2) - d[3] + d[5];
}

// Stores V = B^T d B of kShorts channels; place[p]: of position p.
inline void integer_input(const int16_t* d, int64_t column, int64_t row, int16_t* const* place) {
  Shorts half[kTileIn][kTileIn];  // [column of d][row of B^T d]
  for (int x = 0; x < kTileIn; ++x) {
    Shorts line[kTileIn];
    FASTALEX_UNROLL
    for (int y = 0; y < kTileIn; ++y) line[y] = *reinterpret_cast<const LooseShorts*>(d + x * column + y * row);
    integer_input_line(line, half[x]);
  }
  for (int y = 0; y < kTileIn; ++y) {
    Shorts line[kTileIn], to[kTileIn];
    FASTALEX_UNROLL
    for (int x = 0; x < kTileIn; ++x) line[x] = half[x][y];
    integer_input_line(line, to);
    FASTALEX_UNROLL
    for (int x = 0; x < kTileIn; ++x)
      if (place[y * kTileIn + x]) *reinterpret_cast<LooseShorts*>(place[y * kTileIn + x]) = to[x];
  }
}

// Transformed inputs lie in the order [position][group][tile of the strip][piece][pitch].
void integer_winograd_input(const fastalex::WinogradArgs& task, int tile) {
  const WinogradPlace at = winograd_place(task, tile, kTileOut);
  const Positions positions(task);
  const int kernel = kTileIn - kTileOut + 1;
  for (int group = 0; group < task.groups; ++group)
    for (int piece = 0; piece < task.pieces * task.pieces; ++piece) {
      const int row = piece / task.pieces, column = piece % task.pieces;
      const int16_t* d = static_cast<const int16_t*>(task.in.data) +
                         place_of(task.in, at.image, at.y + row * kernel, at.x + column * kernel) +
                         group * task.in_per_group;
      int16_t* place[kTilePositions];
      for (int p = 0; p < kTilePositions; ++p) {
        const PositionPieces& pieces = positions.at[p];
        const bool there = column < pieces.columns && row * pieces.columns < pieces.all;
        const int64_t index =
            (static_cast<int64_t>(pieces.before) * task.groups + group * pieces.all) * task.strip_tiles +
            static_cast<int64_t>(tile) * pieces.all + row * pieces.columns + column;
        place[p] = there ? static_cast<int16_t*>(task.transformed) + index * task.pitch : nullptr;
      }
      for (int c = 0; c < task.pitch; c += kShorts) {
        integer_input(d + c, task.in.c, task.in.row, place);
        for (int16_t*& p : place) p = p ? p + kShorts : nullptr;
      }
    }
}

// to = A^T m with the factors of G's rows, times 24.
inline void integer_output_line(const Modular (&m)[kTileIn], Modular (&to)[kTileOut]) {
  const Modular sum = (m[1] + m[2]) << 2, difference = (m[1] - m[2]) << 2;
  const Modular far_sum = m[3] + m[4], far_difference = (m[3] - m[4]) << 1;
  to[0] = (m[0] << 2) + (m[0] << 1) - sum + far_sum;
  to[1] = far_difference - difference;
  to[2] = (far_sum << 2) - sum;
  to[3] = (far_difference << 2) - difference + (m[5] << 4) + (m[5] << 3);
}

// The sums of kLanes outputs of a tile; m: [position][...] `position` values apart.
inline void integer_output(const int32_t* m, int64_t position, IntVec (&sums)[kTileOut][kTileOut]) {
  Modular half[kTileIn][kTileOut];  // [column of m][row of A^T m]
  for (int x = 0; x < kTileIn; ++x) {
    Modular line[kTileIn];
    FASTALEX_UNROLL
    for (int y = 0; y < kTileIn; ++y) line[y] = reinterpret_cast<Modular>(load_units(m + (y * kTileIn + x) * position));
    integer_output_line(line, half[x]);
  }
  for (int y = 0; y < kTileOut; ++y) {
    Modular line[kTileIn], to[kTileOut];
    FASTALEX_UNROLL
    for (int x = 0; x < kTileIn; ++x) line[x] = half[x][y];
    integer_output_line(line, to);
    FASTALEX_UNROLL
    for (int x = 0; x < kTileOut; ++x)
      sums[y][x] = reinterpret_cast<IntVec>(to[x] * 954437177u) >> 6;  // the inverse of 9
  }
}

// Lines to fetch while something else is computed, from `next` on.
struct Lines {
  const char *next, *end;
  void fetch(int count) {
    for (; count > 0 && next < end; --count, next += 64) __builtin_prefetch(next, 0, 3);
  }
};

// The products of a block of tiles with a panel of outputs: [position][tile][panel] of `to`.
inline void integer_products(const fastalex::WinogradArgs& task, const Positions& positions, int index, int first,
                             int count, int32_t* to) {
  const int group = index / task.panels_per_group, row_tiles = (count + kRows - 1) / kRows;
  const int16_t* weights =
      static_cast<const int16_t*>(task.weights) + static_cast<int64_t>(index) * positions.all * task.pitch * kPanel;
  for (int p = 0; p < kTilePositions; ++p) {
    const int64_t pieces = positions.at[p].all, pitch = pieces * task.pitch;
    const int16_t* tiles =
        static_cast<const int16_t*>(task.transformed) +
        ((positions.at[p].before * task.groups + group * pieces) * task.strip_tiles + first * pieces) * task.pitch;
    const char* after = reinterpret_cast<const char*>(weights + pitch * kPanel);  // of the next position
    Lines lines = {after, after + (p + 1 < kTilePositions ? 2 * pitch * kPanel : 0)};
    for_row_tiles(count, [&](auto rows, int row) {
      enum { kCount = decltype(rows)::kCount };
      const char* in[kCount];
      for (int i = 0; i < kCount; ++i) in[i] = reinterpret_cast<const char*>(tiles + (row + i) * pitch);
      lines.fetch(static_cast<int>(2 * pitch * kPanel / 64 / row_tiles + 1));
      multiply<fastalex::kQuantized, kCount>(in, nullptr, static_cast<int>(pitch / 2),
                                             reinterpret_cast<const char*>(weights),
                                             reinterpret_cast<IntVec*>(to + static_cast<int64_t>(row) * kPanel));
    });
    to += task.scratch_position;
    weights += pitch * kPanel;
  }
}

void integer_winograd_output(const fastalex::WinogradArgs& task, int unit, int worker) {
  const int panels = task.groups * task.panels_per_group, index = unit % panels;
  const int first = unit / panels * task.block_tiles, rest = task.strip_tiles - first;
  const int count = rest < task.block_tiles ? rest : task.block_tiles;
  int32_t* scratch = reinterpret_cast<int32_t*>(task.scratch + worker * task.scratch_floats);
  integer_products(task, Positions(task), index, first, count, scratch);
  const int64_t panel = static_cast<int64_t>(index) * kPanel;
  const int local = index % task.panels_per_group * kPanel, width = task.out_per_group - local;
  for (int j = 0; j < kPanel && j < width; j += kLanes) {
    const Vec scale = load(task.scale + panel + j), bias = load(task.bias + panel + j);
    for (int tile = 0; tile < count; ++tile) {
      const WinogradPlace at = winograd_place(task, first + tile, kTileOut);
      IntVec sums[kTileOut][kTileOut];
      integer_output(scratch + tile * kPanel + j, task.scratch_position, sums);
      for (int y = 0; y < kTileOut && at.y + y < task.out.h; ++y) {
        const int64_t place = place_of(task.out, at.image, at.y + y, at.x) +
                              index / task.panels_per_group * task.out_per_group + local + j;
        for (int x = 0; x < kTileOut && at.x + x < task.out.w; ++x)
          store_values(task.out, place + static_cast<int64_t>(x) * task.out.c,
                       activate(to_float(sums[y][x]) * scale + bias, task.activation), width - j);
      }
    }
  }
}

#endif  // FASTALEX_USE_VNNI

// Indices of CpuKernels::winograd.
enum { kForm4x3 = 0, kForm3x5 = 1 };

void winograd_input(const void* erased, int tile, int) {
  const fastalex::WinogradArgs& task = *static_cast<const fastalex::WinogradArgs*>(erased);
  if (task.form == fastalex::kIntegerForm)
    integer_winograd_input(task, tile);
  else if (task.form == kForm4x3)
    winograd_input_of<Winograd4x3>(task, tile);
  else
    winograd_input_of<Winograd3x5>(task, tile);
}

void winograd_output(const void* erased, int unit, int worker) {
  const fastalex::WinogradArgs& task = *static_cast<const fastalex::WinogradArgs*>(erased);
  if (task.form == fastalex::kIntegerForm)
    integer_winograd_output(task, unit, worker);
  else if (task.form == kForm4x3)
    winograd_output_of<Winograd4x3>(task, unit, worker);
  else
    winograd_output_of<Winograd3x5>(task, unit, worker);
}

}  // namespace
#endif  // FASTALEX_CPU_KERNELS_WINOGRAD_INTEGER_H
