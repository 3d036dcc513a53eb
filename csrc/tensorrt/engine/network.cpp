#include "tensorrt/engine/network.h"

#include <cstring>

#include "common/error.h"
#include "common/half.h"

namespace fastalex {
namespace tensorrt {
namespace {

nvinfer1::Dims dims_of(const std::vector<int>& sides) {
  nvinfer1::Dims dims = {};
  dims.nbDims = static_cast<int32_t>(sides.size());
  for (size_t i = 0; i < sides.size(); ++i) dims.d[i] = sides[i];
  return dims;
}

nvinfer1::Dims square(int side) { return dims_of({side, side}); }

nvinfer1::ActivationType activation_of(int activation) {
  switch (activation) {
    case FASTALEX_ACT_RELU:
      return nvinfer1::ActivationType::kRELU;
    case FASTALEX_ACT_TANH:
      return nvinfer1::ActivationType::kTANH;
    case FASTALEX_ACT_LEAKY_RELU:
      return nvinfer1::ActivationType::kLEAKY_RELU;
    default:
      FASTALEX_ASSERT(activation == FASTALEX_ACT_SIGMOID);
      return nvinfer1::ActivationType::kSIGMOID;
  }
}

nvinfer1::ElementWiseOperation operation_of(LayerKind kind) {
  return kind == LayerKind::kSum       ? nvinfer1::ElementWiseOperation::kSUM
         : kind == LayerKind::kProduct ? nvinfer1::ElementWiseOperation::kPROD
                                       : nvinfer1::ElementWiseOperation::kDIV;
}

}  // namespace

void NetworkWriter::write() {
  values_ = {
      network_.addInput(kInputName, nvinfer1::DataType::kFLOAT, dims_of({-1, plan_.in_c, plan_.in_h, plan_.in_w}))};
  FASTALEX_ASSERT(values_[0]);
  for (const EngineLayer& layer : plan_.layers) {
    nvinfer1::ILayer* made = add(layer);
    if (!made) throw Error(FASTALEX_INTERNAL, "TensorRT refuses the layer " + layer.name);
    made->setName(layer.name.c_str());
    if (layer.float_only) keep_float(*made);
    values_.push_back(made->getOutput(0));
    FASTALEX_ASSERT(values_.back());
  }
  for (size_t i = 0; i < plan_.outputs.size(); ++i) {
    nvinfer1::ITensor& output = *values_.at(plan_.outputs[i]);
    output.setName(output_name(i).c_str());
    network_.markOutput(output);
  }
}

nvinfer1::ILayer* NetworkWriter::add(const EngineLayer& layer) {
  switch (layer.kind) {
    case LayerKind::kConvolution:
      return add_convolution(layer);
    case LayerKind::kMaxPool:
    case LayerKind::kAveragePool:
      return add_pool(layer);
    case LayerKind::kLrn:
      return network_.addLRN(input(layer), layer.window, static_cast<float>(layer.alpha),
                             static_cast<float>(layer.beta), static_cast<float>(layer.k));
    case LayerKind::kActivation:
      return add_activation(layer);
    case LayerKind::kSoftmax:
      return add_softmax(layer);
    case LayerKind::kMatrixMultiply:
      return add_matrix_multiply(layer);
    case LayerKind::kConstant:
      return add_constant(layer);
    case LayerKind::kSum:
    case LayerKind::kProduct:
    case LayerKind::kQuotient:
      return network_.addElementWise(input(layer, 0), input(layer, 1), operation_of(layer.kind));
    case LayerKind::kScale:
      return add_scale(layer);
    case LayerKind::kReshape:
      return add_reshape(layer);
    case LayerKind::kCast:
      return add_cast(network_, input(layer), layer.type == ValueType::kHalf);
    case LayerKind::kPlugin:
      return add_plugin_layer(layer);
  }
  return nullptr;
}

nvinfer1::ILayer* NetworkWriter::add_convolution(const EngineLayer& layer) {
  nvinfer1::IConvolutionLayer* made =
      network_.addConvolutionNd(input(layer), layer.dims[1], square(layer.kernel), parameter(layer.param, layer.type),
                                parameter(layer.param + 1, layer.type));
  if (!made) return nullptr;
  made->setStrideNd(square(layer.stride));
  made->setPrePadding(square(layer.pad));
  made->setPostPadding(dims_of({layer.post_pad[0], layer.post_pad[1]}));
  made->setNbGroups(layer.groups);
  return made;
}

nvinfer1::ILayer* NetworkWriter::add_pool(const EngineLayer& layer) {
  const bool largest = layer.kind == LayerKind::kMaxPool;
  nvinfer1::IPoolingLayer* made = network_.addPoolingNd(
      input(layer), largest ? nvinfer1::PoolingType::kMAX : nvinfer1::PoolingType::kAVERAGE, square(layer.kernel));
  if (!made) return nullptr;
  made->setStrideNd(square(layer.stride));
  made->setPaddingNd(square(layer.pad));
  made->setPaddingMode(layer.round_up ? nvinfer1::PaddingMode::kEXPLICIT_ROUND_UP
                                      : nvinfer1::PaddingMode::kEXPLICIT_ROUND_DOWN);
  if (!largest) made->setAverageCountExcludesPadding(false);
  return made;
}

nvinfer1::ILayer* NetworkWriter::add_matrix_multiply(const EngineLayer& layer) {
  return network_.addMatrixMultiply(
      input(layer, 0), nvinfer1::MatrixOperation::kNONE, input(layer, 1),
      layer.transpose ? nvinfer1::MatrixOperation::kTRANSPOSE : nvinfer1::MatrixOperation::kNONE);
}

nvinfer1::ILayer* NetworkWriter::add_constant(const EngineLayer& layer) {
  return network_.addConstant(
      dims_of(layer.dims), layer.param >= 0 ? parameter(layer.param, layer.type) : constant(layer.values, layer.type));
}

nvinfer1::ILayer* NetworkWriter::add_scale(const EngineLayer& layer) {
  auto single = [&](double value) { return constant({static_cast<float>(value)}, layer.type); };
  return network_.addScale(input(layer), nvinfer1::ScaleMode::kUNIFORM, single(layer.shift), single(layer.scale),
                           single(layer.power));
}

nvinfer1::ILayer* NetworkWriter::add_activation(const EngineLayer& layer) {
  nvinfer1::IActivationLayer* made = network_.addActivation(input(layer), activation_of(layer.activation));
  if (made && layer.activation == FASTALEX_ACT_LEAKY_RELU) made->setAlpha(static_cast<float>(layer.alpha));
  return made;
}

nvinfer1::ILayer* NetworkWriter::add_softmax(const EngineLayer& layer) {
  nvinfer1::ISoftMaxLayer* made = network_.addSoftMax(input(layer));
  if (made) made->setAxes(1u << 1);
  return made;
}

nvinfer1::ILayer* NetworkWriter::add_reshape(const EngineLayer& layer) {
  nvinfer1::IShuffleLayer* made = network_.addShuffle(input(layer));
  if (made) made->setReshapeDimensions(dims_of(layer.dims));
  return made;
}

nvinfer1::ILayer* NetworkWriter::add_plugin_layer(const EngineLayer& layer) {
  const fastalex_step& step = plan_.steps.at(layer.first);
  const fastalex_step* next = layer.count == 2 ? &plan_.steps.at(layer.first + 1) : nullptr;
  const FieldSet fields =
      layer.plugin == kConvReLU
          ? conv_relu_fields(step, weights_.floats(step.param), weights_.floats(step.param + 1), kernels_)
      : layer.plugin == kLRNPool
          ? lrn_pool_fields(step, next, kernels_)
          : fully_connected_fields(step, weights_.get(step.param), weights_.floats(step.param + 1), kernels_);
  return add_plugin(network_, layer.plugin.c_str(), fields, layer.name.c_str(), &input(layer));
}

// In a strongly typed network weights have the type of the tensor that they meet; in a weakly typed one everything is
// float.
nvinfer1::Weights NetworkWriter::parameter(int param, ValueType type) {
  const fastalex_param weights = weights_.get(param);
  const int64_t count = static_cast<int64_t>(weights.count);
  if (weights.storage == FASTALEX_FP16 && plan_.strongly_typed)
    return nvinfer1::Weights{nvinfer1::DataType::kHALF, weights.data, count};
  if (weights.storage == FASTALEX_FP16) return widened(weights);
  FASTALEX_ASSERT(weights.storage == FASTALEX_FP32);
  if (plan_.strongly_typed && type == ValueType::kHalf)
    return halves(static_cast<const float*>(weights.data), weights.count);
  return nvinfer1::Weights{nvinfer1::DataType::kFLOAT, weights.data, count};
}

nvinfer1::Weights NetworkWriter::widened(const fastalex_param& param) {
  std::vector<float> values(param.count);
  for (size_t i = 0; i < param.count; ++i) {
    uint16_t half;
    std::memcpy(&half, static_cast<const char*>(param.data) + 2 * i, sizeof half);
    values[i] = from_half(half);
  }
  return constant(values, ValueType::kFloat);
}

nvinfer1::Weights NetworkWriter::constant(const std::vector<float>& values, ValueType type) {
  if (plan_.strongly_typed && type == ValueType::kHalf) return halves(values.data(), values.size());
  const char* bytes = reinterpret_cast<const char*>(values.data());
  owned_.emplace_back(bytes, bytes + values.size() * sizeof(float));
  return nvinfer1::Weights{nvinfer1::DataType::kFLOAT, owned_.back().data(), static_cast<int64_t>(values.size())};
}

nvinfer1::Weights NetworkWriter::halves(const float* values, size_t count) {
  owned_.emplace_back(2 * count);
  for (size_t i = 0; i < count; ++i) {
    const uint16_t half = to_half(values[i]);
    std::memcpy(owned_.back().data() + 2 * i, &half, sizeof half);
  }
  return nvinfer1::Weights{nvinfer1::DataType::kHALF, owned_.back().data(), static_cast<int64_t>(count)};
}

}  // namespace tensorrt
}  // namespace fastalex
