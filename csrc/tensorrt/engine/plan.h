// Turns a plan's steps into the layers of a TensorRT network. It holds all decisions of the builder and none of
// TensorRT's code; network.cpp walks the list and calls INetworkDefinition.
#ifndef FASTALEX_TENSORRT_ENGINE_PLAN_H
#define FASTALEX_TENSORRT_ENGINE_PLAN_H

#include <string>
#include <vector>

#include "backend/ops.h"
#include "fastalex.h"

namespace fastalex {
namespace tensorrt {

// TensorRT's layer of the same name, which defines the meaning of the numbers below.
enum class LayerKind {
  kConvolution,     // kernel, stride, pad, post_pad, groups, param
  kMaxPool,         // kernel, stride, round_up
  kAveragePool,     // kernel, pad, the padding counted; stride 1
  kLrn,             // window, alpha (of x^2 / window), beta, k
  kActivation,      // activation
  kSoftmax,         // over the channels
  kMatrixMultiply,  // inputs[0] x inputs[1], the latter transposed if `transpose`
  kConstant,        // param, or `values`
  kSum,
  kProduct,
  kQuotient,
  kScale,    // (x scale + shift)^power
  kReshape,  // to dims, of which the first is the batch or what is left for it
  kCast,     // strong typing alone
  kPlugin    // of plugins/plugin_fields.h, from steps[first .. first + count)
};

enum class ValueType { kFloat, kHalf };

// One layer with one output. Its inputs are values: 0 is the network's input, i + 1 the output of layer i.
struct EngineLayer {
  LayerKind kind;
  std::string name;
  std::vector<int> inputs;
  std::vector<int> dims;  // of the output; -1: the batch
  ValueType type;         // of the output, where the network is strongly typed
  bool float_only;        // weak typing: neither the layer nor its output may be half
  int kernel, stride, pad, groups;
  int post_pad[2];  // rows below, columns at the right
  bool round_up;
  int window;
  double alpha, beta, k;  // of a normalization; alpha of a leaky ReLU
  double scale, shift, power;
  int activation;  // fastalex_activation
  bool transpose;
  int param;  // index among the net's parameters; a convolution's bias follows; -1: none
  std::vector<float> values;
  std::string plugin;
  size_t first, count;
};

struct EngineOptions {
  bool strongly_typed;                 // TensorRT >= 10
  int precision;                       // fastalex_precision
  int fc_storage;                      // fastalex_storage
  bool native;                         // mode `native`: no plugin at all
  std::vector<std::string> preferred;  // plugins to use wherever possible; others only where TensorRT has no layer
};

struct EnginePlan {
  bool strongly_typed;
  int precision;
  int in_c, in_h, in_w;
  std::vector<EngineLayer> layers;
  std::vector<int> outputs;  // [i]: the value that is output i, always fp32
  std::vector<fastalex_step> steps;

  // One line per layer, for the cache key and `describe`.
  std::string text() const;
};

const char* kind_name(LayerKind kind);

// The steps' batch is ignored: the network takes any. Throws Error(FASTALEX_INVALID) if neither TensorRT nor an allowed
// plugin can compute a step.
EnginePlan make_engine_plan(const fastalex_step* steps, size_t count, const EngineOptions& options);

}  // namespace tensorrt
}  // namespace fastalex
#endif  // FASTALEX_TENSORRT_ENGINE_PLAN_H
