// The instances of fully_connected_columns.cuh: X(name, kernel, arguments, threads, shared bytes, min sm, max sm,
// tensor cores, dtype, storage, vectors, warps that share columns, bytes of a lane under way, products summed in half).
// A lane has 16 bytes of a column, 8 where the sums of that many outputs would not fit in 128 registers.
#ifndef FASTALEX_CUDA_KERNELS_FULLY_CONNECTED_COLUMNS_INSTANCES_H
#define FASTALEX_CUDA_KERNELS_FULLY_CONNECTED_COLUMNS_INSTANCES_H

#include "cuda/kernels/fully_connected_columns.cuh"

// clang-format off
#define FASTALEX_COLUMNS_SHAPE(T, STORAGE, ...) \
  fully_connected_columns::Shape<T, fully_connected::STORAGE, __VA_ARGS__>
#define FASTALEX_COLUMNS(X, NAME, DTYPE, T, STORAGE, VECTORS, LANE_BYTES, K_WARPS, AHEAD)                              \
  X(NAME, (fully_connected_columns::columns<T, fully_connected::STORAGE, VECTORS, LANE_BYTES, K_WARPS, AHEAD>),        \
    ColumnsArgs, (FASTALEX_COLUMNS_SHAPE(T, STORAGE, VECTORS, LANE_BYTES, K_WARPS, AHEAD)::kThreads),                  \
    (FASTALEX_COLUMNS_SHAPE(T, STORAGE, VECTORS, LANE_BYTES, K_WARPS, AHEAD)::kShared), 0, 0, false, DTYPE,            \
    fully_connected::STORAGE, VECTORS, K_WARPS, LANE_BYTES * AHEAD,                                                    \
    (FASTALEX_COLUMNS_SHAPE(T, STORAGE, VECTORS, LANE_BYTES, K_WARPS, AHEAD)::kHalfProducts))

#define FASTALEX_FULLY_CONNECTED_COLUMNS_INSTANCES(X)                                \
  FASTALEX_COLUMNS(X, "columns_float_fp16_b1", kFloat, float, kFp16, 1, 16, 8, 4)    \
  FASTALEX_COLUMNS(X, "columns_float_fp16_b2", kFloat, float, kFp16, 2, 16, 8, 4)    \
  FASTALEX_COLUMNS(X, "columns_float_int8_b1", kFloat, float, kInt8, 1, 16, 8, 4)    \
  FASTALEX_COLUMNS(X, "columns_float_int8_b2", kFloat, float, kInt8, 2, 16, 8, 4)    \
  FASTALEX_COLUMNS(X, "columns_float_int4_b1", kFloat, float, kInt4, 1, 8, 4, 4)     \
  FASTALEX_COLUMNS(X, "columns_float_int4_b2", kFloat, float, kInt4, 2, 8, 4, 4)     \
  FASTALEX_COLUMNS(X, "columns_half_fp16_b1", kHalf, Half, kFp16, 1, 16, 8, 4)       \
  FASTALEX_COLUMNS(X, "columns_half_fp16_b2", kHalf, Half, kFp16, 2, 16, 8, 4)       \
  FASTALEX_COLUMNS(X, "columns_half_int8_b1", kHalf, Half, kInt8, 1, 16, 8, 8)       \
  FASTALEX_COLUMNS(X, "columns_half_int8_b2", kHalf, Half, kInt8, 2, 16, 8, 4)       \
  FASTALEX_COLUMNS(X, "columns_half_int4_b1", kHalf, Half, kInt4, 1, 16, 8, 4)       \
  FASTALEX_COLUMNS(X, "columns_half_int4_b2", kHalf, Half, kInt4, 2, 8, 4, 4)
// clang-format on

#endif  // FASTALEX_CUDA_KERNELS_FULLY_CONNECTED_COLUMNS_INSTANCES_H
