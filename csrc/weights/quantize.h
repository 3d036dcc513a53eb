// Fully connected weights as int8 and int4 levels: the one definition, whatever layout a backend packs them into
// afterwards. Their way back is dequantize.h.
#ifndef FASTALEX_WEIGHTS_QUANTIZE_H
#define FASTALEX_WEIGHTS_QUANTIZE_H

#include <cstdint>

namespace fastalex {

// A row is one output's weights in the order y, x, channel of its input: `count` values at any address.
// Both throw Error(FASTALEX_INVALID) for NaN and infinity.

// levels: int8 [count], round(w / scale) in -127 .. 127, of ties the even one; scale: the largest magnitude / 127, or 1
// where that is zero.
void quantize_int8(const float* row, int count, int8_t* levels, float* scale);

// nibbles: [(count + 1) / 2], level + 8 of -8 .. 7, the first of two in the low half, the half after an odd count
// level 0; scales: fp16 [int4_groups(count)], of either sign, since the extra level -8 serves the largest magnitude,
// whichever its sign. The scale of a group is the best of a few by squared error. Throws, too, for magnitudes that
// 8 * the largest fp16 does not reach.
void quantize_int4(const float* row, int count, uint8_t* nibbles, uint16_t* scales);

// The largest magnitude. An infinity or a NaN gives one of them.
float largest_magnitude(const float* row, int count);

// "a fully connected layer holds `found`; keep its weights in fp32", Error(FASTALEX_INVALID).
[[noreturn]] void refuse_weights(const char* found);

}  // namespace fastalex
#endif  // FASTALEX_WEIGHTS_QUANTIZE_H
