// Common definitions of all kernel files. Neither this file nor any .cuh may include a host header: nvcc, NVRTC and the
// g++ emulator (cuda_emulator) compile the same sources.
#ifndef FASTALEX_CUDA_KERNELS_DEFS_CUH
#define FASTALEX_CUDA_KERNELS_DEFS_CUH

#ifdef FASTALEX_CUDA_EMULATOR
#include "cuda_emulator.h"
#endif

// Shared memory is always dynamic and declared by this macro, once in a kernel, so that the emulator can provide
// exactly the bytes that the launch asked for. 16-byte aligned.
#ifndef FASTALEX_SHARED
#define FASTALEX_SHARED(name) extern __shared__ __align__(16) unsigned char name[]
#endif

// Kernels whose instructions an architecture lacks compile to nothing there; the host never launches them (KernelInfo).
#ifdef FASTALEX_CUDA_EMULATOR
#define FASTALEX_SM 9999  // everything is emulated
#elif defined(__CUDA_ARCH__)
#define FASTALEX_SM (__CUDA_ARCH__ / 10)
#else
#define FASTALEX_SM 0
#endif

#if defined(__CUDACC__) || defined(FASTALEX_CUDA_EMULATOR)
#define FASTALEX_DEVICE __device__ __forceinline__
#define FASTALEX_HOST_DEVICE __host__ __device__
#else  // plain host code that includes args.h
#define FASTALEX_HOST_DEVICE
#endif

namespace fastalex {
namespace cuda {

typedef signed char i8;
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

// One IEEE binary16 value in memory. Arithmetic is done on Half2 (ptx.h) or in float.
struct Half {
  u16 bits;
};

// Two of them in a register: the low half is the one at the lower address.
struct Half2 {
  u32 bits;
};

struct alignas(16) Bits128 {  // one vector load: 16 bytes
  u32 x, y, z, w;
};

template <typename A, typename B>
FASTALEX_HOST_DEVICE constexpr A ceil_div(A a, B b) {
  return (a + b - 1) / b;
}
template <typename A, typename B>
FASTALEX_HOST_DEVICE constexpr A round_up(A a, B b) {
  return ceil_div(a, b) * b;
}
template <typename T>
FASTALEX_HOST_DEVICE constexpr T smaller(T a, T b) {
  return a < b ? a : b;
}
template <typename T>
FASTALEX_HOST_DEVICE constexpr T larger(T a, T b) {
  return a > b ? a : b;
}

}  // namespace cuda
}  // namespace fastalex
#endif  // FASTALEX_CUDA_KERNELS_DEFS_CUH
