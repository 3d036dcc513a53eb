// Turns camera frames into the network's input with the op behind FastAlexPreprocess.
#ifndef FASTALEX_TENSORRT_ENGINE_FRAME_INPUT_H
#define FASTALEX_TENSORRT_ENGINE_FRAME_INPUT_H

#include <memory>

#include "cuda/runtime/runtime.h"
#include "tensorrt/plugins/plugin_op.h"

namespace fastalex {
namespace tensorrt {

class FrameInput {
 public:
  // out: float32 [1, 3, out_h, out_w] in device memory.
  void enqueue(const fastalex_frame& frame, bool on_device, int out_h, int out_w, void* out, cuda::StreamHandle stream);

 private:
  void prepare(const fastalex_frame& frame, int out_h, int out_w);
  void copy(const fastalex_frame& frame, bool on_device, cuda::StreamHandle stream);

  bool ready_ = false;
  fastalex_frame made_for_;  // without its pixels
  std::shared_ptr<PluginOp> op_;
  Tensor in_, out_;
  cuda::DeviceMemory pixels_, workspace_;  // pixels: dense rows
  cuda::HostMemory host_;
};

}  // namespace tensorrt
}  // namespace fastalex
#endif  // FASTALEX_TENSORRT_ENGINE_FRAME_INPUT_H
