#include "tensorrt/engine/plan.h"

#include <algorithm>
#include <sstream>

#include "common/error.h"
#include "tensorrt/plugins/plugin_fields.h"

namespace fastalex {
namespace tensorrt {
namespace {

// ILRNLayer::setWindowSize, setBeta, setK of every release: NvInfer.h.
const int kLargestWindow = 15;
const double kLeastBeta = 0.01, kLeastK = 1e-5;

const int kBatch = -1;

EngineLayer blank(LayerKind kind) {
  EngineLayer layer = EngineLayer();
  layer.kind = kind;
  layer.stride = layer.groups = 1;
  layer.scale = layer.power = 1;
  layer.param = -1;
  return layer;
}

class Planner {
 public:
  Planner(const fastalex_step* steps, size_t count, const EngineOptions& options) : options_(options) {
    plan_.strongly_typed = options.strongly_typed;
    plan_.precision = options.precision;
    plan_.steps.assign(steps, steps + count);
    plan_.in_c = steps->in_c;
    plan_.in_h = steps->in_h;
    plan_.in_w = steps->in_w;
    dims_ = {kBatch, steps->in_c, steps->in_h, steps->in_w};
  }

  EnginePlan make() {
    cast(compute_type());
    for (size_t i = 0; i < plan_.steps.size();) i += add_step(i);
    return std::move(plan_);
  }

 private:
  ValueType compute_type() const {
    return options_.precision == FASTALEX_PRECISION_FP16 ? ValueType::kHalf : ValueType::kFloat;
  }

  // Appends a layer that reads the current value, and makes its output the current one.
  int add(EngineLayer layer, const std::string& what) {
    std::ostringstream name;
    name << step_ << "." << what;
    layer.name = name.str();
    if (layer.inputs.empty() && layer.kind != LayerKind::kConstant) layer.inputs = {value_};
    if (layer.dims.empty()) layer.dims = dims_;
    layer.type = layer.kind == LayerKind::kCast ? layer.type : type_;
    if (layer.kind != LayerKind::kConstant) dims_ = layer.dims;
    plan_.layers.push_back(layer);
    const int made = static_cast<int>(plan_.layers.size());
    if (layer.kind != LayerKind::kConstant) value_ = made;
    return made;
  }

  void cast(ValueType type) {
    if (!options_.strongly_typed || type == type_) return;
    EngineLayer layer = blank(LayerKind::kCast);
    layer.type = type_ = type;
    add(layer, type == ValueType::kHalf ? "to_half" : "to_float");
  }

  void reshape(const std::vector<int>& dims) {
    if (dims == dims_) return;
    EngineLayer layer = blank(LayerKind::kReshape);
    layer.dims = dims;
    add(layer, "reshape");
  }

  std::vector<int> maps(const fastalex_step& step, bool out) const {
    return out ? std::vector<int>{kBatch, step.out_c, step.out_h, step.out_w}
               : std::vector<int>{kBatch, step.in_c, step.in_h, step.in_w};
  }

  int constant(const std::vector<int>& dims, int param, const std::vector<float>& values, const char* what) {
    EngineLayer layer = blank(LayerKind::kConstant);
    layer.dims = dims;
    layer.param = param;
    layer.values = values;
    return add(layer, what);
  }

  size_t add_step(size_t index) {
    step_ = index;
    const fastalex_step& step = plan_.steps[index];
    const fastalex_step* next = index + 1 < plan_.steps.size() ? &plan_.steps[index + 1] : nullptr;
    int used = 0;
    const std::string plugin = plugin_for(step, next, options_.fc_storage, &used);
    const char* impossible = not_native(step);
    const std::vector<std::string>& preferred = options_.preferred;
    const bool is_preferred = std::find(preferred.begin(), preferred.end(), plugin) != preferred.end();
    if (!plugin.empty() && !options_.native && (is_preferred || impossible)) {
      add_plugin(step, plugin, index, static_cast<size_t>(used));
      return static_cast<size_t>(used);
    }
    if (impossible)
      invalid("TensorRT's own layers cannot do this: ", impossible,
              plugin.empty() ? "; change the network" : "; use mode plugins");
    add_native(step);
    finish(step);
    return 1;
  }

  void add_plugin(const fastalex_step& step, const std::string& plugin, size_t first, size_t count) {
    reshape(maps(step, false));
    EngineLayer layer = blank(LayerKind::kPlugin);
    layer.plugin = plugin;
    layer.first = first;
    layer.count = count;
    const fastalex_step& last = plan_.steps[first + count - 1];
    layer.dims = maps(last, true);
    add(layer, plugin);
    finish(last);
  }

  // Makes an output float32, without changing the value that the next step reads.
  void finish(const fastalex_step& step) {
    if (step.output < 0) return;
    if (plan_.outputs.size() <= static_cast<size_t>(step.output)) plan_.outputs.resize(step.output + 1);
    const ValueType type = type_;
    const int value = value_;
    cast(ValueType::kFloat);
    if (value_ == 0 || std::find(plan_.outputs.begin(), plan_.outputs.end(), value_) != plan_.outputs.end()) {
      EngineLayer copy = blank(LayerKind::kReshape);  // a tensor is one output at most
      copy.dims = dims_;
      add(copy, "copy");
    }
    plan_.outputs[step.output] = value_;
    value_ = value;
    type_ = type;
  }

  // The reason why TensorRT has no layer for a step; null if it has one.
  const char* not_native(const fastalex_step& step) const {
    if (step.op == FASTALEX_OP_LRN) {
      if (step.size > kLargestWindow) return "a normalization over more than 15 channels";
      if (step.beta < kLeastBeta || step.k < kLeastK) return "a normalization with beta below 0.01 or k below 1e-5";
    }
    if (step.op == FASTALEX_OP_FULLY_CONNECTED &&
        (options_.fc_storage == FASTALEX_INT8 || options_.fc_storage == FASTALEX_INT4))
      return "fully connected weights in int8 or int4";
    return nullptr;
  }

  void add_native(const fastalex_step& step) {
    switch (step.op) {
      case FASTALEX_OP_CONV:
        convolution(step);
        break;
      case FASTALEX_OP_FULLY_CONNECTED:
        fully_connected(step);
        break;
      case FASTALEX_OP_LRN:
        lrn(step);
        break;
      case FASTALEX_OP_SPATIAL_NORM:
        spatial_norm(step);
        break;
      case FASTALEX_OP_MAXPOOL:
        max_pool(step);
        break;
      case FASTALEX_OP_ADAPTIVE_AVGPOOL:
        adaptive_average(step);
        break;
      case FASTALEX_OP_SOFTMAX:
        softmax();
        break;
      default:
        FASTALEX_ASSERT(step.op == FASTALEX_OP_ACTIVATION);
    }
    if (step.activation == FASTALEX_ACT_NONE) return;
    EngineLayer layer = blank(LayerKind::kActivation);
    layer.activation = step.activation;
    layer.alpha = step.alpha;
    static const char* const names[] = {"none", "relu", "tanh", "leaky_relu", "sigmoid"};
    add(layer, names[step.activation]);
  }

  void convolution(const fastalex_step& step) {
    EngineLayer layer = blank(LayerKind::kConvolution);
    layer.kernel = step.kernel;
    layer.stride = step.stride;
    layer.pad = step.pad;
    layer.groups = step.groups;
    layer.param = step.param;
    const int out[2] = {step.out_h, step.out_w}, in[2] = {step.in_h, step.in_w};
    for (int axis = 0; axis < 2; ++axis)  // a window that overhangs reads zeros
      layer.post_pad[axis] = std::max(0, (out[axis] - 1) * step.stride + step.kernel - step.pad - in[axis]);
    layer.dims = maps(step, true);
    add(layer, "conv");
  }

  void fully_connected(const fastalex_step& step) {
    const int inputs = step.in_c * step.in_h * step.in_w;
    reshape({kBatch, inputs});
    EngineLayer product = blank(LayerKind::kMatrixMultiply);
    product.inputs = {value_, 0};
    product.inputs[1] = constant({step.out_c, inputs}, step.param, {}, "weight");
    product.transpose = true;
    product.dims = {kBatch, step.out_c};
    add(product, "fc");
    EngineLayer sum = blank(LayerKind::kSum);
    sum.inputs = {value_, 0};
    sum.inputs[1] = constant({1, step.out_c}, step.param + 1, {}, "bias");
    add(sum, "sum");
  }

  // In fp32: the squares of Caffe's activations are beyond fp16. A window that stays inside a group of channels is one
  // over all channels of a batch in which the groups are images.
  void lrn(const fastalex_step& step) {
    const ValueType before = type_;
    cast(ValueType::kFloat);
    if (step.groups > 1) reshape({kBatch, step.in_c / step.groups, step.in_h, step.in_w});
    EngineLayer layer = blank(LayerKind::kLrn);
    layer.window = step.size;
    layer.alpha = step.alpha * step.size;
    layer.beta = step.beta;
    layer.k = step.k;
    layer.float_only = true;
    add(layer, "lrn");
    if (step.groups > 1) reshape(maps(step, true));
    cast(before);
  }

  void spatial_norm(const fastalex_step& step) {
    const ValueType before = type_;
    cast(ValueType::kFloat);
    const int input = value_;
    auto combine = [&](LayerKind kind, int left, int right, const char* what) {
      EngineLayer layer = blank(kind);
      layer.inputs = {left, right};
      layer.float_only = true;
      return add(layer, what);
    };
    combine(LayerKind::kProduct, input, input, "squares");
    EngineLayer mean = blank(LayerKind::kAveragePool);
    mean.kernel = step.size;
    mean.pad = step.size / 2;
    mean.float_only = true;
    add(mean, "mean");
    EngineLayer power = blank(LayerKind::kScale);
    power.scale = step.alpha * step.size * step.size;
    power.shift = step.k;
    power.power = step.beta;
    power.float_only = true;
    const int divisor = add(power, "power");
    combine(LayerKind::kQuotient, input, divisor, "spatial_norm");
    cast(before);
  }

  void max_pool(const fastalex_step& step) {
    auto floor_of = [&](int in) { return (in - step.kernel) / step.stride + 1; };
    auto ceil_of = [&](int in) { return (in - step.kernel + step.stride - 1) / step.stride + 1; };
    EngineLayer layer = blank(LayerKind::kMaxPool);
    layer.kernel = step.kernel;
    layer.stride = step.stride;
    layer.round_up = step.out_h != floor_of(step.in_h) || step.out_w != floor_of(step.in_w);
    if (layer.round_up && (step.out_h != ceil_of(step.in_h) || step.out_w != ceil_of(step.in_w)))
      invalid(
          "TensorRT's own layers cannot do this: a pool whose stride is larger than its window; change the network");
    layer.dims = maps(step, true);
    add(layer, "maxpool");
  }

  // Means over windows of several sizes are products with matrices: rows from the left, columns from the right.
  void adaptive_average(const fastalex_step& step) {
    if (step.in_h == step.out_h && step.in_w == step.out_w) return;
    EngineLayer rows = blank(LayerKind::kMatrixMultiply);
    rows.inputs = {constant({1, 1, step.out_h, step.in_h}, -1, means(step.in_h, step.out_h), "rows"), value_};
    rows.dims = {kBatch, step.in_c, step.out_h, step.in_w};
    add(rows, "average_rows");
    EngineLayer columns = blank(LayerKind::kMatrixMultiply);
    columns.inputs = {value_, constant({1, 1, step.out_w, step.in_w}, -1, means(step.in_w, step.out_w), "columns")};
    columns.transpose = true;
    columns.dims = maps(step, true);
    add(columns, "average");
  }

  static std::vector<float> means(int side, int out) {
    std::vector<float> matrix(static_cast<size_t>(out) * side);
    for (int i = 0; i < out; ++i) {
      const int first = static_cast<int>(1LL * i * side / out);
      const int end = static_cast<int>((1LL * (i + 1) * side + out - 1) / out);
      for (int j = first; j < end; ++j)
        matrix[static_cast<size_t>(i) * side + j] = 1.0f / static_cast<float>(end - first);
    }
    return matrix;
  }

  void softmax() {
    cast(ValueType::kFloat);  // the result is an output
    EngineLayer layer = blank(LayerKind::kSoftmax);
    layer.float_only = true;
    add(layer, "softmax");
  }

  const EngineOptions& options_;
  EnginePlan plan_ = EnginePlan();
  size_t step_ = 0;
  int value_ = 0;
  ValueType type_ = ValueType::kFloat;
  std::vector<int> dims_;  // of the current value
};

// Writes the numbers that differ from blank()'s.
void write_numbers(const EngineLayer& layer, std::ostringstream* out) {
  const EngineLayer standard = blank(layer.kind);
  auto write = [&](const char* name, double value, double usual) {
    if (value != usual) *out << " " << name << "=" << value;
  };
  write("kernel", layer.kernel, standard.kernel);
  write("stride", layer.stride, standard.stride);
  write("pad", layer.pad, standard.pad);
  write("below", layer.post_pad[0], 0);
  write("right", layer.post_pad[1], 0);
  write("groups", layer.groups, standard.groups);
  write("round_up", layer.round_up, 0);
  write("window", layer.window, 0);
  write("alpha", layer.alpha, 0);
  write("beta", layer.beta, 0);
  write("k", layer.k, 0);
  write("scale", layer.scale, standard.scale);
  write("shift", layer.shift, 0);
  write("power", layer.power, standard.power);
  write("activation", layer.activation, 0);
  write("transpose", layer.transpose, 0);
  write("float_only", layer.float_only, 0);
  write("param", layer.param, standard.param);
}

// Writes the parts of a step that a plugin is made from.
void write_step(const fastalex_step& step, std::ostringstream* out) {
  *out << " {" << step.op << " " << step.activation;
  for (int number : {step.in_c, step.in_h, step.in_w, step.out_c, step.out_h, step.out_w, step.kernel, step.stride,
                     step.pad, step.groups, step.size, step.param})
    *out << " " << number;
  *out << " " << step.alpha << " " << step.beta << " " << step.k << "}";
}

}  // namespace

const char* kind_name(LayerKind kind) {
  static const char* const names[] = {"convolution", "max_pool",        "average_pool", "lrn",  "activation",
                                      "softmax",     "matrix_multiply", "constant",     "sum",  "product",
                                      "quotient",    "scale",           "reshape",      "cast", "plugin"};
  return names[static_cast<int>(kind)];
}

std::string EnginePlan::text() const {
  std::ostringstream out;
  out.precision(17);
  out << (strongly_typed ? "strong" : "weak") << " precision=" << precision << " input=" << in_c << "x" << in_h << "x"
      << in_w << "\n";
  for (const EngineLayer& layer : layers) {
    out << layer.name << " " << kind_name(layer.kind) << " [";
    for (size_t i = 0; i < layer.inputs.size(); ++i) out << (i ? " " : "") << layer.inputs[i];
    out << "] [";
    for (size_t i = 0; i < layer.dims.size(); ++i) out << (i ? " " : "") << layer.dims[i];
    out << "] " << (layer.type == ValueType::kHalf ? "half" : "float");
    write_numbers(layer, &out);
    for (size_t i = layer.first; i < layer.first + layer.count; ++i) write_step(steps[i], &out);
    out << "\n";
  }
  out << "outputs";
  for (int value : outputs) out << " " << value;
  out << "\n";
  return out.str();
}

EnginePlan make_engine_plan(const fastalex_step* steps, size_t count, const EngineOptions& options) {
  return Planner(steps, count, options).make();
}

}  // namespace tensorrt
}  // namespace fastalex
