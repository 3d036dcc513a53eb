// Neighboring channels in registers: loads and stores of up to 16 bytes, and activations.
#ifndef FASTALEX_CUDA_KERNELS_VECTOR_CUH
#define FASTALEX_CUDA_KERNELS_VECTOR_CUH

#include "cuda/kernels/args.h"
#include "cuda/kernels/ptx.h"

namespace fastalex {
namespace cuda {
namespace vector {

FASTALEX_DEVICE void load_words(const void* p, u32 (&w)[1]) { w[0] = *static_cast<const u32*>(p); }
FASTALEX_DEVICE void load_words(const void* p, u32 (&w)[2]) {
  const uint2 v = *static_cast<const uint2*>(p);
  w[0] = v.x, w[1] = v.y;
}
FASTALEX_DEVICE void load_words(const void* p, u32 (&w)[4]) {
  const Bits128 v = *static_cast<const Bits128*>(p);
  w[0] = v.x, w[1] = v.y, w[2] = v.z, w[3] = v.w;
}
FASTALEX_DEVICE void store_words(void* p, const u32 (&w)[1]) { *static_cast<u32*>(p) = w[0]; }
FASTALEX_DEVICE void store_words(void* p, const u32 (&w)[2]) {
  uint2 v;
  v.x = w[0], v.y = w[1];
  *static_cast<uint2*>(p) = v;
}
FASTALEX_DEVICE void store_words(void* p, const u32 (&w)[4]) {
  *static_cast<Bits128*>(p) = Bits128{w[0], w[1], w[2], w[3]};
}

// The values of one 32-bit word.
template <typename T>
struct Word;
template <>
struct Word<float> {
  static constexpr int kValues = 1;
  static constexpr u32 kSigns = 0x80000000u;
  FASTALEX_DEVICE static void unpack(u32 word, float* v) { v[0] = bits_to_float(word); }
  FASTALEX_DEVICE static u32 pack(const float* v) { return float_to_bits(v[0]); }
};
template <>
struct Word<Half> {
  static constexpr int kValues = 2;
  static constexpr u32 kSigns = 0x80008000u;
  FASTALEX_DEVICE static void unpack(u32 word, float* v) {
    v[0] = low(Half2{word});
    v[1] = high(Half2{word});
  }
  FASTALEX_DEVICE static u32 pack(const float* v) { return to_half2(v[0], v[1]).bits; }
};

// V values from p, which is aligned to all of them.
template <typename T, int V>
FASTALEX_DEVICE void load(const T* p, float (&v)[V]) {
  u32 words[V / Word<T>::kValues];
  load_words(p, words);
#pragma unroll
  for (int i = 0; i < V; i += Word<T>::kValues) Word<T>::unpack(words[i / Word<T>::kValues], v + i);
}
template <typename T, int V>
FASTALEX_DEVICE void store(T* p, const float (&v)[V]) {
  u32 words[V / Word<T>::kValues];
#pragma unroll
  for (int i = 0; i < V; i += Word<T>::kValues) words[i / Word<T>::kValues] = Word<T>::pack(v + i);
  store_words(p, words);
}

// Applies the activation in place; a NaN stays. Each fused activation maps 0 to 0, so the channel padding needs no
// care.
template <int V>
FASTALEX_DEVICE void activate(float (&v)[V], int activation) {
  if (activation == kActRelu) {
#pragma unroll
    for (int i = 0; i < V; ++i) v[i] = v[i] < 0 ? 0 : v[i];
  } else if (activation == kActTanh) {
#pragma unroll
    for (int i = 0; i < V; ++i) v[i] = tanhf(v[i]);
  }
}

}  // namespace vector
}  // namespace cuda
}  // namespace fastalex
#endif  // FASTALEX_CUDA_KERNELS_VECTOR_CUH
