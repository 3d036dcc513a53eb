// The interface of harness.h on the ops, without TensorRT; and the fields that a plan's step gives.
#include <cstring>

#include "common/error.h"
#include "core/plan.h"
#include "harness.h"
#include "tensorrt/plugins/plugin_op.h"

using namespace fastalex;
using namespace fastalex::tensorrt;

namespace {

std::shared_ptr<PluginOp>& op_of(void* plugin) { return *static_cast<std::shared_ptr<PluginOp>*>(plugin); }

Tensor tensor_of(const HarnessTensor& t) {
  return Tensor{{t.dims[0], {t.dims[1], t.dims[2], t.dims[3]}},
                static_cast<TensorType>(t.type),
                static_cast<TensorFormat>(t.format)};
}

template <typename Body>
void* made(const Body& body) {
  std::shared_ptr<PluginOp> op;
  if (guarded([&] { op = body(); }) != FASTALEX_OK) return nullptr;
  return new std::shared_ptr<PluginOp>(op);
}

}  // namespace

const char* harness_error() { return last_error().c_str(); }
int harness_open(const char*, const char*) { return 0; }

const char* harness_creators() {
  static std::string text;
  text.clear();
  for (const char* plugin : {kConvReLU, kLRNPool, kFullyConnectedW8, kPreprocess}) {
    text += std::string(plugin) + " " + kPluginVersion;
    for (const FieldRow& row : field_rows(plugin)) text += std::string(" ") + row.name;
    text += "\n";
  }
  return text.c_str();
}

void* plugin_create(const char* plugin, const HarnessField* fields, int count) {
  return made([&] {
    std::vector<Field> list;
    for (int i = 0; i < count; ++i) {
      if (fields[i].type > static_cast<int>(FieldType::kCHAR)) invalid("field ", fields[i].name, " is of a type");
      list.push_back(Field{fields[i].name, static_cast<FieldType>(fields[i].type), fields[i].data, fields[i].length});
    }
    return PluginOp::create(plugin, list);
  });
}

void* plugin_clone(void* plugin) { return new std::shared_ptr<PluginOp>(op_of(plugin)); }
void plugin_destroy(void* plugin) { delete &op_of(plugin); }

int plugin_output(void* plugin, const HarnessTensor* in, HarnessTensor* out) {
  return guarded([&] {
    const Shape shape = op_of(plugin)->output_shape(tensor_of(*in).shape);
    out->dims[0] = shape.n;
    std::copy(shape.d, shape.d + 3, out->dims + 1);
    out->type = static_cast<int>(op_of(plugin)->output_type(static_cast<TensorType>(in->type)));
  });
}

int plugin_supports(void* plugin, int pos, const HarnessTensor* in, const HarnessTensor* out) {
  return pos == 0 ? op_of(plugin)->takes(tensor_of(*in)) : op_of(plugin)->gives(tensor_of(*in), tensor_of(*out));
}

long long plugin_workspace(void* plugin, const HarnessTensor* in, const HarnessTensor* out) {
  size_t bytes = 0;
  return guarded([&] { bytes = op_of(plugin)->workspace(tensor_of(*in), tensor_of(*out)); }) == FASTALEX_OK
             ? static_cast<long long>(bytes)
             : -1;
}

int plugin_enqueue(void* plugin, const HarnessTensor* in, const HarnessTensor* out, const void* x, void* y,
                   void* workspace, void* stream) {
  return guarded([&] {
    op_of(plugin)->prepare(tensor_of(*in));
    op_of(plugin)->enqueue(tensor_of(*in), tensor_of(*out), x, y, workspace, stream);
  });
}

long long plugin_serialize(void* plugin, char* to, size_t capacity) {
  const std::vector<char> bytes = serialize(op_of(plugin)->values());
  if (capacity >= bytes.size()) std::memcpy(to, bytes.data(), bytes.size());
  return static_cast<long long>(bytes.size());
}

void* plugin_deserialize(const char* plugin, const char* bytes, size_t size) {
  return made([&] { return PluginOp::create(plugin, deserialize(plugin, bytes, size)); });
}

// Calls `field` with what a plan's first step becomes: the plugin's name, "" if none does it, and how many steps it
// does.
HARNESS int plan_fields(const char* table, const int* shape, const fastalex_param* weight, const float* bias,
                        const char** plugin, int* used, void (*field)(const HarnessField*)) {
  return guarded([&] {
    const Plan plan = build_plan(parse_table(table), shape[1], {shape[0], shape[2], shape[3], false, 0, {}});
    const fastalex_step& step = plan.steps[0];
    const fastalex_step* next = plan.steps.size() > 1 ? &plan.steps[1] : nullptr;
    *plugin = plugin_for(step, next, weight ? weight->storage : FASTALEX_FP32, used);
    FieldSet set;
    if (*plugin == std::string(kConvReLU))
      set = conv_relu_fields(step, static_cast<const float*>(weight->data), bias, "");
    else if (*plugin == std::string(kFullyConnectedW8))
      set = fully_connected_fields(step, *weight, bias, "");
    else if (*plugin == std::string(kLRNPool))
      set = lrn_pool_fields(step, *used == 2 ? next : nullptr, "");
    for (const Field& one : set.fields()) {
      const HarnessField given = {one.name.c_str(), static_cast<int>(one.type), one.data, one.length};
      field(&given);
    }
  });
}

HARNESS int frame_fields(const fastalex_frame* frame, int out_h, int out_w, int precision,
                         void (*field)(const HarnessField*)) {
  return guarded([&] {
    const FieldSet set = preprocess_fields(*frame, out_h, out_w, precision);
    for (const Field& one : set.fields()) {
      const HarnessField given = {one.name.c_str(), static_cast<int>(one.type), one.data, one.length};
      field(&given);
    }
  });
}
