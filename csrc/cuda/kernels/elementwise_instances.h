// The instances of elementwise.cuh: X(name, kernel, arguments, threads, shared bytes, min sm, max sm, tensor cores,
// kind, dtype, dtype of the dense array).
#ifndef FASTALEX_CUDA_KERNELS_ELEMENTWISE_INSTANCES_H
#define FASTALEX_CUDA_KERNELS_ELEMENTWISE_INSTANCES_H

// clang-format off
#define FASTALEX_ELEMENTWISE_LAYOUTS(X, NAME, KERNEL, SHARED, KIND)                                                    \
  X(NAME "_float", (elementwise::KERNEL<float, float>), LayoutArgs, elementwise::kThreads, SHARED, 0, 0, false, KIND,  \
    kFloat, kFloat)                                                                                                    \
  X(NAME "_half", (elementwise::KERNEL<Half, float>), LayoutArgs, elementwise::kThreads, SHARED, 0, 0, false, KIND,    \
    kHalf, kFloat)                                                                                                     \
  X(NAME "_half_dense", (elementwise::KERNEL<Half, Half>), LayoutArgs, elementwise::kThreads, SHARED, 0, 0, false,     \
    KIND, kHalf, kHalf)

#define FASTALEX_ELEMENTWISE_INSTANCES(X)                                                                              \
  X("activation_float", (elementwise::activation<float>), ActivationArgs, elementwise::kThreads, 0, 0, 0, false,       \
    kActivation, kFloat, kFloat)                                                                                       \
  X("activation_half", (elementwise::activation<Half>), ActivationArgs, elementwise::kThreads, 0, 0, 0, false,         \
    kActivation, kHalf, kHalf)                                                                                         \
  FASTALEX_ELEMENTWISE_LAYOUTS(X, "pixels_to_tensor", pixels_to_tensor, 0, kPixelsToTensor)                            \
  FASTALEX_ELEMENTWISE_LAYOUTS(X, "to_tensor", to_tensor, elementwise::kSquareBytes, kToTensor)                        \
  FASTALEX_ELEMENTWISE_LAYOUTS(X, "from_tensor", from_tensor, elementwise::kSquareBytes, kFromTensor)                  \
  FASTALEX_ELEMENTWISE_LAYOUTS(X, "to_vectors", to_vectors, 0, kToVectors)                                             \
  FASTALEX_ELEMENTWISE_LAYOUTS(X, "from_vectors", from_vectors, 0, kFromVectors)
// clang-format on

#endif  // FASTALEX_CUDA_KERNELS_ELEMENTWISE_INSTANCES_H
