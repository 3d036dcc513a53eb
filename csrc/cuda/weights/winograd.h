// Winograd's transforms and weights: F(m x m, r x r) of constants/winograd.h, which has the formulas.
#ifndef FASTALEX_CUDA_WEIGHTS_WINOGRAD_H
#define FASTALEX_CUDA_WEIGHTS_WINOGRAD_H

#include <vector>

#include "cuda/candidates/candidate.h"
#include "weights/winograd_transforms.h"

namespace fastalex {
namespace cuda {

// Computes the transforms by the Cook-Toom construction from the format's points, in double. `format` is one of
// kWinograd*.
WinogradTransforms winograd_transforms(WeightFormat format);

// G g G^T of every output and input channel, summed in double and rounded once: values of `dtype` (float or half),
// [positions, groups, w_rows, w_pitch] with w_rows, w_pitch = out and in channels of a group, rounded up to kWeightRows
// and kWeightProducts, and zeros in between. Throws Error(FASTALEX_INVALID) if a value is too large for half.
std::vector<char> winograd_weights(const fastalex_step& step, WeightFormat format, Dtype dtype,
                                   const float* w);  // [out_c, in_c / groups, kernel, kernel]

}  // namespace cuda
}  // namespace fastalex
#endif  // FASTALEX_CUDA_WEIGHTS_WINOGRAD_H
