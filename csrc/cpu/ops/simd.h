// Vectors of kLanes floats for the ISA this file is compiled for. GCC's vector types give the arithmetic (a * b + c
// becomes one fused multiply-add where the ISA has it); what they lack is here.
#ifndef FASTALEX_CPU_OPS_SIMD_H
#define FASTALEX_CPU_OPS_SIMD_H

#include <stdint.h>
#include <string.h>

#if defined(FASTALEX_ISA_neon)
#include <arm_neon.h>
#else
#include <immintrin.h>
#endif

namespace {

// kRows x kVectors accumulators, the weights of one k and a broadcast must fit the registers:
// v2, v3: 16 registers, 6 x 2 + 2 + 1. v4, neon: 32 registers, 8 x 2 + 2 + 1; more rows run out of address registers.
#if defined(FASTALEX_ISA_v2)
enum { kLanes = 4, kRows = 6 };
#elif defined(FASTALEX_ISA_v3)
enum { kLanes = 8, kRows = 6 };
#elif defined(FASTALEX_ISA_v4) || defined(FASTALEX_ISA_wide)
enum { kLanes = 16, kRows = 8 };
#elif defined(FASTALEX_ISA_neon)
enum { kLanes = 4, kRows = 8 };
#else
#error "define FASTALEX_ISA_<level>"
#endif
enum { kVectors = 2, kPanel = kLanes * kVectors };

typedef float Vec __attribute__((vector_size(kLanes * 4)));
typedef int32_t Mask __attribute__((vector_size(kLanes * 4)));
typedef Vec LooseVec __attribute__((aligned(4), may_alias));

inline Vec load(const float* p) { return *reinterpret_cast<const LooseVec*>(p); }
inline void store(float* p, Vec v) { *reinterpret_cast<LooseVec*>(p) = v; }

#if defined(FASTALEX_ISA_v2)

inline Vec splat(float x) { return _mm_set1_ps(x); }
inline Vec root(Vec v) { return _mm_sqrt_ps(v); }
inline Vec widen(const int8_t* p) {
  int32_t four;
  memcpy(&four, p, 4);
  return _mm_cvtepi32_ps(_mm_cvtepi8_epi32(_mm_cvtsi32_si128(four)));
}
// No half conversion before F16C: shift the 15 bits into place and rescale, which is exact for subnormals too.
inline Vec widen(const uint16_t* p) {
  __m128i half = _mm_cvtepu16_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  __m128i sign = _mm_slli_epi32(_mm_and_si128(half, _mm_set1_epi32(0x8000)), 16);
  __m128i bits = _mm_slli_epi32(_mm_and_si128(half, _mm_set1_epi32(0x7fff)), 13);
  __m128 value = _mm_mul_ps(_mm_castsi128_ps(bits), _mm_set1_ps(5.192296858534828e33f));  // 2^112
  return _mm_or_ps(value, _mm_castsi128_ps(sign));
}

#elif defined(FASTALEX_ISA_v3)

inline Vec splat(float x) { return _mm256_set1_ps(x); }
inline Vec root(Vec v) { return _mm256_sqrt_ps(v); }
inline Vec widen(const int8_t* p) {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}
inline Vec widen(const uint16_t* p) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }

#elif defined(FASTALEX_ISA_v4)

inline Vec splat(float x) { return _mm512_set1_ps(x); }
inline Vec root(Vec v) { return _mm512_sqrt_ps(v); }
inline Vec widen(const int8_t* p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}
inline Vec widen(const uint16_t* p) { return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }

#elif defined(FASTALEX_ISA_wide)

// v4's shape in v3's instructions, so that its logic can be tested where there is no AVX-512.
inline Vec splat(float x) { return Vec{x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x}; }
inline Vec join(__m256 low, __m256 high) {
  Vec v;
  memcpy(&v, &low, 32);
  memcpy(reinterpret_cast<char*>(&v) + 32, &high, 32);
  return v;
}
inline Vec root(Vec v) {
  __m256 low, high;
  memcpy(&low, &v, 32);
  memcpy(&high, reinterpret_cast<char*>(&v) + 32, 32);
  return join(_mm256_sqrt_ps(low), _mm256_sqrt_ps(high));
}
inline __m256 widen_half(const int8_t* p) {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}
inline Vec widen(const int8_t* p) { return join(widen_half(p), widen_half(p + 8)); }
inline __m256 widen_half(const uint16_t* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline Vec widen(const uint16_t* p) { return join(widen_half(p), widen_half(p + 8)); }

#else  // neon

inline Vec splat(float x) { return (Vec)vdupq_n_f32(x); }
inline Vec root(Vec v) { return (Vec)vsqrtq_f32((float32x4_t)v); }
inline Vec widen(const int8_t* p) {
  int32_t four;
  memcpy(&four, p, 4);
  int16x8_t wide = vmovl_s8(vreinterpret_s8_s32(vdup_n_s32(four)));
  return (Vec)vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide)));
}
inline Vec widen(const uint16_t* p) { return (Vec)vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }

#endif

inline Vec widen(const float* p) { return load(p); }

inline Vec choose(Mask mask, Vec yes, Vec no) {
  return reinterpret_cast<Vec>((reinterpret_cast<Mask>(yes) & mask) | (reinterpret_cast<Mask>(no) & ~mask));
}

// A NaN fails every comparison, so it is kept: relu(NaN) = NaN, and a NaN wins a maximum.
inline Vec relu(Vec v) { return choose(v < Vec{}, Vec{}, v); }
inline float relu(float v) { return v < 0 ? 0 : v; }
inline Vec larger(Vec candidate, Vec best) {
  return choose((candidate > best) | (candidate != candidate), candidate, best);
}
inline float larger(float candidate, float best) {
  return candidate > best || candidate != candidate ? candidate : best;
}

inline float activate(float v, int32_t activation) {
  if (activation == FASTALEX_ACT_RELU) return relu(v);
  return activation == FASTALEX_ACT_TANH ? __builtin_tanhf(v) : v;
}

inline Vec activate(Vec v, int32_t activation) {
  if (activation == FASTALEX_ACT_RELU) return relu(v);
  if (activation == FASTALEX_ACT_TANH)
    for (int i = 0; i < kLanes; ++i) v[i] = __builtin_tanhf(v[i]);
  return v;
}

}  // namespace
#endif  // FASTALEX_CPU_OPS_SIMD_H
