// TensorRT 8.2 to 11 as the rest of this folder sees it. No other file asks for a version; which adapter is compiled is
// the build's decision (CMakeLists.txt).
#ifndef FASTALEX_TENSORRT_COMPAT_H
#define FASTALEX_TENSORRT_COMPAT_H

#include <NvInfer.h>

#include <exception>
#include <string>
#include <vector>

#include "plugin_op.h"

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

#if FASTALEX_TENSORRT_VERSION >= 806  // plugins are given a way to the logger from 8.6 on
#define FASTALEX_TENSORRT_SET_LOGGER_FINDER 1
typedef nvinfer1::ILoggerFinder LoggerFinder;
#else
#define FASTALEX_TENSORRT_SET_LOGGER_FINDER 0
struct LoggerFinder {
  nvinfer1::ILogger* findLogger() { return nullptr; }
};
#endif

// The library is not linked with TensorRT, so that it loads beside the full, the lean and the dispatch runtime: this
// finds a function of the one that the process has, null if it has none.
void* find_symbol(const char* name);
nvinfer1::IPluginRegistry* find_registry();

// One sentence to TensorRT's logger, or to stderr where there is none.
void set_logger_finder(LoggerFinder* finder);
void report(const std::string& message) noexcept;

// What body returns; a failure is reported, and `failed` returned.
template <typename Result, typename Body>
Result guarded_call(Result failed, const Body& body) noexcept {
  try {
    return body();
  } catch (const std::exception& error) {
    report(error.what());
  }
  return failed;
}

// From and to TensorRT's types.
TensorType type_of(nvinfer1::DataType type);
nvinfer1::DataType type_to(TensorType type);
Tensor tensor_of(const nvinfer1::PluginTensorDesc& desc);                              // n: -1 if it is not known
Tensor tensor_of(const nvinfer1::PluginTensorDesc& desc, const nvinfer1::Dims& dims);  // dims instead of the desc's
std::vector<Field> fields_of(const nvinfer1::PluginFieldCollection* collection);

// A collection that points into the fields' memory.
class Collection {
 public:
  explicit Collection(const std::vector<Field>& fields);
  explicit Collection(const std::string& plugin);  // names and types alone, as a creator tells them
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

// Whether tensor `pos` of input and output, described so far, is one that the op supports.
bool supports(const PluginOp& op, int pos, const nvinfer1::PluginTensorDesc& in, const nvinfer1::PluginTensorDesc& out);

// Of the adapter ------------------------------------------------------------------------------------------------------

// Makes the plugins known to a registry, once.
void register_plugins(nvinfer1::IPluginRegistry& registry);

// Adds a plugin to a network; throws for bad fields, null where TensorRT refuses it (its logger says why).
nvinfer1::ILayer* add_plugin(nvinfer1::INetworkDefinition& network, const char* plugin, const FieldSet& fields,
                             const char* layer_name, nvinfer1::ITensor* input);

}  // namespace tensorrt
}  // namespace fastalex
#endif  // FASTALEX_TENSORRT_COMPAT_H
