// Packs fully connected weights in the form that the kernels stream, and unpacks them. Plain C++, without CUDA.
//
// A row is one output's weights in the order of an NHWC input, (y, x, c), each pixel padded to `pitch` channels and the
// row to a multiple of FASTALEX_INT4_GROUP values; the padding holds zeros. `rows` >= `outputs` rows, the last ones all
// zero.
//
//   fp32, fp16  the values
//   int8        byte i = q + 128, q = round(w / scale) in -127 .. 127, value = q * scale;
//               scale: one float a row, the largest magnitude / 127
//   int4        nibble = q + 8, q in -8 .. 7, value = q * scale; scale: one half for each 128 values of a
//               row, [rows, row_values / 128], of either sign, since the extra value -8 goes to the largest magnitude,
//               whatever its sign. Value i of a row is in the little-endian 32-bit word i / 8, and value e = i % 8 of
//               a word in its bits 4 p .. 4 p + 3, p = e / 2 + 4 (e % 2): then (word >> 4 j) & 0x000f000f, j = 0 .. 3,
//               are the values 2 j and 2 j + 1 in the low and the high half of a register.
#ifndef FASTALEX_CUDA_WEIGHTS_QUANTIZED_H
#define FASTALEX_CUDA_WEIGHTS_QUANTIZED_H

#include <cstddef>
#include <cstdint>
#include <vector>

#include "backend/ops.h"
#include "fastalex.h"

namespace fastalex {

struct StreamedLayout {
  int storage;                         // fastalex_storage
  int channels, height, width, pitch;  // of the input
  int outputs, rows;                   // rows: outputs and zero rows
  int row_values;                      // height * width * pitch, rounded up to whole groups
  size_t row_bytes, row_scale_bytes;   // bytes of a row's values and of its scales
};

// in_pitch, out_pitch: values of a pixel of the input and of an output vector, padding included.
StreamedLayout streamed_layout(const fastalex_step& step, int storage, int in_pitch, int out_pitch);

struct StreamedWeights {
  std::vector<char> values;  // [rows, row_bytes]
  std::vector<char> scale;   // [rows, row_scale_bytes]; empty for fp32 and fp16
  std::vector<float> bias;   // [rows]
};

// weight: dense float32 [outputs, channels, height, width] at any address; bias: [outputs]. Throws
// Error(FASTALEX_INVALID) if a value does not fit the storage.
StreamedWeights pack_streamed(const StreamedLayout& layout, const float* weight, const float* bias);

// Whether the values that share a scale in fastalex_param also do in the layout: not in int4 on maps with padded
// pixels.
bool keeps_groups(const StreamedLayout& layout);

// Packs values and scales that are quantized already, as in fastalex_param and in the layout's storage, without
// changing them. Rejects a layout that does not keep their groups.
StreamedWeights pack_quantized(const StreamedLayout& layout, const fastalex_param& weight, const float* bias);

// Unpacks to dense float32, dequantized to exactly the values that the kernels multiply by.
void unpack_streamed(const StreamedLayout& layout, const char* values, const char* scale, float* weight);

// The inverse of pack_quantized. Where the layout does not keep the groups, the weights that the kernels multiply by
// are quantized once more.
void unpack_quantized(const StreamedLayout& layout, const char* values, const char* scale, char* quantized,
                      char* quantized_scale);

// One quantized value of a packed row, without the offset.
inline int int8_value(const char* row, int i) { return static_cast<unsigned char>(row[i]) - 128; }
inline int int4_value(const char* row, int i) {
  const int place = i % 8 / 2 + 4 * (i % 2);
  return (static_cast<unsigned char>(row[i / 8 * 4 + place / 2]) >> (place % 2 * 4) & 15) - 8;
}

}  // namespace fastalex
#endif  // FASTALEX_CUDA_WEIGHTS_QUANTIZED_H
