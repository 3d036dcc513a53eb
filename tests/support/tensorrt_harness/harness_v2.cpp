// The interface of harness.h on IPluginV2DynamicExt objects from the registry. The runtime is that of TensorRT 10, the
// last that has the interface and can be had as a package.
#include <cstring>

#include "harness_trt.h"

using namespace harness;

namespace {

nvinfer1::IPluginRegistry* registry = nullptr;

nvinfer1::IPluginV2DynamicExt* plugin_of(void* plugin) { return static_cast<nvinfer1::IPluginV2DynamicExt*>(plugin); }
nvinfer1::IPluginCreator* creator_of(const char* plugin) { return registry->getPluginCreator(plugin, "1", ""); }

}  // namespace

const char* harness_error() { return message().c_str(); }

int harness_open(const char* runtime, const char* plugins) {
  registry = open_registry(runtime);
  if (!registry) return -1;
  return give_logger(dlopen(plugins, RTLD_LAZY));  // it registers itself
}

const char* harness_creators() {
  static std::string text;
  text.clear();
  for (const char* name : kPlugins)
    if (auto* creator = creator_of(name))
      text += describe(creator, creator->getPluginName(), creator->getPluginVersion());
  return text.c_str();
}

void* plugin_create(const char* plugin, const HarnessField* fields, int count) {
  const auto list = fields_of(fields, count);
  const auto collection = collection_of(list);
  return creator_of(plugin)->createPlugin("layer", &collection);
}

void* plugin_clone(void* plugin) { return plugin_of(plugin)->clone(); }
void plugin_destroy(void* plugin) { plugin_of(plugin)->destroy(); }

int plugin_output(void* plugin, const HarnessTensor* in, HarnessTensor* out) {
  Builder builder;
  const nvinfer1::DimsExprs from = exprs_of(in->dims, &builder);
  const nvinfer1::DimsExprs to = plugin_of(plugin)->getOutputDimensions(0, &from, 1, builder);
  out->type = type_from(plugin_of(plugin)->getOutputDataType(0, &kTypes[in->type], 1));
  return dims_from(to, out);
}

int plugin_supports(void* plugin, int pos, const HarnessTensor* in, const HarnessTensor* out) {
  const nvinfer1::PluginTensorDesc both[2] = {desc_of(*in), desc_of(*out)};
  return plugin_of(plugin)->supportsFormatCombination(pos, both, 1, 1);
}

long long plugin_workspace(void* plugin, const HarnessTensor* in, const HarnessTensor* out) {
  const nvinfer1::DynamicPluginTensorDesc from_range = range_of(*in), to_range = range_of(*out);
  plugin_of(plugin)->configurePlugin(&from_range, 1, &to_range, 1);
  const nvinfer1::PluginTensorDesc from = desc_of(*in), to = desc_of(*out);
  return static_cast<long long>(plugin_of(plugin)->getWorkspaceSize(&from, 1, &to, 1));
}

int plugin_enqueue(void* plugin, const HarnessTensor* in, const HarnessTensor* out, const void* x, void* y,
                   void* workspace, void* stream) {
  const nvinfer1::PluginTensorDesc from = desc_of(*in), to = desc_of(*out);
  if (const int failed = plugin_of(plugin)->initialize()) return failed;
  return plugin_of(plugin)->enqueue(&from, &to, &x, &y, workspace, static_cast<cudaStream_t>(stream));
}

long long plugin_serialize(void* plugin, char* to, size_t capacity) {
  const size_t size = plugin_of(plugin)->getSerializationSize();
  if (capacity >= size) plugin_of(plugin)->serialize(to);
  return static_cast<long long>(size);
}

void* plugin_deserialize(const char* plugin, const char* bytes, size_t size) {
  return creator_of(plugin)->deserializePlugin("layer", bytes, size);
}
