#include "tensorrt/engine/frame_input.h"

#include <cstring>

namespace fastalex {
namespace tensorrt {
namespace {

fastalex_frame without_pixels(const fastalex_frame& frame) {
  fastalex_frame kind;
  std::memset(&kind, 0, sizeof kind);  // specs are compared as bytes, including those between the fields
  kind.height = frame.height;
  kind.width = frame.width;
  kind.filter = frame.filter;
  kind.resized_h = frame.resized_h;
  kind.resized_w = frame.resized_w;
  kind.crop_y = frame.crop_y;
  kind.crop_x = frame.crop_x;
  kind.swap = frame.swap;
  std::memcpy(kind.scale, frame.scale, sizeof kind.scale);
  std::memcpy(kind.shift, frame.shift, sizeof kind.shift);
  return kind;
}

size_t row_of(const fastalex_frame& frame) { return 3 * static_cast<size_t>(frame.width); }

}  // namespace

void FrameInput::prepare(const fastalex_frame& frame, int out_h, int out_w) {
  const fastalex_frame kind = without_pixels(frame);
  if (ready_ && !std::memcmp(&kind, &made_for_, sizeof kind)) return;
  ready_ = false;
  op_ = PluginOp::create(kPreprocess, preprocess_fields(frame, out_h, out_w, FASTALEX_PRECISION_FP32).fields());
  in_ = Tensor{Shape{1, {frame.height, frame.width, 3}}, TensorType::kUINT8, TensorFormat::kLINEAR};
  out_ = Tensor{op_->output_shape(in_.shape), TensorType::kFLOAT, TensorFormat::kLINEAR};
  const size_t bytes = row_of(frame) * static_cast<size_t>(frame.height);
  pixels_ = cuda::DeviceMemory(bytes);
  host_ = cuda::HostMemory(bytes, false);
  op_->prepare(in_);
  workspace_ = cuda::DeviceMemory(op_->workspace(in_, out_));
  made_for_ = kind;
  ready_ = true;
}

void FrameInput::copy(const fastalex_frame& frame, bool on_device, cuda::StreamHandle stream) {
  const size_t row = row_of(frame), height = static_cast<size_t>(frame.height);
  if (!on_device) {
    for (size_t y = 0; y < height; ++y)
      std::memcpy(host_.data() + y * row, frame.pixels + static_cast<int64_t>(y) * frame.row_bytes, row);
    cuda::copy_to_device(pixels_.data(), host_.data(), row * height, stream);
  } else if (frame.row_bytes == static_cast<int64_t>(row)) {
    cuda::copy_on_device(pixels_.data(), frame.pixels, row * height, stream);
  } else {
    for (size_t y = 0; y < height; ++y)
      cuda::copy_on_device(pixels_.data() + y * row, frame.pixels + static_cast<int64_t>(y) * frame.row_bytes, row,
                           stream);
  }
}

void FrameInput::enqueue(const fastalex_frame& frame, bool on_device, int out_h, int out_w, void* out,
                         cuda::StreamHandle stream) {
  prepare(frame, out_h, out_w);
  copy(frame, on_device, stream);
  op_->enqueue(in_, out_, pixels_.data(), out, workspace_.data(), stream);
}

}  // namespace tensorrt
}  // namespace fastalex
