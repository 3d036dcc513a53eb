// Launches that convert between the caller's dense NCHW arrays and tensors. An array holds floats or the tensor's type.
// `in` is the source and `out` the target in both directions.
#ifndef FASTALEX_CUDA_CANDIDATES_LAYOUT_H
#define FASTALEX_CUDA_CANDIDATES_LAYOUT_H

#include <vector>

#include "cuda/candidates/candidate.h"

namespace fastalex {
namespace cuda {

KernelLaunch to_tensor_launch(Dtype dtype, const LayoutArgs& args, Dtype dense = kFloat);    // [n, c, h, w] -> tensor
KernelLaunch from_tensor_launch(Dtype dtype, const LayoutArgs& args, Dtype dense = kFloat);  // tensor -> [n, c, h, w]

// All kernels that these two may launch.
std::vector<const KernelInfo*> layout_kernels();

}  // namespace cuda
}  // namespace fastalex
#endif  // FASTALEX_CUDA_CANDIDATES_LAYOUT_H
