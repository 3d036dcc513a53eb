// The execution, memory, stream and graph of one running call.
#ifndef FASTALEX_TENSORRT_ENGINE_CALL_H
#define FASTALEX_TENSORRT_ENGINE_CALL_H

#include <memory>
#include <vector>

#include "cuda/runtime/device_call.h"
#include "tensorrt/engine/frame_input.h"
#include "tensorrt/engine/runtime.h"

namespace fastalex {
namespace tensorrt {

class EngineCall final : public cuda::DeviceCall {
 public:
  EngineCall(const Engine& engine, const EnginePlan& plan, const cuda::DeviceFacts& device, bool graph);
  ~EngineCall() override;

 private:
  // An array of the network: device memory, and host memory to copy from or to; the same memory if mapped.
  struct Array {
    Array(size_t bytes, bool mapped);
    char* device() const { return memory.data() ? memory.data() : host.device(); }

    size_t bytes;
    cuda::DeviceMemory memory;
    cuda::HostMemory host;
  };

  void capture();
  void enqueue(const fastalex_backend_call& call, cuda::StreamHandle stream) override;
  void finish(const fastalex_backend_call& call) override;
  void enqueue_input(const fastalex_backend_call& call, cuda::StreamHandle stream);
  void enqueue_outputs(const fastalex_backend_call& call, cuda::StreamHandle stream);
  void enqueue_engine(cuda::StreamHandle stream);

  const int n_, in_h_, in_w_;
  const bool mapped_;  // Jetson's CPU and GPU share the DRAM
  const size_t steps_;
  cuda::Event begin_, end_;
  std::unique_ptr<EngineExecution> execution_;
  Array input_;
  std::vector<std::unique_ptr<Array>> outputs_;
  std::vector<void*> output_addresses_;
  std::unique_ptr<cuda::CapturedGraph> graph_;
  std::unique_ptr<FrameInput> frames_;
};

}  // namespace tensorrt
}  // namespace fastalex
#endif  // FASTALEX_TENSORRT_ENGINE_CALL_H
