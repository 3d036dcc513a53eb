// Fully connected weights as the kernels stream them, and back. Plain C++: nothing of CUDA is needed to pack.
//
// A row is one output's weights in the order of an NHWC input, (y, x, c), each pixel padded to `pitch` channels and the
// row to a multiple of FASTALEX_INT4_GROUP values; the padding holds zeros. `rows` >= `outputs` rows, the last ones all
// zero.
//
//   fp32, fp16  the values
//   int8        byte i = level + 128, level = round(w / scale) in -127 .. 127, value = level * scale;
//               scale: one float a row, the largest magnitude / 127
//   int4        nibble = level + 8, level in -8 .. 7, value = level * scale; scale: one half for each 128 values of a
//               row, [rows, row_values / 128], of either sign, since the extra level -8 serves the largest magnitude,
//               whichever its sign. Value i of a row is in the little-endian 32-bit word i / 8, and value e = i % 8 of
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

// weight: dense float32 [outputs, channels, height, width] at any address; bias [outputs].
// Throws Error(FASTALEX_INVALID) if a value does not fit the storage.
StreamedWeights pack_streamed(const StreamedLayout& layout, const float* weight, const float* bias);

// The same from levels and scales as fastalex_param has them, in the layout's storage; none of them changes. int4 on
// maps whose pixels are padded is refused: its groups of 128 would not be the kernels'.
StreamedWeights pack_levels(const StreamedLayout& layout, const fastalex_param& weight, const float* bias);

// Back to dense float32, dequantized to the very values that the kernels multiply by.
void unpack_streamed(const StreamedLayout& layout, const char* values, const char* scale, float* weight);

// One level of a packed row, without the offset.
inline int int8_value(const char* row, int i) { return static_cast<unsigned char>(row[i]) - 128; }
inline int int4_value(const char* row, int i) {
  const int place = i % 8 / 2 + 4 * (i % 2);
  return (static_cast<unsigned char>(row[i / 8 * 4 + place / 2]) >> (place % 2 * 4) & 15) - 8;
}

}  // namespace fastalex
#endif  // FASTALEX_CUDA_WEIGHTS_QUANTIZED_H
