// Builds TensorRT's network from an engine plan.
#ifndef FASTALEX_TENSORRT_ENGINE_NETWORK_H
#define FASTALEX_TENSORRT_ENGINE_NETWORK_H

#include <deque>
#include <string>
#include <vector>

#include "tensorrt/adapters/compat.h"
#include "tensorrt/engine/plan.h"
#include "tensorrt/engine/weights.h"

namespace fastalex {
namespace tensorrt {

constexpr const char* kInputName = "x";  // float32 [n, c, h, w]
inline std::string output_name(size_t index) { return "y" + std::to_string(index); }

// Adds the layers of `plan` to an empty network. The writer owns converted weights, so it must live until the engine is
// built.
class NetworkWriter {
 public:
  NetworkWriter(const EnginePlan& plan, const EngineWeights& weights, const std::string& kernels,
                nvinfer1::INetworkDefinition& network)
      : plan_(plan), weights_(weights), kernels_(kernels), network_(network) {}

  void write();

 private:
  nvinfer1::ILayer* add(const EngineLayer& layer);
  nvinfer1::ILayer* add_convolution(const EngineLayer& layer);
  nvinfer1::ILayer* add_pool(const EngineLayer& layer);
  nvinfer1::ILayer* add_matrix_multiply(const EngineLayer& layer);
  nvinfer1::ILayer* add_constant(const EngineLayer& layer);
  nvinfer1::ILayer* add_scale(const EngineLayer& layer);
  nvinfer1::ILayer* add_activation(const EngineLayer& layer);
  nvinfer1::ILayer* add_softmax(const EngineLayer& layer);
  nvinfer1::ILayer* add_reshape(const EngineLayer& layer);
  nvinfer1::ILayer* add_plugin_layer(const EngineLayer& layer);

  nvinfer1::ITensor& input(const EngineLayer& layer, size_t index = 0) const {
    return *values_.at(layer.inputs.at(index));
  }
  nvinfer1::Weights parameter(int param, ValueType type);
  nvinfer1::Weights constant(const std::vector<float>& values, ValueType type);
  nvinfer1::Weights widened(const fastalex_param& param);
  nvinfer1::Weights halves(const float* values, size_t count);

  const EnginePlan& plan_;
  const EngineWeights& weights_;
  const std::string& kernels_;
  nvinfer1::INetworkDefinition& network_;
  std::vector<nvinfer1::ITensor*> values_;
  std::deque<std::vector<char>> owned_;
};

}  // namespace tensorrt
}  // namespace fastalex
#endif  // FASTALEX_TENSORRT_ENGINE_NETWORK_H
