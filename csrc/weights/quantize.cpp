#include "weights/quantize.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "common/error.h"
#include "common/half.h"
#include "weights/dequantize.h"

namespace fastalex {
namespace {

// Rounds to the nearest integer, ties to even, for |value| < 2^22: a sum with 1.5 * 2^23 has no fraction bits.
// Compilers vectorize this, but not nearbyint.
inline float rounded(float value) { return (value + 12582912.0f) - 12582912.0f; }

inline float limited(float value, float low, float high) {
  value = value < low ? low : value;
  return value > high ? high : value;
}

// Copies up to FASTALEX_INT4_GROUP values from `first` into aligned memory and fills the rest with zeros.
int copy_block(const float* row, int count, int first, float* block) {
  const int length = std::min<int>(FASTALEX_INT4_GROUP, count - first);
  std::memcpy(block, reinterpret_cast<const char*>(row) + first * sizeof(float), length * sizeof(float));
  std::fill(block + length, block + FASTALEX_INT4_GROUP, 0.0f);
  return length;
}

float finite_magnitude(const float* row, int count) {
  const float largest = largest_magnitude(row, count);
  if (!std::isfinite(largest)) refuse_weights("NaN or infinity");
  return largest;
}

float int4_inverse(uint16_t scale) {
  const float value = from_half(scale);
  return value != 0 ? 1.0f / value : 0.0f;
}

inline float int4_rounded(float value, float inverse) { return limited(rounded(value * inverse), -8.0f, 7.0f); }

// Sums in pairs: the most exact order, and one that compilers vectorize.
float sum_of_group(float* values) {
  for (int width = FASTALEX_INT4_GROUP / 2; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) values[i] += values[i + width];
  return values[0];
}

float squared_error(const float* group, uint16_t scale) {
  const float value = from_half(scale), inverse = int4_inverse(scale);
  float errors[FASTALEX_INT4_GROUP];
  for (int i = 0; i < FASTALEX_INT4_GROUP; ++i) {
    const float off = group[i] - int4_rounded(group[i], inverse) * value;
    errors[i] = off * off;
  }
  return sum_of_group(errors);
}

// The least-squares scale for the quantized values that `scale` gives.
float fitted_scale(const float* group, uint16_t scale) {
  const float inverse = int4_inverse(scale);
  float products[FASTALEX_INT4_GROUP], squares[FASTALEX_INT4_GROUP];
  for (int i = 0; i < FASTALEX_INT4_GROUP; ++i) {
    const float q = int4_rounded(group[i], inverse);
    products[i] = group[i] * q;
    squares[i] = q * q;
  }
  const float square = sum_of_group(squares);
  return square > 0 ? sum_of_group(products) / square : 0.0f;
}

// At ratio 1 the largest magnitude becomes -8. Smaller ratios clip it in favor of the many small values.
uint16_t best_scale(const float* group) {
  float low = group[0], high = group[0];
  for (int i = 1; i < FASTALEX_INT4_GROUP; ++i) {
    low = std::min(low, group[i]);
    high = std::max(high, group[i]);
  }
  const float extreme = -low > high ? low : high;
  if (std::fabs(extreme) > 8 * kHalfMax) refuse_weights("a weight beyond the range of int4 with fp16 scales");
  uint16_t best = to_half(extreme / -8.0f);
  float least = squared_error(group, best);
  const auto try_scale = [&](float scale) {
    const uint16_t bits = to_half(limited(scale, -kHalfMax, kHalfMax));
    const float error = squared_error(group, bits);
    if (error < least) best = bits, least = error;
  };
  for (float ratio : {1.07f, 0.93f, 0.86f, 0.79f}) try_scale(extreme / -8.0f * ratio);
  try_scale(fitted_scale(group, best));
  return best;
}

}  // namespace

// The bits of an infinity or a NaN compare as larger than those of any finite value.
float largest_magnitude(const float* row, int count) {
  int32_t largest = 0;
  for (int i = 0; i < count; ++i) {
    int32_t bits;
    std::memcpy(&bits, reinterpret_cast<const char*>(row) + i * sizeof bits, sizeof bits);
    largest = std::max(largest, bits & 0x7fffffff);
  }
  float magnitude;
  std::memcpy(&magnitude, &largest, sizeof magnitude);
  return magnitude;
}

void refuse_weights(const char* fault) {
  invalid("a fully connected layer holds ", fault, "; keep its weights in fp32");
}

void quantize_int8(const float* row, int count, int8_t* quantized, float* scale) {
  float row_scale = finite_magnitude(row, count) / 127.0f;
  if (!(row_scale > 0)) row_scale = 1.0f;  // a quotient of tiny values may round to zero
  *scale = row_scale;
  float block[FASTALEX_INT4_GROUP];
  for (int first = 0; first < count; first += FASTALEX_INT4_GROUP) {
    const int length = copy_block(row, count, first, block);
    for (int i = 0; i < FASTALEX_INT4_GROUP; ++i) block[i] = limited(rounded(block[i] / row_scale), -127.0f, 127.0f);
    for (int i = 0; i < length; ++i) quantized[first + i] = static_cast<int8_t>(block[i]);
  }
}

void quantize_int4(const float* row, int count, uint8_t* nibbles, uint16_t* scales) {
  finite_magnitude(row, count);
  float group[FASTALEX_INT4_GROUP];
  int quantized[FASTALEX_INT4_GROUP];
  for (int first = 0; first < count; first += FASTALEX_INT4_GROUP) {
    const int length = copy_block(row, count, first, group);
    const uint16_t scale = best_scale(group);
    const float inverse = int4_inverse(scale);
    for (int i = 0; i < FASTALEX_INT4_GROUP; ++i) quantized[i] = static_cast<int>(int4_rounded(group[i], inverse)) + 8;
    uint8_t* to = nibbles + first / 2;
    for (int i = 0; i < length; i += 2) to[i / 2] = static_cast<uint8_t>(quantized[i] | quantized[i + 1] << 4);
    scales[first / FASTALEX_INT4_GROUP] = scale;
  }
}

}  // namespace fastalex
