// Winograd convolution of stride 1 with bias and activation: Y = A^T [ sum_c (G g G^T) . (B^T d B) ] A for each tile of
// m x m outputs and r x r weights, F(m x m, r x r) in the terms of Lavin & Gray (arXiv 1509.09308): n^2 = (m + r - 1)^2
// products instead of m^2 r^2. First all tiles are transformed; then a unit of work takes a block of tiles and a panel
// of outputs through the n^2 matrix products and the transform back, so that products never leave its cache.
//
// A NaN or an infinity in the input spoils all outputs of the tiles that read it, not only those whose window does.
#ifndef FASTALEX_CPU_KERNELS_WINOGRAD_H
#define FASTALEX_CPU_KERNELS_WINOGRAD_H

#include "constants/winograd.h"
#include "cpu/kernels/tile.h"
#include "cpu/kernels/values.h"

namespace {

// csrc/cpu/pack.cpp checks that points and matrices belong together.

struct Winograd4x3 {
  enum { kOut = 4, kKernel = 3, kIn = 6 };
  static constexpr float kPoints[kIn - 1] = FASTALEX_WINOGRAD_4X3_POINTS;
  static constexpr float kBt[kIn][kIn] = FASTALEX_WINOGRAD_4X3_BT;
  static constexpr float kAt[kOut][kIn] = FASTALEX_WINOGRAD_4X3_AT;
};
constexpr float Winograd4x3::kPoints[], Winograd4x3::kBt[][kIn], Winograd4x3::kAt[][kIn];

struct Winograd3x5 {
  enum { kOut = 3, kKernel = 5, kIn = 7 };
  static constexpr float kPoints[kIn - 1] = FASTALEX_WINOGRAD_3X5_POINTS;
  static constexpr float kBt[kIn][kIn] = FASTALEX_WINOGRAD_3X5_BT;
  static constexpr float kAt[kOut][kIn] = FASTALEX_WINOGRAD_3X5_AT;
};
constexpr float Winograd3x5::kPoints[], Winograd3x5::kBt[][kIn], Winograd3x5::kAt[][kIn];

template <class F>
constexpr fastalex::WinogradForm winograd_form() {
  return {F::kOut, F::kKernel, F::kPoints, F::kBt[0], F::kAt[0]};
}

#define FASTALEX_UNROLL _Pragma("GCC unroll 8")

// to[i] = sum_k matrix[i][k] from[k * step]; the loops unroll and terms of zero vanish.
template <int ROWS, int COLUMNS>
inline __attribute__((always_inline)) void transform_line(const float (&matrix)[ROWS][COLUMNS], const Vec* from,
                                                          int step, Vec* to) {
  FASTALEX_UNROLL
  for (int i = 0; i < ROWS; ++i) {
    Vec sum = Vec{};
    bool first = true;
    FASTALEX_UNROLL
    for (int k = 0; k < COLUMNS; ++k) {
      const float factor = matrix[i][k];
      if (factor == 0) continue;
      const Vec v = from[k * step];
      sum = first ? (factor == 1 ? v : v * splat(factor)) : factor == 1 ? sum + v : sum + v * splat(factor);
      first = false;
    }
    to[i] = sum;
  }
}

// V = B^T d B of kLanes channels; d: the tile's first value of them.
template <class F>
inline void transform_input(const float* d, int64_t column, int64_t row, float* v, int64_t position) {
  Vec half[F::kIn][F::kIn];  // [column of d][row of B^T d]
  for (int x = 0; x < F::kIn; ++x) {
    Vec line[F::kIn];
    FASTALEX_UNROLL
    for (int y = 0; y < F::kIn; ++y) line[y] = load(d + x * column + y * row);
    transform_line(F::kBt, line, 1, half[x]);
  }
  for (int y = 0; y < F::kIn; ++y) {
    Vec line[F::kIn];
    transform_line(F::kBt, &half[0][y], F::kIn, line);
    FASTALEX_UNROLL
    for (int x = 0; x < F::kIn; ++x, v += position) store(v, line[x]);
  }
}

struct WinogradPlace {
  int image, y, x;  // of the tile's first output
};
inline WinogradPlace winograd_place(const fastalex::WinogradArgs& task, int strip_tile, int edge) {
  const int tile = task.first_tile + strip_tile, local = tile % task.tiles;
  return {tile / task.tiles, local / task.tiles_x * edge, local % task.tiles_x * edge};
}

template <class F>
void winograd_input_of(const fastalex::WinogradArgs& task, int tile) {
  const WinogradPlace at = winograd_place(task, tile, F::kOut);
  const float* image = floats_at(task.in, place_of(task.in, at.image, at.y, at.x));
  const int64_t position = static_cast<int64_t>(task.groups) * task.strip_tiles * task.pitch;
  for (int group = 0; group < task.groups; ++group) {
    float* v =
        static_cast<float*>(task.transformed) + (static_cast<int64_t>(group) * task.strip_tiles + tile) * task.pitch;
    for (int c = 0; c < task.in_per_group; c += kLanes)
      transform_input<F>(image + group * task.in_per_group + c, task.in.c, task.in.row, v + c, position);
  }
}

// The matrix products of a block of tiles at one position: [tile][panel] of `to`.
inline void winograd_products(const fastalex::WinogradArgs& task, const float* tiles, int count, const float* weights,
                              float* to) {
  for_row_tiles(count, [&](auto rows, int row) {
    enum { kCount = decltype(rows)::kCount };
    const char* in[kCount];
    for (int i = 0; i < kCount; ++i)
      in[i] = reinterpret_cast<const char*>(tiles + static_cast<int64_t>(row + i) * task.pitch);
    // `to` is as aligned as a vector.
    multiply<fastalex::kFloat32, kCount>(in, nullptr, task.in_per_group, reinterpret_cast<const char*>(weights),
                                         reinterpret_cast<Vec*>(to + row * kPanel));
  });
}

// Y = A^T m A of kLanes outputs, with bias and activation; m: [position][...] `position` floats apart.
template <class F>
inline void transform_output(const fastalex::WinogradArgs& task, const float* m, int64_t position, Vec bias,
                             const WinogradPlace& at, int channel, int count) {
  Vec half[F::kIn][F::kOut];  // [column of m][row of A^T m]
  for (int x = 0; x < F::kIn; ++x) {
    Vec line[F::kIn];
    FASTALEX_UNROLL
    for (int y = 0; y < F::kIn; ++y) line[y] = load(m + (y * F::kIn + x) * position);
    transform_line(F::kAt, line, 1, half[x]);
  }
  for (int y = 0; y < F::kOut && at.y + y < task.out.h; ++y) {
    Vec line[F::kOut];
    transform_line(F::kAt, &half[0][y], F::kOut, line);
    const int64_t place = place_of(task.out, at.image, at.y + y, at.x) + channel;
    for (int x = 0; x < F::kOut && at.x + x < task.out.w; ++x)
      store_values(task.out, place + static_cast<int64_t>(x) * task.out.c, activate(line[x] + bias, task.activation),
                   count);
  }
}

template <class F>
void winograd_output_of(const fastalex::WinogradArgs& task, int unit, int worker) {
  enum { kPositions = F::kIn * F::kIn };
  const int panels = task.groups * task.panels_per_group, index = unit % panels, group = index / task.panels_per_group;
  const int first = unit / panels * task.block_tiles, rest = task.strip_tiles - first;
  const int count = rest < task.block_tiles ? rest : task.block_tiles;
  const int64_t matrix = static_cast<int64_t>(task.in_per_group) * kPanel;
  const float* weights = static_cast<const float*>(task.weights) + static_cast<int64_t>(index) * kPositions * matrix;
  float* scratch = task.scratch + worker * task.scratch_floats;
  const int64_t position = static_cast<int64_t>(task.block_tiles) * kPanel;
  for (int p = 0; p < kPositions; ++p) {
    const float* tiles = static_cast<const float*>(task.transformed) +
                         ((static_cast<int64_t>(p) * task.groups + group) * task.strip_tiles + first) * task.pitch;
    winograd_products(task, tiles, count, weights + p * matrix, scratch + p * position);
  }
  const int local = index % task.panels_per_group * kPanel, width = task.out_per_group - local;
  for (int tile = 0; tile < count; ++tile) {
    const WinogradPlace at = winograd_place(task, first + tile, F::kOut);
    for (int j = 0; j < kPanel && j < width; j += kLanes)
      transform_output<F>(task, scratch + tile * kPanel + j, position,
                          load(task.bias + static_cast<int64_t>(index) * kPanel + j), at,
                          group * task.out_per_group + local + j, width - j);
  }
}

}  // namespace
#endif  // FASTALEX_CPU_KERNELS_WINOGRAD_H
