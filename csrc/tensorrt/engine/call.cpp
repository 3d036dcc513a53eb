#include "tensorrt/engine/call.h"

#include <cstring>

namespace fastalex {
namespace tensorrt {
namespace {

size_t input_bytes(const EnginePlan& plan) {
  return sizeof(float) * plan.steps[0].n * plan.in_c * plan.in_h * plan.in_w;
}

size_t output_bytes(const fastalex_step& step) { return sizeof(float) * step.n * step.out_c * step.out_h * step.out_w; }

}  // namespace

EngineCall::Array::Array(size_t bytes_, bool mapped)
    : bytes(bytes_), memory(mapped ? cuda::DeviceMemory() : cuda::DeviceMemory(bytes_)), host(bytes_, mapped) {}

EngineCall::EngineCall(const Engine& engine, const EnginePlan& plan, const cuda::DeviceFacts& device, bool graph)
    : DeviceCall(device.index, plan.outputs.size(), false),
      n_(plan.steps[0].n),
      in_h_(plan.in_h),
      in_w_(plan.in_w),
      mapped_(device.integrated),
      steps_(plan.steps.size()),
      execution_(engine.make_execution()),
      input_(input_bytes(plan), mapped_) {
  outputs_.resize(plan.outputs.size());
  for (const fastalex_step& step : plan.steps)
    if (step.output >= 0) outputs_[step.output].reset(new Array(output_bytes(step), mapped_));
  for (const auto& output : outputs_) output_addresses_.push_back(output->device());
  if (graph) capture();
}

EngineCall::~EngineCall() { settle(); }

// The first run of an execution may prepare what a graph cannot hold, so it happens before.
void EngineCall::capture() {
  std::memset(input_.host.data(), 0, input_.bytes);
  if (!mapped_) cuda::copy_to_device(input_.device(), input_.host.data(), input_.bytes, own_stream());
  enqueue_engine(own_stream());
  cuda::synchronize(own_stream());
  graph_.reset(new cuda::CapturedGraph(own_stream(), [this](cuda::StreamHandle stream) {
    execution_->enqueue(n_, input_.device(), output_addresses_.data(), stream);
  }));
}

void EngineCall::enqueue_engine(cuda::StreamHandle stream) {
  if (graph_)
    graph_->launch(stream);
  else
    execution_->enqueue(n_, input_.device(), output_addresses_.data(), stream);
}

void EngineCall::enqueue(const fastalex_backend_call& call, cuda::StreamHandle stream) {
  enqueue_input(call, stream);
  if (call.step_seconds) begin_.record(stream);
  enqueue_engine(stream);
  if (call.step_seconds) end_.record(stream);
  enqueue_outputs(call, stream);
}

void EngineCall::finish(const fastalex_backend_call& call) {
  if (!call.outputs_on_device)
    for (size_t i = 0; i < outputs_.size(); ++i)
      std::memcpy(call.outputs[i], outputs_[i]->host.data(), outputs_[i]->bytes);
  if (call.step_seconds) call.step_seconds[steps_ - 1] += end_.seconds_since(begin_);  // all steps are one engine
}

void EngineCall::enqueue_input(const fastalex_backend_call& call, cuda::StreamHandle stream) {
  if (call.frame) {
    if (!frames_) frames_.reset(new FrameInput);
    return frames_->enqueue(*call.frame, call.input_on_device, in_h_, in_w_, input_.device(), stream);
  }
  if (call.input_on_device) return cuda::copy_on_device(input_.device(), call.input, input_.bytes, stream);
  std::memcpy(input_.host.data(), call.input, input_.bytes);
  if (!mapped_) cuda::copy_to_device(input_.device(), input_.host.data(), input_.bytes, stream);
}

void EngineCall::enqueue_outputs(const fastalex_backend_call& call, cuda::StreamHandle stream) {
  for (size_t i = 0; i < outputs_.size(); ++i) {
    const Array& array = *outputs_[i];
    if (call.outputs_on_device)
      cuda::copy_on_device(call.outputs[i], array.device(), array.bytes, stream);
    else if (!mapped_)
      cuda::copy_to_host(array.host.data(), array.device(), array.bytes, stream);
  }
}

}  // namespace tensorrt
}  // namespace fastalex
