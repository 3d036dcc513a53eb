// The compiled instances of conv_winograd.cuh.
#ifndef FASTALEX_CUDA_KERNELS_CONV_WINOGRAD_INSTANCES_H
#define FASTALEX_CUDA_KERNELS_CONV_WINOGRAD_INSTANCES_H

#include "cuda/kernels/conv_winograd.cuh"

namespace fastalex {
namespace cuda {

// Tiles x output channels of a block. 13x13 outputs are 16 tiles of 4x4 or 49 of 2x2, 27x27 are 81 of 3x3.
typedef WinogradShape<4, 4, 16, 4, 8, 6> Winograd16x128;
typedef WinogradShape<8, 8, 8, 7, 8, 4> Winograd56x64;
typedef WinogradShape<4, 12, 8, 7, 8, 4> Winograd84x64;

}  // namespace cuda
}  // namespace fastalex

// X(name, kernel, argument struct, threads, shared bytes, least sm, largest sm, tensor cores)
#define FASTALEX_WINOGRAD_GEMM(X, NAME, REAL, SHAPE, MIN_SM, MAX_SM) \
  X(NAME, (winograd_gemm<REAL, SHAPE>), WinogradArgs, SHAPE::kThreads, SHAPE::kSharedBytes, MIN_SM, MAX_SM, false)
#define FASTALEX_WINOGRAD_TRANSFORM(X, NAME, KERNEL, MIN_SM, MAX_SM) \
  X(NAME, KERNEL, WinogradArgs, kWinogradTransformThreads, 0, MIN_SM, MAX_SM, false)

// Half tensors are served for GPUs without tensor cores; sm_75 is with and without. Where halves take the algorithm's
// roundings badly (F(3x3, 5x5)), their products are float: a fifth as many as direct ones, at half of the rate.
#define FASTALEX_CONV_WINOGRAD_INSTANCES(X)                                                                       \
  FASTALEX_WINOGRAD_GEMM(X, "winograd_gemm_16x128_ffma", float, Winograd16x128, 0, 0)                             \
  FASTALEX_WINOGRAD_GEMM(X, "winograd_gemm_56x64_ffma", float, Winograd56x64, 0, 0)                               \
  FASTALEX_WINOGRAD_GEMM(X, "winograd_gemm_84x64_ffma", float, Winograd84x64, 0, 0)                               \
  FASTALEX_WINOGRAD_GEMM(X, "winograd_gemm_56x64_hfma2", Half, Winograd56x64, 53, 75)                             \
  FASTALEX_WINOGRAD_TRANSFORM(X, "winograd_input_2x3_float", (winograd_input<Winograd2x3, float, float>), 0, 0)   \
  FASTALEX_WINOGRAD_TRANSFORM(X, "winograd_input_4x3_float", (winograd_input<Winograd4x3, float, float>), 0, 0)   \
  FASTALEX_WINOGRAD_TRANSFORM(X, "winograd_input_3x5_float", (winograd_input<Winograd3x5, float, float>), 0, 0)   \
  FASTALEX_WINOGRAD_TRANSFORM(X, "winograd_input_2x3_half", (winograd_input<Winograd2x3, Half, Half>), 53, 75)    \
  FASTALEX_WINOGRAD_TRANSFORM(X, "winograd_output_2x3_float", (winograd_output<Winograd2x3, float, float>), 0, 0) \
  FASTALEX_WINOGRAD_TRANSFORM(X, "winograd_output_4x3_float", (winograd_output<Winograd4x3, float, float>), 0, 0) \
  FASTALEX_WINOGRAD_TRANSFORM(X, "winograd_output_3x5_float", (winograd_output<Winograd3x5, float, float>), 0, 0) \
  FASTALEX_WINOGRAD_TRANSFORM(X, "winograd_output_2x3_half", (winograd_output<Winograd2x3, Half, Half>), 53, 75)  \
  FASTALEX_WINOGRAD_TRANSFORM(X, "winograd_input_3x5_mixed", (winograd_input<Winograd3x5, Half, float>), 0, 75)   \
  FASTALEX_WINOGRAD_TRANSFORM(X, "winograd_output_3x5_mixed", (winograd_output<Winograd3x5, Half, float>), 0, 75)

#endif  // FASTALEX_CUDA_KERNELS_CONV_WINOGRAD_INSTANCES_H
