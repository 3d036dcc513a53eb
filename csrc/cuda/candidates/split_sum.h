// The second launch of a fully connected layer whose sum is split over blocks: it adds up the parts (split_reduce.cuh).
#ifndef FASTALEX_CUDA_CANDIDATES_SPLIT_SUM_H
#define FASTALEX_CUDA_CANDIDATES_SPLIT_SUM_H

#include "cuda/candidates/candidate.h"
#include "cuda/kernels/split_reduce.cuh"

namespace fastalex {
namespace cuda {

inline KernelInfo split_sum_kernel(Dtype dtype) {
  return dtype == kHalf ? kernel_info("split_reduce_half", split_reduce<Half>, kReduceThreads, 0)
                        : kernel_info("split_reduce_float", split_reduce<float>, kReduceThreads, 0);
}

// Args: of the launch that wrote the parts.
template <class Args>
KernelLaunch split_sum_launch(const KernelInfo& kernel, const Args& a) {
  const ReduceArgs sum = {a.partial, a.bias, a.out, a.split, 1, a.n, a.out_pitch, a.out_c, a.out_pitch, a.activation};
  const long long vectors = static_cast<long long>(a.n) * (a.out_pitch / kReduceChannels);
  const int blocks = static_cast<int>(ceil_div(vectors, static_cast<long long>(kReduceThreads)));
  return KernelLaunch::make(kernel, Grid{blocks, 1, 1}, sum);
}

}  // namespace cuda
}  // namespace fastalex
#endif  // FASTALEX_CUDA_CANDIDATES_SPLIT_SUM_H
