// The instances of norm_pool.cuh: X(name, kernel, arguments, threads, shared bytes, min sm, max sm, tensor cores,
// kind, dtype, channels of a thread, size 5 and beta 3/4 only).
#ifndef FASTALEX_CUDA_KERNELS_NORM_POOL_INSTANCES_H
#define FASTALEX_CUDA_KERNELS_NORM_POOL_INSTANCES_H

// clang-format off
#define FASTALEX_NORM_POOL_ROW(X, NAME, KERNEL, SHARED, KIND, DTYPE, VECTOR, FIVE)                                     \
  X(NAME, KERNEL, NormPoolArgs, norm_pool::kThreads, SHARED, 0, 0, false, KIND, DTYPE, VECTOR, FIVE)

// VECTORS: how many of them a block keeps in shared memory.
#define FASTALEX_NORM_ROWS(X, FIVE, ANY, KERNEL, VECTORS, KIND)                                                        \
  FASTALEX_NORM_POOL_ROW(X, FIVE "_float", (norm_pool::KERNEL<float, 4, true>), VECTORS * 16, KIND, kFloat, 4, true)   \
  FASTALEX_NORM_POOL_ROW(X, FIVE "_half", (norm_pool::KERNEL<Half, 8, true>), VECTORS * 16, KIND, kHalf, 8, true)      \
  FASTALEX_NORM_POOL_ROW(X, ANY "_float", (norm_pool::KERNEL<float, 4, false>), VECTORS * 16, KIND, kFloat, 4, false)  \
  FASTALEX_NORM_POOL_ROW(X, ANY "_half", (norm_pool::KERNEL<Half, 4, false>), VECTORS * 8, KIND, kHalf, 4, false)

#define FASTALEX_PLAIN_ROWS(X, NAME, KERNEL, ARGS, SHARED, KIND)                                                       \
  X(NAME "_float", (norm_pool::KERNEL<float>), ARGS, norm_pool::kThreads, SHARED, 0, 0, false, KIND, kFloat, 4, false) \
  X(NAME "_half", (norm_pool::KERNEL<Half>), ARGS, norm_pool::kThreads, SHARED, 0, 0, false, KIND, kHalf, 4, false)

#define FASTALEX_NORM_POOL_INSTANCES(X)                                                                                \
  FASTALEX_NORM_ROWS(X, "lrn5", "lrn_any", lrn, 0, kLrn)                                                               \
  FASTALEX_NORM_POOL_ROW(X, "pool_float", (norm_pool::max_pool<float, 4>), 0, kPool, kFloat, 4, false)                 \
  FASTALEX_NORM_POOL_ROW(X, "pool_half", (norm_pool::max_pool<Half, 8>), 0, kPool, kHalf, 8, false)                    \
  FASTALEX_NORM_POOL_ROW(X, "pool_any_half", (norm_pool::max_pool<Half, 4>), 0, kPool, kHalf, 4, false)                \
  FASTALEX_NORM_ROWS(X, "lrn5_pool", "lrn_any_pool", lrn_pool, norm_pool::kTileVectors, kLrnPool)                      \
  FASTALEX_NORM_ROWS(X, "pool_lrn5", "pool_lrn_any", pool_lrn, norm_pool::kTileVectors, kPoolLrn)                      \
  FASTALEX_PLAIN_ROWS(X, "spatial_norm", spatial_norm, SpatialNormArgs, norm_pool::kTileVectors * 16, kSpatialNorm)    \
  FASTALEX_PLAIN_ROWS(X, "average_pool", average_pool, AveragePoolArgs, 0, kAveragePool)
// clang-format on

#endif  // FASTALEX_CUDA_KERNELS_NORM_POOL_INSTANCES_H
