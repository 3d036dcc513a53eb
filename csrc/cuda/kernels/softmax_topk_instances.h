// The instances of softmax_topk.cuh: X(name, kernel, arguments, threads, shared bytes, min sm, max sm, tensor cores,
// kind, dtype).
#ifndef FASTALEX_CUDA_KERNELS_SOFTMAX_TOPK_INSTANCES_H
#define FASTALEX_CUDA_KERNELS_SOFTMAX_TOPK_INSTANCES_H

// clang-format off
#define FASTALEX_SOFTMAX_TOPK_INSTANCES(X)                                                                                                                    \
  X("softmax_float", (softmax_topk::softmax<float>), SoftmaxArgs, softmax_topk::kThreads, softmax_topk::kSoftmaxShared, 0, 0, false, kSoftmax, kFloat) \
  X("softmax_half", (softmax_topk::softmax<Half>), SoftmaxArgs, softmax_topk::kThreads, softmax_topk::kSoftmaxShared, 0, 0, false, kSoftmax, kHalf)    \
  X("top_k_float", (softmax_topk::top_k<float>), TopKArgs, softmax_topk::kThreads, softmax_topk::kTopKShared, 0, 0, false, kTopK, kFloat)              \
  X("top_k_half", (softmax_topk::top_k<Half>), TopKArgs, softmax_topk::kThreads, softmax_topk::kTopKShared, 0, 0, false, kTopK, kHalf)
// clang-format on

#endif  // FASTALEX_CUDA_KERNELS_SOFTMAX_TOPK_INSTANCES_H
