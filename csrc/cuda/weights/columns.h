// Repacks fully connected weights from rows (quantized.h) to columns (ColumnsArgs in kernels/args.h), and back. Values
// keep their storage: halves; bytes q + 128; nibbles q + 8 in the order that a row has, eight outputs in a word.
#ifndef FASTALEX_CUDA_WEIGHTS_COLUMNS_H
#define FASTALEX_CUDA_WEIGHTS_COLUMNS_H

#include <vector>

#include "cuda/weights/quantized.h"

namespace fastalex {

// Values and scales of one layout, without the biases.
struct PackedValues {
  std::vector<char> values, scale;
};

// rows: [rows, row_bytes], [rows, row_scale_bytes], in fp16, int8 or int4.
PackedValues to_columns(const StreamedLayout& layout, const PackedValues& rows);
PackedValues to_rows(const StreamedLayout& layout, const PackedValues& columns);

}  // namespace fastalex
#endif  // FASTALEX_CUDA_WEIGHTS_COLUMNS_H
