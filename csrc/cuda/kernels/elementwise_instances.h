// The instances of elementwise.cuh: X(name, kernel, arguments, threads, shared bytes, min sm, max sm, tensor cores,
// kind, dtype).
#ifndef FASTALEX_CUDA_ELEMENTWISE_INSTANCES_H
#define FASTALEX_CUDA_ELEMENTWISE_INSTANCES_H

// clang-format off
#define FASTALEX_ELEMENTWISE_BOTH(X, NAME, KERNEL, ARGS, SHARED, KIND)                                                 \
  X(NAME "_float", (elementwise::KERNEL<float>), ARGS, elementwise::kThreads, SHARED, 0, 0, false, KIND, kFloat)       \
  X(NAME "_half", (elementwise::KERNEL<Half>), ARGS, elementwise::kThreads, SHARED, 0, 0, false, KIND, kHalf)

#define FASTALEX_ELEMENTWISE_INSTANCES(X)                                                                              \
  FASTALEX_ELEMENTWISE_BOTH(X, "activation", activation, ActivationArgs, 0, kActivation)                               \
  FASTALEX_ELEMENTWISE_BOTH(X, "pixels_to_tensor", pixels_to_tensor, LayoutArgs, 0, kPixelsToTensor)                   \
  FASTALEX_ELEMENTWISE_BOTH(X, "to_tensor", to_tensor, LayoutArgs, elementwise::kSquareBytes, kToTensor)               \
  FASTALEX_ELEMENTWISE_BOTH(X, "from_tensor", from_tensor, LayoutArgs, elementwise::kSquareBytes, kFromTensor)         \
  FASTALEX_ELEMENTWISE_BOTH(X, "to_vectors", to_vectors, LayoutArgs, 0, kToVectors)                                    \
  FASTALEX_ELEMENTWISE_BOTH(X, "from_vectors", from_vectors, LayoutArgs, 0, kFromVectors)
// clang-format on

#endif  // FASTALEX_CUDA_ELEMENTWISE_INSTANCES_H
