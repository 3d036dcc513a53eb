// The execution, memory, stream and graph of one running call. A call that leaves its outputs on the device returns
// before the device is done; the next one to borrow the context waits for it there.
#ifndef FASTALEX_TENSORRT_ENGINE_CALL_H
#define FASTALEX_TENSORRT_ENGINE_CALL_H

#include <memory>
#include <vector>

#include "backend/backend_impl.h"
#include "tensorrt/engine/frame_input.h"
#include "tensorrt/engine/runtime.h"

namespace fastalex {
namespace tensorrt {

class EngineCall final : public BackendContext {
 public:
  EngineCall(const Engine& engine, const EnginePlan& plan, const cuda::DeviceFacts& device, bool graph);
  ~EngineCall() override;

  void run(const fastalex_backend_call& call);

 private:
  // An array of the network: device memory, and the host's to copy from or to; mapped, the two are one.
  struct Array {
    Array(size_t bytes, bool mapped);
    char* device() const { return memory.data() ? memory.data() : host.device(); }

    size_t bytes;
    cuda::DeviceMemory memory;
    cuda::HostMemory host;
  };

  void capture();
  void check_addresses(const fastalex_backend_call& call) const;
  void enqueue(const fastalex_backend_call& call, cuda::StreamHandle stream);
  void enqueue_input(const fastalex_backend_call& call, cuda::StreamHandle stream);
  void enqueue_outputs(const fastalex_backend_call& call, cuda::StreamHandle stream);
  void enqueue_engine(cuda::StreamHandle stream);

  const int n_, device_, in_h_, in_w_;
  const bool mapped_;  // Jetson's CPU and GPU share the DRAM
  const size_t steps_;
  cuda::Stream stream_;
  cuda::Event done_, begin_, end_;
  bool pending_ = false;  // the last call did not wait for `done_`
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
