#include "cuda/weights/quantized.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "common/error.h"
#include "common/half.h"
#include "weights/dequantize.h"
#include "weights/quantize.h"

namespace fastalex {
namespace {

void pack_halves(const float* row, int count, char* to) {
  for (int i = 0; i < count; ++i) {
    const uint16_t half = to_half(row[i]);
    std::memcpy(to + i * sizeof half, &half, sizeof half);
  }
}

void pack_bytes(const float* row, int count, char* to, char* scale) {
  float step;
  quantize_int8(row, count, reinterpret_cast<int8_t*>(to), &step);
  std::memcpy(scale, &step, sizeof step);
  for (int i = 0; i < count; ++i) to[i] = static_cast<char>(static_cast<unsigned char>(to[i]) ^ 0x80);  // q + 128
}

// Reorders nibbles in the order of their values to the words that the kernels read.
void order_nibbles(char* to, int count) {
  for (char* word = to; word < to + count / 2; word += 4) {  // values 0 2 4 6 1 3 5 7 from the lowest nibble
    const unsigned char pairs[4] = {static_cast<unsigned char>(word[0]), static_cast<unsigned char>(word[1]),
                                    static_cast<unsigned char>(word[2]), static_cast<unsigned char>(word[3])};
    word[0] = static_cast<char>((pairs[0] & 15) | (pairs[1] & 15) << 4);
    word[1] = static_cast<char>((pairs[2] & 15) | (pairs[3] & 15) << 4);
    word[2] = static_cast<char>(pairs[0] >> 4 | (pairs[1] & 0xf0));
    word[3] = static_cast<char>(pairs[2] >> 4 | (pairs[3] & 0xf0));
  }
}

// count: whole groups.
void pack_nibbles(const float* row, int count, char* to, char* scale) {
  std::vector<uint16_t> scales(count / FASTALEX_INT4_GROUP);
  quantize_int4(row, count, reinterpret_cast<uint8_t*>(to), scales.data());
  std::memcpy(scale, scales.data(), scales.size() * sizeof scales[0]);
  order_nibbles(to, count);
}

// Packs a row of fastalex_param's int8 values, pixel by pixel.
void pack_int8_row(const StreamedLayout& layout, const char* quantized, char* to) {
  for (int p = 0; p < layout.height * layout.width; ++p)
    for (int c = 0; c < layout.channels; ++c)
      to[p * layout.pitch + c] = static_cast<char>(static_cast<unsigned char>(*quantized++) ^ 0x80);  // q + 128
}

StreamedWeights zero_weights(const StreamedLayout& layout) {
  StreamedWeights packed;
  packed.values.resize(layout.rows * layout.row_bytes,
                       static_cast<char>(layout.storage == FASTALEX_INT8 ? 0x80 : 0x88));
  packed.scale.resize(layout.rows * layout.row_scale_bytes);
  packed.bias.resize(layout.rows);
  return packed;
}

// `row` ends with zeros, which become the padding.
void pack_row(const StreamedLayout& layout, const float* row, char* to, char* scale) {
  if (layout.storage == FASTALEX_FP32) {
    std::memcpy(to, row, layout.row_bytes);
    return;
  }
  if (layout.storage == FASTALEX_FP16) {
    const float largest = largest_magnitude(row, layout.row_values);
    if (!std::isfinite(largest)) refuse_weights("NaN or infinity");
    if (largest > kHalfMax) refuse_weights("a weight beyond the range of fp16");
    pack_halves(row, layout.row_values, to);
  } else if (layout.storage == FASTALEX_INT8) {
    pack_bytes(row, layout.row_values, to, scale);
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
        row[i] = static_cast<float>(int8_value(from, i)) * step;
        break;
      default:
        if (i % FASTALEX_INT4_GROUP == 0) {
          std::memcpy(&half, scale + i / FASTALEX_INT4_GROUP * sizeof half, sizeof half);
          step = from_half(half);
        }
        row[i] = static_cast<float>(int4_value(from, i)) * step;
    }
  }
}

// Quantizes the values of a packed int4 row in the groups of fastalex_param.
void requantize_row(const StreamedLayout& layout, const char* from, const char* scale, char* quantized,
                    char* quantized_scale) {
  std::vector<float> padded(layout.row_values), row;
  unpack_row(layout, from, scale, padded.data());
  for (int p = 0; p < layout.height * layout.width; ++p)
    for (int c = 0; c < layout.channels; ++c) row.push_back(padded[static_cast<size_t>(p) * layout.pitch + c]);
  std::vector<uint16_t> scales(int4_groups(row.size()));
  quantize_int4(row.data(), static_cast<int>(row.size()), reinterpret_cast<uint8_t*>(quantized), scales.data());
  std::memcpy(quantized_scale, scales.data(), scales.size() * sizeof scales[0]);
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
  layout.row_values =
      (step.in_h * step.in_w * in_pitch + FASTALEX_INT4_GROUP - 1) / FASTALEX_INT4_GROUP * FASTALEX_INT4_GROUP;
  layout.row_bytes = bytes_of(storage, layout.row_values);
  layout.row_scale_bytes = storage == FASTALEX_INT8   ? sizeof(float)
                           : storage == FASTALEX_INT4 ? layout.row_values / FASTALEX_INT4_GROUP * sizeof(uint16_t)
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

bool keeps_groups(const StreamedLayout& layout) {
  return layout.storage != FASTALEX_INT4 || layout.height * layout.width == 1 || layout.pitch == layout.channels;
}

StreamedWeights pack_quantized(const StreamedLayout& layout, const fastalex_param& weight, const float* bias) {
  FASTALEX_ASSERT(layout.storage == weight.storage);
  const bool bytes = layout.storage == FASTALEX_INT8;
  const int pixels = layout.height * layout.width;
  if (!keeps_groups(layout))
    invalid("int4 weights of a map of ", layout.channels, " channels cannot be kept as they are; use int8, or ",
            layout.pitch, " channels");
  StreamedWeights packed = zero_weights(layout);
  std::memcpy(packed.bias.data(), bias, layout.outputs * sizeof(float));
  const size_t inputs = static_cast<size_t>(pixels) * layout.channels, row = bytes ? inputs : (inputs + 1) / 2;
  const size_t scales = bytes ? sizeof(float) : int4_groups(inputs) * sizeof(uint16_t);
  for (int o = 0; o < layout.outputs; ++o) {
    const char* quantized = static_cast<const char*>(weight.data) + o * row;
    char* to = packed.values.data() + o * layout.row_bytes;
    std::memcpy(packed.scale.data() + o * layout.row_scale_bytes, static_cast<const char*>(weight.scale) + o * scales,
                scales);
    if (bytes) {
      pack_int8_row(layout, quantized, to);
    } else {
      std::memcpy(to, quantized, row);
      order_nibbles(to, layout.row_values);
    }
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

void unpack_quantized(const StreamedLayout& layout, const char* values, const char* scale, char* quantized,
                      char* quantized_scale) {
  const size_t pixels = static_cast<size_t>(layout.height) * layout.width, inputs = pixels * layout.channels;
  const size_t value_pitch = quantized_bytes(layout.storage, inputs), scales = scale_bytes(layout.storage, inputs);
  for (int o = 0; o < layout.outputs; ++o, quantized += value_pitch, quantized_scale += scales) {
    const char* from = values + o * layout.row_bytes;
    const char* from_scale = scale + o * layout.row_scale_bytes;
    if (!keeps_groups(layout)) {
      requantize_row(layout, from, from_scale, quantized, quantized_scale);
      continue;
    }
    std::memcpy(quantized_scale, from_scale, scales);
    for (size_t i = 0; i < inputs; ++i) {
      const int place = static_cast<int>(i / layout.channels * layout.pitch + i % layout.channels);
      if (layout.storage == FASTALEX_INT8)
        quantized[i] = static_cast<char>(int8_value(from, place));
      else if (i % 2 == 0)
        quantized[i / 2] = static_cast<char>((int4_value(from, place) + 8) | 0x80);  // 0 follows the last one
      else
        quantized[i / 2] = static_cast<char>((quantized[i / 2] & 15) | (int4_value(from, place) + 8) << 4);
    }
  }
}

}  // namespace fastalex
