#include "cuda/plan/device_context.h"

#include <algorithm>
#include <cstring>

#include "cuda/candidates/layout.h"

namespace fastalex {
namespace cuda {
namespace {

const size_t kAlignment = 256;  // that of cudaMalloc

// Lays out parts of one allocation: first the sizes are added up, then the addresses handed out.
class Parts {
 public:
  size_t add(size_t bytes) {
    const size_t at = total_;
    total_ += round_up(bytes, kAlignment);
    return at;
  }
  size_t total() const { return total_; }

 private:
  size_t total_ = 0;
};

}  // namespace

DeviceContext::DeviceContext(const DevicePlan& plan)
    : DeviceCall(plan.model().device.index, plan.sizes().outputs.size(), plan.sizes().indices > 0),
      plan_(plan),
      mapped_(plan.model().device.integrated) {
  const PlanSizes& sizes = plan.sizes();
  Parts parts;
  const size_t tensors[2] = {parts.add(sizes.tensor), parts.add(sizes.tensor)};
  const size_t workspace = parts.add(sizes.workspace);
  const size_t input = mapped_ ? 0 : parts.add(sizes.input);
  std::vector<size_t> outputs;
  for (size_t bytes : sizes.outputs) outputs.push_back(mapped_ ? 0 : parts.add(bytes));
  const size_t indices = mapped_ ? 0 : parts.add(sizes.indices);

  memory_ = DeviceMemory(parts.total());
  for (int i = 0; i < 2; ++i) tensors_[i] = memory_.data() + tensors[i];
  workspace_ = memory_.data() + workspace;
  input_ = mapped_ ? nullptr : memory_.data() + input;
  host_input_ = HostMemory(sizes.input, mapped_);
  for (size_t i = 0; i < outputs.size(); ++i) {
    host_outputs_.emplace_back(sizes.outputs[i], mapped_);
    outputs_.push_back(mapped_ ? host_outputs_[i].device() : memory_.data() + outputs[i]);
  }
  if (sizes.indices) {
    host_indices_ = HostMemory(sizes.indices, mapped_);
    indices_ = mapped_ ? host_indices_.device() : memory_.data() + indices;
  }
  for (size_t i = 0; i < plan.steps().size(); ++i)
    add_step(plan.steps()[i], tensors_[i % 2], tensors_[(i + 1) % 2], &body_);
  if (plan.model().graphs()) graph_.reset(new Graph(body_));
}

DeviceContext::~DeviceContext() { settle(); }

void DeviceContext::add_step(const PlannedStep& step, const void* in, void* out, std::vector<KernelLaunch>* body) {
  const size_t first = body->size();
  const Buffers buffers = {in, out, step.weights, workspace_};
  const Choice& choice = step.choice;
  choice.candidate->launches(*choice.candidate, step.problem, plan_.model().device, choice.split, buffers, body);
  if (step.last().output >= 0) body->push_back(output_launch(step.last(), out));
  ranges_.push_back(Range{first, body->size()});
}

// The launch that converts a step's last tensor to the caller's output.
KernelLaunch DeviceContext::output_launch(const fastalex_step& last, const void* tensor) const {
  const Dtype dtype = plan_.model().dtype;
  const int pitch = channel_pitch(last.out_c);
  char* out = outputs_[last.output];
  if (!last.top_k)
    return from_tensor_launch(dtype, LayoutArgs{tensor, out, last.n, last.out_c, last.out_h, last.out_w, pitch});
  const TopKArgs args = {
      tensor, reinterpret_cast<float*>(out), reinterpret_cast<int*>(indices_), last.n, last.out_c, pitch, last.top_k};
  return KernelLaunch::make(topk_kernel(dtype), Grid{last.n, 1, 1}, args);
}

void DeviceContext::enqueue(const fastalex_backend_call& call, StreamHandle stream) {
  enqueue_input(call, stream);
  if (call.step_seconds)
    enqueue_timed(stream);
  else
    enqueue_body(stream);
  enqueue_outputs(call, stream);
}

void DeviceContext::enqueue_input(const fastalex_backend_call& call, StreamHandle stream) {
  if (call.frame) return enqueue_frame(*call.frame, call.input_on_device, stream);
  const size_t bytes = plan_.sizes().input;
  const void* from = call.input;
  if (!call.input_on_device) {
    std::memcpy(host_input_.data(), call.input, bytes);
    if (!mapped_) copy_to_device(input_, host_input_.data(), bytes, stream);
    from = mapped_ ? host_input_.device() : input_;
  }
  const fastalex_step& first = plan_.input_step();
  launch(to_tensor_launch(plan_.model().dtype, LayoutArgs{from, tensors_[0], first.n, first.in_c, first.in_h,
                                                          first.in_w, channel_pitch(first.in_c)}),
         stream);
}

void DeviceContext::enqueue_frame(const fastalex_frame& frame, bool on_device, StreamHandle stream) {
  const fastalex_step& first = plan_.input_step();
  const FrameSpec spec = frame_spec(frame, first.in_h, first.in_w);
  prepare_frame(spec);

  const size_t table_bytes = frame_table_bytes(spec), pixels_at = round_up(table_bytes, kAlignment);
  // The last row ends with its pixels; any padding after it is not the caller's.
  const size_t pixel_bytes = static_cast<size_t>(frame.row_bytes) * (frame.height - 1) + 3 * size_t(frame.width);
  if (!on_device) std::memcpy(frame_host_.data() + pixels_at, frame.pixels, pixel_bytes);
  const bool mapped = plan_.model().maps_frames();
  char* target = mapped ? frame_host_.device() : frame_memory_.data();
  const size_t bytes = on_device ? table_bytes : pixels_at + pixel_bytes;
  if (!mapped && bytes) copy_to_device(target, frame_host_.data(), bytes, stream);
  const void* pixels = on_device ? static_cast<const void*>(frame.pixels) : target + pixels_at;
  launch(frame_launch(plan_.model().dtype, spec, pixels, target, tensors_[0], channel_pitch(first.in_c)), stream);
}

// Allocates the tables and the pixels; the tables are computed once for frames of one kind.
void DeviceContext::prepare_frame(const FrameSpec& spec) {
  if (frame_ready_ && !std::memcmp(&spec, &frame_spec_, sizeof spec)) return;
  frame_ready_ = false;
  for (const KernelInfo* kernel : frame_kernels()) prepare_kernel(*kernel);
  const size_t need = round_up(frame_table_bytes(spec), kAlignment) + static_cast<size_t>(spec.row_bytes) * spec.height;
  const bool mapped = plan_.model().maps_frames();
  if (!mapped && frame_memory_.size() < need) frame_memory_ = DeviceMemory(need);
  frame_host_ = HostMemory(need, mapped);
  frame_tables(spec, frame_host_.data());
  frame_spec_ = spec;
  frame_ready_ = true;
}

void DeviceContext::enqueue_body(StreamHandle stream) {
  if (graph_) return graph_->launch(stream);
  for (const KernelLaunch& each : body_) launch(each, stream);
}

void DeviceContext::enqueue_timed(StreamHandle stream) {
  while (times_.size() <= ranges_.size()) times_.emplace_back(new Event);
  for (size_t i = 0; i < ranges_.size(); ++i) {
    times_[i]->record(stream);
    for (size_t k = ranges_[i].first; k < ranges_[i].last; ++k) launch(body_[k], stream);
  }
  times_[ranges_.size()]->record(stream);
}

void DeviceContext::enqueue_outputs(const fastalex_backend_call& call, StreamHandle stream) {
  auto enqueue_output = [&](void* callers, const HostMemory& staged, const char* result, size_t bytes) {
    if (call.outputs_on_device)
      copy_on_device(callers, result, bytes, stream);
    else if (!mapped_)
      copy_to_host(staged.data(), result, bytes, stream);
  };
  for (size_t i = 0; i < outputs_.size(); ++i)
    enqueue_output(call.outputs[i], host_outputs_[i], outputs_[i], plan_.sizes().outputs[i]);
  if (indices_) enqueue_output(call.indices, host_indices_, indices_, plan_.sizes().indices);
}

void DeviceContext::finish(const fastalex_backend_call& call) {
  if (!call.outputs_on_device) {
    for (size_t i = 0; i < outputs_.size(); ++i)
      std::memcpy(call.outputs[i], host_outputs_[i].data(), plan_.sizes().outputs[i]);
    if (indices_) std::memcpy(call.indices, host_indices_.data(), plan_.sizes().indices);
  }
  if (call.step_seconds) add_times(call.step_seconds);
}

// The time of a fused pair is reported for its last step.
void DeviceContext::add_times(double* step_seconds) const {
  for (size_t i = 0; i < ranges_.size(); ++i) {
    const PlannedStep& step = plan_.steps()[i];
    step_seconds[step.first + step.count - 1] += times_[i + 1]->seconds_since(*times_[i]);
  }
}

}  // namespace cuda
}  // namespace fastalex
