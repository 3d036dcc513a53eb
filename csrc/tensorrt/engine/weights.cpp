#include "tensorrt/engine/weights.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>

#include "common/error.h"
#include "common/half.h"
#include "common/xxhash.h"
#include "weights/dequantize.h"
#include "weights/quantize.h"

namespace fastalex {
namespace tensorrt {
namespace {

std::vector<char> copied(const void* from, size_t bytes) {
  const char* first = static_cast<const char*>(from);
  return std::vector<char>(first, first + bytes);
}

// `weight` may lie at any address.
std::vector<char> halves(const float* weight, size_t count) {
  std::vector<char> made(2 * count);
  for (size_t i = 0; i < count; ++i) {
    float value;
    std::memcpy(&value, reinterpret_cast<const char*>(weight) + i * sizeof value, sizeof value);
    if (!std::isfinite(value)) refuse_weights("NaN or infinity");
    if (std::fabs(value) > kHalfMax) refuse_weights("a weight beyond the range of fp16");
    const uint16_t half = to_half(value);
    std::memcpy(made.data() + 2 * i, &half, sizeof half);
  }
  return made;
}

// Quantizes each output's weights, reordered from c, y, x to y, x, c.
void quantize(const fastalex_step& step, const float* weight, int storage, std::vector<char>* values,
              std::vector<char>* scale) {
  const size_t channels = step.in_c, pixels = static_cast<size_t>(step.in_h) * step.in_w, inputs = channels * pixels;
  const bool bytes = storage == FASTALEX_INT8;
  const size_t row_bytes = bytes ? inputs : (inputs + 1) / 2;
  const size_t scale_bytes = bytes ? sizeof(float) : int4_groups(inputs) * sizeof(uint16_t);
  values->resize(step.out_c * row_bytes);
  scale->resize(step.out_c * scale_bytes);
  std::vector<float> source(inputs), row(inputs);
  std::vector<uint16_t> scales(int4_groups(inputs));
  for (int out = 0; out < step.out_c; ++out) {
    std::memcpy(source.data(), reinterpret_cast<const char*>(weight) + out * inputs * sizeof(float),
                inputs * sizeof(float));
    for (size_t i = 0; i < inputs; ++i) row[i] = source[i % channels * pixels + i / channels];
    char* to = values->data() + out * row_bytes;
    float int8_scale = 0;
    if (bytes)
      quantize_int8(row.data(), static_cast<int>(inputs), reinterpret_cast<int8_t*>(to), &int8_scale);
    else
      quantize_int4(row.data(), static_cast<int>(inputs), reinterpret_cast<uint8_t*>(to), scales.data());
    std::memcpy(scale->data() + out * scale_bytes, bytes ? static_cast<const void*>(&int8_scale) : scales.data(),
                scale_bytes);
  }
}

}  // namespace

EngineWeights::EngineWeights(const fastalex_step* steps, size_t step_count, const fastalex_param* params,
                             size_t param_count, int fc_storage)
    : stored_(param_count) {
  for (const fastalex_step* step = steps; step < steps + step_count; ++step) {
    if (step->param < 0) continue;
    for (int i = step->param; i < step->param + 2; ++i) {
      const fastalex_param& param = params[i];
      Stored& stored = stored_.at(static_cast<size_t>(i));
      const bool fc_weight = step->op == FASTALEX_OP_FULLY_CONNECTED && i == step->param;
      stored.step = *step;
      stored.storage = fc_weight ? fc_storage : static_cast<int>(FASTALEX_FP32);
      stored.count = param.count;
      if (param.storage == stored.storage && param.storage != FASTALEX_FP32) {
        const bool bytes = param.storage == FASTALEX_INT8;
        const size_t inputs = param.count / static_cast<size_t>(step->out_c);
        stored.values = copied(param.data, step->out_c * (bytes ? inputs : (inputs + 1) / 2));
        stored.scale = copied(param.scale, step->out_c * (bytes ? sizeof(float) : 2 * int4_groups(inputs)));
        continue;
      }
      std::unique_ptr<FloatParams> floats;
      if (param.storage != FASTALEX_FP32) floats.reset(new FloatParams(step, 1, params, param_count));
      const float* values = floats ? (*floats)[static_cast<size_t>(i)] : static_cast<const float*>(param.data);
      if (stored.storage == FASTALEX_FP32)
        stored.values = copied(values, param.count * sizeof(float));
      else if (stored.storage == FASTALEX_FP16)
        stored.values = halves(values, param.count);
      else
        quantize(*step, values, stored.storage, &stored.values, &stored.scale);
    }
  }
  Xxh64 hash;
  for (const Stored& stored : stored_)
    hash.add(&stored.storage, sizeof stored.storage)
        .add(stored.values.data(), stored.values.size())
        .add(stored.scale.data(), stored.scale.size());
  hash_ = hash.hex();
}

const float* EngineWeights::floats(int param) const {
  const Stored& stored = stored_.at(static_cast<size_t>(param));
  FASTALEX_ASSERT(stored.storage == FASTALEX_FP32);
  return reinterpret_cast<const float*>(stored.values.data());
}

fastalex_param EngineWeights::get(int param) const {
  const Stored& stored = stored_.at(static_cast<size_t>(param));
  return fastalex_param{stored.values.data(), stored.scale.empty() ? nullptr : stored.scale.data(), stored.count,
                        stored.storage, stored.step.out_c};
}

void EngineWeights::unpack(size_t param, float* out) const {
  const Stored& stored = stored_.at(param);
  if (stored.storage == FASTALEX_FP32) {
    std::memcpy(out, stored.values.data(), stored.values.size());
  } else if (stored.storage == FASTALEX_FP16) {
    for (size_t i = 0; i < stored.count; ++i) {
      uint16_t half;
      std::memcpy(&half, stored.values.data() + 2 * i, sizeof half);
      out[i] = from_half(half);
    }
  } else {
    fastalex_step step = stored.step;
    step.param = 0;
    const fastalex_param packed = get(static_cast<int>(param));
    std::memcpy(out, FloatParams(&step, 1, &packed, 1)[0], stored.count * sizeof(float));
  }
}

void EngineWeights::quantized(size_t param, void* values, void* scale) const {
  const Stored& stored = stored_.at(param);
  std::memcpy(values, stored.values.data(), stored.values.size());
  std::memcpy(scale, stored.scale.data(), stored.scale.size());
}

size_t EngineWeights::bytes() const {
  size_t total = 0;
  for (const Stored& stored : stored_) total += stored.values.size() + stored.scale.size();
  return total;
}

}  // namespace tensorrt
}  // namespace fastalex
