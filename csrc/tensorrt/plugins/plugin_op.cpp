#include "tensorrt/plugins/plugin_op.h"

#include <algorithm>

#include "backend/dynamic_library.h"
#include "common/error.h"

namespace fastalex {
namespace tensorrt {
namespace {

void check(int status) {
  if (status != FASTALEX_OK) throw Error(status, kernels().last_error());
}

int layout_of(const Tensor& tensor) {
  return tensor.format == TensorFormat::kLINEAR ? FASTALEX_LAYOUT_DENSE : FASTALEX_LAYOUT_PACKED;
}

const fastalex_backend_api* open_kernels(std::string* reason) {
  const std::string name = FASTALEX_TENSORRT_KERNELS;
  const std::string path = name[0] == '/' ? name : own_folder() + "/" + name;
  const fastalex_backend_api* api = open_backend(path, reason);
  if (api && !api->layers) *reason = path + " has no kernels for single layers";
  return api && api->layers ? api : nullptr;
}

}  // namespace

const fastalex_backend_api& kernels() {
  static std::string reason;
  static const fastalex_backend_api* const api = open_kernels(&reason);
  if (!api) throw Error(FASTALEX_UNAVAILABLE, "the kernels of fastalex's plugins cannot be used: " + reason);
  return *api;
}

std::shared_ptr<PluginOp> PluginOp::create(const std::string& plugin, const std::vector<Field>& fields) {
  FieldValues values(plugin, fields);
  if (plugin == kConvReLU) return make_conv_relu(std::move(values));
  if (plugin == kLRNPool) return make_lrn_pool(std::move(values));
  if (plugin == kFullyConnectedW8) return make_fully_connected_w8(std::move(values));
  return make_preprocess(std::move(values));
}

const void* PluginOp::layer_for(const Tensor& in) const {
  int device = 0;
  check(kernels().layers->current_device(&device));
  const int* d = in.shape.d;
  const LayerKey key(device, d[0], d[1], d[2], static_cast<int>(in.type));
  const std::lock_guard<std::mutex> lock(mutex_);
  std::unique_ptr<void, Release>& layer = layers_[key];
  if (!layer) layer.reset(make_layer(in.shape, in.type));
  return layer.get();
}

size_t PluginOp::workspace(const Tensor& in, const Tensor& out) const {
  size_t bytes = 0;
  check(kernels().layers->workspace(layer_for(in), in.shape.n, layout_of(in), layout_of(out), &bytes));
  return bytes;
}

void PluginOp::prepare(const Tensor& in) const { check(kernels().layers->prepare(layer_for(in), in.shape.n)); }

void PluginOp::enqueue(const Tensor& in, const Tensor& out, const void* x, void* y, void* workspace,
                       void* stream) const {
  check(kernels().layers->enqueue(layer_for(in), in.shape.n, x, layout_of(in), y, layout_of(out), workspace, stream));
}

// Steps ---------------------------------------------------------------------------------------------------------------

namespace {

// Returns whether a tensor is dense or in a format that the kernels read and write in place.
bool is_known_format(const Tensor& tensor) {
  if (tensor.format == TensorFormat::kLINEAR) return true;
  const TensorFormat own = tensor.type == TensorType::kHALF ? TensorFormat::kHWC8 : TensorFormat::kHWC;
  return tensor.format == own && tensor.shape.d[0] > 0 && tensor.shape.d[0] % 8 == 0;
}

}  // namespace

Plan StepsOp::plan(const Shape& in) const {
  Plan plan = build_plan(rows(), in.d[0], {std::max(in.n, 1), in.d[1], in.d[2], false, 0, {}});
  check(plan);
  return plan;
}

Shape StepsOp::output_shape(const Shape& in) const {
  const fastalex_step last = plan(in).steps.back();
  return Shape{in.n, {last.out_c, last.out_h, last.out_w}};
}

bool StepsOp::takes(const Tensor& in) const {
  return (in.type == TensorType::kFLOAT || in.type == TensorType::kHALF) && is_known_format(in);
}

bool StepsOp::gives(const Tensor& in, const Tensor& out) const { return out.type == in.type && is_known_format(out); }

void* StepsOp::make_layer(const Shape& in, TensorType type) const {
  const Plan steps = plan(in);
  const fastalex_param weights = weight();
  void* layer = nullptr;
  tensorrt::check(
      kernels().layers->create(steps.steps.data(), steps.steps.size(), weights.count ? &weights : nullptr,
                               weights.count ? static_cast<const float*>(values().data("bias")) : nullptr,
                               type == TensorType::kHALF ? FASTALEX_PRECISION_FP16 : FASTALEX_PRECISION_FP32,
                               values().text("tuning").c_str(), &layer));
  return layer;
}

LayerRow StepsOp::row(const char* op) const {
  LayerRow row;
  row.op = op;
  row.name = values().plugin();
  return row;
}

void StepsOp::add_activation(const char* field, std::vector<LayerRow>* rows) const {
  const int activation = values().integer(field);
  if (activation < FASTALEX_ACT_NONE || activation > FASTALEX_ACT_TANH)
    invalid("field ", field, " of ", values().plugin(), " must be 0 (none), 1 (relu) or 2 (tanh), not ", activation);
  if (activation != FASTALEX_ACT_NONE) rows->push_back(row(activation == FASTALEX_ACT_RELU ? "relu" : "tanh"));
}

void StepsOp::set_rounding(LayerRow* row) const {
  const int rounding = values().integer("rounding");
  if (rounding != 0 && rounding != 1)
    invalid("field rounding of ", values().plugin(), " must be 0 (floor) or 1 (ceil), not ", rounding);
  row->options["rounding"] = rounding ? "ceil" : "floor";
}

void StepsOp::expect(const char* field, size_t count, size_t needed) const {
  if (count != needed)
    invalid("field ", field, " of ", values().plugin(), " must have ", needed,
            " values for its other fields and this "
            "input, not ",
            count);
}

}  // namespace tensorrt
}  // namespace fastalex
