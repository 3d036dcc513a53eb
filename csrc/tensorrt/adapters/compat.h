// Compatibility layer over TensorRT 8.2 to 11. No other file depends on a version; the build selects the adapter that
// is compiled (CMakeLists.txt).
#ifndef FASTALEX_TENSORRT_ADAPTERS_COMPAT_H
#define FASTALEX_TENSORRT_ADAPTERS_COMPAT_H

#include <NvInfer.h>

#include <exception>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "tensorrt/plugins/plugin_op.h"

#define FASTALEX_TENSORRT_VERSION (NV_TENSORRT_MAJOR * 100 + NV_TENSORRT_MINOR)

namespace fastalex {
namespace tensorrt {

#if FASTALEX_TENSORRT_VERSION >= 805  // kUINT8 is there from 8.5 on
constexpr bool kHasUint8 = true;
constexpr nvinfer1::DataType kUint8Type = nvinfer1::DataType::kUINT8;
#else
constexpr bool kHasUint8 = false;
constexpr nvinfer1::DataType kUint8Type = nvinfer1::DataType::kINT8;
#endif

#if FASTALEX_TENSORRT_VERSION >= 806  // plugins can reach the logger from 8.6 on
#define FASTALEX_TENSORRT_SET_LOGGER_FINDER 1
typedef nvinfer1::ILoggerFinder LoggerFinder;
#else
#define FASTALEX_TENSORRT_SET_LOGGER_FINDER 0
struct LoggerFinder {
  nvinfer1::ILogger* findLogger() { return nullptr; }
};
#endif

// Finds a function of the TensorRT that the process has loaded; null if it has none. The library is not linked with
// TensorRT, so that it loads beside the full, the lean and the dispatch runtime.
void* find_symbol(const char* name);
nvinfer1::IPluginRegistry* find_registry();

// Reports one sentence to TensorRT's logger, or to stderr if there is none.
void set_logger_finder(LoggerFinder* finder);
void report(const std::string& message) noexcept;

// Returns what `body` returns; reports a failure and returns `failed`.
template <typename Result, typename Body>
Result guarded_call(Result failed, const Body& body) noexcept {
  try {
    return body();
  } catch (const std::exception& error) {
    report(error.what());
  }
  return failed;
}

// Conversions from and to TensorRT's types.
TensorType type_of(nvinfer1::DataType type);
nvinfer1::DataType type_to(TensorType type);
Tensor tensor_of(const nvinfer1::PluginTensorDesc& desc);                              // n: -1 if it is not known
Tensor tensor_of(const nvinfer1::PluginTensorDesc& desc, const nvinfer1::Dims& dims);  // dims instead of the desc's
std::vector<Field> fields_of(const nvinfer1::PluginFieldCollection* collection);

// A collection that points into the fields' memory.
class Collection {
 public:
  explicit Collection(const std::vector<Field>& fields);
  explicit Collection(const std::string& plugin);  // names and types alone, as creators report them
  const nvinfer1::PluginFieldCollection* get() const { return &collection_; }
  Collection(const Collection&) = delete;
  Collection& operator=(const Collection&) = delete;

 private:
  void finish();

  std::vector<std::string> names_;
  std::vector<nvinfer1::PluginField> fields_;
  nvinfer1::PluginFieldCollection collection_;
};

// The output's dimensions; throws for an input of another rank, and where more than the batch is dynamic.
nvinfer1::DimsExprs output_exprs(const PluginOp& op, const nvinfer1::DimsExprs& in, nvinfer1::IExprBuilder& builder);

// Returns whether tensor `pos` of input and output, described so far, is one that the op supports.
bool supports(const PluginOp& op, int pos, const nvinfer1::PluginTensorDesc& in, const nvinfer1::PluginTensorDesc& out);

// Adapter ------------------------------------------------------------------------------------------------------

// Registers the plugins, once.
void register_plugins(nvinfer1::IPluginRegistry& registry);

// Adds a plugin to a network; throws for bad fields, null where TensorRT refuses it (its logger says why).
nvinfer1::ILayer* add_plugin(nvinfer1::INetworkDefinition& network, const char* plugin, const FieldSet& fields,
                             const char* layer_name, nvinfer1::ITensor* input);

// Engines ----------------------------------------------------------------------------------------------------------

#if FASTALEX_TENSORRT_VERSION >= 1000
constexpr bool kStronglyTyped = true;
constexpr uint32_t kNetworkFlags =
    1u << static_cast<uint32_t>(nvinfer1::NetworkDefinitionCreationFlag::kSTRONGLY_TYPED);
constexpr int kMajorInVersion = 10000;  // getInferLibVersion() is major * this + minor * 100 + patch
#else
constexpr bool kStronglyTyped = false;
constexpr uint32_t kNetworkFlags =
    1u << static_cast<uint32_t>(nvinfer1::NetworkDefinitionCreationFlag::kEXPLICIT_BATCH);
constexpr int kMajorInVersion = 1000;
#endif

// Only in a strongly typed network.
inline nvinfer1::ILayer* add_cast(nvinfer1::INetworkDefinition& network, nvinfer1::ITensor& input, bool half) {
#if FASTALEX_TENSORRT_VERSION >= 1000
  return network.addCast(input, half ? nvinfer1::DataType::kHALF : nvinfer1::DataType::kFLOAT);
#else
  (void)network, (void)input, (void)half;
  return nullptr;
#endif
}

// Only in a weakly typed network: neither the layer nor its output may be half.
inline void keep_float(nvinfer1::ILayer& layer) {
#if FASTALEX_TENSORRT_VERSION < 1000
  layer.setPrecision(nvinfer1::DataType::kFLOAT);
  layer.setOutputType(0, nvinfer1::DataType::kFLOAT);
#else
  (void)layer;
#endif
}

inline void configure(nvinfer1::IBuilderConfig& config, size_t workspace, bool half) {
#if FASTALEX_TENSORRT_VERSION >= 804  // pools of memory are there from 8.4 on
  config.setMemoryPoolLimit(nvinfer1::MemoryPoolType::kWORKSPACE, workspace);
#else
  config.setMaxWorkspaceSize(workspace);
#endif
#if FASTALEX_TENSORRT_VERSION < 1000
  if (half) {
    config.setFlag(nvinfer1::BuilderFlag::kFP16);
    config.setFlag(nvinfer1::BuilderFlag::kOBEY_PRECISION_CONSTRAINTS);
  }
#else
  (void)half;
#endif
}

// Reports the progress of a build: the steps of its outermost phase that are done, and their total. Before 10.0
// TensorRT reports nothing.
class ProgressMonitor final
#if FASTALEX_TENSORRT_VERSION >= 1000
    : public nvinfer1::IProgressMonitor
#endif
{
 public:
  typedef std::function<void(const char* phase, int done, int steps)> Tell;
  explicit ProgressMonitor(Tell tell) : tell_(std::move(tell)) {}

#if FASTALEX_TENSORRT_VERSION >= 1000
  void watch(nvinfer1::IBuilderConfig& config) { config.setProgressMonitor(this); }
  void phaseStart(const char* name, const char* parent, int32_t steps) noexcept override {
    if (parent) return;
    const std::lock_guard<std::mutex> lock(mutex_);
    outermost_ = name;
    steps_ = steps;
    tell(0);
  }
  bool stepComplete(const char* name, int32_t step) noexcept override {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (outermost_ == name) tell(step + 1);
    return true;
  }
  void phaseFinish(const char*) noexcept override {}
#else
  void watch(nvinfer1::IBuilderConfig&) {}
#endif

 private:
  void tell(int done) noexcept {
    try {
      tell_(outermost_.c_str(), done, steps_);
    } catch (const std::exception&) {
      // A progress message must not fail the build.
    }
  }

  const Tell tell_;
  std::mutex mutex_;  // TensorRT calls from several threads
  std::string outermost_;
  int steps_ = 0;
};

inline nvinfer1::Dims input_dims(const nvinfer1::ICudaEngine& engine, const char* input) {
#if FASTALEX_TENSORRT_VERSION >= 805  // tensors have names instead of numbers from 8.5 on
  return engine.getTensorShape(input);
#else
  return engine.getBindingDimensions(engine.getBindingIndex(input));
#endif
}

// Runs the engine on device addresses, assigned to its inputs and outputs by name. false: TensorRT refused, and its
// logger says why.
inline bool run_engine(const nvinfer1::ICudaEngine& engine, nvinfer1::IExecutionContext& context, const char* input,
                       const nvinfer1::Dims& dims, const std::vector<std::pair<const char*, void*>>& addresses,
                       cudaStream_t stream) {
#if FASTALEX_TENSORRT_VERSION >= 805
  (void)engine;
  bool ok = context.setInputShape(input, dims);
  for (const auto& address : addresses) ok = ok && context.setTensorAddress(address.first, address.second);
  return ok && context.enqueueV3(stream);
#else
  std::vector<void*> bindings(addresses.size());
  for (const auto& address : addresses) {
    const int32_t index = engine.getBindingIndex(address.first);
    if (index < 0 || index >= static_cast<int32_t>(bindings.size())) return false;
    bindings[index] = address.second;
  }
  return context.setBindingDimensions(engine.getBindingIndex(input), dims) &&
         context.enqueueV2(bindings.data(), stream, nullptr);
#endif
}

}  // namespace tensorrt
}  // namespace fastalex
#endif  // FASTALEX_TENSORRT_ADAPTERS_COMPAT_H
