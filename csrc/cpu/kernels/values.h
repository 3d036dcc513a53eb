// Reads and writes activations of any DType (kernel_table.h).
#ifndef FASTALEX_CPU_KERNELS_VALUES_H
#define FASTALEX_CPU_KERNELS_VALUES_H

#include "cpu/kernels/kernel_table.h"
#include "cpu/kernels/simd.h"

namespace {

// Offset, in values, from position (0, 0), channel 0, of the first image to channel 0 of a pixel of image `image`.
inline int64_t place_of(const fastalex::Activations& a, int image, int row, int col) {
  return image * a.image + static_cast<int64_t>(row) * a.row + static_cast<int64_t>(col) * a.c;
}

inline const float* floats_at(const fastalex::Activations& a, int64_t place) {
  return static_cast<const float*>(a.data) + place;
}

// Quantizes each value; a NaN becomes the smallest quantized value.
inline IntVec quantize_values(const fastalex::Activations& a, Vec v) {
  v *= splat(a.inverse);
  v = at_most(at_least(v, splat(a.low)), splat(a.high));
  return to_nearest(v) + splat_unit(a.zero);
}

inline void store_quantized(uint8_t* to, IntVec q) { store_bytes(to, q); }
inline void store_quantized(int16_t* to, IntVec q) { store_shorts(to, q); }

// Stores the first `count` lanes, at most all.
template <typename T>
inline void store_first(T* to, const T* from, int count) {
  memcpy(to, from, static_cast<size_t>(count) * sizeof(T));
}

inline void store_values(const fastalex::Activations& a, int64_t place, Vec v, int count) {
  const bool whole = count >= kLanes;
  if (a.dtype == fastalex::kFloat32) {
    float* to = static_cast<float*>(a.data) + place;
    if (whole) return store(to, v);
    float some[kLanes];
    store(some, v);
    return store_first(to, some, count);
  }
  if (a.dtype == fastalex::kQuantized && sizeof(Quantized) == 1) {
    uint8_t some[kLanes], *to = static_cast<uint8_t*>(a.data) + place;
    store_bytes(whole ? to : some, quantize_values(a, v));
    if (!whole) store_first(to, some, count);
    return;
  }
  int16_t some[kLanes], *to = static_cast<int16_t*>(a.data) + place;
  store_shorts(whole ? to : some, a.dtype == fastalex::kQuantized ? quantize_values(a, v) : to_bf16(v));
  if (!whole) store_first(to, some, count);
}

}  // namespace
#endif  // FASTALEX_CPU_KERNELS_VALUES_H
