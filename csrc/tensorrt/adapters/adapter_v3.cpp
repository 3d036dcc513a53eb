// The plugins as IPluginV3, TensorRT 10 and later. trtexec --dynamicPlugins=<library>, IPluginRegistry::loadLibrary:
// the registry asks the library for getCreators.
#include "tensorrt/adapters/compat.h"

namespace fastalex {
namespace tensorrt {
namespace {

class PluginV3 final : public nvinfer1::IPluginV3,
                       public nvinfer1::IPluginV3OneCore,
                       public nvinfer1::IPluginV3OneBuild,
                       public nvinfer1::IPluginV3OneRuntime {
 public:
  explicit PluginV3(std::shared_ptr<PluginOp> op)
      : op_(std::move(op)), fields_(op_->values().fields()), timing_id_(op_->values().timing_id()) {}

  nvinfer1::IPluginCapability* getCapabilityInterface(nvinfer1::PluginCapabilityType type) noexcept override {
    switch (type) {
      case nvinfer1::PluginCapabilityType::kCORE:
        return static_cast<nvinfer1::IPluginV3OneCore*>(this);
      case nvinfer1::PluginCapabilityType::kBUILD:
        return static_cast<nvinfer1::IPluginV3OneBuild*>(this);
      case nvinfer1::PluginCapabilityType::kRUNTIME:
        return static_cast<nvinfer1::IPluginV3OneRuntime*>(this);
    }
    return nullptr;
  }

  nvinfer1::IPluginV3* clone() noexcept override {
    return guarded_call<PluginV3*>(nullptr, [&] { return new PluginV3(op_); });
  }
  nvinfer1::IPluginV3* attachToContext(nvinfer1::IPluginResourceContext*) noexcept override { return clone(); }

  const char* getPluginName() const noexcept override { return op_->values().plugin().c_str(); }
  const char* getPluginVersion() const noexcept override { return kPluginVersion; }
  const char* getPluginNamespace() const noexcept override { return kPluginNamespace; }
  int32_t getNbOutputs() const noexcept override { return 1; }
  const char* getTimingCacheID() noexcept override { return timing_id_.c_str(); }

  int32_t getOutputDataTypes(nvinfer1::DataType* outputs, int32_t, const nvinfer1::DataType* inputs,
                             int32_t) const noexcept override {
    outputs[0] = type_to(op_->output_type(type_of(inputs[0])));
    return 0;
  }

  int32_t getOutputShapes(const nvinfer1::DimsExprs* inputs, int32_t, const nvinfer1::DimsExprs*, int32_t,
                          nvinfer1::DimsExprs* outputs, int32_t, nvinfer1::IExprBuilder& builder) noexcept override {
    return guarded_call(1, [&] {
      outputs[0] = output_exprs(*op_, inputs[0], builder);
      return 0;
    });
  }

  bool supportsFormatCombination(int32_t pos, const nvinfer1::DynamicPluginTensorDesc* in_out, int32_t,
                                 int32_t) noexcept override {
    return supports(*op_, pos, in_out[0].desc, in_out[1].desc);
  }

  int32_t configurePlugin(const nvinfer1::DynamicPluginTensorDesc*, int32_t, const nvinfer1::DynamicPluginTensorDesc*,
                          int32_t) noexcept override {
    return 0;
  }

  size_t getWorkspaceSize(const nvinfer1::DynamicPluginTensorDesc* in, int32_t,
                          const nvinfer1::DynamicPluginTensorDesc* out, int32_t) const noexcept override {
    return guarded_call<size_t>(
        0, [&] { return op_->workspace(tensor_of(in[0].desc, in[0].max), tensor_of(out[0].desc, out[0].max)); });
  }

  int32_t onShapeChange(const nvinfer1::PluginTensorDesc* in, int32_t, const nvinfer1::PluginTensorDesc*,
                        int32_t) noexcept override {
    return guarded_call(1, [&] {
      op_->prepare(tensor_of(in[0]));
      return 0;
    });
  }

  int32_t enqueue(const nvinfer1::PluginTensorDesc* in, const nvinfer1::PluginTensorDesc* out,
                  const void* const* inputs, void* const* outputs, void* workspace,
                  cudaStream_t stream) noexcept override {
    return guarded_call(1, [&] {
      op_->enqueue(tensor_of(in[0]), tensor_of(out[0]), inputs[0], outputs[0], workspace, stream);
      return 0;
    });
  }

  const nvinfer1::PluginFieldCollection* getFieldsToSerialize() noexcept override { return fields_.get(); }

 private:
  std::shared_ptr<PluginOp> op_;
  const Collection fields_;
  const std::string timing_id_;
};

class CreatorV3 final : public nvinfer1::IPluginCreatorV3One {
 public:
  explicit CreatorV3(const char* plugin) : plugin_(plugin), fields_(plugin_) {}

  const char* getPluginName() const noexcept override { return plugin_.c_str(); }
  const char* getPluginVersion() const noexcept override { return kPluginVersion; }
  const char* getPluginNamespace() const noexcept override { return kPluginNamespace; }
  const nvinfer1::PluginFieldCollection* getFieldNames() noexcept override { return fields_.get(); }

  nvinfer1::IPluginV3* createPlugin(const char*, const nvinfer1::PluginFieldCollection* collection,
                                    nvinfer1::TensorRTPhase) noexcept override {
    return guarded_call<PluginV3*>(nullptr,
                                   [&] { return new PluginV3(PluginOp::create(plugin_, fields_of(collection))); });
  }

 private:
  const std::string plugin_;
  const Collection fields_;
};

const std::vector<nvinfer1::IPluginCreatorInterface*>& creators() {
  static CreatorV3 conv_relu(kConvReLU), lrn_pool(kLRNPool), fully_connected(kFullyConnectedW8),
      preprocess(kPreprocess);
  static const std::vector<nvinfer1::IPluginCreatorInterface*> list = {&conv_relu, &lrn_pool, &fully_connected,
                                                                       &preprocess};
  return list;
}

}  // namespace

void register_plugins(nvinfer1::IPluginRegistry& registry) {
  for (nvinfer1::IPluginCreatorInterface* creator : creators())
    if (!registry.getCreator(static_cast<CreatorV3*>(creator)->getPluginName(), kPluginVersion, kPluginNamespace))
      registry.registerCreator(*creator, kPluginNamespace);
}

nvinfer1::ILayer* add_plugin(nvinfer1::INetworkDefinition& network, const char* plugin, const FieldSet& fields,
                             const char* layer_name, nvinfer1::ITensor* input) {
  PluginV3 made(PluginOp::create(plugin, fields.fields()));  // the network keeps a clone
  nvinfer1::ILayer* layer = network.addPluginV3(&input, 1, nullptr, 0, made);
  if (layer) layer->setName(layer_name);
  return layer;
}

}  // namespace tensorrt
}  // namespace fastalex

extern "C" __attribute__((visibility("default"))) nvinfer1::IPluginCreatorInterface* const* getCreators(
    int32_t& count) {
  const auto& list = fastalex::tensorrt::creators();
  count = static_cast<int32_t>(list.size());
  return list.data();
}

extern "C" __attribute__((visibility("default"))) void setLoggerFinder(nvinfer1::ILoggerFinder* finder) {
  fastalex::tensorrt::set_logger_finder(finder);
}
