// Half precision as the GPU computes it: every operation rounds once, to nearest even, subnormals are kept, and a NaN
// result is 0x7fff (PTX manual, half precision floating point instructions).
#ifndef FASTALEX_HALF_EMULATED_H
#define FASTALEX_HALF_EMULATED_H

#include "cuda/kernels/defs.cuh"

#ifdef __F16C__
#include <immintrin.h>
#endif

namespace fastalex {
namespace emulator {

// Without F16C: one value at a time, in integers.
inline float half_to_float(uint32_t half) {
  const uint32_t sign = (half & 0x8000u) << 16, exponent = half >> 10 & 31, fraction = half & 1023;
  if (exponent == 31) return __uint_as_float(sign | 0x7f800000u | fraction << 13);
  if (exponent) return __uint_as_float(sign | (exponent + 112) << 23 | fraction << 13);
  const float magnitude = static_cast<float>(fraction) / 16777216.0f;
  return sign ? -magnitude : magnitude;
}
inline uint32_t float_to_half(float value) {
  const uint32_t bits = __float_as_uint(value), sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return 0x7fff;
  if (magnitude >= 0x47800000u) return sign | 0x7c00u;  // 65536 and more
  if (magnitude >= 0x38800000u)                         // a normal half; the carry may reach infinity
    return sign | (magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u)) >> 13;
  // A subnormal: adding 1/2 leaves the value's multiple of 2^-24 in the fraction, rounded by the addition.
  return sign | (__float_as_uint(__uint_as_float(magnitude) + 0.5f) - 0x3f000000u);
}

// The float next to the exact sum `rounded` + `error` whose last bit is one, if the sum is not itself a float. Rounding
// it to half equals rounding the exact sum, since a float has at least two more bits than a half.
inline float round_to_odd(float rounded, float error) {
  const uint32_t bits = __float_as_uint(rounded);
  if (!(error < 0 || error > 0) || bits & 1) return rounded;
  return __uint_as_float((bits ^ __float_as_uint(error)) >> 31 ? bits - 1 : bits + 1);
}
inline uint32_t half_fma(uint32_t a, uint32_t b, uint32_t c) {
  const float product = half_to_float(a) * half_to_float(b), addend = half_to_float(c);  // the product is exact
  const float sum = product + addend, shifted = sum - product;
  const float error = (product - (sum - shifted)) + (addend - shifted);  // Knuth's two-sum: exact
  return float_to_half(round_to_odd(sum, error));
}

}  // namespace emulator

namespace cuda {

FASTALEX_DEVICE Half2 join_halves(u32 lo, u32 hi) { return Half2{lo | hi << 16}; }

#ifdef __F16C__

FASTALEX_DEVICE __m128 widen(Half2 h) { return _mm_cvtph_ps(_mm_cvtsi32_si128(static_cast<int>(h.bits))); }
FASTALEX_DEVICE Half2 narrow(__m128 v) {
  const u32 bits = static_cast<u32>(_mm_cvtsi128_si32(_mm_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT)));
  const int nan = _mm_movemask_ps(_mm_cmpunord_ps(v, v));
  if (__builtin_expect(!(nan & 3), 1)) return Half2{bits};
  return join_halves(nan & 1 ? 0x7fff : bits & 0xffff, nan & 2 ? 0x7fff : bits >> 16);
}

FASTALEX_DEVICE float to_float(Half h) { return _cvtsh_ss(h.bits); }
FASTALEX_DEVICE Half to_half(float f) {
  return Half{static_cast<u16>(f != f ? 0x7fff : _cvtss_sh(f, _MM_FROUND_TO_NEAREST_INT))};
}
FASTALEX_DEVICE Half2 to_half2(float lo, float hi) { return narrow(_mm_setr_ps(lo, hi, 0, 0)); }

FASTALEX_DEVICE Half2 fma(Half2 a, Half2 b, Half2 c) {  // half_fma, two at a time
  const __m128 product = _mm_mul_ps(widen(a), widen(b)), addend = widen(c);
  const __m128 sum = _mm_add_ps(product, addend), shifted = _mm_sub_ps(sum, product);
  const __m128 error = _mm_add_ps(_mm_sub_ps(product, _mm_sub_ps(sum, shifted)), _mm_sub_ps(addend, shifted));
  const __m128 inexact = _mm_and_ps(_mm_cmpneq_ps(error, _mm_setzero_ps()), _mm_cmpord_ps(error, error));
  const __m128i bits = _mm_castps_si128(sum), one = _mm_set1_epi32(1);
  const __m128i even = _mm_cmpeq_epi32(_mm_and_si128(bits, one), _mm_setzero_si128());
  const __m128i step = _mm_or_si128(_mm_srai_epi32(_mm_xor_si128(bits, _mm_castps_si128(error)), 31), one);
  const __m128i move = _mm_and_si128(_mm_and_si128(step, even), _mm_castps_si128(inexact));
  return narrow(_mm_castsi128_ps(_mm_add_epi32(bits, move)));
}
// A float is wide enough that its rounding of a sum or product, followed by that to half, is one rounding to half.
FASTALEX_DEVICE Half2 add(Half2 a, Half2 b) { return narrow(_mm_add_ps(widen(a), widen(b))); }
FASTALEX_DEVICE Half2 sub(Half2 a, Half2 b) { return narrow(_mm_sub_ps(widen(a), widen(b))); }
FASTALEX_DEVICE Half2 mul(Half2 a, Half2 b) { return narrow(_mm_mul_ps(widen(a), widen(b))); }

#else

FASTALEX_DEVICE float to_float(Half h) { return emulator::half_to_float(h.bits); }
FASTALEX_DEVICE Half to_half(float f) { return Half{static_cast<u16>(emulator::float_to_half(f))}; }
FASTALEX_DEVICE Half2 to_half2(float lo, float hi) {
  return join_halves(emulator::float_to_half(lo), emulator::float_to_half(hi));
}
FASTALEX_DEVICE Half2 fma(Half2 a, Half2 b, Half2 c) {
  return join_halves(emulator::half_fma(a.bits & 0xffff, b.bits & 0xffff, c.bits & 0xffff),
                     emulator::half_fma(a.bits >> 16, b.bits >> 16, c.bits >> 16));
}
// A float is wide enough that its rounding of a sum or product, followed by that to half, is one rounding to half.
FASTALEX_DEVICE Half2 add(Half2 a, Half2 b) {
  return to_half2(emulator::half_to_float(a.bits & 0xffff) + emulator::half_to_float(b.bits & 0xffff),
                  emulator::half_to_float(a.bits >> 16) + emulator::half_to_float(b.bits >> 16));
}
FASTALEX_DEVICE Half2 sub(Half2 a, Half2 b) {
  return to_half2(emulator::half_to_float(a.bits & 0xffff) - emulator::half_to_float(b.bits & 0xffff),
                  emulator::half_to_float(a.bits >> 16) - emulator::half_to_float(b.bits >> 16));
}
FASTALEX_DEVICE Half2 mul(Half2 a, Half2 b) {
  return to_half2(emulator::half_to_float(a.bits & 0xffff) * emulator::half_to_float(b.bits & 0xffff),
                  emulator::half_to_float(a.bits >> 16) * emulator::half_to_float(b.bits >> 16));
}

#endif

FASTALEX_DEVICE float low(Half2 h) { return to_float(Half{static_cast<u16>(h.bits & 0xffff)}); }
FASTALEX_DEVICE float high(Half2 h) { return to_float(Half{static_cast<u16>(h.bits >> 16)}); }
FASTALEX_DEVICE Half2 low_low(Half2 h) { return join_halves(h.bits & 0xffff, h.bits & 0xffff); }
FASTALEX_DEVICE Half2 high_high(Half2 h) { return join_halves(h.bits >> 16, h.bits >> 16); }

}  // namespace cuda
}  // namespace fastalex
#endif  // FASTALEX_HALF_EMULATED_H
