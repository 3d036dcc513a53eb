// What the harnesses of both interfaces need of TensorRT: its runtime, a logger that keeps the last message, tensor
// descriptions and dimension expressions.
#ifndef FASTALEX_HARNESS_TRT_H
#define FASTALEX_HARNESS_TRT_H

#include <NvInfer.h>
#include <dlfcn.h>

#include <deque>
#include <string>
#include <vector>

#include "harness.h"
#include "tensorrt/plugins/field_values.h"
#include "tensorrt/plugins/plugin_op.h"

namespace harness {

inline std::string& message() {
  static thread_local std::string text;
  return text;
}

class Logger final : public nvinfer1::ILogger {
  void log(Severity severity, const char* text) noexcept override {
    if (severity <= Severity::kERROR) message() = text;
  }
};

class Finder final : public nvinfer1::ILoggerFinder {
 public:
  nvinfer1::ILogger* findLogger() noexcept override { return &logger_; }

 private:
  Logger logger_;
};

// A constant, or (-1) one that is not known.
class Constant final : public nvinfer1::IDimensionExpr {
  class Impl final : public nvinfer1::apiv::VDimensionExpr {
   public:
    explicit Impl(int value) : value_(value) {}
    bool isConstant() const noexcept override { return value_ >= 0; }
    int64_t getConstantValue() const noexcept override { return value_; }
    bool isSizeTensor() const noexcept override { return false; }

   private:
    const int value_;
  };

 public:
  explicit Constant(int value) : impl_(value) { mImpl = &impl_; }
  ~Constant() noexcept override = default;

 private:
  Impl impl_;
};

class Builder final : public nvinfer1::IExprBuilder {
  class Impl final : public nvinfer1::apiv::VExprBuilder {
   public:
    const nvinfer1::IDimensionExpr* constant(int64_t value) noexcept override {
      all_.emplace_back(static_cast<int>(value));
      return &all_.back();
    }
    const nvinfer1::IDimensionExpr* operation(nvinfer1::DimensionOperation, const nvinfer1::IDimensionExpr&,
                                              const nvinfer1::IDimensionExpr&) noexcept override {
      return nullptr;  // no plugin of fastalex computes with what is not known
    }
    const nvinfer1::IDimensionExpr* declareSizeTensor(int32_t, const nvinfer1::IDimensionExpr&,
                                                      const nvinfer1::IDimensionExpr&) noexcept override {
      return nullptr;
    }

   private:
    std::deque<Constant> all_;
  };

 public:
  Builder() { mImpl = &impl_; }
  ~Builder() noexcept override = default;

 private:
  Impl impl_;
};

inline nvinfer1::DimsExprs exprs_of(const int (&dims)[4], Builder* builder) {
  nvinfer1::DimsExprs exprs;
  exprs.nbDims = 4;
  for (int i = 0; i < 4; ++i) exprs.d[i] = builder->constant(dims[i]);
  return exprs;
}

inline int dims_from(const nvinfer1::DimsExprs& exprs, HarnessTensor* out) {
  if (exprs.nbDims != 4) return -1;
  for (int i = 0; i < 4; ++i)
    out->dims[i] = exprs.d[i]->isConstant() ? static_cast<int>(exprs.d[i]->getConstantValue()) : -1;
  return 0;
}

const nvinfer1::DataType kTypes[] = {nvinfer1::DataType::kFLOAT, nvinfer1::DataType::kHALF, nvinfer1::DataType::kINT8,
                                     nvinfer1::DataType::kUINT8, nvinfer1::DataType::kINT32};
const nvinfer1::TensorFormat kFormats[] = {nvinfer1::TensorFormat::kLINEAR, nvinfer1::TensorFormat::kHWC8,
                                           nvinfer1::TensorFormat::kHWC, nvinfer1::TensorFormat::kCHW32};

inline int type_from(nvinfer1::DataType type) {
  int i = 0;
  while (i < 4 && kTypes[i] != type) ++i;
  return i;
}

inline nvinfer1::PluginTensorDesc desc_of(const HarnessTensor& t) {
  nvinfer1::PluginTensorDesc desc = {};
  desc.dims.nbDims = 4;
  for (int i = 0; i < 4; ++i) desc.dims.d[i] = t.dims[i];
  desc.type = kTypes[t.type];
  desc.format = kFormats[t.format];
  return desc;
}

// As the builder gives it: the batch is known as a range.
inline nvinfer1::DynamicPluginTensorDesc range_of(const HarnessTensor& t) {
  nvinfer1::DynamicPluginTensorDesc range = {};
  range.desc = desc_of(t);
  range.min = range.max = range.opt = range.desc.dims;
  range.min.d[0] = range.opt.d[0] = 1;
  range.desc.dims.d[0] = -1;
  return range;
}

const nvinfer1::PluginFieldType kFieldTypes[] = {
    nvinfer1::PluginFieldType::kFLOAT32, nvinfer1::PluginFieldType::kFLOAT64, nvinfer1::PluginFieldType::kINT8,
    nvinfer1::PluginFieldType::kINT32,   nvinfer1::PluginFieldType::kCHAR,    nvinfer1::PluginFieldType::kDIMS};

inline std::vector<nvinfer1::PluginField> fields_of(const HarnessField* fields, int count) {
  std::vector<nvinfer1::PluginField> list;
  for (int i = 0; i < count; ++i)
    list.emplace_back(fields[i].name, fields[i].data, kFieldTypes[fields[i].type], fields[i].length);
  return list;
}

inline nvinfer1::PluginFieldCollection collection_of(const std::vector<nvinfer1::PluginField>& fields) {
  nvinfer1::PluginFieldCollection collection;
  collection.nbFields = static_cast<int32_t>(fields.size());
  collection.fields = fields.data();
  return collection;
}

// TensorRT's own creators answer no question.
const char* const kPlugins[] = {fastalex::tensorrt::kConvReLU, fastalex::tensorrt::kLRNPool,
                                fastalex::tensorrt::kFullyConnectedW8, fastalex::tensorrt::kPreprocess};

template <typename Creator>
std::string describe(Creator* creator, const char* name, const char* version) {
  std::string text = std::string(name) + " " + version;
  const nvinfer1::PluginFieldCollection* fields = creator->getFieldNames();
  for (int i = 0; i < fields->nbFields; ++i) text += std::string(" ") + fields->fields[i].name;
  return text + "\n";
}

// TensorRT's runtime stays out of the global scope, as in a program that opens it with dlopen.
inline nvinfer1::IPluginRegistry* open_registry(const char* runtime) {
  void* handle = dlopen(runtime, RTLD_NOW | RTLD_LOCAL);
  if (!handle) {
    message() = dlerror();
    return nullptr;
  }
  typedef nvinfer1::IPluginRegistry* (*GetRegistry)();
  return reinterpret_cast<GetRegistry>(dlsym(handle, "getPluginRegistry"))();
}

// The plugins' messages go to message().
inline int give_logger(void* plugins) {
  typedef void (*SetFinder)(nvinfer1::ILoggerFinder*);
  const SetFinder set = plugins ? reinterpret_cast<SetFinder>(dlsym(plugins, "setLoggerFinder")) : nullptr;
  static Finder finder;
  if (set)
    set(&finder);
  else
    message() = plugins ? "there is no setLoggerFinder" : dlerror();
  return set ? 0 : -1;
}

}  // namespace harness
#endif  // FASTALEX_HARNESS_TRT_H
