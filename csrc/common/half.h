// float32 <-> float16 (IEEE 754 binary16), rounding to nearest even, for packing weights.
#ifndef FASTALEX_COMMON_HALF_H
#define FASTALEX_COMMON_HALF_H

#include <cmath>
#include <cstdint>
#include <cstring>

namespace fastalex {

const float kHalfMax = 65504.0f;  // larger magnitudes would become infinity

inline uint16_t to_half(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  const uint16_t sign = static_cast<uint16_t>(bits >> 16 & 0x8000u);
  bits &= 0x7fffffffu;
  if (bits >= 0x7f800000u) return sign | (bits > 0x7f800000u ? 0x7e00u : 0x7c00u);
  if (bits >= 0x38800000u) {                                     // a normal half
    const uint32_t rounded = bits + 0xfffu + (bits >> 13 & 1u);  // may carry into the exponent, up to infinity
    const uint32_t half = (rounded - 0x38000000u) >> 13;
    return static_cast<uint16_t>(sign | (half > 0x7c00u ? 0x7c00u : half));
  }
  float magnitude;
  std::memcpy(&magnitude, &bits, 4);
  return static_cast<uint16_t>(sign | static_cast<uint16_t>(std::nearbyint(std::ldexp(magnitude, 24))));
}

inline float from_half(uint16_t half) {
  const int exponent = half >> 10 & 31, fraction = half & 1023;
  const float magnitude = exponent == 31 ? (fraction ? NAN : INFINITY)
                          : exponent     ? std::ldexp(static_cast<float>(1024 + fraction), exponent - 25)
                                         : std::ldexp(static_cast<float>(fraction), -24);
  return half & 0x8000 ? -magnitude : magnitude;
}

}  // namespace fastalex
#endif  // FASTALEX_COMMON_HALF_H
