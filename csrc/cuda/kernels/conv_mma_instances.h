// The compiled instances of conv_mma.cuh.
#ifndef FASTALEX_CUDA_KERNELS_CONV_MMA_INSTANCES_H
#define FASTALEX_CUDA_KERNELS_CONV_MMA_INSTANCES_H

#include "cuda/kernels/conv_mma.cuh"

namespace fastalex {
namespace cuda {

// Pixels, channels, products of a stage, warps. The small tiles are for a few images: with split-K they give every
// multiprocessor of a large GPU a block. 96 and 192 divide 96, 192 and 384 channels. The largest two read the fewest
// bytes from L2 per product, which is what limits an H200.
template <MmaGeneration G>
using MmaTile64x32 = MmaTile<64, 32, 64, 2, 2, 3, G>;
template <MmaGeneration G>
using MmaTile64x64 = MmaTile<64, 64, 64, 2, 2, 3, G>;
template <MmaGeneration G>
using MmaTile128x64 = MmaTile<128, 64, 32, 2, 2, 4, G>;
template <MmaGeneration G>
using MmaTile128x96 = MmaTile<128, 96, 32, 2, 2, 3, G>;
template <MmaGeneration G>  // on Turing the next stage is held in registers, so it has twice the warps
using MmaTile128x128 = MmaTile<128, 128, 32, 2, G == kAmpere ? 2 : 4, 3, G>;
template <MmaGeneration G>
using MmaTile128x192 = MmaTile<128, 192, 32, 2, 4, 4, G>;
template <MmaGeneration G>
using MmaTile256x128 = MmaTile<256, 128, 32, 4, 2, 4, G>;

}  // namespace cuda
}  // namespace fastalex

// X(name, kernel, argument struct, threads, shared bytes, least sm, largest sm, tensor cores, window, tile)
#define FASTALEX_CONV_MMA16(X, TILE_NAME, TILE, WINDOW_NAME, WINDOW)                                         \
  X("mma16_" TILE_NAME "_" WINDOW_NAME, (conv_mma<WINDOW, TILE<kAmpere>>), ConvArgs, TILE<kAmpere>::THREADS, \
    TILE<kAmpere>::SHARED_BYTES, 80, 0, true, WINDOW, TILE<kAmpere>)
#define FASTALEX_CONV_MMA8(X, TILE_NAME, TILE, WINDOW_NAME, WINDOW)                                         \
  X("mma8_" TILE_NAME "_" WINDOW_NAME, (conv_mma<WINDOW, TILE<kTuring>>), ConvArgs, TILE<kTuring>::THREADS, \
    TILE<kTuring>::SHARED_BYTES, 75, 75, true, WINDOW, TILE<kTuring>)
#define FASTALEX_CONV_MMA_BOTH(X, TILE_NAME, TILE, WINDOW_NAME, WINDOW) \
  FASTALEX_CONV_MMA16(X, TILE_NAME, TILE, WINDOW_NAME, WINDOW)          \
  FASTALEX_CONV_MMA8(X, TILE_NAME, TILE, WINDOW_NAME, WINDOW)

#define FASTALEX_CONV_MMA_INSTANCES(X)                                     \
  FASTALEX_CONV_MMA_BOTH(X, "64x32", MmaTile64x32, "c3r11", ColorWindow)   \
  FASTALEX_CONV_MMA_BOTH(X, "128x64", MmaTile128x64, "c3r11", ColorWindow) \
  FASTALEX_CONV_MMA_BOTH(X, "128x96", MmaTile128x96, "c3r11", ColorWindow) \
  FASTALEX_CONV_MMA_BOTH(X, "64x64", MmaTile64x64, "c48r5", Window48)      \
  FASTALEX_CONV_MMA_BOTH(X, "128x128", MmaTile128x128, "c48r5", Window48)  \
  FASTALEX_CONV_MMA16(X, "256x128", MmaTile256x128, "c48r5", Window48)     \
  FASTALEX_CONV_MMA_BOTH(X, "64x64", MmaTile64x64, "c64", Window64)        \
  FASTALEX_CONV_MMA_BOTH(X, "128x96", MmaTile128x96, "c64", Window64)      \
  FASTALEX_CONV_MMA_BOTH(X, "128x128", MmaTile128x128, "c64", Window64)    \
  FASTALEX_CONV_MMA16(X, "128x192", MmaTile128x192, "c64", Window64)       \
  FASTALEX_CONV_MMA16(X, "256x128", MmaTile256x128, "c64", Window64)       \
  FASTALEX_CONV_MMA_BOTH(X, "64x64", MmaTile64x64, "c8", Window8)          \
  FASTALEX_CONV_MMA_BOTH(X, "128x64", MmaTile128x64, "c8", Window8)

#endif  // FASTALEX_CUDA_KERNELS_CONV_MMA_INSTANCES_H
