// The tuned CPU backend: packed weights, a layout per plan, and the steps handed to the per-ISA kernels.
#include <cmath>
#include <cstring>
#include <memory>
#include <vector>

#include "../backend_impl.h"
#include "../dequantise.h"
#include "../error.h"
#include "cpu.h"
#include "layout.h"
#include "pack.h"
#include "step_timer.h"
#include "thread_pool.h"

namespace fastalex {
namespace {

// Positions of one unit of a convolution: enough tiles to use a block of weights that was brought into L1 many times,
// few enough that a layer has units for every thread.
const int kTilesPerUnit = 48;

struct Model {
  const CpuKernels* kernels;
  std::shared_ptr<ThreadPool> pool;
  std::vector<fastalex_step> steps;
  std::vector<std::unique_ptr<PackedLayer>> layers;  // by param / 2
};

struct ConvPlan {
  WindowRuns window;
  ConvTask task;
};

struct CpuPlan {
  const Model* model;
  Layout layout;
  std::vector<std::unique_ptr<ConvPlan>> convs;  // by step, null where the step is no convolution
};

struct Context final : BackendContext {
  explicit Context(const CpuPlan& plan)
      : image((plan.layout.image_floats + kSlack) * sizeof(float)),
        features{Buffer(feature_bytes(plan)), Buffer(feature_bytes(plan))} {}

  static size_t feature_bytes(const CpuPlan& plan) {
    return (plan.layout.feature_floats * plan.layout.steps[0].n + kSlack) * sizeof(float);
  }

  Buffer image;  // its borders are zero and stay so
  Buffer features[2];
};

std::unique_ptr<Model> make_model(const fastalex_step* steps, size_t count, const fastalex_param* given,
                                  size_t param_count, const fastalex_model_options& options) {
  const FloatParams params(steps, count, given, param_count);
  std::unique_ptr<Model> model(new Model);
  model->kernels = &cpu_kernels();
  model->pool = ThreadPool::shared(options.threads);
  model->steps.assign(steps, steps + count);
  ThreadPool::Lease workers(model->pool.get());
  for (size_t i = 0; i < count; ++i) {
    if (steps[i].param < 0) continue;
    FASTALEX_ASSERT(steps[i].param == static_cast<int>(2 * model->layers.size()));
    const int storage = steps[i].op == FASTALEX_OP_FULLY_CONNECTED ? options.fc_storage : FASTALEX_FP32;
    model->layers.emplace_back(new PackedLayer(steps[i], model->kernels->panel, storage));
    model->layers.back()->pack(params[steps[i].param], params[steps[i].param + 1], &workers);
  }
  FASTALEX_ASSERT(param_count == 2 * model->layers.size());
  return model;
}

std::unique_ptr<ConvPlan> make_conv(const CpuPlan& plan, size_t index) {
  const fastalex_step& step = plan.layout.steps[index];
  const CpuKernels& kernels = *plan.model->kernels;
  const PackedLayer& layer = *plan.model->layers[step.param / 2];
  const Tensor& in = plan.layout.tensors[index];
  std::unique_ptr<ConvPlan> conv(new ConvPlan);
  conv->window = window_runs(step, in, kBlockFloats / kernels.panel);
  ConvTask& task = conv->task;
  task.in_c = in.c;
  task.in_row = in.padded_w * in.c;
  task.stride = step.stride;
  task.weights = layer.weights.as();
  task.bias = layer.bias.as();
  task.groups = step.groups;
  task.k = layer.k;
  task.in_per_group = step.in_c / step.groups;
  task.out_per_group = layer.out_per_group;
  task.panels_per_group = layer.panels_per_group;
  task.runs = conv->window.runs.data();
  task.blocks = conv->window.blocks.data();
  task.block_count = static_cast<int>(conv->window.blocks.size());
  task.pixels_per_unit = kTilesPerUnit * kernels.rows;
  task.units_per_panel = (step.out_h * step.out_w + task.pixels_per_unit - 1) / task.pixels_per_unit;
  task.activation = step.activation;
  return conv;
}

// A fully connected layer's weights are packed for one shape of its input.
void check_same_features(const fastalex_step& step, const std::vector<fastalex_step>& native) {
  for (const fastalex_step& other : native) {
    if (other.param != step.param) continue;
    if (other.in_c == step.in_c && other.in_h == step.in_h && other.in_w == step.in_w) return;
    invalid("this image size gives a fully connected layer a map of ", step.in_h, " x ", step.in_w, ", it needs ",
            other.in_h, " x ", other.in_w);
  }
}

std::unique_ptr<CpuPlan> make_plan(const Model* model, const fastalex_step* steps, size_t count) {
  std::unique_ptr<CpuPlan> plan(new CpuPlan);
  plan->model = model;
  plan->layout = make_layout(steps, count, model->kernels->panel);
  for (size_t i = 0; i < count; ++i) {
    if (steps[i].op == FASTALEX_OP_FULLY_CONNECTED) check_same_features(steps[i], model->steps);
    plan->convs.push_back(steps[i].op == FASTALEX_OP_CONV ? make_conv(*plan, i) : nullptr);
  }
  return plan;
}

// Image part ------------------------------------------------------------------------------------------------------

struct Repack {
  const float* from;
  Activations to;
  int channels;
};

void nchw_to_nhwc_row(const void* erased, int y) {
  const Repack& task = *static_cast<const Repack*>(erased);
  float* to = task.to.data + static_cast<size_t>(y) * task.to.row;
  for (int c = 0; c < task.channels; ++c) {
    const float* from = task.from + (static_cast<size_t>(c) * task.to.h + y) * task.to.w;
    for (int x = 0; x < task.to.w; ++x) to[static_cast<size_t>(x) * task.to.c + c] = from[x];
  }
}

struct Unpack {
  Activations from;
  float* to;
};

void nhwc_to_nchw_channel(const void* erased, int c) {
  const Unpack& task = *static_cast<const Unpack*>(erased);
  float* to = task.to + static_cast<size_t>(c) * task.from.h * task.from.w;
  for (int y = 0; y < task.from.h; ++y)
    for (int x = 0; x < task.from.w; ++x)
      *to++ = task.from.data[static_cast<size_t>(y) * task.from.row + static_cast<size_t>(x) * task.from.c + c];
}

NormTask norm_task(const fastalex_step& step, const Activations& in, const Activations& out) {
  NormTask task = {in, out, step.groups, step.size, 0, 0, 0};
  task.alpha = static_cast<float>(step.alpha);
  task.beta = static_cast<float>(step.beta);
  task.k = static_cast<float>(step.k);
  return task;
}

void run_image_step(const CpuPlan& plan, size_t index, float* image, const Activations& in, const Activations& out,
                    ThreadPool::Lease* workers) {
  const fastalex_step& step = plan.layout.steps[index];
  const CpuKernels& kernels = *plan.model->kernels;
  switch (step.op) {
    case FASTALEX_OP_CONV: {
      ConvTask task = plan.convs[index]->task;
      task.in = image + plan.layout.tensors[index].offset;
      task.out = out;
      return workers->run(kernels.conv, &task, task.groups * task.panels_per_group * task.units_per_panel);
    }
    case FASTALEX_OP_LRN: {
      const NormTask task = norm_task(step, in, out);
      return workers->run(kernels.lrn, &task, out.h);
    }
    case FASTALEX_OP_SPATIAL_NORM: {
      const NormTask task = norm_task(step, in, out);
      return workers->run(kernels.spatial_norm, &task, out.h);
    }
    case FASTALEX_OP_MAXPOOL:
    case FASTALEX_OP_ADAPTIVE_AVGPOOL: {
      const PoolTask task = {in, out, step.kernel, step.stride, step.activation};
      return workers->run(step.op == FASTALEX_OP_MAXPOOL ? kernels.maxpool : kernels.adaptive_avgpool, &task, out.h);
    }
    default: {
      FASTALEX_ASSERT(step.op == FASTALEX_OP_ACTIVATION);
      const ActivationTask task = {in, out, step.activation};
      return workers->run(kernels.activation, &task, out.h);
    }
  }
}

// Image `index` of the batch through the image part. `features`: where its last tensor goes, null if the plan ends
// there.
void run_image(const CpuPlan& plan, int index, float* image, const float* input, float* features, float* const* outputs,
               double* step_seconds, ThreadPool::Lease* workers) {
  const Layout& layout = plan.layout;
  auto view = [&](size_t i) {
    const bool last = i == layout.image_steps;
    return layout.tensors[i].at(last && features ? features : image + layout.tensors[i].offset);
  };
  const Tensor& first = layout.tensors[0];
  const Repack repack = {input + static_cast<size_t>(index) * first.c * first.h * first.w, view(0), first.c};
  {
    const StepTimer timer(step_seconds, 0);  // bringing the input into place is part of the first step
    workers->run(nchw_to_nhwc_row, &repack, first.h);
  }
  for (size_t i = 0; i < layout.image_steps; ++i) {
    const StepTimer timer(step_seconds, i);
    run_image_step(plan, i, image, view(i), view(i + 1), workers);
    const Tensor& result = layout.tensors[i + 1];
    if (layout.steps[i].output < 0) continue;
    float* to = outputs[layout.steps[i].output] + static_cast<size_t>(index) * result.c * result.h * result.w;
    const Unpack unpack = {view(i + 1), to};
    workers->run(nhwc_to_nchw_channel, &unpack, result.c);
  }
}

// Batch part ------------------------------------------------------------------------------------------------------

void softmax_row(float* x, int count) {
  float largest = x[0];
  for (int i = 1; i < count; ++i) largest = x[i] > largest ? x[i] : largest;
  double sum = 0;
  for (int i = 0; i < count; ++i) sum += x[i] = std::exp(x[i] - largest);
  for (int i = 0; i < count; ++i) x[i] = static_cast<float>(x[i] / sum);
}

void run_fully_connected(const CpuPlan& plan, const fastalex_step& step, const float* in, float* out,
                         ThreadPool::Lease* workers) {
  const PackedLayer& layer = *plan.model->layers[step.param / 2];
  FcTask task;
  task.in = in;
  task.out = out;
  task.n = step.n;
  task.in_stride = task.out_stride = static_cast<int>(plan.layout.feature_floats);
  task.k = layer.k;
  task.activation = step.activation;
  task.weights = layer.weights.as<void>();
  task.scale = layer.storage == FASTALEX_INT8 ? layer.scale.as() : nullptr;
  task.bias = layer.bias.as();
  task.storage = layer.storage;
  workers->run(plan.model->kernels->fully_connected, &task, layer.panels_per_group);
}

void copy_rows(const Layout& layout, const fastalex_step& step, const float* from, float* to) {
  for (int row = 0; row < step.n; ++row)
    std::memcpy(to + static_cast<size_t>(row) * step.out_c, from + row * layout.feature_floats,
                step.out_c * sizeof(float));
}

void run_batch_part(const CpuPlan& plan, Context* context, float* const* outputs, double* step_seconds,
                    ThreadPool::Lease* workers) {
  const Layout& layout = plan.layout;
  const int n = layout.steps[0].n;
  int current = 0;
  for (size_t i = layout.image_steps; i < layout.steps.size(); ++i) {
    const StepTimer timer(step_seconds, i);
    const fastalex_step& step = layout.steps[i];
    float* in = context->features[current].as();
    if (step.op == FASTALEX_OP_FULLY_CONNECTED) {
      run_fully_connected(plan, step, in, context->features[1 - current].as(), workers);
      current = 1 - current;
    } else if (step.op == FASTALEX_OP_SOFTMAX) {
      for (int row = 0; row < n; ++row) softmax_row(in + row * layout.feature_floats, step.out_c);
    } else {
      FASTALEX_ASSERT(step.op == FASTALEX_OP_ACTIVATION);
      const Activations rows = {in, step.out_c, static_cast<int32_t>(layout.feature_floats), n, 1};
      const ActivationTask task = {rows, rows, step.activation};
      workers->run(plan.model->kernels->activation, &task, n);
    }
    if (step.output >= 0) copy_rows(layout, step, context->features[current].as(), outputs[step.output]);
  }
}

void run(const CpuPlan& plan, Context* context, const float* input, float* const* outputs, double* step_seconds) {
  const Layout& layout = plan.layout;
  const bool has_batch_part = layout.image_steps < layout.steps.size();
  ThreadPool::Lease workers(plan.model->pool.get());
  for (int i = 0; i < layout.steps[0].n; ++i) {
    float* features = has_batch_part ? context->features[0].as() + i * layout.feature_floats : nullptr;
    run_image(plan, i, context->image.as(), input, features, outputs, step_seconds, &workers);
  }
  if (has_batch_part) run_batch_part(plan, context, outputs, step_seconds, &workers);
}

// The backend ------------------------------------------------------------------------------------------------------

class Plan final : public BackendPlan {
 public:
  explicit Plan(std::unique_ptr<CpuPlan> plan) : plan_(std::move(plan)) {}

  std::unique_ptr<BackendContext> make_context() const override {
    return std::unique_ptr<BackendContext>(new Context(*plan_));
  }

  std::string describe(const char* const* names) const override {
    return describe_all(plan_->model->kernels->isa, names, plan_->layout.steps.size());
  }

  void run(BackendContext* context, const fastalex_backend_call& call) const override {
    check_host_call(call);
    fastalex::run(*plan_, static_cast<Context*>(context), call.input, call.outputs, call.step_seconds);
  }

 private:
  std::unique_ptr<CpuPlan> plan_;
};

class PackedModel final : public BackendModel {
 public:
  explicit PackedModel(std::unique_ptr<Model> model) : model_(std::move(model)) {}

  void param(size_t index, float* out) const override {
    const PackedLayer& layer = *model_->layers.at(index / 2);
    if (index % 2 == 0)
      layer.unpack_weight(out);
    else
      layer.unpack_bias(out);
  }

  size_t bytes() const override {
    size_t total = 0;
    for (const auto& layer : model_->layers) total += layer->bytes();
    return total;
  }

  std::unique_ptr<BackendPlan> make_plan(const fastalex_step* steps, size_t count) const override {
    return std::unique_ptr<BackendPlan>(new Plan(fastalex::make_plan(model_.get(), steps, count)));
  }

 private:
  std::unique_ptr<Model> model_;
};

std::unique_ptr<BackendModel> make_packed_model(const fastalex_step* steps, size_t count,
                                                const fastalex_param* params, size_t param_count, const fastalex_model_options& options) {
  if (options.precision != FASTALEX_PRECISION_FP32) invalid("the cpu backend computes in fp32 only; use fp32");
  if (options.fc_storage == FASTALEX_INT4) invalid("the cpu backend has no int4 weights; use int8");
  return std::unique_ptr<BackendModel>(new PackedModel(make_model(steps, count, params, param_count, options)));
}

struct Cpu {
  static const BackendParts& parts() {
    static const BackendParts parts = {"cpu", [] { cpu_kernels(); }, no_device_info, make_packed_model};
    return parts;
  }
};

}  // namespace

const fastalex_backend_api* cpu_backend() { return BackendApi<Cpu>::get(); }

}  // namespace fastalex
