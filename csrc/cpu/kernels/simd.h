// Vectors of kLanes floats for the ISA this file is compiled for. GCC's vector types provide the arithmetic (a * b + c
// becomes one fused multiply-add where the ISA has it); this file adds what they lack.
#ifndef FASTALEX_CPU_KERNELS_SIMD_H
#define FASTALEX_CPU_KERNELS_SIMD_H

#include <stdint.h>
#include <string.h>

#include "backend/ops.h"

#if defined(FASTALEX_ISA_neon)
#include <arm_neon.h>
#else
#include <immintrin.h>
#endif

// Kernels by what they are made of: vectors of 64 bytes, of 32, or pairs of the latter, for tests; products of bf16; of
// bytes, and of tiles, which the test levels v3twin and amxtwin compute in plain C++ (products.h, tile_steps.h).
#if defined(FASTALEX_ISA_v4amx) || defined(FASTALEX_ISA_amxtwin)
#define FASTALEX_USE_TILES 1
#endif
#if defined(FASTALEX_ISA_v4bf16) || defined(FASTALEX_ISA_v4amx)
#define FASTALEX_USE_BF16 1
#endif
#if defined(FASTALEX_ISA_v4) || defined(FASTALEX_ISA_v4vnni) || defined(FASTALEX_USE_BF16)
#define FASTALEX_USE_AVX512 1
#endif
#if defined(FASTALEX_ISA_v3) || defined(FASTALEX_ISA_v3vnni) || defined(FASTALEX_ISA_v3twin)
#define FASTALEX_USE_AVX2 1
#endif
#if defined(FASTALEX_ISA_wide) || defined(FASTALEX_ISA_amxtwin)
#define FASTALEX_USE_WIDE 1
#endif
#if defined(FASTALEX_ISA_v3vnni) || defined(FASTALEX_ISA_v3twin) || defined(FASTALEX_ISA_v4vnni) || \
    defined(FASTALEX_USE_BF16) || defined(FASTALEX_USE_TILES)
#define FASTALEX_USE_VNNI 1
#endif
// The fully connected layers of byte planes: of one where their products cost more.
#if defined(FASTALEX_USE_AVX512) || defined(FASTALEX_USE_AVX2) || defined(FASTALEX_USE_WIDE)
#define FASTALEX_USE_BYTES 1
#endif

namespace {

// kRows x kVectors accumulators, the weights of one unit and a broadcast must fit the registers:
// v2, v3: 16 registers, 6 x 2 + 2 + 1. v4: 32 registers, 14 x 2 + 2 + 1. neon: 32 registers, of which 8 x 2 + 2 + 1 are
// used; more rows run out of address registers.
#if defined(FASTALEX_ISA_v2)
enum { kLanes = 4, kRows = 6 };
#elif defined(FASTALEX_USE_AVX2)
enum { kLanes = 8, kRows = 6 };
#elif defined(FASTALEX_USE_AVX512) || defined(FASTALEX_USE_WIDE)
enum { kLanes = 16, kRows = 14 };
#elif defined(FASTALEX_ISA_neon)
enum { kLanes = 4, kRows = 8 };
#else
#error "define FASTALEX_ISA_<level>"
#endif
enum { kVectors = 2, kPanel = kLanes * kVectors };

// Quantized values of int8 precision in a unit of 4 bytes: 16 bits wide where the ISA has no products of bytes.
#if defined(FASTALEX_USE_VNNI)
typedef uint8_t Quantized;
typedef int8_t QuantizedWeight;
#else
typedef int16_t Quantized;
typedef int16_t QuantizedWeight;
#endif

typedef float Vec __attribute__((vector_size(kLanes * 4)));
typedef int32_t IntVec __attribute__((vector_size(kLanes * 4)));
typedef Vec LooseVec __attribute__((aligned(4), may_alias));
typedef IntVec LooseIntVec __attribute__((aligned(4), may_alias));

inline Vec load(const float* p) { return *reinterpret_cast<const LooseVec*>(p); }
inline void store(float* p, Vec v) { *reinterpret_cast<LooseVec*>(p) = v; }
inline IntVec load_units(const void* p) { return *static_cast<const LooseIntVec*>(p); }
// a + b modulo 2^32: sums of products that are right in the end may pass beyond (winograd_integer.h).
typedef uint32_t Modular __attribute__((vector_size(kLanes * 4)));
inline IntVec modular_sum(IntVec a, IntVec b) {
  return reinterpret_cast<IntVec>(reinterpret_cast<Modular>(a) + reinterpret_cast<Modular>(b));
}
inline Vec as_floats(IntVec v) { return reinterpret_cast<Vec>(v); }
inline IntVec as_bits(Vec v) { return reinterpret_cast<IntVec>(v); }

// A unit of 4 bytes at any address.
inline int32_t unit_at(const void* p) {
  int32_t unit;
  memcpy(&unit, p, sizeof unit);
  return unit;
}

#if defined(FASTALEX_ISA_v2)

inline Vec splat(float x) { return _mm_set1_ps(x); }
inline IntVec splat_unit(int32_t x) { return reinterpret_cast<IntVec>(_mm_set1_epi32(x)); }
inline Vec root(Vec v) { return _mm_sqrt_ps(v); }
// Rounds to the nearest integer, ties to even.
inline IntVec to_nearest(Vec v) { return reinterpret_cast<IntVec>(_mm_cvtps_epi32(v)); }
inline Vec to_float(IntVec v) { return _mm_cvtepi32_ps(reinterpret_cast<__m128i>(v)); }
inline IntVec widen_bytes(const int8_t* p) {
  return reinterpret_cast<IntVec>(_mm_cvtepi8_epi32(_mm_cvtsi32_si128(unit_at(p))));
}
inline IntVec widen_shorts(const uint16_t* p) {
  return reinterpret_cast<IntVec>(_mm_cvtepu16_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}
// No half conversion before F16C: shift the 15 bits into place and rescale, which is exact for subnormals too.
inline Vec widen(const uint16_t* p) {
  __m128i half = _mm_cvtepu16_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  __m128i sign = _mm_slli_epi32(_mm_and_si128(half, _mm_set1_epi32(0x8000)), 16);
  __m128i bits = _mm_slli_epi32(_mm_and_si128(half, _mm_set1_epi32(0x7fff)), 13);
  __m128 value = _mm_mul_ps(_mm_castsi128_ps(bits), _mm_set1_ps(5.192296858534828e33f));  // 2^112
  return _mm_or_ps(value, _mm_castsi128_ps(sign));
}
inline void store_bytes(uint8_t* p, IntVec v) {
  const __m128i words = _mm_packs_epi32(reinterpret_cast<__m128i>(v), _mm_setzero_si128());
  const int32_t four = _mm_cvtsi128_si32(_mm_packus_epi16(words, words));
  memcpy(p, &four, sizeof four);
}
inline void store_shorts(int16_t* p, IntVec v) {
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi32(reinterpret_cast<__m128i>(v), _mm_setzero_si128()));
}
// sum + the products of a unit's 16-bit quantized values, added in pairs.
inline IntVec add_pairs(IntVec sum, IntVec a, IntVec w) {
  return modular_sum(
      sum, reinterpret_cast<IntVec>(_mm_madd_epi16(reinterpret_cast<__m128i>(a), reinterpret_cast<__m128i>(w))));
}

#elif defined(FASTALEX_USE_AVX2)

inline Vec splat(float x) { return _mm256_set1_ps(x); }
inline IntVec splat_unit(int32_t x) { return reinterpret_cast<IntVec>(_mm256_set1_epi32(x)); }
inline Vec root(Vec v) { return _mm256_sqrt_ps(v); }
inline IntVec to_nearest(Vec v) { return reinterpret_cast<IntVec>(_mm256_cvtps_epi32(v)); }
inline Vec to_float(IntVec v) { return _mm256_cvtepi32_ps(reinterpret_cast<__m256i>(v)); }
inline IntVec widen_bytes(const int8_t* p) {
  return reinterpret_cast<IntVec>(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}
inline IntVec widen_shorts(const uint16_t* p) {
  return reinterpret_cast<IntVec>(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}
inline Vec widen(const uint16_t* p) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
inline void store_shorts(int16_t* p, IntVec v) {
  const __m256i all = reinterpret_cast<__m256i>(v);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                   _mm_packs_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1)));
}
inline void store_bytes(uint8_t* p, IntVec v) {
  const __m256i all = reinterpret_cast<__m256i>(v);
  const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packus_epi16(words, words));
}
inline IntVec add_pairs(IntVec sum, IntVec a, IntVec w) {
  return modular_sum(
      sum, reinterpret_cast<IntVec>(_mm256_madd_epi16(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(w))));
}

#elif defined(FASTALEX_USE_AVX512)

inline Vec splat(float x) { return _mm512_set1_ps(x); }
inline IntVec splat_unit(int32_t x) { return reinterpret_cast<IntVec>(_mm512_set1_epi32(x)); }
inline Vec root(Vec v) { return _mm512_sqrt_ps(v); }
inline IntVec to_nearest(Vec v) { return reinterpret_cast<IntVec>(_mm512_cvtps_epi32(v)); }
inline Vec to_float(IntVec v) { return _mm512_cvtepi32_ps(reinterpret_cast<__m512i>(v)); }
inline IntVec widen_bytes(const int8_t* p) {
  return reinterpret_cast<IntVec>(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}
inline IntVec widen_shorts(const uint16_t* p) {
  return reinterpret_cast<IntVec>(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))));
}
inline Vec widen(const uint16_t* p) { return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
inline void store_shorts(int16_t* p, IntVec v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(reinterpret_cast<__m512i>(v)));
}
inline void store_bytes(uint8_t* p, IntVec v) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(reinterpret_cast<__m512i>(v)));
}
// Stores the three lower bytes of each of the first `count` lanes, packed.
inline void store_triples(uint8_t* p, IntVec v, int count) {
  const __m512i in_quarters = _mm512_set4_epi32(-1, 0x0e0d0c0a, 0x09080605, 0x04020100);
  const __m512i quarters = _mm512_setr_epi32(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 15, 15, 15, 15);
  const __m512i close = _mm512_shuffle_epi8(reinterpret_cast<__m512i>(v), in_quarters);
  _mm512_mask_storeu_epi8(p, (1ull << 3 * count) - 1, _mm512_permutexvar_epi32(quarters, close));
}
inline IntVec add_pairs(IntVec sum, IntVec a, IntVec w) {
  return modular_sum(
      sum, reinterpret_cast<IntVec>(_mm512_madd_epi16(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(w))));
}

#elif defined(FASTALEX_USE_WIDE)

// v4's shape in v3's instructions, so that its logic can be tested where there is no AVX-512.
inline Vec splat(float x) { return Vec{x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x}; }
inline IntVec splat_unit(int32_t x) { return IntVec{x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x}; }
template <typename Half>
struct Halves {
  Half low, high;
};
template <typename Half, typename Whole>
inline Halves<Half> split(Whole v) {
  Halves<Half> halves;
  memcpy(&halves, &v, sizeof v);
  return halves;
}
template <typename Whole, typename Half>
inline Whole join(Half low, Half high) {
  const Halves<Half> halves = {low, high};
  Whole v;
  memcpy(&v, &halves, sizeof v);
  return v;
}
inline Vec root(Vec v) {
  const Halves<__m256> halves = split<__m256>(v);
  return join<Vec>(_mm256_sqrt_ps(halves.low), _mm256_sqrt_ps(halves.high));
}
inline IntVec to_nearest(Vec v) {
  const Halves<__m256> halves = split<__m256>(v);
  return join<IntVec>(_mm256_cvtps_epi32(halves.low), _mm256_cvtps_epi32(halves.high));
}
inline Vec to_float(IntVec v) {
  const Halves<__m256i> halves = split<__m256i>(v);
  return join<Vec>(_mm256_cvtepi32_ps(halves.low), _mm256_cvtepi32_ps(halves.high));
}
inline __m256i widen_half(const int8_t* p) {
  return _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
}
inline IntVec widen_bytes(const int8_t* p) { return join<IntVec>(widen_half(p), widen_half(p + 8)); }
inline IntVec widen_shorts(const uint16_t* p) {
  return join<IntVec>(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))),
                      _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 8))));
}
inline __m256 widen_half(const uint16_t* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline Vec widen(const uint16_t* p) { return join<Vec>(widen_half(p), widen_half(p + 8)); }
inline void store_shorts(int16_t* p, IntVec v) {
  for (int i = 0; i < kLanes; ++i) p[i] = static_cast<int16_t>(v[i]);
}
inline void store_bytes(uint8_t* p, IntVec v) {
  for (int i = 0; i < kLanes; ++i) p[i] = static_cast<uint8_t>(v[i]);
}
inline IntVec add_pairs(IntVec sum, IntVec a, IntVec w) {
  const Halves<__m256i> as = split<__m256i>(a), ws = split<__m256i>(w);
  return modular_sum(sum, join<IntVec>(_mm256_madd_epi16(as.low, ws.low), _mm256_madd_epi16(as.high, ws.high)));
}

#else  // neon

inline Vec splat(float x) { return (Vec)vdupq_n_f32(x); }
inline IntVec splat_unit(int32_t x) { return (IntVec)vdupq_n_s32(x); }
inline Vec root(Vec v) { return (Vec)vsqrtq_f32((float32x4_t)v); }
inline IntVec to_nearest(Vec v) { return (IntVec)vcvtnq_s32_f32((float32x4_t)v); }
inline Vec to_float(IntVec v) { return (Vec)vcvtq_f32_s32((int32x4_t)v); }
inline IntVec widen_bytes(const int8_t* p) {
  int16x8_t wide = vmovl_s8(vreinterpret_s8_s32(vdup_n_s32(unit_at(p))));
  return (IntVec)vmovl_s16(vget_low_s16(wide));
}
inline IntVec widen_shorts(const uint16_t* p) { return (IntVec)vmovl_u16(vld1_u16(p)); }
inline Vec widen(const uint16_t* p) { return (Vec)vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }
inline void store_shorts(int16_t* p, IntVec v) { vst1_s16(p, vmovn_s32((int32x4_t)v)); }
inline void store_bytes(uint8_t* p, IntVec v) {
  for (int i = 0; i < kLanes; ++i) p[i] = static_cast<uint8_t>(v[i]);
}
inline IntVec add_pairs(IntVec sum, IntVec a, IntVec w) {
  const int16x8_t as = (int16x8_t)a, ws = (int16x8_t)w;
  const int32x4_t low = vmull_s16(vget_low_s16(as), vget_low_s16(ws));
  const int32x4_t high = vmull_s16(vget_high_s16(as), vget_high_s16(ws));
  return modular_sum(sum, (IntVec)vpaddq_s32(low, high));
}

#endif

inline Vec widen(const float* p) { return load(p); }
inline Vec widen(const int8_t* p) { return to_float(widen_bytes(p)); }

// The bf16 values at even and at odd positions.
inline Vec even_bf16(IntVec units) { return as_floats(units << 16); }
inline Vec odd_bf16(IntVec units) { return as_floats(units & splat_unit(static_cast<int32_t>(0xffff0000u))); }

inline Vec choose(IntVec mask, Vec yes, Vec no) { return as_floats((as_bits(yes) & mask) | (as_bits(no) & ~mask)); }

// The nearest bf16 of each value, ties to even, as an integer; NaN stays NaN.
inline IntVec to_bf16(Vec v) {
  const IntVec bits = as_bits(v), odd = (bits >> 16) & splat_unit(1);
  const IntVec rounded = (bits + splat_unit(0x7fff) + odd) >> 16, nan = v != v;
  return (rounded & ~nan) | (splat_unit(0x7fc0) & nan);
}

// NaN propagates: relu(NaN) = NaN, and a NaN wins a maximum. x86's maximum returns its second operand if one is a NaN.
#if defined(FASTALEX_USE_AVX512)
inline Vec relu(Vec v) { return _mm512_max_ps(_mm512_setzero_ps(), v); }
inline Vec larger(Vec candidate, Vec best) {
  const __mmask16 nan = _mm512_cmp_ps_mask(best, best, _CMP_UNORD_Q);
  return _mm512_mask_mov_ps(_mm512_max_ps(best, candidate), nan, best);
}
#elif defined(FASTALEX_USE_AVX2)
inline Vec relu(Vec v) { return _mm256_max_ps(_mm256_setzero_ps(), v); }
inline Vec larger(Vec candidate, Vec best) {
  return _mm256_blendv_ps(_mm256_max_ps(best, candidate), best, _mm256_cmp_ps(best, best, _CMP_UNORD_Q));
}
#else
inline Vec relu(Vec v) { return choose(v < Vec{}, Vec{}, v); }
inline Vec larger(Vec candidate, Vec best) {
  return choose((candidate > best) | (candidate != candidate), candidate, best);
}
#endif

// The larger and the smaller of two values; of a NaN and a limit, the limit.
#if defined(FASTALEX_USE_AVX512)
inline Vec at_least(Vec v, Vec limit) { return _mm512_max_ps(v, limit); }
inline Vec at_most(Vec v, Vec limit) { return _mm512_min_ps(v, limit); }
#elif defined(FASTALEX_USE_AVX2)
inline Vec at_least(Vec v, Vec limit) { return _mm256_max_ps(v, limit); }
inline Vec at_most(Vec v, Vec limit) { return _mm256_min_ps(v, limit); }
#else
inline Vec at_least(Vec v, Vec limit) { return choose(v > limit, v, limit); }
inline Vec at_most(Vec v, Vec limit) { return choose(v < limit, v, limit); }
#endif

// 1 / t^0.75, which every published network's LRN uses. t = 0 gives infinity, infinity gives 0.
#if defined(FASTALEX_USE_AVX512)
// z of about 12 bits from two inverse roots of 14, then a step of Newton's method for z^-4 = t^3, which leaves 2.5 e^2
// of z's relative error e, 2^-24, and a few roundings.
inline Vec inverse_three_quarters(Vec t) {
  const Vec root = _mm512_rsqrt14_ps(t), fourth = _mm512_rsqrt14_ps(root);  // t^-1/2, t^1/4
  const Vec z = root * (root * fourth), tz = t * z;
  const Vec refined = z * (splat(1.25f) - splat(0.25f) * (tz * tz * tz * z));
  // At 0 and infinity the step gives NaN where the first root is right.
  return _mm512_mask_mov_ps(refined, _mm512_cmp_ps_mask(refined, refined, _CMP_UNORD_Q), root);
}
#else
inline Vec inverse_three_quarters(Vec t) {
  const Vec half = root(t);
  return splat(1.0f) / (half * root(half));
}
#endif

// Lanes [begin, end) of the vector at p, zeros in the others; what lies there is not read.
inline Vec load_lanes(const float* p, int begin, int end) {
  begin = begin < 0 ? 0 : begin;
  end = end > kLanes ? static_cast<int>(kLanes) : end;
  if (begin >= end) return Vec{};
#if defined(FASTALEX_USE_AVX512)
  return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << end) - (1u << begin)), p);
#else
  float lanes[kLanes] = {};
  memcpy(lanes + begin, p + begin, static_cast<size_t>(end - begin) * sizeof(float));
  return load(lanes);
#endif
}

inline Vec activate(Vec v, int32_t activation) {
  if (activation == FASTALEX_ACT_RELU) return relu(v);
  if (activation == FASTALEX_ACT_TANH)
    for (int i = 0; i < kLanes; ++i) v[i] = __builtin_tanhf(v[i]);
  return v;
}

}  // namespace
#endif  // FASTALEX_CPU_KERNELS_SIMD_H
