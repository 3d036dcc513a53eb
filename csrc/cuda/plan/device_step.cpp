#include "cuda/plan/device_step.h"

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>

#include "cuda/candidates/frame.h"
#include "cuda/candidates/layout.h"
#include "cuda/plan/device_plan.h"

namespace fastalex {
namespace cuda {
namespace {

const size_t kAlignment = 256;  // that of cudaMalloc
size_t aligned(size_t bytes) { return round_up(bytes, kAlignment); }

struct InOut {
  const void* in;
  void* out;
  int in_layout, out_layout;
  char* workspace;
  bool operator==(const InOut& o) const {
    return in == o.in && out == o.out && in_layout == o.in_layout && out_layout == o.out_layout &&
           workspace == o.workspace;
  }
};

class DeviceLayer {
 public:
  virtual ~DeviceLayer() = default;
  virtual size_t workspace(int most, int in_layout, int out_layout) = 0;
  virtual void prepare(int batch) = 0;
  virtual void enqueue(int batch, const InOut& ends, StreamHandle stream) = 0;
};

void check_batch(int batch) {
  if (batch < 1) invalid("a layer needs a batch of at least 1, not ", batch);
}

// Returns whether a dense array is a tensor already: a feature vector without padding.
bool is_tensor(int layout, int c, int h, int w) {
  return layout == FASTALEX_LAYOUT_PACKED || (h == 1 && w == 1 && channel_pitch(c) == c);
}

class StepLayer final : public DeviceLayer {
 public:
  StepLayer(const fastalex_step* steps, size_t count, const fastalex_param* weight, const float* bias, int precision,
            const char* tuning)
      : steps_(steps, steps + count), weight_(), bias_(bias) {
    if (precision > FASTALEX_PRECISION_FP16) invalid("the cuda backend computes in fp32 or fp16; use one of them");
    model_.device = device_facts(current_device());
    model_.dtype = precision == FASTALEX_PRECISION_FP16 ? kHalf : kFloat;
    model_.storage = weight ? weight->storage : FASTALEX_FP32;
    model_.tuning = parse_tuning(tuning);
    model_.keeps_forms = true;
    if (weight) weight_ = *weight;
    for (fastalex_step& step : steps_) step.output = -1;
  }

  ~StepLayer() override {
    try {
      const DeviceScope scope(model_.device.index);
      plans_.clear();
      model_.layers.clear();
    } catch (const std::exception&) {
      // Without the device there is nothing to free.
    }
  }

  size_t workspace(int most, int in_layout, int out_layout) override {
    check_batch(most);
    size_t need = 0;  // not the largest batch's: a smaller one may split its sums
    for (int n = 1; n <= most; ++n) {
      const std::vector<fastalex_step> steps = steps_for(n);
      size_t kernels = 0, launches = 0;
      for (size_t i = 0; i < steps.size(); ++launches) {
        const PlannedStep planned = choose_step(model_, steps, i);
        kernels = std::max(kernels, planned.workspace);
        i += planned.count;
      }
      need = std::max(need, Parts(*this, n, in_layout, out_layout, launches).kernels + kernels);
    }
    return need;
  }

  void prepare(int batch) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    const DeviceScope scope(model_.device.index);
    planned(batch);
  }

  void enqueue(int batch, const InOut& ends, StreamHandle stream) override {
    const DeviceScope scope(model_.device.index);
    for (const KernelLaunch& each : launches(batch, ends)) launch(each, stream);
  }

 private:
  struct Planned {
    std::unique_ptr<DevicePlan> plan;
    InOut ends;  // of the launches
    std::vector<KernelLaunch> launches;
  };

  // Offsets in the workspace: the input and output tensors if the caller's arrays are dense, the tensors between two
  // steps, then the kernels' own workspace.
  struct Parts {
    size_t in = 0, out = 0, between[2] = {0, 0}, kernels = 0;

    Parts(const StepLayer& layer, int n, int in_layout, int out_layout, size_t launches) {
      const fastalex_step &first = layer.steps_.front(), &last = layer.steps_.back();
      const Dtype dtype = layer.model_.dtype;
      if (!is_tensor(in_layout, first.in_c, first.in_h, first.in_w))
        out = in + aligned(tensor_bytes(n, first.in_h, first.in_w, first.in_c, dtype));
      between[0] = out;
      if (!is_tensor(out_layout, last.out_c, last.out_h, last.out_w))
        between[0] += aligned(tensor_bytes(n, last.out_h, last.out_w, last.out_c, dtype));
      size_t largest = 0;
      for (const fastalex_step& step : layer.steps_)
        largest = std::max(largest, aligned(tensor_bytes(n, step.out_h, step.out_w, step.out_c, dtype)));
      between[1] = between[0] + (launches > 1 ? largest : 0);
      kernels = between[1] + (launches > 2 ? largest : 0);
    }
  };

  std::vector<fastalex_step> steps_for(int n) const {
    check_batch(n);
    std::vector<fastalex_step> steps = steps_;
    for (fastalex_step& step : steps) step.n = n;
    return steps;
  }

  void make_weights() {
    if (!model_.layers.empty()) return;
    for (const fastalex_step& step : steps_) {
      if (step.param < 0) continue;
      const bool quantized = weight_.storage == FASTALEX_INT8 || weight_.storage == FASTALEX_INT4;
      model_.layers.emplace_back(quantized ? new LayerWeights(step, model_.dtype, weight_, bias_)
                                           : new LayerWeights(step, model_.dtype, model_.storage,
                                                              static_cast<const float*>(weight_.data), bias_));
    }
  }

  Planned& planned(int n) {
    Planned& entry = plans_[n];
    if (!entry.plan) {
      const std::vector<fastalex_step> steps = steps_for(n);
      make_weights();
      entry.plan.reset(new DevicePlan(&model_, steps.data(), steps.size()));
    }
    return entry;
  }

  std::vector<KernelLaunch> launches(int n, const InOut& ends) {
    const std::lock_guard<std::mutex> lock(mutex_);
    Planned& entry = planned(n);
    if (entry.launches.empty() || !(entry.ends == ends)) {
      entry.launches = make_launches(n, *entry.plan, ends);
      entry.ends = ends;
    }
    return entry.launches;
  }

  std::vector<KernelLaunch> make_launches(int n, const DevicePlan& plan, const InOut& ends) const {
    const fastalex_step &first = steps_.front(), &last = steps_.back();
    const Dtype dtype = model_.dtype;
    const Parts parts(*this, n, ends.in_layout, ends.out_layout, plan.steps().size());
    const bool copy_in = !is_tensor(ends.in_layout, first.in_c, first.in_h, first.in_w);
    const bool copy_out = !is_tensor(ends.out_layout, last.out_c, last.out_h, last.out_w);
    std::vector<KernelLaunch> list;
    const void* in = ends.in;
    if (copy_in) {
      void* tensor = ends.workspace + parts.in;
      list.push_back(to_tensor_launch(
          dtype, LayoutArgs{in, tensor, n, first.in_c, first.in_h, first.in_w, channel_pitch(first.in_c)}, dtype));
      in = tensor;
    }
    for (size_t i = 0; i < plan.steps().size(); ++i) {
      const PlannedStep& step = plan.steps()[i];
      void* out = ends.workspace + parts.between[i % 2];
      if (i + 1 == plan.steps().size()) out = copy_out ? ends.workspace + parts.out : ends.out;
      const Buffers buffers = {in, out, step.weights, ends.workspace + parts.kernels};
      const Choice& choice = step.choice;
      choice.candidate->launches(*choice.candidate, step.problem, model_.device, choice.split, buffers, &list);
      in = out;
    }
    if (copy_out)
      list.push_back(from_tensor_launch(
          dtype, LayoutArgs{in, ends.out, n, last.out_c, last.out_h, last.out_w, channel_pitch(last.out_c)}, dtype));
    return list;
  }

  Model model_;
  std::vector<fastalex_step> steps_;
  fastalex_param weight_;
  const float* bias_;

  std::mutex mutex_;  // guards the members below and model_.layers
  std::map<int, Planned> plans_;
};

class FrameLayer final : public DeviceLayer {
 public:
  FrameLayer(const fastalex_frame& frame, int out_h, int out_w, int precision)
      : device_(current_device()), dtype_(precision == FASTALEX_PRECISION_FP16 ? kHalf : kFloat) {
    if (precision > FASTALEX_PRECISION_FP16) invalid("the cuda backend makes images in fp32 or fp16; use one of them");
    spec_ = frame_spec(frame, out_h, out_w);
    frame_table_bytes(spec_);  // checks it
  }

  ~FrameLayer() override {
    try {
      const DeviceScope scope(device_);
      tables_ = DeviceMemory();
    } catch (const std::exception&) {
      // Without the device there is nothing to free.
    }
  }

  size_t workspace(int most, int, int out_layout) override {
    check_batch(most);
    return out_layout == FASTALEX_LAYOUT_PACKED ? 0 : tensor_bytes(most, spec_.out_h, spec_.out_w, 3, dtype_);
  }

  void prepare(int batch) override {
    check_batch(batch);
    const std::lock_guard<std::mutex> lock(mutex_);
    if (tables_.data()) return;
    const DeviceScope scope(device_);
    for (const KernelInfo* kernel : frame_kernels()) prepare_kernel(*kernel);
    for (const KernelInfo* kernel : layout_kernels()) prepare_kernel(*kernel);
    std::vector<char> host(frame_table_bytes(spec_));
    frame_tables(spec_, host.data());
    const Stream stream;
    DeviceMemory tables(host.size());
    copy_to_device(tables.data(), host.data(), host.size(), stream.handle());
    synchronize(stream.handle());
    tables_ = std::move(tables);
  }

  void enqueue(int batch, const InOut& ends, StreamHandle stream) override {
    prepare(batch);
    const DeviceScope scope(device_);
    const bool packed = ends.out_layout == FASTALEX_LAYOUT_PACKED;
    char* tensors = packed ? static_cast<char*>(ends.out) : ends.workspace;
    const size_t frame_bytes = static_cast<size_t>(spec_.row_bytes) * spec_.height;
    const size_t image_bytes = tensor_bytes(1, spec_.out_h, spec_.out_w, 3, dtype_);
    for (int i = 0; i < batch; ++i)
      launch(frame_launch(dtype_, spec_, static_cast<const char*>(ends.in) + i * frame_bytes, tables_.data(),
                          tensors + i * image_bytes, channel_pitch(3)),
             stream);
    if (!packed)
      launch(from_tensor_launch(
                 dtype_, LayoutArgs{tensors, ends.out, batch, 3, spec_.out_h, spec_.out_w, channel_pitch(3)}, dtype_),
             stream);
  }

 private:
  const int device_;
  const Dtype dtype_;
  FrameSpec spec_;
  std::mutex mutex_;  // guards the making of tables_
  DeviceMemory tables_;
};

DeviceLayer& layer_of(const void* layer) { return *static_cast<DeviceLayer*>(const_cast<void*>(layer)); }

int find_current_device(int* index) {
  return guarded([&] { *index = current_device(); });
}

int create(const fastalex_step* steps, size_t count, const fastalex_param* weight, const float* bias, int32_t precision,
           const char* tuning, void** layer) {
  return guarded(
      [&] { *layer = static_cast<DeviceLayer*>(new StepLayer(steps, count, weight, bias, precision, tuning)); });
}

int create_frame(const fastalex_frame* frame, int32_t out_h, int32_t out_w, int32_t precision, void** layer) {
  return guarded([&] { *layer = static_cast<DeviceLayer*>(new FrameLayer(*frame, out_h, out_w, precision)); });
}

void destroy(void* layer) { delete static_cast<DeviceLayer*>(layer); }

int workspace(const void* layer, int32_t most, int32_t in_layout, int32_t out_layout, size_t* bytes) {
  return guarded([&] { *bytes = layer_of(layer).workspace(most, in_layout, out_layout); });
}

int prepare(const void* layer, int32_t batch) {
  return guarded([&] { layer_of(layer).prepare(batch); });
}

int enqueue(const void* layer, int32_t batch, const void* in, int32_t in_layout, void* out, int32_t out_layout,
            void* workspace, void* stream) {
  return guarded([&] {
    layer_of(layer).enqueue(batch, InOut{in, out, in_layout, out_layout, static_cast<char*>(workspace)}, stream);
  });
}

}  // namespace

const fastalex_step_api* layer_api() {
  static const fastalex_step_api api = {find_current_device, create,  create_frame, destroy,
                                        workspace,           prepare, enqueue};
  return &api;
}

}  // namespace cuda
}  // namespace fastalex
