// Converts parameters of any storage (fastalex_param) to the float32 that backend/ops.h describes.
#ifndef FASTALEX_WEIGHTS_DEQUANTIZE_H
#define FASTALEX_WEIGHTS_DEQUANTIZE_H

#include <vector>

#include "backend/backend_api.h"
#include "backend/steps.h"

namespace fastalex {

// Quantized value `index` of an output's int4 weights, -8 .. 7; row: the output's first byte.
inline int int4_value_at(const unsigned char* row, size_t index) { return (row[index / 2] >> index % 2 * 4 & 15) - 8; }

// All parameters as dense float32; parameters that are float32 stay the caller's own arrays.
class FloatParams {
 public:
  // steps: those of model_create, which define the shape of each parameter.
  FloatParams(const fastalex_step* steps, size_t step_count, const fastalex_param* params, size_t param_count);
  const float* operator[](size_t index) const { return pointers_.at(index); }

 private:
  std::vector<std::vector<float>> owned_;
  std::vector<const float*> pointers_;
};

}  // namespace fastalex
#endif  // FASTALEX_WEIGHTS_DEQUANTIZE_H
