// The functions of ptx.h in C++, written from the PTX manual. Included by ptx.h.
#ifndef FASTALEX_PTX_EMULATED_H
#define FASTALEX_PTX_EMULATED_H

#include "half_emulated.h"

namespace fastalex {
namespace emulator {

void check_sm(const char* instruction, int sm);  // fails where the device of the launch lacks the instruction
void check_tensor_cores(const char* instruction, int sm);

void copy_async(void* to, const void* from, size_t bytes, bool valid);
void copy_async_commit();
void copy_async_wait(size_t pending);
void load_matrix(uint32_t* r, const void* row, int matrices, Place place);
void mma(float* d, const uint32_t* a, const uint32_t* b, int k, Place place);

}  // namespace emulator

namespace cuda {

// Float ---------------------------------------------------------------------------------------------------------------

FASTALEX_DEVICE float flushed(float x) { return fabsf(x) < 1.17549435e-38f ? copysignf(0, x) : x; }
FASTALEX_DEVICE float rsqrt_approximate(float x) { return 1 / sqrtf(flushed(x)); }
FASTALEX_DEVICE float sqrt_approximate(float x) { return sqrtf(flushed(x)); }
FASTALEX_DEVICE float multiply_rounded(float a, float b) {
  volatile float product = a * b;  // the compiler may not contract it with an addition
  return product;
}
FASTALEX_DEVICE float add_rounded(float a, float b) {
  volatile float sum = a + b;
  return sum;
}

// Bits ----------------------------------------------------------------------------------------------------------------

// prmt.b32 in its default mode: bits 0 to 2 of a nibble pick the byte, bit 3 spreads that byte's sign instead.
FASTALEX_DEVICE u32 byte_permute(u32 low, u32 high, u32 selector) {
  const u64 bytes = static_cast<u64>(high) << 32 | low;
  u32 result = 0;
  for (int i = 0; i < 4; ++i) {
    const u32 nibble = selector >> (4 * i) & 15;
    u32 byte = static_cast<u32>(bytes >> (8 * (nibble & 7))) & 0xff;
    if (nibble & 8) byte = byte & 0x80 ? 0xff : 0;
    result |= byte << (8 * i);
  }
  return result;
}
FASTALEX_DEVICE u32 and_or(u32 a, u32 b, u32 c) { return (a & b) | c; }
FASTALEX_DEVICE float bits_to_float(u32 bits) { return __uint_as_float(bits); }
FASTALEX_DEVICE u32 float_to_bits(float value) { return __float_as_uint(value); }

// Memory --------------------------------------------------------------------------------------------------------------

FASTALEX_DEVICE Bits128 load_stream(const void* p) {
  if (reinterpret_cast<uintptr_t>(p) % 16) emulator::fail("load_stream from an address that is not 16-byte aligned");
  return *static_cast<const Bits128*>(p);
}
FASTALEX_DEVICE void load_ahead(u32 (&w)[4], const void* p, bool wanted) {
  if (!wanted) return;
  if (reinterpret_cast<uintptr_t>(p) % 16) emulator::fail("load_ahead from an address that is not 16-byte aligned");
  for (int i = 0; i < 4; ++i) w[i] = static_cast<const u32*>(p)[i];
}

FASTALEX_DEVICE uint2 load_stream_8(const void* p) {
  if (reinterpret_cast<uintptr_t>(p) % 8) emulator::fail("load_stream_8 from an address that is not 8-byte aligned");
  return *static_cast<const uint2*>(p);
}

FASTALEX_DEVICE void copy_async_16(void* to_shared, const void* from, bool valid) {
  emulator::copy_async(to_shared, from, 16, valid);
}
FASTALEX_DEVICE void copy_async_8(void* to_shared, const void* from, bool valid) {
  emulator::copy_async(to_shared, from, 8, valid);
}
FASTALEX_DEVICE void copy_async_commit() { emulator::copy_async_commit(); }
template <int Pending>
FASTALEX_DEVICE void copy_async_wait() {
  emulator::copy_async_wait(Pending);
}

// Tensor cores --------------------------------------------------------------------------------------------------------

FASTALEX_DEVICE void load_matrix_x4(u32 (&r)[4], const void* row, FASTALEX_EMULATED_PLACE) {
  emulator::load_matrix(r, row, 4, {file, line});
}
FASTALEX_DEVICE void load_matrix_x2(u32 (&r)[2], const void* row, FASTALEX_EMULATED_PLACE) {
  emulator::load_matrix(r, row, 2, {file, line});
}
FASTALEX_DEVICE void mma_m16n8k8(float (&d)[4], const u32 (&a)[2], u32 b, FASTALEX_EMULATED_PLACE) {
  emulator::mma(d, a, &b, 8, {file, line});
}
FASTALEX_DEVICE void mma_m16n8k16(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2], FASTALEX_EMULATED_PLACE) {
  emulator::mma(d, a, b, 16, {file, line});
}

}  // namespace cuda
}  // namespace fastalex
#endif  // FASTALEX_PTX_EMULATED_H
