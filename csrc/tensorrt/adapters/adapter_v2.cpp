// The plugins as IPluginV2DynamicExt, TensorRT 8. trtexec --plugins=<library> opens the library, which registers
// itself.
#include <cstring>

#include "tensorrt/adapters/compat.h"

namespace fastalex {
namespace tensorrt {
namespace {

class PluginV2 final : public nvinfer1::IPluginV2DynamicExt {
 public:
  explicit PluginV2(std::shared_ptr<PluginOp> op) : op_(std::move(op)) {}

  const char* getPluginType() const noexcept override { return op_->values().plugin().c_str(); }
  const char* getPluginVersion() const noexcept override { return kPluginVersion; }
  const char* getPluginNamespace() const noexcept override { return namespace_.c_str(); }
  void setPluginNamespace(const char* name) noexcept override { namespace_ = name ? name : ""; }
  int32_t getNbOutputs() const noexcept override { return 1; }
  int32_t initialize() noexcept override { return 0; }
  void terminate() noexcept override {}
  void destroy() noexcept override { delete this; }

  nvinfer1::IPluginV2DynamicExt* clone() const noexcept override {
    return guarded_call<PluginV2*>(nullptr, [&] {
      std::unique_ptr<PluginV2> copy(new PluginV2(op_));
      copy->namespace_ = namespace_;
      return copy.release();
    });
  }

  nvinfer1::DataType getOutputDataType(int32_t, const nvinfer1::DataType* types, int32_t) const noexcept override {
    return type_to(op_->output_type(type_of(types[0])));
  }

  nvinfer1::DimsExprs getOutputDimensions(int32_t, const nvinfer1::DimsExprs* inputs, int32_t,
                                          nvinfer1::IExprBuilder& builder) noexcept override {
    nvinfer1::DimsExprs none = nvinfer1::DimsExprs();
    none.nbDims = -1;  // no dimensions: TensorRT ends the build
    return guarded_call(none, [&] { return output_exprs(*op_, inputs[0], builder); });
  }

  bool supportsFormatCombination(int32_t pos, const nvinfer1::PluginTensorDesc* in_out, int32_t,
                                 int32_t) noexcept override {
    return supports(*op_, pos, in_out[0], in_out[1]);
  }

  void configurePlugin(const nvinfer1::DynamicPluginTensorDesc*, int32_t, const nvinfer1::DynamicPluginTensorDesc*,
                       int32_t) noexcept override {}

  size_t getWorkspaceSize(const nvinfer1::PluginTensorDesc* in, int32_t, const nvinfer1::PluginTensorDesc* out,
                          int32_t) const noexcept override {
    return guarded_call<size_t>(0, [&] { return op_->workspace(tensor_of(in[0]), tensor_of(out[0])); });
  }

  int32_t enqueue(const nvinfer1::PluginTensorDesc* in, const nvinfer1::PluginTensorDesc* out,
                  const void* const* inputs, void* const* outputs, void* workspace,
                  cudaStream_t stream) noexcept override {
    return guarded_call(1, [&] {
      op_->enqueue(tensor_of(in[0]), tensor_of(out[0]), inputs[0], outputs[0], workspace, stream);
      return 0;
    });
  }

  size_t getSerializationSize() const noexcept override {
    return guarded_call<size_t>(0, [&] { return tensorrt::serialize(op_->values()).size(); });
  }

  void serialize(void* buffer) const noexcept override {
    guarded_call(0, [&] {
      const std::vector<char> bytes = tensorrt::serialize(op_->values());
      std::memcpy(buffer, bytes.data(), bytes.size());
      return 0;
    });
  }

 private:
  std::shared_ptr<PluginOp> op_;
  std::string namespace_ = kPluginNamespace;
};

class CreatorV2 final : public nvinfer1::IPluginCreator {
 public:
  explicit CreatorV2(const char* plugin) : plugin_(plugin), fields_(plugin_) {}

  const char* getPluginName() const noexcept override { return plugin_.c_str(); }
  const char* getPluginVersion() const noexcept override { return kPluginVersion; }
  const char* getPluginNamespace() const noexcept override { return namespace_.c_str(); }
  void setPluginNamespace(const char* name) noexcept override { namespace_ = name ? name : ""; }
  const nvinfer1::PluginFieldCollection* getFieldNames() noexcept override { return fields_.get(); }

  nvinfer1::IPluginV2* createPlugin(const char*, const nvinfer1::PluginFieldCollection* collection) noexcept override {
    return guarded_call<PluginV2*>(nullptr, [&] { return make(fields_of(collection)); });
  }

  nvinfer1::IPluginV2* deserializePlugin(const char*, const void* data, size_t size) noexcept override {
    return guarded_call<PluginV2*>(nullptr, [&] { return make(deserialize(plugin_, data, size)); });
  }

 private:
  PluginV2* make(const std::vector<Field>& fields) const {
    std::unique_ptr<PluginV2> plugin(new PluginV2(PluginOp::create(plugin_, fields)));
    plugin->setPluginNamespace(namespace_.c_str());
    return plugin.release();
  }

  const std::string plugin_;
  const Collection fields_;
  std::string namespace_ = kPluginNamespace;
};

const std::vector<CreatorV2*>& creators() {
  static CreatorV2 conv_relu(kConvReLU), lrn_pool(kLRNPool), fully_connected(kFullyConnectedW8),
      preprocess(kPreprocess);
  static const std::vector<CreatorV2*> list = {&conv_relu, &lrn_pool, &fully_connected, &preprocess};
  return list;
}

// Registers the plugins if TensorRT is loaded already; otherwise whoever loads it calls register_plugins.
struct RegisterOnLoad {
  RegisterOnLoad() {
    if (nvinfer1::IPluginRegistry* registry = find_registry()) register_plugins(*registry);
  }
} register_on_load;

}  // namespace

void register_plugins(nvinfer1::IPluginRegistry& registry) {
  for (CreatorV2* creator : creators())
    if (!registry.getPluginCreator(creator->getPluginName(), kPluginVersion, kPluginNamespace))
      registry.registerCreator(*creator, kPluginNamespace);
}

nvinfer1::ILayer* add_plugin(nvinfer1::INetworkDefinition& network, const char* plugin, const FieldSet& fields,
                             const char* layer_name, nvinfer1::ITensor* input) {
  PluginV2 made(PluginOp::create(plugin, fields.fields()));  // the network keeps a clone
  nvinfer1::ILayer* layer = network.addPluginV2(&input, 1, made);
  if (layer) layer->setName(layer_name);
  return layer;
}

}  // namespace tensorrt
}  // namespace fastalex

#if FASTALEX_TENSORRT_SET_LOGGER_FINDER
extern "C" __attribute__((visibility("default"))) void setLoggerFinder(nvinfer1::ILoggerFinder* finder) {
  fastalex::tensorrt::set_logger_finder(finder);
}
#endif
