// The instances of fully_connected.cuh: X(name, kernel, arguments, threads, shared bytes, min sm, max sm, tensor cores,
// dtype, storage, vectors of a pass, rows of a block, values of a segment, products summed in half); storage -1: the
// sum of a split's parts. Wide blocks of 32 rows stream large layers, thin ones of 4 rows spread few outputs over many
// multiprocessors. Several vectors of floats and int4 need more than the 128 registers that sm_53 gives 256 threads.
#ifndef FASTALEX_CUDA_KERNELS_FULLY_CONNECTED_INSTANCES_H
#define FASTALEX_CUDA_KERNELS_FULLY_CONNECTED_INSTANCES_H

// clang-format off
#define FASTALEX_STREAM(X, NAME, DTYPE, T, STORAGE, VECTORS, ROW_WARPS, K_WARPS)                                   \
  X(NAME, (fully_connected::stream<T, fully_connected::STORAGE, VECTORS, ROW_WARPS, K_WARPS>), FullyConnectedArgs, \
    (fully_connected::Shape<T, fully_connected::STORAGE, VECTORS, ROW_WARPS, K_WARPS>::kThreads),                  \
    (fully_connected::Shape<T, fully_connected::STORAGE, VECTORS, ROW_WARPS, K_WARPS>::kShared), 0, 0, false,      \
    DTYPE, fully_connected::STORAGE, VECTORS,                                                                      \
    (fully_connected::Shape<T, fully_connected::STORAGE, VECTORS, ROW_WARPS, K_WARPS>::kBlockRows),                \
    (fully_connected::Shape<T, fully_connected::STORAGE, VECTORS, ROW_WARPS, K_WARPS>::kSegment),                  \
    (fully_connected::Shape<T, fully_connected::STORAGE, VECTORS, ROW_WARPS, K_WARPS>::kHalfProducts))

#define FASTALEX_STREAM_ALL(X, PREFIX, DTYPE, T, STORAGE, ROW_WARPS)      \
  FASTALEX_STREAM(X, PREFIX "_thin", DTYPE, T, STORAGE, 1, 1, 4)          \
  FASTALEX_STREAM(X, PREFIX "_b1", DTYPE, T, STORAGE, 1, 8, 1)            \
  FASTALEX_STREAM(X, PREFIX "_b4", DTYPE, T, STORAGE, 4, ROW_WARPS, 1)    \
  FASTALEX_STREAM(X, PREFIX "_b8", DTYPE, T, STORAGE, 8, ROW_WARPS, 1)

#define FASTALEX_FULLY_CONNECTED_INSTANCES(X)                             \
  FASTALEX_STREAM_ALL(X, "stream_float_fp32", kFloat, float, kFp32, 8)    \
  FASTALEX_STREAM_ALL(X, "stream_float_fp16", kFloat, float, kFp16, 8)    \
  FASTALEX_STREAM_ALL(X, "stream_float_int8", kFloat, float, kInt8, 8)    \
  FASTALEX_STREAM_ALL(X, "stream_float_int4", kFloat, float, kInt4, 4)    \
  FASTALEX_STREAM_ALL(X, "stream_half_fp16", kHalf, Half, kFp16, 8)       \
  FASTALEX_STREAM_ALL(X, "stream_half_int8", kHalf, Half, kInt8, 8)       \
  FASTALEX_STREAM_ALL(X, "stream_half_int4", kHalf, Half, kInt4, 8)       \
  X("stream_sum_float", (fully_connected::reduce<float>), ReduceArgs, fully_connected::kReduceThreads, 0, 0, 0, false, kFloat, -1, 0, 0, 0, 0) \
  X("stream_sum_half", (fully_connected::reduce<Half>), ReduceArgs, fully_connected::kReduceThreads, 0, 0, 0, false, kHalf, -1, 0, 0, 0, 0)
// clang-format on

#endif  // FASTALEX_CUDA_KERNELS_FULLY_CONNECTED_INSTANCES_H
