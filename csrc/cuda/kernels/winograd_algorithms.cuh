// What the kernels of conv_winograd.cuh share: their arguments, the algorithms F(m x m, r x r), tiles and types.
//
// Cook-Toom: a polynomial product of degree n - 1 is known from its values at n points p_j, the last of them infinity.
// With N_j = prod_{k != j} (p_j - p_k) over the finite points
//   A^T[i][j] = p_j^i                     and 1 for i = m - 1 at infinity (i < m)
//   G[j][i]   = p_j^i / N_j               and 1 for i = r - 1 at infinity (i < r)
//   B^T[j][i] = coefficient of x^i in prod_{k != j} (x - p_k), all finite k at infinity
// csrc/weights/winograd_transforms.cpp computes the three from the points and is what the constants below were printed
// from.
#ifndef FASTALEX_CUDA_KERNELS_WINOGRAD_ALGORITHMS_CUH
#define FASTALEX_CUDA_KERNELS_WINOGRAD_ALGORITHMS_CUH

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

// The algorithms. For each: outputs of a tile's edge, weights of a kernel's edge, B^T and A^T.

// F(2x2, 3x3) at 0, 1, -1: of all small points the ones with the least error, 1.5 times that of direct sums (rms).
struct Winograd2x3 {
  static constexpr int kOut = 2, kKernel = 3, kIn = 4;
  FASTALEX_DEVICE static float bt(int i, int j) {
    const float m[kIn][kIn] = {{-1, 0, 1, 0}, {0, 1, 1, 0}, {0, -1, 1, 0}, {0, -1, 0, 1}};
    return m[i][j];
  }
  FASTALEX_DEVICE static float at(int i, int j) {
    const float m[kOut][kIn] = {{1, 1, 1, 0}, {0, 1, -1, 1}};
    return m[i][j];
  }
};

// F(4x4, 3x3) at 0, 3/2, -3/2, 5/8, -5/8: of all sets of points among 1/4 .. 4 with small denominators the one with the
// least error. Against the customary 0, 1, -1, 2, -2 the measured error is 0.45 (rms) and 0.29 times (max) as large,
// and the bound, max |A^T| (|G| |G^T| . |B^T| |B|) |A| / 9, 63 instead of 256. All constants are exact in float.
struct Winograd4x3 {
  static constexpr int kOut = 4, kKernel = 3, kIn = 6;
  FASTALEX_DEVICE static float bt(int i, int j) {
    const float m[kIn][kIn] = {{0.87890625f, 0, -2.640625f, 0, 1, 0},    {0, -0.5859375f, -0.390625f, 1.5f, 1, 0},
                               {0, 0.5859375f, -0.390625f, -1.5f, 1, 0}, {0, -1.40625f, -2.25f, 0.625f, 1, 0},
                               {0, 1.40625f, -2.25f, -0.625f, 1, 0},     {0, 0.87890625f, 0, -2.640625f, 0, 1}};
    return m[i][j];
  }
  FASTALEX_DEVICE static float at(int i, int j) {
    const float m[kOut][kIn] = {{1, 1, 1, 1, 1, 0},
                                {0, 1.5f, -1.5f, 0.625f, -0.625f, 0},
                                {0, 2.25f, 2.25f, 0.390625f, 0.390625f, 0},
                                {0, 3.375f, -3.375f, 0.244140625f, -0.244140625f, 1}};
    return m[i][j];
  }
};

// F(3x3, 5x5) at 0, 1, 1/2, -3/4, -5/4, 5/2, found in the same way. Against 0, 1, -1, 2, -2, 1/2 the error is 0.74
// (rms) and 0.48 times (max) as large, the bound 165 instead of 265.
struct Winograd3x5 {
  static constexpr int kOut = 3, kKernel = 5, kIn = 7;
  FASTALEX_DEVICE static float bt(int i, int j) {
    const float m[kIn][kIn] = {
        {-1.171875f, 1.484375f, 3.5f, -2.8125f, -2, 1, 0}, {0, 1.171875f, -0.3125f, -3.8125f, -1, 1, 0},
        {0, 2.34375f, 1.71875f, -3.5625f, -1.5f, 1, 0},    {0, -1.5625f, 4.0625f, -0.75f, -2.75f, 1, 0},
        {0, -0.9375f, 1.9375f, 1.25f, -3.25f, 1, 0},       {0, 0.46875f, -0.40625f, -1.5625f, 0.5f, 1, 0},
        {0, -1.171875f, 1.484375f, 3.5f, -2.8125f, -2, 1}};
    return m[i][j];
  }
  FASTALEX_DEVICE static float at(int i, int j) {
    const float m[kOut][kIn] = {
        {1, 1, 1, 1, 1, 1, 0}, {0, 1, 0.5f, -0.75f, -1.25f, 2.5f, 0}, {0, 1, 0.25f, 0.5625f, 1.5625f, 6.25f, 1}};
    return m[i][j];
  }
};

// A tile's place: image and first output row and column.
struct WinogradTile {
  int image, y, x;
};
FASTALEX_DEVICE WinogradTile winograd_tile(const WinogradArgs& a, int tile, int edge) {
  const u32 row = static_cast<u32>(tile) / a.tiles_x, image = row / a.tiles_y;  // unsigned: shorter code
  return {static_cast<int>(image), static_cast<int>(row - image * a.tiles_y) * edge,
          (tile - static_cast<int>(row) * a.tiles_x) * edge};
}

// How tensors' types enter and leave: channels that one thread transforms, and the power of two that transformed inputs
// are stored with.
//
// B^T d B of F(2x2, 3x3) may be four times as large as d, more than a half can hold. A quarter of it always fits, for
// every finite d; it is rounded to half once, after a transform in float. The factor is exact (but for values below
// 2^-14, whose error becomes 2^-23 at most) and is undone in float. The products, a quarter too, are sums in float and
// rounded to half for the way to the last kernel: that is most of this algorithm's memory traffic, and adds a rounding
// to those of a chunk's sums in half.
template <typename Real>
struct WinogradType;
template <>
struct WinogradType<float> {
  static constexpr int kChannels = 1;
  static constexpr float kScale = 1;
  FASTALEX_DEVICE static void load(const float* p, float (&v)[1]) { v[0] = *p; }
  FASTALEX_DEVICE static void store(float* p, const float (&v)[1]) { *p = v[0]; }
};
template <>
struct WinogradType<Half> {
  static constexpr int kChannels = 4;
  static constexpr float kScale = 0.25f;
  FASTALEX_DEVICE static void load(const Half* p, float (&v)[4]) { vector::load(p, v); }
  FASTALEX_DEVICE static void store(Half* p, const float (&v)[4]) { vector::store(p, v); }
};

constexpr int kWinogradTransformThreads = 128;

// sum + factor v; of the first term that counts the product alone. `first` is known when the loops are unrolled.
FASTALEX_DEVICE void winograd_add(float factor, float v, bool& first, float& sum) {
  if (factor == 0) return;
  sum = first ? factor * v : fmaf(factor, v, sum);
  first = false;
}

}  // namespace cuda
}  // namespace fastalex
#endif  // FASTALEX_CUDA_KERNELS_WINOGRAD_ALGORITHMS_CUH
