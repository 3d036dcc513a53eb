#include "weights/dequantize.h"

#include <cstring>

#include "common/half.h"

namespace fastalex {
namespace {

// [out, c, y, x] from [out, y, x, c].
std::vector<float> dequantized(const fastalex_step& step, const fastalex_param& param) {
  const size_t pixels = static_cast<size_t>(step.in_h) * step.in_w, channels = step.in_c, inputs = pixels * channels;
  const bool bytes = param.storage == FASTALEX_INT8;
  const unsigned char* row = static_cast<const unsigned char*>(param.data);
  const char* scales = static_cast<const char*>(param.scale);
  std::vector<float> values(param.count);
  for (int out = 0; out < step.out_c; ++out, row += bytes ? inputs : (inputs + 1) / 2) {
    float* to = values.data() + out * inputs;
    for (size_t i = 0; i < inputs; ++i) {
      float scale;
      if (bytes) {
        std::memcpy(&scale, scales + out * sizeof scale, sizeof scale);
      } else {
        uint16_t half;
        std::memcpy(&half, scales + (out * int4_groups(inputs) + i / FASTALEX_INT4_GROUP) * sizeof half, sizeof half);
        scale = from_half(half);
      }
      const int q = bytes ? static_cast<signed char>(row[i]) : int4_value_at(row, i);
      to[i % channels * pixels + i / channels] = static_cast<float>(q) * scale;
    }
  }
  return values;
}

}  // namespace

FloatParams::FloatParams(const fastalex_step* steps, size_t step_count, const fastalex_param* params,
                         size_t param_count)
    : owned_(param_count) {
  for (size_t i = 0; i < param_count; ++i) pointers_.push_back(static_cast<const float*>(params[i].data));
  for (const fastalex_step* step = steps; step < steps + step_count; ++step) {
    if (step->param < 0 || params[step->param].storage == FASTALEX_FP32) continue;
    owned_[step->param] = dequantized(*step, params[step->param]);
    pointers_[step->param] = owned_[step->param].data();
  }
}

}  // namespace fastalex
