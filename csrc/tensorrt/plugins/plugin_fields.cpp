#include "tensorrt/plugins/plugin_fields.h"

#include <cstring>

#include "backend/steps.h"
#include "common/error.h"
#include "common/half.h"
#include "weights/dequantize.h"

namespace fastalex {
namespace tensorrt {
namespace {

constexpr FieldRow kStride = {"stride", FieldType::kINT32, 1, "1", "from one window to the next"};
constexpr FieldRow kGroups = {"groups", FieldType::kINT32, 1, "1", "channel groups"};
constexpr FieldRow kRounding = {"rounding", FieldType::kINT32, 1, "0", "of the number of windows: 0 floor, 1 ceil"};
constexpr FieldRow kTuning = {"tuning", FieldType::kCHAR, 0, "", "rules for the choice of kernels"};
constexpr FieldRow kSerial = {kSerialField, FieldType::kINT32, 1, "1", "of a serialized plugin"};
constexpr FieldRow kBias = {"bias", FieldType::kFLOAT32, 0, nullptr, "[k]"};

FieldRow activation(const char* name, const char* standard) {
  return FieldRow{name, FieldType::kINT32, 1, standard, "0 none, 1 relu, 2 tanh"};
}

// Functions, since the adapter of TensorRT 8 needs them while the library's static objects are still being made.
const std::vector<FieldRow>& conv_rows() {
  static const std::vector<FieldRow> rows = {
      {"weights", FieldType::kFLOAT32, 0, nullptr, "[k, c / groups, kernel, kernel]"},
      kBias,
      {"kernel", FieldType::kINT32, 1, nullptr, "side of the window"},
      kStride,
      {"pad", FieldType::kINT32, 1, "0", "zeros on each side"},
      kGroups,
      kRounding,
      activation("activation", "1"),
      kTuning,
      kSerial,
  };
  return rows;
}

const std::vector<FieldRow>& lrn_pool_rows() {
  static const std::vector<FieldRow> rows = {
      {"order", FieldType::kINT32, 1, "0", "0 normalize then pool, 1 pool then normalize, 2 normalize only"},
      {"size", FieldType::kINT32, 1, nullptr, "channels in the window, odd"},
      {"alpha", FieldType::kFLOAT64, 1, nullptr, "factor of the sum of squares"},
      {"beta", FieldType::kFLOAT64, 1, nullptr, "power"},
      {"k", FieldType::kFLOAT64, 1, nullptr, "constant added to the sum"},
      {"divide_alpha", FieldType::kINT32, 1, "0", "1: alpha is divided by size"},
      kGroups,
      {"kernel", FieldType::kINT32, 1, "0", "side of the pool's window"},
      kStride,
      kRounding,
      activation("between", "0"),
      activation("activation", "0"),
      kTuning,
      kSerial,
  };
  return rows;
}

const std::vector<FieldRow>& fully_connected_rows() {
  static const std::vector<FieldRow> rows = {
      {"weights", FieldType::kINT8, 0, nullptr, "quantized values [k, y, x, c]; int4: two in a byte"},
      {"scale", FieldType::kFLOAT32, 0, nullptr, "[k]; int4: [k, (inputs + 127) / 128]"},
      kBias,
      {"input", FieldType::kINT32, 3, nullptr, "c, h, w"},
      {"storage", FieldType::kINT32, 1, "2", "2 int8, 3 int4"},
      activation("activation", "0"),
      kTuning,
      kSerial,
  };
  return rows;
}

const std::vector<FieldRow>& preprocess_rows() {
  static const std::vector<FieldRow> rows = {
      {"filter", FieldType::kINT32, 1, "1", "0 nearest, 1 linear, 2 antialiased"},
      {"resized", FieldType::kINT32, 2, nullptr, "height, width that the frame is resized to"},
      {"crop", FieldType::kINT32, 2, "0 0", "first row and column of the output in it"},
      {"output", FieldType::kINT32, 2, nullptr, "height, width"},
      {"swap", FieldType::kINT32, 1, "0", "1: planes in the reverse order of a pixel's bytes"},
      {"scale", FieldType::kFLOAT32, 3, nullptr, "plane p becomes v * scale[p] - shift[p]"},
      {"shift", FieldType::kFLOAT32, 3, nullptr, "see scale"},
      {"precision", FieldType::kINT32, 1, "0", "of the output: 0 fp32, 1 fp16"},
      kSerial,
  };
  return rows;
}

// Floor and ceil are the same for square windows without overhang.
int rounding_of(const fastalex_step& s) {
  return s.out_h != (s.in_h + 2 * s.pad - s.kernel) / s.stride + 1 ||
         s.out_w != (s.in_w + 2 * s.pad - s.kernel) / s.stride + 1;
}

}  // namespace

size_t size_of(FieldType type) {
  switch (type) {
    case FieldType::kFLOAT64:
      return 8;
    case FieldType::kFLOAT32:
    case FieldType::kINT32:
      return 4;
    default:
      return 1;
  }
}

const std::vector<FieldRow>& field_rows(const std::string& plugin) {
  if (plugin == kConvReLU) return conv_rows();
  if (plugin == kLRNPool) return lrn_pool_rows();
  if (plugin == kFullyConnectedW8) return fully_connected_rows();
  if (plugin == kPreprocess) return preprocess_rows();
  invalid("there is no plugin ", plugin);
}

FieldSet& FieldSet::own(const char* name, FieldType type, const void* data, size_t bytes, size_t length) {
  const char* from = static_cast<const char*>(data);
  owned_.emplace_back(new std::vector<char>(from, from + bytes));
  return borrow(name, type, owned_.back()->data(), length);
}

FieldSet& FieldSet::put(const char* name, int32_t value) {
  return own(name, FieldType::kINT32, &value, sizeof value, 1);
}
FieldSet& FieldSet::put(const char* name, const std::vector<int32_t>& values) {
  return own(name, FieldType::kINT32, values.data(), values.size() * sizeof values[0], values.size());
}
FieldSet& FieldSet::put(const char* name, double value) {
  return own(name, FieldType::kFLOAT64, &value, sizeof value, 1);
}
FieldSet& FieldSet::put(const char* name, const std::vector<float>& values) {
  return own(name, FieldType::kFLOAT32, values.data(), values.size() * sizeof values[0], values.size());
}
FieldSet& FieldSet::put(const char* name, const std::string& text) {
  return own(name, FieldType::kCHAR, text.data(), text.size(), text.size());
}

FieldSet& FieldSet::borrow(const char* name, FieldType type, const void* data, size_t length) {
  fields_.push_back(Field{name, type, data, static_cast<int32_t>(length)});
  return *this;
}

const char* plugin_for(const fastalex_step& step, const fastalex_step* next, int fc_storage, int* used) {
  *used = 1;
  const bool quantized = fc_storage == FASTALEX_INT8 || fc_storage == FASTALEX_INT4;
  if (step.op == FASTALEX_OP_CONV) return kConvReLU;
  if (step.op == FASTALEX_OP_FULLY_CONNECTED) return quantized ? kFullyConnectedW8 : "";
  *used = next && is_norm_pool_pair(step, *next) ? 2 : 1;
  return step.op == FASTALEX_OP_LRN || *used == 2 ? kLRNPool : "";
}

FieldSet conv_relu_fields(const fastalex_step& step, const float* weight, const float* bias,
                          const std::string& tuning) {
  const size_t row = static_cast<size_t>(step.in_c / step.groups) * step.kernel * step.kernel;
  return FieldSet()
      .borrow("weights", FieldType::kFLOAT32, weight, row * step.out_c)
      .borrow("bias", FieldType::kFLOAT32, bias, step.out_c)
      .put("kernel", step.kernel)
      .put("stride", step.stride)
      .put("pad", step.pad)
      .put("groups", step.groups)
      .put("rounding", rounding_of(step))
      .put("activation", step.activation)
      .put("tuning", tuning);
}

FieldSet lrn_pool_fields(const fastalex_step& step, const fastalex_step* next, const std::string& tuning) {
  const bool lrn_first = step.op == FASTALEX_OP_LRN;
  const fastalex_step& norm = lrn_first ? step : *next;
  const fastalex_step& last = next ? *next : step;
  FieldSet fields;
  fields.put("order", !next       ? kLrnOnly
                      : lrn_first ? kLrnThenPool
                                  : kPoolThenLrn)
      .put("size", norm.size)
      .put("alpha", norm.alpha)
      .put("beta", norm.beta)
      .put("k", norm.k)
      .put("groups", norm.groups)
      .put("activation", last.activation)
      .put("tuning", tuning);
  if (!next) return fields;
  const fastalex_step& pool = lrn_first ? *next : step;
  return fields.put("between", step.activation)
      .put("kernel", pool.kernel)
      .put("stride", pool.stride)
      .put("rounding", rounding_of(pool));
}

FieldSet fully_connected_fields(const fastalex_step& step, const fastalex_param& weight, const float* bias,
                                const std::string& tuning) {
  const size_t inputs = static_cast<size_t>(step.in_c) * step.in_h * step.in_w, outputs = step.out_c;
  FieldSet fields;
  if (weight.storage == FASTALEX_INT4) {
    std::vector<float> scales(outputs * int4_groups(inputs));
    for (size_t i = 0; i < scales.size(); ++i) {
      uint16_t half;
      std::memcpy(&half, static_cast<const char*>(weight.scale) + i * sizeof half, sizeof half);
      scales[i] = from_half(half);
    }
    fields.borrow("weights", FieldType::kINT8, weight.data, outputs * ((inputs + 1) / 2)).put("scale", scales);
  } else {
    fields.borrow("weights", FieldType::kINT8, weight.data, outputs * inputs)
        .borrow("scale", FieldType::kFLOAT32, weight.scale, outputs);
  }
  return fields.borrow("bias", FieldType::kFLOAT32, bias, outputs)
      .put("input", std::vector<int32_t>{step.in_c, step.in_h, step.in_w})
      .put("storage", weight.storage)
      .put("activation", step.activation)
      .put("tuning", tuning);
}

FieldSet preprocess_fields(const fastalex_frame& frame, int out_h, int out_w, int precision) {
  return FieldSet()
      .put("filter", frame.filter)
      .put("resized", std::vector<int32_t>{frame.resized_h, frame.resized_w})
      .put("crop", std::vector<int32_t>{frame.crop_y, frame.crop_x})
      .put("output", std::vector<int32_t>{out_h, out_w})
      .put("swap", frame.swap)
      .put("scale", std::vector<float>(frame.scale, frame.scale + 3))
      .put("shift", std::vector<float>(frame.shift, frame.shift + 3))
      .put("precision", precision);
}

}  // namespace tensorrt
}  // namespace fastalex
