// tensorrt/engine/runtime.h without TensorRT: an engine is its plan and weights as bytes, and runs its layers one after
// the other, each as TensorRT's documentation defines it, in double; plugins run as they are.
//
// FASTALEX_EMULATED_TENSORRT is the version that it reports (10.3.0): before 10 networks are weakly typed.
// FASTALEX_EMULATED_BUILD_S is the least time that a build takes.
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <thread>

#include "common/error.h"
#include "common/half.h"
#include "tensorrt/engine/runtime.h"
#include "tensorrt/plugins/plugin_op.h"

namespace fastalex {
namespace tensorrt {
namespace {

std::string variable(const char* name, const char* standard) {
  const char* value = getenv(name);
  return value ? value : standard;
}

std::string emulated_version() { return variable("FASTALEX_EMULATED_TENSORRT", "10.3.0"); }

[[noreturn]] void fail(const std::string& what) { throw Error(FASTALEX_INTERNAL, "TensorRT " + what); }

// Bytes ---------------------------------------------------------------------------------------------------------------

struct Parameter {
  int storage = FASTALEX_FP32;
  std::vector<char> values, scale;
};

// The content of an engine.
struct Content {
  EnginePlan plan = EnginePlan();
  BatchRange batch = BatchRange();
  std::string kernels;
  std::map<int, Parameter> parameters;
};

class Writer {
 public:
  template <typename Number>
  void number(Number& value) {
    raw(&value, sizeof value);
  }
  template <typename List>
  void list(List& values) {
    size_t count = values.size();
    number(count);
    raw(values.data(), count * sizeof values[0]);
  }
  template <typename List>
  size_t count(List& values) {
    size_t size = values.size();
    number(size);
    return size;
  }
  std::vector<char> bytes;

 private:
  void raw(const void* from, size_t size) {
    const char* first = static_cast<const char*>(from);
    bytes.insert(bytes.end(), first, first + size);
  }
};

class Reader {
 public:
  explicit Reader(const std::vector<char>& bytes) : bytes_(bytes) {}
  template <typename Number>
  void number(Number& value) {
    raw(&value, sizeof value);
  }
  template <typename List>
  void list(List& values) {
    values.resize(count(values));
    if (!values.empty()) raw(&values[0], values.size() * sizeof values[0]);
  }
  template <typename List>
  size_t count(List& values) {
    size_t size = 0;
    number(size);
    if (size > bytes_.size()) fail("refuses the engine: it is damaged");
    values.resize(size);
    return size;
  }
  bool done() const { return at_ == bytes_.size(); }

 private:
  void raw(void* to, size_t size) {
    if (size > bytes_.size() - at_) fail("refuses the engine: it is damaged");
    memcpy(to, bytes_.data() + at_, size);
    at_ += size;
  }

  const std::vector<char>& bytes_;
  size_t at_ = 0;
};

template <typename Archive>
void visit(Archive& archive, EngineLayer& layer) {
  archive.number(layer.kind);
  archive.list(layer.name);
  archive.list(layer.inputs);
  archive.list(layer.dims);
  archive.number(layer.type);
  for (int* number : {&layer.kernel, &layer.stride, &layer.pad, &layer.groups, &layer.post_pad[0], &layer.post_pad[1],
                      &layer.window, &layer.activation, &layer.param})
    archive.number(*number);
  for (double* number : {&layer.alpha, &layer.beta, &layer.k, &layer.scale, &layer.shift, &layer.power})
    archive.number(*number);
  for (bool* flag : {&layer.float_only, &layer.round_up, &layer.transpose}) archive.number(*flag);
  archive.list(layer.values);
  archive.list(layer.plugin);
  archive.number(layer.first);
  archive.number(layer.count);
}

template <typename Archive>
void visit(Archive& archive, Content& content) {
  EnginePlan& plan = content.plan;
  archive.number(plan.strongly_typed);
  for (int* number : {&plan.precision, &plan.in_c, &plan.in_h, &plan.in_w}) archive.number(*number);
  const size_t layers = archive.count(plan.layers);
  for (size_t i = 0; i < layers; ++i) visit(archive, plan.layers[i]);
  archive.list(plan.outputs);
  archive.list(plan.steps);
  archive.number(content.batch);
  archive.list(content.kernels);
  for (const fastalex_step& step : plan.steps) {
    for (int param = step.param; step.param >= 0 && param < step.param + 2; ++param) {
      Parameter& parameter = content.parameters[param];
      archive.number(parameter.storage);
      archive.list(parameter.values);
      archive.list(parameter.scale);
    }
  }
}

size_t parameter_bytes(const fastalex_param& param) {
  return param.count * (param.storage == FASTALEX_FP32 ? 4 : param.storage == FASTALEX_FP16 ? 2 : 1);
}

// Quantized values come in whole rows: anything after the last one is ignored.
Parameter parameter_of(const fastalex_step& step, const fastalex_param& param) {
  const size_t inputs = param.count / static_cast<size_t>(step.out_c);
  const bool nibbles = param.storage == FASTALEX_INT4;
  const size_t bytes = nibbles ? (inputs + 1) / 2 * step.out_c : parameter_bytes(param);
  const size_t scales = param.storage == FASTALEX_INT8 ? 4 * size_t(step.out_c)
                        : nibbles                      ? 2 * size_t(step.out_c) * ((inputs + 127) / 128)
                                                       : 0;
  Parameter made;
  made.storage = param.storage;
  const char* values = static_cast<const char*>(param.data);
  made.values.assign(values, values + bytes);
  const char* scale = static_cast<const char*>(param.scale);
  if (scales) made.scale.assign(scale, scale + scales);
  return made;
}

// Layers --------------------------------------------------------------------------------------------------------------

struct Value {
  std::vector<int> dims;
  std::vector<double> data;

  int side(size_t index) const { return index < dims.size() ? dims[index] : 1; }
};

size_t volume(const std::vector<int>& dims) {
  size_t product = 1;
  for (int side : dims) product *= static_cast<size_t>(side);
  return product;
}

class Execution final : public EngineExecution {
 public:
  explicit Execution(const Content& content) : content_(content) {}

  void enqueue(int n, const void* input, void* const* outputs, cuda::StreamHandle) override {
    const BatchRange& batch = content_.batch;
    if (n < batch.least || n > batch.most) fail("refuses a batch outside the engine's profile");
    const EnginePlan& plan = content_.plan;
    values_.assign(1, Value{{n, plan.in_c, plan.in_h, plan.in_w}, {}});
    const float* from = static_cast<const float*>(input);
    values_[0].data.assign(from, from + volume(values_[0].dims));
    for (const EngineLayer& layer : plan.layers) {
      Value made = run(layer);
      if (plan.strongly_typed && layer.type == ValueType::kHalf)
        for (double& value : made.data) value = from_half(to_half(static_cast<float>(value)));
      values_.push_back(std::move(made));
    }
    for (size_t i = 0; i < plan.outputs.size(); ++i) {
      const Value& output = values_.at(plan.outputs[i]);
      std::copy(output.data.begin(), output.data.end(), static_cast<float*>(outputs[i]));
    }
  }

 private:
  const Value& input(const EngineLayer& layer, size_t index = 0) const { return values_.at(layer.inputs.at(index)); }

  static double activated(const EngineLayer& layer, double x) {
    switch (layer.activation) {
      case FASTALEX_ACT_RELU:
        return std::max(x, 0.0);
      case FASTALEX_ACT_TANH:
        return tanh(x);
      case FASTALEX_ACT_LEAKY_RELU:
        return std::max(x, 0.0) + layer.alpha * std::min(x, 0.0);
      default:
        FASTALEX_ASSERT(layer.activation == FASTALEX_ACT_SIGMOID);
        return 1 / (1 + exp(-x));
    }
  }

  Value run(const EngineLayer& layer) {
    check_types(layer);
    switch (layer.kind) {
      case LayerKind::kConvolution:
        return convolution(layer);
      case LayerKind::kMaxPool:
      case LayerKind::kAveragePool:
        return pool(layer);
      case LayerKind::kLrn:
        return lrn(layer);
      case LayerKind::kActivation:
        return each(layer, [&](double x) { return activated(layer, x); });
      case LayerKind::kSoftmax:
        return softmax(layer);
      case LayerKind::kMatrixMultiply:
        return multiply(layer);
      case LayerKind::kConstant:
        return constant(layer);
      case LayerKind::kSum:
      case LayerKind::kProduct:
      case LayerKind::kQuotient:
        return combine(layer);
      case LayerKind::kScale:
        return each(layer, [&](double x) { return pow(x * layer.scale + layer.shift, layer.power); });
      case LayerKind::kReshape:
        return reshape(layer);
      case LayerKind::kCast:
        return input(layer);
      case LayerKind::kPlugin:
        return plugin(layer);
    }
    fail("does not know a layer");
  }

  // Strong typing: the inputs of a layer have the type of its output, except for casts.
  void check_types(const EngineLayer& layer) const {
    if (!content_.plan.strongly_typed || layer.kind == LayerKind::kCast) return;
    for (int input : layer.inputs)
      if ((input ? content_.plan.layers[input - 1].type : ValueType::kFloat) != layer.type)
        fail("refuses the layer " + layer.name + ": its inputs are of several types");
  }

  template <typename Function>
  Value each(const EngineLayer& layer, const Function& function) const {
    Value out = input(layer);
    for (double& value : out.data) value = function(value);
    return out;
  }

  std::vector<double> parameter(int param) const {
    const Parameter& parameter = content_.parameters.at(param);
    std::vector<double> values;
    for (size_t at = 0; at < parameter.values.size(); at += parameter.storage == FASTALEX_FP16 ? 2 : 4) {
      uint16_t half;
      float value;
      memcpy(&half, &parameter.values[at], 2);
      if (parameter.storage == FASTALEX_FP16)
        value = from_half(half);
      else
        memcpy(&value, &parameter.values[at], 4);
      if (content_.plan.precision == FASTALEX_PRECISION_FP16) value = from_half(to_half(value));
      values.push_back(value);
    }
    return values;
  }

  Value convolution(const EngineLayer& layer) const {
    const Value& in = input(layer);
    const std::vector<double> weight = parameter(layer.param), bias = parameter(layer.param + 1);
    const int in_c = in.dims[1], in_h = in.dims[2], in_w = in.dims[3], out_c = layer.dims[1], r = layer.kernel;
    auto windows = [&](int side, int after) { return (side + layer.pad + after - r) / layer.stride + 1; };
    Value out = {{in.dims[0], out_c, windows(in_h, layer.post_pad[0]), windows(in_w, layer.post_pad[1])}, {}};
    const int group_in = in_c / layer.groups, group_out = out_c / layer.groups;
    for (int n = 0; n < out.dims[0]; ++n)
      for (int o = 0; o < out_c; ++o)
        for (int i = 0; i < out.dims[2]; ++i)
          for (int j = 0; j < out.dims[3]; ++j) {
            double sum = bias[o];
            for (int c = 0; c < group_in; ++c)
              for (int y = 0; y < r; ++y)
                for (int x = 0; x < r; ++x) {
                  const int row = i * layer.stride - layer.pad + y, column = j * layer.stride - layer.pad + x;
                  if (row < 0 || row >= in_h || column < 0 || column >= in_w) continue;
                  const int channel = o / group_out * group_in + c;
                  sum += weight[((size_t(o) * group_in + c) * r + y) * r + x] *
                         in.data[((size_t(n) * in_c + channel) * in_h + row) * in_w + column];
                }
            out.data.push_back(sum);
          }
    return out;
  }

  Value pool(const EngineLayer& layer) const {
    const Value& in = input(layer);
    const bool largest = layer.kind == LayerKind::kMaxPool;
    auto windows = [&](int side) {
      const int room = side + 2 * layer.pad - layer.kernel;
      return (layer.round_up ? (room + layer.stride - 1) / layer.stride : room / layer.stride) + 1;
    };
    Value out = {{in.dims[0], in.dims[1], windows(in.dims[2]), windows(in.dims[3])}, {}};
    const int in_h = in.dims[2], in_w = in.dims[3];
    for (int map = 0; map < in.dims[0] * in.dims[1]; ++map)
      for (int i = 0; i < out.dims[2]; ++i)
        for (int j = 0; j < out.dims[3]; ++j) {
          double pooled = largest ? -INFINITY : 0;
          for (int y = 0; y < layer.kernel; ++y)
            for (int x = 0; x < layer.kernel; ++x) {
              const int row = i * layer.stride - layer.pad + y, column = j * layer.stride - layer.pad + x;
              if (row < 0 || row >= in_h || column < 0 || column >= in_w) continue;
              const double value = in.data[(size_t(map) * in_h + row) * in_w + column];
              pooled = largest ? std::max(pooled, value) : pooled + value;
            }
          out.data.push_back(largest ? pooled : pooled / (layer.kernel * layer.kernel));
        }
    return out;
  }

  // x / (k + alpha / window sum x^2)^beta
  Value lrn(const EngineLayer& layer) const {
    const Value& in = input(layer);
    Value out = in;
    const int channels = in.dims[1], plane = in.dims[2] * in.dims[3];
    for (int n = 0; n < in.dims[0]; ++n)
      for (int c = 0; c < channels; ++c)
        for (int p = 0; p < plane; ++p) {
          double sum = 0;
          for (int d = std::max(0, c - layer.window / 2); d <= std::min(channels - 1, c + layer.window / 2); ++d)
            sum += pow(in.data[(size_t(n) * channels + d) * plane + p], 2);
          out.data[(size_t(n) * channels + c) * plane + p] /=
              pow(layer.k + layer.alpha / layer.window * sum, layer.beta);
        }
    return out;
  }

  Value softmax(const EngineLayer& layer) const {
    Value out = input(layer);
    const size_t classes = static_cast<size_t>(out.dims[1]);
    if (out.data.size() != classes * static_cast<size_t>(out.dims[0])) fail("emulates a softmax of vectors alone");
    for (size_t row = 0; row < out.data.size(); row += classes) {
      double* values = &out.data[row];
      const double top = *std::max_element(values, values + classes);
      double sum = 0;
      for (size_t i = 0; i < classes; ++i) sum += values[i] = exp(values[i] - top);
      for (size_t i = 0; i < classes; ++i) values[i] /= sum;
    }
    return out;
  }

  // Multiplies along the last two dimensions; earlier ones are broadcast.
  Value multiply(const EngineLayer& layer) const {
    const Value &left = input(layer, 0), &right = input(layer, 1);
    const size_t rank = left.dims.size();
    if (right.dims.size() != rank) fail("refuses factors of different ranks");
    const int rows = left.dims[rank - 2], inner = left.dims[rank - 1];
    const int columns = right.dims[layer.transpose ? rank - 2 : rank - 1];
    if (inner != right.dims[layer.transpose ? rank - 1 : rank - 2]) fail("refuses factors that do not fit");
    Value out = {left.dims, {}};
    out.dims[rank - 1] = columns;
    size_t batch = 1, left_batch = 1, right_batch = 1;
    for (size_t i = 0; i + 2 < rank; ++i) {
      out.dims[i] = std::max(left.dims[i], right.dims[i]);
      batch *= static_cast<size_t>(out.dims[i]);
      left_batch *= static_cast<size_t>(left.dims[i]);
      right_batch *= static_cast<size_t>(right.dims[i]);
    }
    for (size_t b = 0; b < batch; ++b) {
      const double* l = &left.data[b % left_batch * rows * inner];
      const double* r = &right.data[b % right_batch * inner * columns];
      for (int i = 0; i < rows; ++i)
        for (int j = 0; j < columns; ++j) {
          double sum = 0;
          for (int k = 0; k < inner; ++k)
            sum += l[i * inner + k] * (layer.transpose ? r[j * inner + k] : r[k * columns + j]);
          out.data.push_back(sum);
        }
    }
    return out;
  }

  Value constant(const EngineLayer& layer) const {
    Value out = {layer.dims, {layer.values.begin(), layer.values.end()}};
    if (layer.param >= 0) out.data = parameter(layer.param);
    if (out.data.size() != volume(out.dims)) fail("refuses a constant of another size");
    return out;
  }

  Value combine(const EngineLayer& layer) const {
    Value out = input(layer, 0);
    const Value& right = input(layer, 1);
    if (right.data.empty() || out.data.size() % right.data.size()) fail("refuses operands that do not fit");
    for (size_t i = 0; i < out.data.size(); ++i) {
      const double other = right.data[i % right.data.size()];
      if (layer.kind == LayerKind::kSum) out.data[i] += other;
      if (layer.kind == LayerKind::kProduct) out.data[i] *= other;
      if (layer.kind == LayerKind::kQuotient) out.data[i] /= other;
    }
    return out;
  }

  Value reshape(const EngineLayer& layer) const {
    Value out = input(layer);
    out.dims = layer.dims;
    size_t rest = 1;
    for (size_t i = 1; i < out.dims.size(); ++i) rest *= static_cast<size_t>(out.dims[i]);
    if (out.data.size() % rest) fail("refuses a reshape that does not fit");
    out.dims[0] = static_cast<int>(out.data.size() / rest);
    return out;
  }

  FieldSet fields_of(const EngineLayer& layer) const {
    const fastalex_step& step = content_.plan.steps.at(layer.first);
    auto floats = [&](int param) {
      return reinterpret_cast<const float*>(content_.parameters.at(param).values.data());
    };
    if (layer.plugin == kConvReLU)
      return conv_relu_fields(step, floats(step.param), floats(step.param + 1), content_.kernels);
    if (layer.plugin == kLRNPool)
      return lrn_pool_fields(step, layer.count == 2 ? &step + 1 : nullptr, content_.kernels);
    const Parameter& weight = content_.parameters.at(step.param);
    const size_t count = static_cast<size_t>(step.out_c) * step.in_c * step.in_h * step.in_w;
    return fully_connected_fields(step, {weight.values.data(), weight.scale.data(), count, weight.storage},
                                  floats(step.param + 1), content_.kernels);
  }

  // Runs a plugin in the network's own type, dense.
  Value plugin(const EngineLayer& layer) {
    std::shared_ptr<PluginOp>& op = ops_[layer.name];
    if (!op) op = PluginOp::create(layer.plugin, fields_of(layer).fields());
    const Value& in = input(layer);
    if (in.dims.size() != 4) fail("refuses a plugin's input of another rank");
    const bool half = content_.plan.precision == FASTALEX_PRECISION_FP16;
    const TensorType type = half ? TensorType::kHALF : TensorType::kFLOAT;
    const Tensor from = {{in.dims[0], {in.dims[1], in.dims[2], in.dims[3]}}, type, TensorFormat::kLINEAR};
    const Tensor to = {op->output_shape(from.shape), op->output_type(type), TensorFormat::kLINEAR};
    if (!op->takes(from) || !op->gives(from, to)) fail("finds no format for the layer " + layer.name);
    Value out = {{to.shape.n, to.shape.d[0], to.shape.d[1], to.shape.d[2]}, {}};
    const size_t bytes = half ? 2 : 4, count = volume(out.dims);
    const cuda::DeviceMemory x(in.data.size() * bytes), y(count * bytes), workspace(op->workspace(from, to));
    for (size_t i = 0; i < in.data.size(); ++i) store(in.data[i], half, x.data() + i * bytes);
    op->prepare(from);
    op->enqueue(from, to, x.data(), y.data(), workspace.data(), nullptr);
    for (size_t i = 0; i < count; ++i) out.data.push_back(loaded(y.data() + i * bytes, half));
    return out;
  }

  static void store(double value, bool half, char* to) {
    const float single = static_cast<float>(value);
    const uint16_t bits = to_half(single);
    memcpy(to, half ? static_cast<const void*>(&bits) : &single, half ? 2 : 4);
  }

  static double loaded(const char* from, bool half) {
    uint16_t bits;
    float single;
    memcpy(&bits, from, 2);
    if (half) return from_half(bits);
    memcpy(&single, from, 4);
    return single;
  }

  const Content& content_;
  std::vector<Value> values_;
  std::map<std::string, std::shared_ptr<PluginOp>> ops_;  // by layer
};

class EmulatedEngine final : public Engine {
 public:
  explicit EmulatedEngine(Content content) : content_(std::move(content)) {}
  std::unique_ptr<EngineExecution> make_execution() const override {
    return std::unique_ptr<EngineExecution>(new Execution(content_));
  }

 private:
  const Content content_;
};

class EmulatedRuntime final : public EngineRuntime {
 public:
  std::string version() const override { return emulated_version(); }
  bool strongly_typed() const override { return atoi(emulated_version().c_str()) >= 10; }
  void check() const override { kernels(); }

  std::vector<char> build(const BuildRequest& request, std::vector<char>* timings) const override {
    const double seconds = atof(variable("FASTALEX_EMULATED_BUILD_S", "0").c_str());
    if (request.progress && strongly_typed()) request.progress->phase("Building", 1, 2);
    std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
    Content content;
    content.plan = request.plan;
    content.batch = request.batch;
    content.kernels = request.kernels;
    for (const fastalex_step& step : request.plan.steps)
      for (int param = step.param; step.param >= 0 && param < step.param + 2; ++param)
        content.parameters[param] = parameter_of(step, request.weights.get(param));
    Writer writer;
    std::string version = emulated_version();
    writer.list(version);
    visit(writer, content);
    timings->push_back('t');
    return writer.bytes;
  }

  std::unique_ptr<Engine> load(const std::vector<char>& bytes, size_t outputs) const override {
    Reader reader(bytes);
    std::string version;
    reader.list(version);
    if (version != emulated_version()) fail("refuses the engine: it is of version " + version);
    Content content;
    visit(reader, content);
    if (!reader.done() || content.plan.outputs.size() != outputs) fail("refuses the engine: it is damaged");
    return std::unique_ptr<Engine>(new EmulatedEngine(std::move(content)));
  }
};

}  // namespace

const EngineRuntime& engine_runtime() {
  static const EmulatedRuntime runtime;
  return runtime;
}

}  // namespace tensorrt
}  // namespace fastalex
