// One step of every sum of products: sum + the products of a unit of 4 bytes of the input with the units of a vector of
// weights.
#ifndef FASTALEX_CPU_KERNELS_PRODUCTS_H
#define FASTALEX_CPU_KERNELS_PRODUCTS_H

#include "cpu/kernels/kernel_table.h"
#include "cpu/kernels/simd.h"

namespace {

// Without instructions for products of bytes (VNNI), quantized values of convolutions have 16 bits, and only layers
// whose weights are read from memory as bytes use these.
#if defined(FASTALEX_USE_BYTES)

#if !defined(FASTALEX_USE_VNNI)
typedef int16_t ShortVec __attribute__((vector_size(kLanes * 4)));
// The signed bytes 0 and 2, and 1 and 3, of each lane, as 16-bit values.
inline IntVec even_bytes(IntVec w) { return reinterpret_cast<IntVec>((reinterpret_cast<ShortVec>(w) << 8) >> 8); }
inline IntVec odd_bytes(IntVec w) { return reinterpret_cast<IntVec>(reinterpret_cast<ShortVec>(w) >> 8); }
#endif

// sum + the four products of the unsigned bytes of `unit` with the signed bytes of each lane of `w`. Test levels
// compute them in plain C++, so that every processor runs the kernels that are built on this step.
inline IntVec add_bytes(IntVec sum, int32_t unit, IntVec w) {
#if defined(FASTALEX_USE_VNNI) && defined(FASTALEX_USE_AVX512)
  return reinterpret_cast<IntVec>(_mm512_dpbusd_epi32(
      reinterpret_cast<__m512i>(sum), reinterpret_cast<__m512i>(splat_unit(unit)), reinterpret_cast<__m512i>(w)));
#elif defined(FASTALEX_ISA_v3vnni)
  return reinterpret_cast<IntVec>(_mm256_dpbusd_avx_epi32(
      reinterpret_cast<__m256i>(sum), reinterpret_cast<__m256i>(splat_unit(unit)), reinterpret_cast<__m256i>(w)));
#elif !defined(FASTALEX_USE_VNNI)
  sum = add_pairs(sum, splat_unit(unit & 0x00ff00ff), even_bytes(w));
  return add_pairs(sum, splat_unit(unit >> 8 & 0x00ff00ff), odd_bytes(w));
#else
  for (int i = 0; i < 4; ++i) sum += splat_unit(unit >> 8 * i & 255) * ((w << (24 - 8 * i)) >> 24);
  return sum;
#endif
}

// A row of weights has a byte of each output of a panel: 64 outputs of int8, or 128 of int4, of which output i is the
// low half and output 64 + i the high half of a byte. Four rows are interleaved to the units that products of bytes
// take; the order of the bytes in a row (FcLayer) is such that the outputs then follow each other.
enum { kBytes = fastalex::kBytePanel, kByteVectors = kBytes / kLanes };

#if defined(FASTALEX_USE_AVX512)
inline void interleave(const char* const (&rows)[4], IntVec (&units)[kByteVectors]) {
  __m512i row[4];
  for (int i = 0; i < 4; ++i) row[i] = _mm512_loadu_si512(rows[i]);
  const __m512i low[2] = {_mm512_unpacklo_epi8(row[0], row[1]), _mm512_unpacklo_epi8(row[2], row[3])};
  const __m512i high[2] = {_mm512_unpackhi_epi8(row[0], row[1]), _mm512_unpackhi_epi8(row[2], row[3])};
  units[0] = reinterpret_cast<IntVec>(_mm512_unpacklo_epi16(low[0], low[1]));
  units[1] = reinterpret_cast<IntVec>(_mm512_unpackhi_epi16(low[0], low[1]));
  units[2] = reinterpret_cast<IntVec>(_mm512_unpacklo_epi16(high[0], high[1]));
  units[3] = reinterpret_cast<IntVec>(_mm512_unpackhi_epi16(high[0], high[1]));
}
#else
inline void interleave(const char* const (&rows)[4], IntVec (&units)[kByteVectors]) {
  __m256i halves[8];
  for (int half = 0; half < 2; ++half) {
    __m256i row[4];
    for (int i = 0; i < 4; ++i) row[i] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(rows[i] + 32 * half));
    const __m256i low[2] = {_mm256_unpacklo_epi8(row[0], row[1]), _mm256_unpacklo_epi8(row[2], row[3])};
    const __m256i high[2] = {_mm256_unpackhi_epi8(row[0], row[1]), _mm256_unpackhi_epi8(row[2], row[3])};
    halves[half] = _mm256_unpacklo_epi16(low[0], low[1]);
    halves[2 + half] = _mm256_unpackhi_epi16(low[0], low[1]);
    halves[4 + half] = _mm256_unpacklo_epi16(high[0], high[1]);
    halves[6 + half] = _mm256_unpackhi_epi16(high[0], high[1]);
  }
  memcpy(units, halves, sizeof halves);
}
#endif

#endif  // FASTALEX_USE_BYTES

template <int DTYPE>
struct Products;

template <>
struct Products<fastalex::kFloat32> {
  typedef Vec Sum;
  static Sum add(Sum sum, int32_t unit, IntVec w) {
    float value;
    memcpy(&value, &unit, sizeof value);
    return sum + splat(value) * as_floats(w);
  }
};

template <>
struct Products<fastalex::kBfloat16> {
  typedef Vec Sum;
  static Sum add(Sum sum, int32_t unit, IntVec w) {
#if defined(FASTALEX_USE_BF16)
    return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(splat_unit(unit)), reinterpret_cast<__m512bh>(w));
#else
    sum += even_bf16(splat_unit(unit)) * even_bf16(w);
    return sum + odd_bf16(splat_unit(unit)) * odd_bf16(w);
#endif
  }
};

template <>
struct Products<fastalex::kQuantized> {
  typedef IntVec Sum;
  static Sum add(Sum sum, int32_t unit, IntVec w) {
#if defined(FASTALEX_USE_VNNI)
    return add_bytes(sum, unit, w);
#else
    return add_pairs(sum, splat_unit(unit), w);
#endif
  }
};

}  // namespace
#endif  // FASTALEX_CPU_KERNELS_PRODUCTS_H
