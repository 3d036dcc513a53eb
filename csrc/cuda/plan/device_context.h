// The memory, stream and graph of one running call.
#ifndef FASTALEX_CUDA_PLAN_DEVICE_CONTEXT_H
#define FASTALEX_CUDA_PLAN_DEVICE_CONTEXT_H

#include <memory>
#include <vector>

#include "cuda/candidates/frame.h"
#include "cuda/plan/device_plan.h"
#include "cuda/runtime/device_call.h"

namespace fastalex {
namespace cuda {

class DeviceContext final : public DeviceCall {
 public:
  explicit DeviceContext(const DevicePlan& plan);
  ~DeviceContext() override;

 private:
  // The launches of a planned step, and of its outputs, are body_[first .. last).
  struct Range {
    size_t first, last;
  };

  void add_step(const PlannedStep& step, const void* in, void* out, std::vector<KernelLaunch>* body);
  KernelLaunch output_launch(const fastalex_step& last, const void* tensor) const;
  void enqueue(const fastalex_backend_call& call, StreamHandle stream) override;
  void enqueue_input(const fastalex_backend_call& call, StreamHandle stream);
  void enqueue_frame(const fastalex_frame& frame, bool on_device, StreamHandle stream);
  void prepare_frame(const FrameSpec& spec);
  void enqueue_body(StreamHandle stream);
  void enqueue_timed(StreamHandle stream);
  void enqueue_outputs(const fastalex_backend_call& call, StreamHandle stream);
  void finish(const fastalex_backend_call& call) override;
  void add_times(double* step_seconds) const;

  const DevicePlan& plan_;
  bool mapped_;  // host memory that the device uses in place: Jetson's CPU and GPU share the DRAM

  DeviceMemory memory_;  // everything below that is in device memory
  char* tensors_[2];     // the input of step i is in tensors_[i % 2]
  char* workspace_;
  char* input_;  // dense float32; null if mapped
  std::vector<char*> outputs_;
  char* indices_ = nullptr;  // of top_k
  HostMemory host_input_;
  std::vector<HostMemory> host_outputs_;
  HostMemory host_indices_;

  std::vector<KernelLaunch> body_;  // all but the conversion of the input
  std::vector<Range> ranges_;       // by planned step
  std::unique_ptr<Graph> graph_;
  std::vector<std::unique_ptr<Event>> times_;  // before each planned step and after the last

  bool frame_ready_ = false;  // for frames of frame_spec_
  FrameSpec frame_spec_;
  DeviceMemory frame_memory_;  // tables, then pixels; empty if frames are mapped
  HostMemory frame_host_;      // the same
};

}  // namespace cuda
}  // namespace fastalex
#endif  // FASTALEX_CUDA_PLAN_DEVICE_CONTEXT_H
