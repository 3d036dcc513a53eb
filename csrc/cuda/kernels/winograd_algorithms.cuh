// Common definitions of the kernels of conv_winograd.cuh: their arguments, the algorithms F(m x m, r x r) of
// constants/winograd.h, tiles and types.
#ifndef FASTALEX_CUDA_KERNELS_WINOGRAD_ALGORITHMS_CUH
#define FASTALEX_CUDA_KERNELS_WINOGRAD_ALGORITHMS_CUH

#include "constants/winograd.h"
#include "cuda/kernels/args.h"
#include "cuda/kernels/ptx.h"
#include "cuda/kernels/vector.cuh"

namespace fastalex {
namespace cuda {

// The three kernels of a convolution share these. tiles = n tiles_y tiles_x.
struct WinogradArgs {
  const void* in;     // tensor
  const void* w;      // [positions, groups, w_rows, w_pitch]; rows and products past the end are zeros
  const float* bias;  // [groups, w_rows]
  void* out;          // tensor
  void* transformed;  // [positions, groups, tiles, v_pitch] of the tensors' type, zeros from in_c_group on
  void* products;     // [positions, groups, tiles, w_rows] of the tensors' type
  int in_h, in_w, in_pitch, out_h, out_w, out_pitch;
  int in_c_group, out_c_group, groups, pad;
  int w_rows, w_pitch, v_pitch;
  int tiles, tiles_y, tiles_x;
  int activation;
};

// The algorithms: outputs of a tile's edge, weights of a kernel's edge, B^T and A^T.

struct Winograd2x3 {
  static constexpr int kOut = 2, kKernel = 3, kIn = 4;
  FASTALEX_DEVICE static float bt(int i, int j) {
    const float m[kIn][kIn] = FASTALEX_WINOGRAD_2X3_BT;
    return m[i][j];
  }
  FASTALEX_DEVICE static float at(int i, int j) {
    const float m[kOut][kIn] = FASTALEX_WINOGRAD_2X3_AT;
    return m[i][j];
  }
};

struct Winograd4x3 {
  static constexpr int kOut = 4, kKernel = 3, kIn = 6;
  FASTALEX_DEVICE static float bt(int i, int j) {
    const float m[kIn][kIn] = FASTALEX_WINOGRAD_4X3_BT;
    return m[i][j];
  }
  FASTALEX_DEVICE static float at(int i, int j) {
    const float m[kOut][kIn] = FASTALEX_WINOGRAD_4X3_AT;
    return m[i][j];
  }
};

struct Winograd3x5 {
  static constexpr int kOut = 3, kKernel = 5, kIn = 7;
  FASTALEX_DEVICE static float bt(int i, int j) {
    const float m[kIn][kIn] = FASTALEX_WINOGRAD_3X5_BT;
    return m[i][j];
  }
  FASTALEX_DEVICE static float at(int i, int j) {
    const float m[kOut][kIn] = FASTALEX_WINOGRAD_3X5_AT;
    return m[i][j];
  }
};

// A tile's position: image, and first output row and column.
struct WinogradTile {
  int image, y, x;
};
FASTALEX_DEVICE WinogradTile winograd_tile(const WinogradArgs& a, int tile, int edge) {
  const u32 row = static_cast<u32>(tile) / a.tiles_x, image = row / a.tiles_y;  // unsigned: shorter code
  return {static_cast<int>(image), static_cast<int>(row - image * a.tiles_y) * edge,
          (tile - static_cast<int>(row) * a.tiles_x) * edge};
}

// Of the tensors' type T and the type Real of what is transformed and of products: the channels of an input and of an
// output that one thread transforms, and the power of two that scales stored transformed inputs.
//
// B^T d B of F(2x2, 3x3) may be four times as large as d, more than a half can hold. A quarter of it always fits, for
// every finite d; it is rounded to half once, after a transform in float. The factor is exact (but for values below
// 2^-14, whose error becomes 2^-23 at most) and is undone in float. The products, a quarter too, are sums in float and
// rounded to half for the way to the last kernel: that is most of this algorithm's memory traffic, and adds a rounding
// to those of a chunk's sums in half.
template <typename T, typename Real>
struct WinogradType;
template <>
struct WinogradType<float, float> {
  static constexpr int kChannels = 1, kOutputChannels = 1;
  static constexpr float kScale = 1;
};
template <>
struct WinogradType<Half, Half> {
  static constexpr int kChannels = 4, kOutputChannels = 4;
  static constexpr float kScale = 0.25f;
};
template <>
struct WinogradType<Half, float> {
  static constexpr int kChannels = 2, kOutputChannels = 4;
  static constexpr float kScale = 1;
};

constexpr int kWinogradTransformThreads = 128;

// sum + factor v; for the first term that counts, only the product. `first` is known when the loops are unrolled.
FASTALEX_DEVICE void winograd_add(float factor, float v, bool& first, float& sum) {
  if (factor == 0) return;
  sum = first ? factor * v : fmaf(factor, v, sum);
  first = false;
}

}  // namespace cuda
}  // namespace fastalex
#endif  // FASTALEX_CUDA_KERNELS_WINOGRAD_ALGORITHMS_CUH
