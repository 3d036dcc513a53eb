// The interface of harness.h on IPluginV3 objects from the registry.
#include <cstring>

#include "harness_trt.h"

using namespace harness;
using nvinfer1::PluginCapabilityType;

namespace {

nvinfer1::IPluginRegistry* registry = nullptr;

nvinfer1::IPluginV3* plugin_of(void* plugin) { return static_cast<nvinfer1::IPluginV3*>(plugin); }
nvinfer1::IPluginV3OneBuild* build_of(void* plugin) {
  return static_cast<nvinfer1::IPluginV3OneBuild*>(
      plugin_of(plugin)->getCapabilityInterface(PluginCapabilityType::kBUILD));
}
nvinfer1::IPluginV3OneRuntime* runtime_of(void* plugin) {
  return static_cast<nvinfer1::IPluginV3OneRuntime*>(
      plugin_of(plugin)->getCapabilityInterface(PluginCapabilityType::kRUNTIME));
}
nvinfer1::IPluginCreatorV3One* creator_of(const char* plugin) {
  return static_cast<nvinfer1::IPluginCreatorV3One*>(registry->getCreator(plugin, "1", ""));
}

}  // namespace

const char* harness_error() { return message().c_str(); }

int harness_open(const char* runtime, const char* plugins) {
  registry = open_registry(runtime);
  if (!registry) return -1;
  if (!registry->loadLibrary(plugins)) {
    message() = "the registry does not load the library";
    return -1;
  }
  return give_logger(dlopen(plugins, RTLD_NOW | RTLD_NOLOAD));
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
  return creator_of(plugin)->createPlugin("layer", &collection, nvinfer1::TensorRTPhase::kBUILD);
}

// What each execution context gets.
void* plugin_clone(void* plugin) { return runtime_of(plugin)->attachToContext(nullptr); }
void plugin_destroy(void* plugin) { delete plugin_of(plugin); }

int plugin_output(void* plugin, const HarnessTensor* in, HarnessTensor* out) {
  Builder builder;
  const nvinfer1::DimsExprs from = exprs_of(in->dims, &builder);
  nvinfer1::DimsExprs to;
  if (build_of(plugin)->getOutputShapes(&from, 1, nullptr, 0, &to, 1, builder)) return -1;
  nvinfer1::DataType type;
  if (build_of(plugin)->getOutputDataTypes(&type, 1, &kTypes[in->type], 1)) return -1;
  out->type = type_from(type);
  return dims_from(to, out);
}

int plugin_supports(void* plugin, int pos, const HarnessTensor* in, const HarnessTensor* out) {
  const nvinfer1::DynamicPluginTensorDesc both[2] = {range_of(*in), range_of(*out)};
  return build_of(plugin)->supportsFormatCombination(pos, both, 1, 1);
}

long long plugin_workspace(void* plugin, const HarnessTensor* in, const HarnessTensor* out) {
  const nvinfer1::DynamicPluginTensorDesc from = range_of(*in), to = range_of(*out);
  build_of(plugin)->configurePlugin(&from, 1, &to, 1);
  return static_cast<long long>(build_of(plugin)->getWorkspaceSize(&from, 1, &to, 1));
}

int plugin_enqueue(void* plugin, const HarnessTensor* in, const HarnessTensor* out, const void* x, void* y,
                   void* workspace, void* stream) {
  const nvinfer1::PluginTensorDesc from = desc_of(*in), to = desc_of(*out);
  if (const int failed = runtime_of(plugin)->onShapeChange(&from, 1, &to, 1)) return failed;
  return runtime_of(plugin)->enqueue(&from, &to, &x, &y, workspace, static_cast<cudaStream_t>(stream));
}

// TensorRT writes the fields by itself; here their bytes stand one after the other.
long long plugin_serialize(void* plugin, char* to, size_t capacity) {
  const nvinfer1::PluginFieldCollection* fields = runtime_of(plugin)->getFieldsToSerialize();
  std::string bytes;
  for (int i = 0; i < fields->nbFields; ++i) {
    const nvinfer1::PluginField& field = fields->fields[i];
    int type = 0;
    while (kFieldTypes[type] != field.type) ++type;
    const size_t size = field.length * fastalex::tensorrt::size_of(static_cast<fastalex::tensorrt::FieldType>(type));
    bytes += field.name;
    bytes.append(1, '\0').append(reinterpret_cast<const char*>(&type), sizeof type);
    bytes.append(reinterpret_cast<const char*>(&field.length), sizeof field.length);
    if (size) bytes.append(static_cast<const char*>(field.data), size);
  }
  if (capacity >= bytes.size()) std::memcpy(to, bytes.data(), bytes.size());
  return static_cast<long long>(bytes.size());
}

void* plugin_deserialize(const char* plugin, const char* bytes, size_t size) {
  std::vector<nvinfer1::PluginField> list;
  for (const char* at = bytes; at < bytes + size;) {
    const char* name = at;
    at += std::strlen(at) + 1;
    int type, length;
    std::memcpy(&type, at, sizeof type);
    std::memcpy(&length, at + sizeof type, sizeof length);
    at += sizeof type + sizeof length;
    list.emplace_back(name, at, kFieldTypes[type], length);
    at += length * fastalex::tensorrt::size_of(static_cast<fastalex::tensorrt::FieldType>(type));
  }
  const auto collection = collection_of(list);
  return creator_of(plugin)->createPlugin("layer", &collection, nvinfer1::TensorRTPhase::kRUNTIME);
}
