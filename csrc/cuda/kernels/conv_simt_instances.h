// The compiled instances of conv_simt.cuh and split_reduce.cuh.
#ifndef FASTALEX_CUDA_KERNELS_CONV_SIMT_INSTANCES_H
#define FASTALEX_CUDA_KERNELS_CONV_SIMT_INSTANCES_H

#include "cuda/kernels/conv_simt.cuh"
#include "cuda/kernels/split_reduce.cuh"

namespace fastalex {
namespace cuda {
namespace simt {

// Pixels x channels of a block. 13x13 outputs are 169 pixels: 2 x 88 or 3 x 64; 55 columns of the first layer are
// one 56. The two sums of half arithmetic take more registers, so that fewer blocks fit.
typedef Tile<1, 2, 4, 8, 8> Tile32x64;
typedef Tile<1, 2, 8, 8, 6> Tile64x64;
typedef Tile<1, 4, 11, 4, 3> Tile88x64;
typedef Tile<2, 2, 8, 8, 3> Tile128x64;
typedef Tile<1, 2, 4, 8, 6> Tile32x64Half;
typedef Tile<1, 2, 8, 8, 4> Tile64x64Half;
typedef Tile<1, 4, 11, 4, 2> Tile88x64Half;
typedef Tile<1, 2, 8, 4, 8> TileGeneral;
typedef Tile<1, 2, 7, 8, 6> TileFirst64;
typedef Tile<1, 3, 7, 8, 4> TileFirst96;

}  // namespace simt
}  // namespace cuda
}  // namespace fastalex

// X(name, kernel, argument struct, threads, shared bytes, least sm, largest sm, tensor cores, kind, dtype, pixels,
// channels and resident blocks of a tile, half arithmetic, share of multiply-adds among the instructions on sm_53)
#define FASTALEX_SIMT_TILE(T, HALF, SHARE) simt::T::kPixels, simt::T::kColumns, simt::T::kBlocks, HALF, SHARE
#define FASTALEX_SIMT_CONV(X, NAME, T, MATH, TILE, MIN_SM, MAX_SM, DTYPE, HALF, SHARE)                                 \
  X(NAME, (simt::conv<T, MATH, simt::TILE>), ConvArgs, simt::TILE::kThreads, simt::TILE::kSharedBytes, MIN_SM, MAX_SM, \
    false, kTiles, DTYPE, FASTALEX_SIMT_TILE(TILE, HALF, SHARE))
#define FASTALEX_SIMT_FIRST(X, NAME, T, TILE, MIN_SM, MAX_SM, DTYPE, HALF, SHARE)      \
  X(NAME, (simt::conv_first<T, simt::TILE>), ConvArgs, simt::TILE::kThreads,           \
    (simt::first_shared_bytes<T, simt::TILE>()), MIN_SM, MAX_SM, false, kFirst, DTYPE, \
    FASTALEX_SIMT_TILE(TILE, HALF, SHARE))
#define FASTALEX_SIMT_GENERAL(X, NAME, T, DTYPE)                                             \
  X(NAME, (simt::conv_general<T, simt::TileGeneral>), ConvArgs, simt::TileGeneral::kThreads, \
    simt::general_shared_bytes<simt::TileGeneral>(), 0, 0, false, kGeneral, DTYPE,           \
    FASTALEX_SIMT_TILE(TileGeneral, false, 0.25))
#define FASTALEX_SPLIT_REDUCE(X, NAME, T, DTYPE) \
  X(NAME, (split_reduce<T>), ReduceArgs, kReduceThreads, 0, 0, 0, false, kReduce, DTYPE, 0, 0, 0, false, 0)

#define FASTALEX_CONV_SIMT_INSTANCES(X)                                                      \
  FASTALEX_SIMT_CONV(X, "ffma_32x64", float, float, Tile32x64, 0, 0, kFloat, false, 0.76)    \
  FASTALEX_SIMT_CONV(X, "ffma_64x64", float, float, Tile64x64, 0, 0, kFloat, false, 0.84)    \
  FASTALEX_SIMT_CONV(X, "ffma_88x64", float, float, Tile88x64, 0, 0, kFloat, false, 0.79)    \
  FASTALEX_SIMT_CONV(X, "ffma_128x64", float, float, Tile128x64, 0, 0, kFloat, false, 0.84)  \
  FASTALEX_SIMT_CONV(X, "hfma2_32x64", Half, Half, Tile32x64Half, 53, 75, kHalf, true, 0.69) \
  FASTALEX_SIMT_CONV(X, "hfma2_64x64", Half, Half, Tile64x64Half, 53, 75, kHalf, true, 0.76) \
  FASTALEX_SIMT_CONV(X, "hfma2_88x64", Half, Half, Tile88x64Half, 53, 75, kHalf, true, 0.72) \
  FASTALEX_SIMT_CONV(X, "ffma_64x64_half", Half, float, Tile64x64, 0, 0, kHalf, false, 0.84) \
  FASTALEX_SIMT_FIRST(X, "ffma_56x64_c3r11", float, TileFirst64, 0, 0, kFloat, false, 0.82)  \
  FASTALEX_SIMT_FIRST(X, "ffma_56x96_c3r11", float, TileFirst96, 0, 0, kFloat, false, 0.82)  \
  FASTALEX_SIMT_FIRST(X, "hfma2_56x64_c3r11", Half, TileFirst64, 53, 75, kHalf, true, 0.64)  \
  FASTALEX_SIMT_FIRST(X, "hfma2_56x96_c3r11", Half, TileFirst96, 53, 75, kHalf, true, 0.66)  \
  FASTALEX_SIMT_GENERAL(X, "ffma_general", float, kFloat)                                    \
  FASTALEX_SIMT_GENERAL(X, "ffma_general_half", Half, kHalf)                                 \
  FASTALEX_SPLIT_REDUCE(X, "split_reduce_float", float, kFloat)                              \
  FASTALEX_SPLIT_REDUCE(X, "split_reduce_half", Half, kHalf)

#endif  // FASTALEX_CUDA_KERNELS_CONV_SIMT_INSTANCES_H
