// Every piece of inline PTX, one wrapper an instruction. cuda_emulator/src/ptx_emulated.h has the same functions in
// C++, written from the PTX manual; a kernel sees one of the two. Manual:
// docs.nvidia.com/cuda/parallel-thread-execution.
#ifndef FASTALEX_CUDA_KERNELS_PTX_H
#define FASTALEX_CUDA_KERNELS_PTX_H

#include "cuda/kernels/defs.cuh"

#ifdef FASTALEX_CUDA_EMULATOR
#include "ptx_emulated.h"
#else

namespace fastalex {
namespace cuda {

// Half precision (fma.f16x2 needs sm_53)
// -------------------------------------------------------------------------------

FASTALEX_DEVICE float to_float(Half h) {
  float f;
  asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(h.bits));
  return f;
}
FASTALEX_DEVICE Half to_half(float f) {  // to nearest even
  Half h;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h.bits) : "f"(f));
  return h;
}
FASTALEX_DEVICE float low(Half2 h) {
  float f;
  asm("{.reg .b16 l, h; mov.b32 {l, h}, %1; cvt.f32.f16 %0, l;}" : "=f"(f) : "r"(h.bits));
  return f;
}
FASTALEX_DEVICE float high(Half2 h) {
  float f;
  asm("{.reg .b16 l, h; mov.b32 {l, h}, %1; cvt.f32.f16 %0, h;}" : "=f"(f) : "r"(h.bits));
  return f;
}
FASTALEX_DEVICE Half2 to_half2(float lo, float hi) {
  Half2 h;
  asm("{.reg .b16 l, h; cvt.rn.f16.f32 l, %1; cvt.rn.f16.f32 h, %2; mov.b32 %0, {l, h};}"
      : "=r"(h.bits)
      : "f"(lo), "f"(hi));
  return h;
}
FASTALEX_DEVICE Half2 low_low(Half2 h) {
  Half2 r;
  asm("{.reg .b16 l, h; mov.b32 {l, h}, %1; mov.b32 %0, {l, l};}" : "=r"(r.bits) : "r"(h.bits));
  return r;
}
FASTALEX_DEVICE Half2 high_high(Half2 h) {
  Half2 r;
  asm("{.reg .b16 l, h; mov.b32 {l, h}, %1; mov.b32 %0, {h, h};}" : "=r"(r.bits) : "r"(h.bits));
  return r;
}
FASTALEX_DEVICE Half2 fma(Half2 a, Half2 b, Half2 c) {  // a b + c, rounded once
  Half2 r;
  asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(r.bits) : "r"(a.bits), "r"(b.bits), "r"(c.bits));
  return r;
}
FASTALEX_DEVICE Half2 add(Half2 a, Half2 b) {
  Half2 r;
  asm("add.f16x2 %0, %1, %2;" : "=r"(r.bits) : "r"(a.bits), "r"(b.bits));
  return r;
}
FASTALEX_DEVICE Half2 sub(Half2 a, Half2 b) {
  Half2 r;
  asm("sub.f16x2 %0, %1, %2;" : "=r"(r.bits) : "r"(a.bits), "r"(b.bits));
  return r;
}
FASTALEX_DEVICE Half2 mul(Half2 a, Half2 b) {  // mul alone could be contracted with a later add; .rn forbids it
  Half2 r;
  asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(r.bits) : "r"(a.bits), "r"(b.bits));
  return r;
}

// Float
// ----------------------------------------------------------------------------------------------------------------

// Relative errors of at most 2^-22.9 and 2^-23 (the manual); subnormal numbers count as zero.
FASTALEX_DEVICE float rsqrt_approximate(float x) {
  float r;
  asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
  return r;
}
FASTALEX_DEVICE float sqrt_approximate(float x) {
  float r;
  asm("sqrt.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
  return r;
}
// Each operation is rounded: never contracted to a fused multiply-add.
FASTALEX_DEVICE float multiply_rounded(float a, float b) {
  float r;
  asm("mul.rn.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b));
  return r;
}
FASTALEX_DEVICE float add_rounded(float a, float b) {
  float r;
  asm("add.rn.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b));
  return r;
}

// Bits
// -----------------------------------------------------------------------------------------------------------------

// Four bytes picked from the eight of {high, low} by the nibbles of `selector`.
FASTALEX_DEVICE u32 byte_permute(u32 low, u32 high, u32 selector) {
  u32 r;
  asm("prmt.b32 %0, %1, %2, %3;" : "=r"(r) : "r"(low), "r"(high), "r"(selector));
  return r;
}
// (a & b) | c in one instruction: truth table 0xea.
FASTALEX_DEVICE u32 and_or(u32 a, u32 b, u32 c) {
  u32 r;
  asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(r) : "r"(a), "r"(b), "r"(c));
  return r;
}
FASTALEX_DEVICE float bits_to_float(u32 bits) { return __uint_as_float(bits); }
FASTALEX_DEVICE u32 float_to_bits(float value) { return __float_as_uint(value); }

// Memory
// ---------------------------------------------------------------------------------------------------------------

// 16 bytes that are read once: weights that stream past the caches. p 16-byte aligned, read-only during the kernel.
// no_allocate needs sm_70 and PTX 7.4, that of CUDA 11.4.
FASTALEX_DEVICE Bits128 load_stream(const void* p) {
  Bits128 v;
#if FASTALEX_SM >= 70 && (__CUDACC_VER_MAJOR__ >= 12 || (__CUDACC_VER_MAJOR__ == 11 && __CUDACC_VER_MINOR__ >= 4))
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(p));
#else
  asm volatile("ld.global.cs.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(p));
#endif
  return v;
}

// The same for 8 bytes, at an address that is a multiple of 8.
FASTALEX_DEVICE uint2 load_stream_8(const void* p) {
  uint2 v;
#if FASTALEX_SM >= 70 && (__CUDACC_VER_MAJOR__ >= 12 || (__CUDACC_VER_MAJOR__ == 11 && __CUDACC_VER_MINOR__ >= 4))
  asm volatile("ld.global.nc.L1::no_allocate.v2.u32 {%0, %1}, [%2];" : "=r"(v.x), "=r"(v.y) : "l"(p));
#else
  asm volatile("ld.global.cs.v2.u32 {%0, %1}, [%2];" : "=r"(v.x), "=r"(v.y) : "l"(p));
#endif
  return v;
}

// 16 bytes that a later part of the program needs: a load that stays where it is, with no branch, along which the
// compiler would move it to there. w stays if `wanted` is false; p is not read then, otherwise 16-byte aligned.
FASTALEX_DEVICE void load_ahead(u32 (&w)[4], const void* p, bool wanted) {
  asm volatile("{.reg .pred q; setp.ne.u32 q, %5, 0; @q ld.global.v4.u32 {%0, %1, %2, %3}, [%4];}"
               : "+r"(w[0]), "+r"(w[1]), "+r"(w[2]), "+r"(w[3])
               : "l"(p), "r"(static_cast<u32>(wanted)));
}

FASTALEX_DEVICE u32 shared_address(const void* p) {
#if __CUDACC_VER_MAJOR__ >= 11
  return static_cast<u32>(__cvta_generic_to_shared(p));  // the compiler folds offsets through it
#else
  u32 address;
  asm("{.reg .u64 t; cvta.to.shared.u64 t, %1; cvt.u32.u64 %0, t;}" : "=r"(address) : "l"(p));
  return address;
#endif
}

// Asynchronous copies to shared memory (sm_80). They land no earlier than at the wait for their group; a
// __syncthreads() must follow before other threads read them. Where `valid` is false the bytes become zero and `from`
// is not read.
FASTALEX_DEVICE void copy_async_16(void* to_shared, const void* from, bool valid) {
#if FASTALEX_SM >= 80
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to_shared)), "l"(from),
               "r"(valid ? 16 : 0)
               : "memory");
#endif
}
FASTALEX_DEVICE void copy_async_8(void* to_shared, const void* from, bool valid) {
#if FASTALEX_SM >= 80
  asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(shared_address(to_shared)), "l"(from),
               "r"(valid ? 8 : 0)
               : "memory");
#endif
}
FASTALEX_DEVICE void copy_async_commit() {
#if FASTALEX_SM >= 80
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
// Waits until at most `Pending` of this thread's latest groups are under way.
template <int Pending>
FASTALEX_DEVICE void copy_async_wait() {
#if FASTALEX_SM >= 80
  asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
#endif
}

// Tensor cores
// ---------------------------------------------------------------------------------------------------------

// Four 8 x 8 matrices of halves from shared memory (sm_75); lane l names row l % 8 of matrix l / 8, 16 bytes each.
FASTALEX_DEVICE void load_matrix_x4(u32 (&r)[4], const void* row) {
#if FASTALEX_SM >= 75
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
#endif
}
// Two 8 x 8 matrices; lanes 0 to 15 name their rows, the others' addresses are ignored but must be valid.
FASTALEX_DEVICE void load_matrix_x2(u32 (&r)[2], const void* row) {
#if FASTALEX_SM >= 75
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(shared_address(row))
               : "memory");
#endif
}
// d += a b: a [16, 8] row major, b [8, 8] column major, halves; d [16, 8] float (sm_75).
FASTALEX_DEVICE void mma_m16n8k8(float (&d)[4], const u32 (&a)[2], u32 b) {
#if FASTALEX_SM >= 75
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(b));
#endif
}
// d += a b: a [16, 16] row major, b [16, 8] column major, halves; d [16, 8] float (sm_80).
FASTALEX_DEVICE void mma_m16n8k16(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {
#if FASTALEX_SM >= 80
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

}  // namespace cuda
}  // namespace fastalex
#endif  // FASTALEX_CUDA_EMULATOR
#endif  // FASTALEX_CUDA_KERNELS_PTX_H
