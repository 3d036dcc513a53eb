// Names and fields of the plugins: the single description for their creators, for the engine builder and for the
// serialized form. Does not include TensorRT; adapters/compat.h turns a FieldSet into a PluginFieldCollection and adds
// a plugin to a network.
//
// Every plugin has one input and one output. n is the batch, which may be dynamic; everything else is known when the
// engine is built. Weights are fields, so they are part of the engine.
//
//   FastAlexConvReLU          x [n, c, h, w] -> [n, k, oh, ow]: conv of ops.h and its activation
//   FastAlexLRNPool           x [n, c, h, w] -> [n, c, oh, ow]: lrn and maxpool of ops.h in the order that `order` says
//   FastAlexFullyConnectedW8  x [n, c, h, w] -> [n, k, 1, 1]: fully_connected of ops.h with int8 or int4 weights
//   FastAlexPreprocess        frames [n, h, w, 3] of bytes (kUINT8 from TensorRT 10 on; kINT8, whose bits are taken for
//                             unsigned bytes, in any) -> [n, 3, oh, ow] in the type that `precision` says
//
// The first three compute in fp32 or fp16, as the network does: input and output are of one type, kFLOAT or kHALF, each
// in kLINEAR or, where the channels are a multiple of 8, in the packed format that is the kernels' own tensor
// (csrc/cuda/kernels/args.h): kHWC8 of halves, kHWC of floats. With other channels the kernels' tensor ends in zeros,
// which no release of TensorRT promises of kHWC8, so those pass through kLINEAR.
#ifndef FASTALEX_TENSORRT_PLUGINS_PLUGIN_FIELDS_H
#define FASTALEX_TENSORRT_PLUGINS_PLUGIN_FIELDS_H

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "backend/ops.h"
#include "fastalex.h"

namespace fastalex {
namespace tensorrt {

constexpr const char* kConvReLU = "FastAlexConvReLU";
constexpr const char* kLRNPool = "FastAlexLRNPool";
constexpr const char* kFullyConnectedW8 = "FastAlexFullyConnectedW8";
constexpr const char* kPreprocess = "FastAlexPreprocess";

constexpr const char* kPluginVersion = "1";
constexpr const char* kPluginNamespace = "";  // TensorRT's default, where its ONNX parser and trtexec look

// The version of serialized plugins. Versions newer than this library's are rejected.
constexpr int32_t kSerialVersion = 1;
constexpr const char* kSerialField = "serial_version";

// Values of FastAlexLRNPool's `order`.
enum NormPoolOrder { kLrnThenPool = 0, kPoolThenLrn = 1, kLrnOnly = 2 };

// nvinfer1::PluginFieldType of the same name.
enum class FieldType { kFLOAT32, kFLOAT64, kINT8, kINT32, kCHAR };
size_t size_of(FieldType type);

// Values in the caller's memory. A field may have another numeric type than its row (kFLOAT32 for kFLOAT64, as in
// ONNX).
struct Field {
  std::string name;
  FieldType type;
  const void* data;
  int32_t length;  // values, not bytes
};

// One row of a plugin's table of fields.
struct FieldRow {
  const char* name;
  FieldType type;
  int32_t length;        // values; 0: any number
  const char* standard;  // default value as text ("0", "0 0"); null: the field is required
  const char* meaning;
};

// The rows of a plugin, in the order of serialization; throws Error(FASTALEX_INVALID) for an unknown name. In short:
//
// FastAlexConvReLU
//   weights     kFLOAT32 [k, c / groups, kernel, kernel]
//   bias        kFLOAT32 [k]
//   kernel      kINT32   side of the window
//   stride, pad, groups, rounding, activation, tuning
// FastAlexLRNPool
//   order       kINT32   NormPoolOrder
//   size        kINT32   window of the normalization in channels, odd
//   alpha, beta, k  kFLOAT64
//   divide_alpha    kINT32   1: alpha is divided by the window (Caffe, PyTorch, ONNX); 0: it is the factor of ops.h
//   groups      kINT32   channel groups that the window stays inside of
//   kernel, stride, rounding  of the pool; 0 where order is kLrnOnly
//   between     kINT32   fastalex_activation between the two
//   activation, tuning
// FastAlexFullyConnectedW8
//   weights     kINT8    int8: quantized values [k, y, x, c]; int4: two in a byte, see fastalex_param (fastalex.h)
//   scale       kFLOAT32 [k] of int8; of int4 [k, int4_groups(inputs)], each a value of fp16
//   bias        kFLOAT32 [k]
//   input       kINT32   [3] c, h, w
//   storage     kINT32   fastalex_storage: 2 int8, 3 int4
//   activation, tuning
// FastAlexPreprocess
//   filter      kINT32   fastalex_filter
//   resized     kINT32   [2] height, width of the picture that the crop is cut from
//   crop        kINT32   [2] first row and column of the crop
//   output      kINT32   [2] height, width of the crop
//   swap        kINT32   1: the planes are in the reverse order of a pixel's bytes
//   scale, shift  kFLOAT32 [3] plane p becomes v * scale[p] - shift[p]
//   precision   kINT32   of the output: fastalex_precision, fp32 or fp16
// Common to several
//   stride, pad, groups  kINT32
//   rounding    kINT32   of the number of windows: 0 floor, 1 ceil
//   activation  kINT32   fastalex_activation
//   tuning      kCHAR    rules for the choice of kernels (fastalex.h)
// All plugins, when serialized
//   serial_version  kINT32
const std::vector<FieldRow>& field_rows(const std::string& plugin);

// Fields with the memory that they need: small ones are copied, weights stay the caller's and must outlive this object.
class FieldSet {
 public:
  FieldSet& put(const char* name, int32_t value);
  FieldSet& put(const char* name, const std::vector<int32_t>& values);
  FieldSet& put(const char* name, double value);
  FieldSet& put(const char* name, const std::vector<float>& values);
  FieldSet& put(const char* name, const std::string& text);
  FieldSet& borrow(const char* name, FieldType type, const void* data, size_t length);  // length: values

  const std::vector<Field>& fields() const { return fields_; }

 private:
  FieldSet& own(const char* name, FieldType type, const void* data, size_t bytes, size_t length);

  std::vector<Field> fields_;
  std::vector<std::shared_ptr<std::vector<char>>> owned_;  // shared: a copy of the set holds the same memory
};

// The plugin that can compute a plan's step; "" if none can. `next` is the step after it, or null; *used is how many of
// the two it computes. Fully connected steps need weights in int8 or int4.
const char* plugin_for(const fastalex_step& step, const fastalex_step* next, int fc_storage, int* used);

// Makes the fields from a plan's steps. weight, bias: as laid out in backend/ops.h; fully connected weights in int8 or
// int4 as from fastalex_quantize. Weights and biases are borrowed. tuning: rules, or "".
FieldSet conv_relu_fields(const fastalex_step& step, const float* weight, const float* bias, const std::string& tuning);
FieldSet lrn_pool_fields(const fastalex_step& step, const fastalex_step* next, const std::string& tuning);
FieldSet fully_connected_fields(const fastalex_step& step, const fastalex_param& weight, const float* bias,
                                const std::string& tuning);
// frame: its pixels, row_bytes, height and width are not used. The output is that of the net's input.
FieldSet preprocess_fields(const fastalex_frame& frame, int out_h, int out_w, int precision);

}  // namespace tensorrt
}  // namespace fastalex
#endif  // FASTALEX_TENSORRT_PLUGINS_PLUGIN_FIELDS_H
