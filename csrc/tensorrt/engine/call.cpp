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
    : n_(plan.steps[0].n),
      device_(device.index),
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

EngineCall::~EngineCall() {
  try {
    const cuda::DeviceScope scope(device_);
    if (pending_) done_.wait();
  } catch (const std::exception&) {
    // The device is lost: there is nothing left to wait for.
  }
}

// The first run of an execution may prepare what a graph cannot hold, so it happens before.
void EngineCall::capture() {
  std::memset(input_.host.data(), 0, input_.bytes);
  if (!mapped_) cuda::copy_to_device(input_.device(), input_.host.data(), input_.bytes, stream_.handle());
  enqueue_engine(stream_.handle());
  cuda::synchronize(stream_.handle());
  graph_.reset(new cuda::CapturedGraph(stream_.handle(), [this](cuda::StreamHandle stream) {
    execution_->enqueue(n_, input_.device(), output_addresses_.data(), stream);
  }));
}

void EngineCall::enqueue_engine(cuda::StreamHandle stream) {
  if (graph_)
    graph_->launch(stream);
  else
    execution_->enqueue(n_, input_.device(), output_addresses_.data(), stream);
}

void EngineCall::run(const fastalex_backend_call& call) {
  check_addresses(call);
  const cuda::StreamHandle stream = call.input_on_device || call.outputs_on_device ? call.stream : stream_.handle();
  if (pending_) {
    // Host memory may still be read by the call before, so who writes to it must wait here and not on the device.
    if (call.input_on_device && !call.frame)
      done_.make_wait(stream);
    else
      done_.wait();
    pending_ = false;
  }
  try {
    enqueue(call, stream);
  } catch (...) {
    try {
      cuda::synchronize(stream);  // nothing of the failed call may still run when the next one starts
    } catch (const std::exception&) {
      // The first failure is the one to report.
    }
    throw;
  }
}

void EngineCall::enqueue(const fastalex_backend_call& call, cuda::StreamHandle stream) {
  enqueue_input(call, stream);
  if (call.step_seconds) begin_.record(stream);
  enqueue_engine(stream);
  if (call.step_seconds) end_.record(stream);
  enqueue_outputs(call, stream);
  if (call.outputs_on_device && !call.step_seconds) {
    done_.record(stream);
    pending_ = true;
    return;
  }
  cuda::synchronize(stream);
  if (!call.outputs_on_device)
    for (size_t i = 0; i < outputs_.size(); ++i)
      std::memcpy(call.outputs[i], outputs_[i]->host.data(), outputs_[i]->bytes);
  if (call.step_seconds) call.step_seconds[steps_ - 1] += end_.seconds_since(begin_);  // all steps are one engine
}

void EngineCall::check_addresses(const fastalex_backend_call& call) const {
  auto check = [&](const void* address, bool on_device, const char* what) {
    if (!on_device) return;
    const int device = cuda::device_of(address);
    if (device < 0) invalid(what, " is not in device memory");
    if (device != device_) invalid(what, " is in the memory of device ", device, ", the net is on device ", device_);
  };
  check(call.frame ? static_cast<const void*>(call.frame->pixels) : call.input, call.input_on_device, "the input");
  for (size_t i = 0; i < outputs_.size(); ++i) check(call.outputs[i], call.outputs_on_device, "an output");
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
