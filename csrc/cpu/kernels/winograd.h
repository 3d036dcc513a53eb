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

enum { kCacheLine = 64 };
enum { kIntoSecondLevel = 2 };  // of __builtin_prefetch

// a * b + c in one rounding where the ISA can. Where a compiler may choose which of two products it fuses, a tile at
// the edge could differ from one inside.
inline Vec multiply_add(Vec a, float b, Vec c) {
#if defined(FASTALEX_USE_AVX512)
  return _mm512_fmadd_ps(a, splat(b), c);
#elif defined(FASTALEX_USE_AVX2)
  return _mm256_fmadd_ps(a, splat(b), c);
#elif defined(FASTALEX_USE_WIDE)
  const Halves<__m256> as = split<__m256>(a), cs = split<__m256>(c);
  return join<Vec>(_mm256_fmadd_ps(as.low, _mm256_set1_ps(b), cs.low),
                   _mm256_fmadd_ps(as.high, _mm256_set1_ps(b), cs.high));
#elif defined(FASTALEX_ISA_neon)
  return (Vec)vfmaq_f32((float32x4_t)c, (float32x4_t)a, vdupq_n_f32(b));
#else
  return a * splat(b) + c;
#endif
}

// to[i] = sum_k matrix[i][k] from[k * step]; the loops unroll and terms of zero vanish. The first product is added last
// of the first two, so that it is the one that is fused.
template <int ROWS, int COLUMNS>
inline __attribute__((always_inline)) void transform_line(const float (&matrix)[ROWS][COLUMNS], const Vec* from,
                                                          int step, Vec* to) {
  FASTALEX_UNROLL
  for (int i = 0; i < ROWS; ++i) {
    Vec sum = Vec{};
    int terms = 0, first = 0;
    FASTALEX_UNROLL
    for (int k = 0; k < COLUMNS; ++k) {
      const float factor = matrix[i][k];
      if (factor == 0) continue;
      const Vec v = from[k * step];
      if (terms == 0) {
        first = k;
        sum = factor == 1 ? v : v * splat(factor);
      } else if (terms == 1 && matrix[i][first] != 1) {
        sum = multiply_add(from[first * step], matrix[i][first], factor == 1 ? v : v * splat(factor));
      } else {
        sum = factor == 1 ? sum + v : multiply_add(v, factor, sum);
      }
      ++terms;
    }
    to[i] = sum;
  }
}

// V = B^T d B of kLanes channels; d: the tile's first value of them.
template <class F>
inline void transform_input(const float* d, int64_t column, int64_t row, float* v, int64_t position) {
  Vec half[F::kIn][F::kIn];  // [column of d][row of B^T d]
  FASTALEX_UNROLL
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
  for (int group = 0; group < task.groups; ++group) {
    float* v =
        static_cast<float*>(task.transformed) + (static_cast<int64_t>(group) * task.strip_tiles + tile) * task.pitch;
    for (int c = 0; c < task.in_per_group; c += kLanes)
      transform_input<F>(image + group * task.in_per_group + c, task.in.c, task.in.row, v + c, task.position);
  }
}

// to[i][j] = sum_u rows[i][u] w[u][j] of ROWS rows `pitch` floats apart, summed like multiply() of tile.h. Rows at
// equal distances need few address registers, and nothing but products is left in the loop but the prefetch of one
// cache line from `ahead` on for each unit.
template <int ROWS>
inline __attribute__((always_inline)) void multiply_rows(const float* rows, int64_t pitch, int units, const float* w,
                                                         float* to, const char* ahead) {
  enum { kBases = (ROWS + 3) / 4 };  // pointers to every fourth row
  const int64_t pitch2 = 2 * pitch, pitch3 = 3 * pitch;
  const float* base[kBases];
  FASTALEX_UNROLL
  for (int b = 0; b < kBases; ++b) base[b] = rows + 4 * b * pitch;
  for (int begin = 0; begin < units; begin += fastalex::kPartUnits) {
    const int end = begin + fastalex::kPartUnits < units ? begin + fastalex::kPartUnits : units;
    Vec sum[ROWS][kVectors];
#pragma GCC unroll 14
    for (int i = 0; i < ROWS; ++i)
      for (int j = 0; j < kVectors; ++j) sum[i][j] = Vec{};
    for (int u = begin; u < end; ++u, w += kPanel, ahead += kCacheLine) {
      __builtin_prefetch(ahead, 0, kIntoSecondLevel);
      Vec weight[kVectors];
#pragma GCC unroll 2
      for (int j = 0; j < kVectors; ++j) weight[j] = load(w + j * kLanes);
#pragma GCC unroll 14
      for (int i = 0; i < ROWS; ++i) {
        const Vec value = splat(base[i / 4][i % 4 == 0 ? 0 : i % 4 == 1 ? pitch : i % 4 == 2 ? pitch2 : pitch3]);
#pragma GCC unroll 2
        for (int j = 0; j < kVectors; ++j) sum[i][j] += value * weight[j];
      }
      FASTALEX_UNROLL
      for (int b = 0; b < kBases; ++b) {
        ++base[b];
        __asm__("" : "+r"(base[b]));  // otherwise the compiler makes a pointer of each row again
      }
    }
#pragma GCC unroll 14
    for (int i = 0; i < ROWS; ++i)
      for (int j = 0; j < kVectors; ++j) {
        float* place = to + (i * kVectors + j) * kLanes;
        store(place, begin > 0 ? sum[i][j] + load(place) : sum[i][j]);
      }
  }
}

// Operands of the products of a block of tiles at one position.
struct PositionOperands {
  const float* tiles;    // [tile][pitch]
  const float* weights;  // [channel][panel]
};

// The matrix products of a block of tiles at one position: [tile][panel] of `to`. Meanwhile the operands of the next
// position come into the second cache: two lines of its weights for each channel, which takes the first two row tiles,
// then its tiles.
inline void winograd_products(const fastalex::WinogradArgs& task, const PositionOperands& here, PositionOperands next,
                              int count, float* to) {
  for_row_tiles(count, [&](auto rows, int row) {
    enum { kCount = decltype(rows)::kCount };
    const float*& ahead = row < 2 * kCount ? next.weights : next.tiles;
    multiply_rows<kCount>(here.tiles + static_cast<int64_t>(row) * task.pitch, task.pitch, task.in_per_group,
                          here.weights, to + static_cast<int64_t>(row) * kPanel, reinterpret_cast<const char*>(ahead));
    ahead += static_cast<int64_t>(task.in_per_group) * (kCacheLine / sizeof(float));
  });
}

// Y = A^T m A of kLanes outputs, of which `rows` and `columns` lie in the image: put(y, x, value). m: [position][...],
// `position` floats apart.
template <class F, typename Put>
inline __attribute__((always_inline)) void transform_output(const float* m, int64_t position, int rows, int columns,
                                                            const Put& put) {
  Vec half[F::kIn][F::kOut];  // [column of m][row of A^T m]
  FASTALEX_UNROLL
  for (int x = 0; x < F::kIn; ++x) {
    Vec line[F::kIn];
    FASTALEX_UNROLL
    for (int y = 0; y < F::kIn; ++y) line[y] = load(m + (y * F::kIn + x) * position);
    transform_line(F::kAt, line, 1, half[x]);
  }
  FASTALEX_UNROLL
  for (int y = 0; y < F::kOut; ++y) {
    if (y >= rows) return;
    Vec line[F::kOut];
    transform_line(F::kAt, &half[0][y], F::kOut, line);
    FASTALEX_UNROLL
    for (int x = 0; x < F::kOut; ++x)
      if (x < columns) put(y, x, line[x]);
  }
}

// A tile's outputs of up to kLanes channels from `channel` on, with bias and activation.
template <class F>
inline void place_outputs(const fastalex::WinogradArgs& task, const float* m, int64_t position, Vec bias,
                          const WinogradPlace& at, int channel, int count) {
  const int rows = task.out.h - at.y, columns = task.out.w - at.x;
  const int64_t place = place_of(task.out, at.image, at.y, at.x) + channel, row = task.out.row, column = task.out.c;
  if (count < kLanes || task.out.dtype != fastalex::kFloat32 || task.activation != FASTALEX_ACT_RELU)
    return transform_output<F>(m, position, rows, columns, [&](int y, int x, Vec v) {
      store_values(task.out, place + y * row + x * column, activate(v + bias, task.activation), count);
    });
  float* to = static_cast<float*>(task.out.data) + place;
  // The lines of the next tile on the right: the stores of a tile go to as many places as it has outputs.
  for (int y = 0; y < F::kOut; ++y)
    for (int x = 0; x < F::kOut; ++x) __builtin_prefetch(to + y * row + (x + F::kOut) * column, 1, kIntoSecondLevel);
  transform_output<F>(m, position, rows, columns,
                      [&](int y, int x, Vec v) { store(to + y * row + x * column, relu(v + bias)); });
}

template <class F>
void winograd_output_of(const fastalex::WinogradArgs& task, int unit, int worker) {
  enum { kPositions = F::kIn * F::kIn };
  const int panels = task.groups * task.panels_per_group, index = unit % panels, group = index / task.panels_per_group;
  const int first = unit / panels * task.block_tiles, rest = task.strip_tiles - first;
  const int count = rest < task.block_tiles ? rest : task.block_tiles;
  const int64_t matrix = static_cast<int64_t>(task.in_per_group) * kPanel;
  const float* tiles = static_cast<const float*>(task.transformed) +
                       (static_cast<int64_t>(group) * task.strip_tiles + first) * task.pitch;
  const float* weights = static_cast<const float*>(task.weights) + static_cast<int64_t>(index) * kPositions * matrix;
  float* scratch = task.scratch + worker * task.scratch_floats;
  for (int p = 0; p < kPositions; ++p) {
    // After the last position come the next panel's weights, and the same tiles again.
    const int next = p + 1 < kPositions ? p + 1 : 0;
    winograd_products(task, {tiles + p * task.position, weights + p * matrix},
                      {tiles + next * task.position, weights + (p + 1) * matrix}, count,
                      scratch + p * task.scratch_position);
  }
  const int local = index % task.panels_per_group * kPanel, width = task.out_per_group - local;
  for (int tile = 0; tile < count; ++tile) {
    const WinogradPlace at = winograd_place(task, first + tile, F::kOut);
    for (int j = 0; j < kPanel && j < width; j += kLanes)
      place_outputs<F>(task, scratch + tile * kPanel + j, task.scratch_position,
                       load(task.bias + static_cast<int64_t>(index) * kPanel + j), at,
                       group * task.out_per_group + local + j, width - j);
  }
}

}  // namespace
#endif  // FASTALEX_CPU_KERNELS_WINOGRAD_H
