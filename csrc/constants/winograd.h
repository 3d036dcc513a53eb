// The constants of Winograd's algorithms F(m x m, r x r), shared by the kernels of every backend. They are
// initializers, since device code can hold arrays only inside functions. This file includes nothing.
//
// Cook-Toom: a polynomial product of degree n - 1 is known from its values at n points p_j, the last of them infinity.
// With N_j = prod_{k != j} (p_j - p_k) over the finite points
//   A^T[i][j] = p_j^i                     and 1 for i = m - 1 at infinity (i < m)
//   G[j][i]   = p_j^i / N_j               and 1 for i = r - 1 at infinity (i < r)
//   B^T[j][i] = coefficient of x^i in prod_{k != j} (x - p_k), all finite k at infinity
// weights/winograd_transforms.cpp computes the three from the points, and the weights by G; the matrices below were
// printed from it and are exact in float. tests/selftest/test_winograd_numbers.py computes them again.
#ifndef FASTALEX_CONSTANTS_WINOGRAD_H
#define FASTALEX_CONSTANTS_WINOGRAD_H

// F(2x2, 3x3) at 0, 1, -1: the small points with the least error, 1.5 times that of direct sums (rms).
#define FASTALEX_WINOGRAD_2X3_POINTS {0, 1, -1}
#define FASTALEX_WINOGRAD_2X3_BT {{-1, 0, 1, 0}, {0, 1, 1, 0}, {0, -1, 1, 0}, {0, -1, 0, 1}}
#define FASTALEX_WINOGRAD_2X3_AT {{1, 1, 1, 0}, {0, 1, -1, 1}}

// F(4x4, 3x3) at 0, 3/2, -3/2, 5/8, -5/8: the set with the least error among points from 1/4 to 4 with small
// denominators. Compared with the customary 0, 1, -1, 2, -2 the measured error is 0.45 (rms) and 0.29 times (max) as
// large, and the bound, max |A^T| (|G| |G^T| . |B^T| |B|) |A| / 9, is 63 instead of 256.
#define FASTALEX_WINOGRAD_4X3_POINTS {0, 1.5f, -1.5f, 0.625f, -0.625f}
#define FASTALEX_WINOGRAD_4X3_BT                                                       \
  {{0.87890625f, 0, -2.640625f, 0, 1, 0},    {0, -0.5859375f, -0.390625f, 1.5f, 1, 0}, \
   {0, 0.5859375f, -0.390625f, -1.5f, 1, 0}, {0, -1.40625f, -2.25f, 0.625f, 1, 0},     \
   {0, 1.40625f, -2.25f, -0.625f, 1, 0},     {0, 0.87890625f, 0, -2.640625f, 0, 1}}
#define FASTALEX_WINOGRAD_4X3_AT               \
  {{1, 1, 1, 1, 1, 0},                         \
   {0, 1.5f, -1.5f, 0.625f, -0.625f, 0},       \
   {0, 2.25f, 2.25f, 0.390625f, 0.390625f, 0}, \
   {0, 3.375f, -3.375f, 0.244140625f, -0.244140625f, 1}}

// F(3x3, 5x5) at 0, 1, 1/2, -3/4, -5/4, 5/2, found in the same way. Compared with 0, 1, -1, 2, -2, 1/2 the error is
// 0.74 (rms) and 0.48 times (max) as large, the bound 165 instead of 265.
#define FASTALEX_WINOGRAD_3X5_POINTS {0, 1, 0.5f, -0.75f, -1.25f, 2.5f}
#define FASTALEX_WINOGRAD_3X5_BT                                                                      \
  {{-1.171875f, 1.484375f, 3.5f, -2.8125f, -2, 1, 0}, {0, 1.171875f, -0.3125f, -3.8125f, -1, 1, 0},   \
   {0, 2.34375f, 1.71875f, -3.5625f, -1.5f, 1, 0},    {0, -1.5625f, 4.0625f, -0.75f, -2.75f, 1, 0},   \
   {0, -0.9375f, 1.9375f, 1.25f, -3.25f, 1, 0},       {0, 0.46875f, -0.40625f, -1.5625f, 0.5f, 1, 0}, \
   {0, -1.171875f, 1.484375f, 3.5f, -2.8125f, -2, 1}}
#define FASTALEX_WINOGRAD_3X5_AT \
  {{1, 1, 1, 1, 1, 1, 0}, {0, 1, 0.5f, -0.75f, -1.25f, 2.5f, 0}, {0, 1, 0.25f, 0.5625f, 1.5625f, 6.25f, 1}}

#endif  // FASTALEX_CONSTANTS_WINOGRAD_H
