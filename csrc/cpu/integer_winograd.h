// The weights of Winograd's algorithm in integers (kernels/winograd_integer.h).
#ifndef FASTALEX_CPU_INTEGER_WINOGRAD_H
#define FASTALEX_CPU_INTEGER_WINOGRAD_H

#include <cstddef>
#include <cstdint>

#include "cpu/kernels/kernel_table.h"

namespace fastalex {

enum { kPieceEdge = kIntegerIn - kIntegerOut + 1 };  // rows and columns of a piece of the weights

// The pieces of a kernel: `edge` times `edge` of them, the last ones of fewer rows or columns if `partial` is 1.
struct KernelPieces {
  explicit KernelPieces(int kernel)
      : edge((kernel + kPieceEdge - 1) / kPieceEdge), partial(kernel % kPieceEdge ? 1 : 0) {}
  // Pieces that have weights at position (y, x), along a row and in all.
  int along(int i) const { return i == kIntegerIn - 1 ? edge - partial : edge; }
  int at(int y, int x) const { return along(y) * along(x); }
  int total() const;  // over all positions

  int edge, partial;
};

// u = G g G^T times 4, 6, 6, 24, 24 and 1 for each row and column, which makes it integers of at most 7 * 7 * 127.
// g: [kPieceEdge][kPieceEdge]; u: [kIntegerIn][kIntegerIn].
void transform_integer_weights(const int8_t* g, int16_t* u);

// Whether every sum of products of an output's quantized weights with quantized values fits 26 bits.
// negative: values are of -127 .. 127 instead of 0 .. 255.
bool integer_sums_fit(const int8_t* weights, size_t count, bool negative);

}  // namespace fastalex
#endif  // FASTALEX_CPU_INTEGER_WINOGRAD_H
