// The compiled instances of gemm_fc.cuh.
#ifndef FASTALEX_CUDA_KERNELS_GEMM_FC_INSTANCES_H
#define FASTALEX_CUDA_KERNELS_GEMM_FC_INSTANCES_H

#include "cuda/kernels/gemm_fc.cuh"

namespace fastalex {
namespace cuda {

// Vectors, outputs, products of a stage.
template <MmaGeneration G>
using GemmFc64x64 = MmaTile<64, 64, 64, 2, 2, 2, G>;
template <MmaGeneration G>
using GemmFc128x64 = MmaTile<128, 64, 64, 2, 2, 2, G>;
template <MmaGeneration G>  // of twice the threads, each with half as many of the two sets of sums that int4 takes
using GemmFc128x64Int4 = MmaTile<128, 64, 64, 4, 2, 2, G>;

struct GemmFcSimtTile {  // as mma_shape reads it
  static constexpr int BM = gemm_fc::kSimtVectors, BN = gemm_fc::kSimtRows, BK = gemm_fc::kSimtProducts, WM = 32,
                       WN = 16, STAGES = 2, THREADS = gemm_fc::kSimtThreads, SHARED_BYTES = gemm_fc::kSimtShared;
};

}  // namespace cuda
}  // namespace fastalex

// X(name, kernel, argument struct, threads, shared bytes, least sm, largest sm, tensor cores, dtype, storage, tile)
#define FASTALEX_GEMM_FC_MMA(X, TILE_NAME, TILE, STORAGE_NAME, STORAGE)                                                \
  X("gemm16_" TILE_NAME "_" STORAGE_NAME, (gemm_fc::gemm_fc_mma<TILE<kAmpere>, gemm_fc::STORAGE>), FullyConnectedArgs, \
    TILE<kAmpere>::THREADS, (gemm_fc::MmaShared<TILE<kAmpere>, gemm_fc::STORAGE>::BYTES), 80, 0, true, kHalf,          \
    gemm_fc::STORAGE, TILE<kAmpere>)                                                                                   \
  X("gemm8_" TILE_NAME "_" STORAGE_NAME, (gemm_fc::gemm_fc_mma<TILE<kTuring>, gemm_fc::STORAGE>), FullyConnectedArgs,  \
    TILE<kTuring>::THREADS, (gemm_fc::MmaShared<TILE<kTuring>, gemm_fc::STORAGE>::BYTES), 75, 75, true, kHalf,         \
    gemm_fc::STORAGE, TILE<kTuring>)
#define FASTALEX_GEMM_FC_SIMT(X, NAME, DTYPE, T, STORAGE)                                                       \
  X("gemm_simt_" NAME, (gemm_fc::gemm_fc_simt<T, gemm_fc::STORAGE>), FullyConnectedArgs, gemm_fc::kSimtThreads, \
    gemm_fc::kSimtShared, 0, 0, false, DTYPE, gemm_fc::STORAGE, GemmFcSimtTile)

#define FASTALEX_GEMM_FC_INSTANCES(X)                                \
  FASTALEX_GEMM_FC_MMA(X, "64x64", GemmFc64x64, "int8", kInt8)       \
  FASTALEX_GEMM_FC_MMA(X, "128x64", GemmFc128x64, "int8", kInt8)     \
  FASTALEX_GEMM_FC_MMA(X, "64x64", GemmFc64x64, "int4", kInt4)       \
  FASTALEX_GEMM_FC_MMA(X, "128x64", GemmFc128x64Int4, "int4", kInt4) \
  FASTALEX_GEMM_FC_SIMT(X, "float_fp32", kFloat, float, kFp32)       \
  FASTALEX_GEMM_FC_SIMT(X, "float_fp16", kFloat, float, kFp16)       \
  FASTALEX_GEMM_FC_SIMT(X, "float_int8", kFloat, float, kInt8)       \
  FASTALEX_GEMM_FC_SIMT(X, "float_int4", kFloat, float, kInt4)       \
  FASTALEX_GEMM_FC_SIMT(X, "half_fp16", kHalf, Half, kFp16)          \
  FASTALEX_GEMM_FC_SIMT(X, "half_int8", kHalf, Half, kInt8)          \
  FASTALEX_GEMM_FC_SIMT(X, "half_int4", kHalf, Half, kInt4)

#endif  // FASTALEX_CUDA_KERNELS_GEMM_FC_INSTANCES_H
