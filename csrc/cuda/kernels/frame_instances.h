// The instances of frame.cuh: X(name, kernel, arguments, threads, shared bytes, min sm, max sm, tensor cores, filter,
// dtype).
#ifndef FASTALEX_CUDA_KERNELS_FRAME_INSTANCES_H
#define FASTALEX_CUDA_KERNELS_FRAME_INSTANCES_H

// clang-format off
#define FASTALEX_FRAME_BOTH(X, NAME, KERNEL, SHARED, FILTER)                                                           \
  X(NAME "_float", (frame::KERNEL<float>), FrameArgs, frame::kThreads, SHARED, 0, 0, false, FILTER, kFloat)            \
  X(NAME "_half", (frame::KERNEL<Half>), FrameArgs, frame::kThreads, SHARED, 0, 0, false, FILTER, kHalf)

#define FASTALEX_FRAME_INSTANCES(X)                                                                                    \
  FASTALEX_FRAME_BOTH(X, "frame_nearest", nearest, 0, kNearest)                                                        \
  FASTALEX_FRAME_BOTH(X, "frame_linear", linear, 0, kLinear)                                                           \
  FASTALEX_FRAME_BOTH(X, "frame_antialiased", antialiased, frame::kSharedBytes, kAntialiased)
// clang-format on

#endif  // FASTALEX_CUDA_KERNELS_FRAME_INSTANCES_H
