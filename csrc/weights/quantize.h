// Quantizes fully connected weights to int8 and int4. This is the only definition; backends then repack the values.
// dequantize.h is the inverse.
#ifndef FASTALEX_WEIGHTS_QUANTIZE_H
#define FASTALEX_WEIGHTS_QUANTIZE_H

#include <cstdint>

namespace fastalex {

// A row is one output's weights in the order y, x, channel of its input: `count` values at any address.
// Both throw Error(FASTALEX_INVALID) for NaN and infinity.

// quantized: int8 [count], round(w / scale) in -127 .. 127, ties to even; scale: the largest magnitude / 127, or 1 if
// that is zero.
void quantize_int8(const float* row, int count, int8_t* quantized, float* scale);

// nibbles: [(count + 1) / 2], q + 8 for q in -8 .. 7, the first of two in the low half; after an odd count the last
// half is q = 0. scales: fp16 [int4_groups(count)], of either sign, since the extra value -8 goes to the largest
// magnitude, whatever its sign. The scale of a group is the best of a few by squared error. Also throws for magnitudes
// beyond 8 * the largest fp16.
void quantize_int4(const float* row, int count, uint8_t* nibbles, uint16_t* scales);

// The largest magnitude; NaN or infinity if the row contains one.
float largest_magnitude(const float* row, int count);

// Throws Error(FASTALEX_INVALID): "a fully connected layer holds `fault`; keep its weights in fp32".
[[noreturn]] void refuse_weights(const char* fault);

}  // namespace fastalex
#endif  // FASTALEX_WEIGHTS_QUANTIZE_H
