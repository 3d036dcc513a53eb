#include "quantized.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "../cpu/half.h"
#include "../error.h"

namespace fastalex {
namespace {

// To the nearest integer, of ties the even one, for |value| < 2^22: a sum with 1.5 * 2^23 has no room for a fraction.
// Compilers vectorise this, not nearbyint.
inline float rounded(float value) { return (value + 12582912.0f) - 12582912.0f; }

inline float limited(float value, float low, float high) {
  value = value < low ? low : value;
  return value > high ? high : value;
}

// The largest magnitude. An infinity or a NaN gives one of them: their bits count as larger than any number's.
float largest_magnitude(const float* values, int count) {
  int32_t largest = 0;
  for (int i = 0; i < count; ++i) {
    int32_t bits;
    std::memcpy(&bits, values + i, sizeof bits);
    largest = std::max(largest, bits & 0x7fffffff);
  }
  float magnitude;
  std::memcpy(&magnitude, &largest, sizeof magnitude);
  return magnitude;
}

[[noreturn]] void refuse(const char* found) {
  invalid("a fully connected layer holds ", found, "; keep its weights in fp32");
}

void pack_halves(const float* row, int count, char* to) {
  for (int i = 0; i < count; ++i) {
    const uint16_t half = to_half(row[i]);
    std::memcpy(to + i * sizeof half, &half, sizeof half);
  }
}

// The same levels as the CPU backend's.
void pack_bytes(const float* row, int count, float largest, char* to, char* scale) {
  float step = largest / 127.0f;
  if (!(step > 0)) step = 1.0f;  // a quotient of the smallest numbers may round to zero
  std::memcpy(scale, &step, sizeof step);
  for (int i = 0; i < count; ++i)
    to[i] = static_cast<char>(
        static_cast<unsigned char>(static_cast<int>(limited(rounded(row[i] / step), -127.0f, 127.0f)) + 128));
}

float int4_inverse(uint16_t scale) {
  const float step = from_half(scale);
  return step != 0 ? 1.0f / step : 0.0f;
}

inline float int4_rounded(float value, float inverse) { return limited(rounded(value * inverse), -8.0f, 7.0f); }

// In pairs: as exact as it gets, and compilers vectorise it.
float sum_of_group(float* values) {
  for (int width = kStreamedGroup / 2; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) values[i] += values[i + width];
  return values[0];
}

float squared_error(const float* group, uint16_t scale) {
  const float step = from_half(scale), inverse = int4_inverse(scale);
  float errors[kStreamedGroup];
  for (int i = 0; i < kStreamedGroup; ++i) {
    const float off = group[i] - int4_rounded(group[i], inverse) * step;
    errors[i] = off * off;
  }
  return sum_of_group(errors);
}

// The scale with the least squared error for the levels that another one gives.
float fitted_scale(const float* group, uint16_t scale) {
  const float inverse = int4_inverse(scale);
  float products[kStreamedGroup], squares[kStreamedGroup];
  for (int i = 0; i < kStreamedGroup; ++i) {
    const float level = int4_rounded(group[i], inverse);
    products[i] = group[i] * level;
    squares[i] = level * level;
  }
  const float square = sum_of_group(squares);
  return square > 0 ? sum_of_group(products) / square : 0.0f;
}

// The largest magnitude would be level -8 at ratio 1. Smaller ratios clip it in favour of the many small values.
uint16_t best_scale(const float* group) {
  float low = group[0], high = group[0];
  for (int i = 1; i < kStreamedGroup; ++i) {
    low = std::min(low, group[i]);
    high = std::max(high, group[i]);
  }
  const float extreme = -low > high ? low : high;
  if (std::fabs(extreme) > 8 * kHalfMax) refuse("a weight beyond the range of int4 with fp16 scales");
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

void pack_nibbles(const float* row, int count, char* to, char* scale) {
  for (int first = 0; first < count; first += kStreamedGroup) {
    const float* group = row + first;
    const uint16_t bits = best_scale(group);
    std::memcpy(scale + first / kStreamedGroup * sizeof bits, &bits, sizeof bits);
    const float inverse = int4_inverse(bits);
    int nibbles[kStreamedGroup];
    for (int i = 0; i < kStreamedGroup; ++i) nibbles[i] = static_cast<int>(int4_rounded(group[i], inverse)) + 8;
    for (int i = 0; i < kStreamedGroup; i += 8) {  // values 0 2 4 6 1 3 5 7 from the lowest nibble
      const int* n = nibbles + i;
      char* word = to + (first + i) / 2;
      word[0] = static_cast<char>(n[0] | n[2] << 4);
      word[1] = static_cast<char>(n[4] | n[6] << 4);
      word[2] = static_cast<char>(n[1] | n[3] << 4);
      word[3] = static_cast<char>(n[5] | n[7] << 4);
    }
  }
}

// `row` ends with zeros, which become the padding.
void pack_row(const StreamedLayout& layout, const float* row, char* to, char* scale) {
  if (layout.storage == FASTALEX_FP32) {
    std::memcpy(to, row, layout.row_bytes);
    return;
  }
  const float largest = largest_magnitude(row, layout.row_values);
  if (!std::isfinite(largest)) refuse("NaN or infinity");
  if (layout.storage == FASTALEX_FP16) {
    if (largest > kHalfMax) refuse("a weight beyond the range of fp16");
    pack_halves(row, layout.row_values, to);
  } else if (layout.storage == FASTALEX_INT8) {
    pack_bytes(row, layout.row_values, largest, to, scale);
  } else {
    pack_nibbles(row, layout.row_values, to, scale);
  }
}

void unpack_row(const StreamedLayout& layout, const char* from, const char* scale, float* row) {
  float step = 0;
  if (layout.storage == FASTALEX_INT8) std::memcpy(&step, scale, sizeof step);
  for (int i = 0; i < layout.row_values; ++i) {
    uint16_t half = 0;
    switch (layout.storage) {
      case FASTALEX_FP32:
        std::memcpy(row + i, from + i * sizeof(float), sizeof(float));
        break;
      case FASTALEX_FP16:
        std::memcpy(&half, from + i * sizeof half, sizeof half);
        row[i] = from_half(half);
        break;
      case FASTALEX_INT8:
        row[i] = static_cast<float>(int8_level(from, i)) * step;
        break;
      default:
        if (i % kStreamedGroup == 0) {
          std::memcpy(&half, scale + i / kStreamedGroup * sizeof half, sizeof half);
          step = from_half(half);
        }
        row[i] = static_cast<float>(int4_level(from, i)) * step;
    }
  }
}

size_t bytes_of(int storage, int values) {
  return storage == FASTALEX_INT4 ? values / 2 : static_cast<size_t>(values) * (4 >> storage);
}

}  // namespace

StreamedLayout streamed_layout(const fastalex_step& step, int storage, int in_pitch, int out_pitch) {
  static_assert(FASTALEX_FP32 == 0 && FASTALEX_FP16 == 1 && FASTALEX_INT8 == 2, "bytes_of halves 4 by each step");
  StreamedLayout layout = {};
  layout.storage = storage;
  layout.channels = step.in_c;
  layout.height = step.in_h;
  layout.width = step.in_w;
  layout.pitch = in_pitch;
  layout.outputs = step.out_c;
  layout.rows = out_pitch;
  layout.row_values = (step.in_h * step.in_w * in_pitch + kStreamedGroup - 1) / kStreamedGroup * kStreamedGroup;
  layout.row_bytes = bytes_of(storage, layout.row_values);
  layout.row_scale_bytes = storage == FASTALEX_INT8   ? sizeof(float)
                           : storage == FASTALEX_INT4 ? layout.row_values / kStreamedGroup * sizeof(uint16_t)
                                                      : 0;
  return layout;
}

StreamedWeights pack_streamed(const StreamedLayout& layout, const float* weight, const float* bias) {
  StreamedWeights packed;
  packed.values.resize(layout.rows * layout.row_bytes);
  packed.scale.resize(layout.rows * layout.row_scale_bytes);
  packed.bias.resize(layout.rows);
  std::memcpy(packed.bias.data(), bias, layout.outputs * sizeof(float));
  const int pixels = layout.height * layout.width;
  const size_t dense = static_cast<size_t>(layout.channels) * pixels;
  std::vector<float> source(dense), row(layout.row_values);
  for (int o = 0; o < layout.rows; ++o) {
    if (o < layout.outputs) {
      // The caller's array may lie at any address.
      std::memcpy(source.data(), reinterpret_cast<const char*>(weight) + o * dense * sizeof(float),
                  dense * sizeof(float));
      if (pixels == 1) std::copy(source.begin(), source.end(), row.begin());
      for (int p = 0; p < pixels && pixels > 1; ++p) {
        float* to = row.data() + static_cast<size_t>(p) * layout.pitch;
        for (int c = 0; c < layout.channels; ++c) to[c] = source[static_cast<size_t>(c) * pixels + p];
      }
    } else if (o == layout.outputs) {
      std::fill(row.begin(), row.end(), 0.0f);
    }
    pack_row(layout, row.data(), packed.values.data() + o * layout.row_bytes,
             packed.scale.data() + o * layout.row_scale_bytes);
  }
  return packed;
}

void unpack_streamed(const StreamedLayout& layout, const char* values, const char* scale, float* weight) {
  const int pixels = layout.height * layout.width;
  std::vector<float> row(layout.row_values);
  for (int o = 0; o < layout.outputs; ++o) {
    unpack_row(layout, values + o * layout.row_bytes, scale + o * layout.row_scale_bytes, row.data());
    float* to = weight + static_cast<size_t>(o) * layout.channels * pixels;
    for (int c = 0; c < layout.channels; ++c)
      for (int p = 0; p < pixels; ++p) to[c * pixels + p] = row[static_cast<size_t>(p) * layout.pitch + c];
  }
}

}  // namespace fastalex
