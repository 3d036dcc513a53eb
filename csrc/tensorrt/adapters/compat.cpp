#include "tensorrt/adapters/compat.h"

#include <dlfcn.h>

#include <atomic>
#include <cstdio>

#include "common/error.h"

namespace fastalex {
namespace tensorrt {
namespace {

std::atomic<LoggerFinder*> logger_finder(nullptr);

struct TypePair {
  FieldType own;
  nvinfer1::PluginFieldType theirs;
};
const TypePair kFieldTypes[] = {
    {FieldType::kFLOAT32, nvinfer1::PluginFieldType::kFLOAT32},
    {FieldType::kFLOAT64, nvinfer1::PluginFieldType::kFLOAT64},
    {FieldType::kINT8, nvinfer1::PluginFieldType::kINT8},
    {FieldType::kINT32, nvinfer1::PluginFieldType::kINT32},
    {FieldType::kCHAR, nvinfer1::PluginFieldType::kCHAR},
};

nvinfer1::PluginFieldType field_type(FieldType own) {
  for (const TypePair& pair : kFieldTypes)
    if (pair.own == own) return pair.theirs;
  return nvinfer1::PluginFieldType::kUNKNOWN;
}

FieldType field_type(const nvinfer1::PluginField& field) {
  for (const TypePair& pair : kFieldTypes)
    if (pair.theirs == field.type) return pair.own;
  invalid("field ", field.name, " is of a type that no field of fastalex's plugins has");
}

nvinfer1::ILogger* find_logger() {
  LoggerFinder* finder = logger_finder;
  if (finder)
    if (nvinfer1::ILogger* logger = finder->findLogger()) return logger;
  typedef nvinfer1::ILogger* (*GetLogger)();
  const GetLogger get = reinterpret_cast<GetLogger>(find_symbol("getLogger"));
  return get ? get() : nullptr;
}

}  // namespace

void* find_symbol(const char* name) {
  for (const char* library : {"libnvinfer", "libnvinfer_lean", "libnvinfer_dispatch"}) {
    const std::string file = std::string(library) + ".so." + std::to_string(NV_TENSORRT_MAJOR);
    void* handle = dlopen(file.c_str(), RTLD_LAZY | RTLD_NOLOAD);
    if (!handle) continue;
    void* symbol = dlsym(handle, name);
    dlclose(handle);  // it was open before
    if (symbol) return symbol;
  }
  return dlsym(RTLD_DEFAULT, name);  // under another name, or in the program itself
}

nvinfer1::IPluginRegistry* find_registry() {
  typedef nvinfer1::IPluginRegistry* (*GetRegistry)();
  const GetRegistry get = reinterpret_cast<GetRegistry>(find_symbol("getPluginRegistry"));
  return get ? get() : nullptr;
}

void set_logger_finder(LoggerFinder* finder) { logger_finder = finder; }

void report(const std::string& message) noexcept {
  if (nvinfer1::ILogger* logger = find_logger())
    logger->log(nvinfer1::ILogger::Severity::kERROR, message.c_str());
  else
    std::fprintf(stderr, "fastalex: %s\n", message.c_str());
}

TensorType type_of(nvinfer1::DataType type) {
  if (kHasUint8 && type == kUint8Type) return TensorType::kUINT8;
  switch (type) {
    case nvinfer1::DataType::kFLOAT:
      return TensorType::kFLOAT;
    case nvinfer1::DataType::kHALF:
      return TensorType::kHALF;
    case nvinfer1::DataType::kINT8:
      return TensorType::kINT8;
    default:
      return TensorType::kOTHER;
  }
}

nvinfer1::DataType type_to(TensorType type) {
  return type == TensorType::kHALF ? nvinfer1::DataType::kHALF : nvinfer1::DataType::kFLOAT;
}

Tensor tensor_of(const nvinfer1::PluginTensorDesc& desc, const nvinfer1::Dims& dims) {
  Tensor tensor = {{-1, {-1, -1, -1}}, type_of(desc.type), TensorFormat::kOTHER};
  if (desc.format == nvinfer1::TensorFormat::kLINEAR) tensor.format = TensorFormat::kLINEAR;
  if (desc.format == nvinfer1::TensorFormat::kHWC8) tensor.format = TensorFormat::kHWC8;
  if (desc.format == nvinfer1::TensorFormat::kHWC) tensor.format = TensorFormat::kHWC;
  if (dims.nbDims != 4) {
    tensor.type = TensorType::kOTHER;  // supported by no op
    return tensor;
  }
  tensor.shape.n = static_cast<int>(dims.d[0]);
  for (int i = 0; i < 3; ++i) tensor.shape.d[i] = static_cast<int>(dims.d[i + 1]);
  return tensor;
}

Tensor tensor_of(const nvinfer1::PluginTensorDesc& desc) { return tensor_of(desc, desc.dims); }

std::vector<Field> fields_of(const nvinfer1::PluginFieldCollection* collection) {
  std::vector<Field> fields;
  if (!collection) return fields;
  for (int i = 0; i < collection->nbFields; ++i) {
    const nvinfer1::PluginField& field = collection->fields[i];
    fields.push_back(Field{field.name, field_type(field), field.data, field.length});
  }
  return fields;
}

Collection::Collection(const std::vector<Field>& fields) {
  for (const Field& field : fields) {
    names_.push_back(field.name);
    fields_.emplace_back(nullptr, field.data, field_type(field.type), field.length);
  }
  finish();
}

Collection::Collection(const std::string& plugin) {
  for (const FieldRow& row : field_rows(plugin)) {
    names_.push_back(row.name);
    fields_.emplace_back(nullptr, nullptr, field_type(row.type), row.length ? row.length : 1);
  }
  finish();
}

void Collection::finish() {
  for (size_t i = 0; i < fields_.size(); ++i) fields_[i].name = names_[i].c_str();
  collection_.nbFields = static_cast<int32_t>(fields_.size());
  collection_.fields = fields_.data();
}

nvinfer1::DimsExprs output_exprs(const PluginOp& op, const nvinfer1::DimsExprs& in, nvinfer1::IExprBuilder& builder) {
  const std::string& plugin = op.values().plugin();
  if (in.nbDims != 4) invalid(plugin, " takes an input of 4 dimensions, not of ", in.nbDims);
  Shape shape = {1, {0, 0, 0}};
  for (int i = 0; i < 3; ++i) {
    if (!in.d[i + 1]->isConstant())
      invalid("dimension ", i + 1, " of ", plugin,
              "'s input must be known when the engine is built; only the batch may "
              "be dynamic");
    shape.d[i] = static_cast<int>(in.d[i + 1]->getConstantValue());
  }
  const Shape result = op.output_shape(shape);
  nvinfer1::DimsExprs out;
  out.nbDims = 4;
  out.d[0] = in.d[0];
  for (int i = 0; i < 3; ++i) out.d[i + 1] = builder.constant(result.d[i]);
  return out;
}

bool supports(const PluginOp& op, int pos, const nvinfer1::PluginTensorDesc& in,
              const nvinfer1::PluginTensorDesc& out) {
  return pos == 0 ? op.takes(tensor_of(in)) : op.gives(tensor_of(in), tensor_of(out));
}

}  // namespace tensorrt
}  // namespace fastalex
