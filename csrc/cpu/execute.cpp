// Runs a network: its image part chunk by chunk, then the layers that work on the whole batch.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "backend/step_timer.h"
#include "common/error.h"
#include "cpu/plan.h"
#include "cpu/zeros.h"

namespace fastalex {
namespace {

struct Call {
  const Network& network;
  NetworkContext* context;
  const float* input;
  float* const* outputs;
  double* step_seconds;
  Interrupt* interrupt;
};

// Image part ------------------------------------------------------------------------------------------------------

float value_at(const Activations& a, int64_t place, int bytes) {
  if (a.dtype == kFloat32) return static_cast<const float*>(a.data)[place];
  if (a.dtype == kQuantized) {
    const int q = bytes == 1 ? static_cast<const uint8_t*>(a.data)[place] : static_cast<int16_t*>(a.data)[place];
    return static_cast<float>(q - a.zero) * a.scale;
  }
  const uint32_t bits = static_cast<uint32_t>(static_cast<const uint16_t*>(a.data)[place]) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// Images of a tensor as dense float32 NCHW. A unit is a channel of one.
struct UnpackArgs {
  Activations from;
  int bytes, channels;
  float* to;  // [image][channel][h][w]
};

void unpack_channel(const void* erased, int unit, int) {
  const UnpackArgs& task = *static_cast<const UnpackArgs*>(erased);
  const Activations& a = task.from;
  float* to = task.to + static_cast<size_t>(unit) * a.h * a.w;
  const int64_t first = unit / task.channels * a.image + unit % task.channels;
  for (int y = 0; y < a.h; ++y)
    for (int x = 0; x < a.w; ++x) *to++ = value_at(a, first + static_cast<int64_t>(y) * a.row + x * a.c, task.bytes);
}

// first_image: of the chunk, in the batch.
void import_input(const Call& call, int first_image, const Chunk& chunk) {
  const Network& network = call.network;
  const fastalex_step& step = network.steps[0];
  const Tensor& tensor = network.tensors[0];
  ImportArgs task = {};
  task.channels = step.in_c;
  task.h = step.in_h;
  task.w = step.in_w;
  task.from = call.input + static_cast<size_t>(first_image + chunk.first) * task.channels * task.h * task.w;
  task.block = network.input_block;
  task.pad = network.input_block > 1 ? step.pad : 0;
  // A network that begins with a fully connected layer has its features here already.
  task.to = network.per_image_steps == 0 && network.has_fc_part()
                ? tensor.view_at(chunk.features + chunk.first * chunk.features_pitch, chunk.features_pitch)
                : tensor.view(chunk.workspace, chunk.first);
  const StepTimer timer(call.step_seconds, 0);  // part of the first step
  chunk.workers->run(network.model->kernels->import_image, &task, chunk.images * task.to.h);
}

void give_output(const Call& call, size_t step_index, int first_image, const Chunk& chunk) {
  const Network& network = call.network;
  const fastalex_step& step = network.steps[step_index];
  if (step.output < 0) return;
  const Tensor& tensor = network.tensors[step_index + 1];
  const bool features = chunk.features && step_index + 1 == network.per_image_steps;
  UnpackArgs task = {};
  task.from = features ? tensor.view_at(chunk.features + chunk.first * chunk.features_pitch, chunk.features_pitch)
                       : tensor.view(chunk.workspace, chunk.first);
  task.bytes = tensor.bytes;
  task.channels = step.out_c;
  task.to =
      call.outputs[step.output] + static_cast<size_t>(first_image + chunk.first) * step.out_c * step.out_h * step.out_w;
  chunk.workers->run(unpack_channel, &task, chunk.images * step.out_c);
}

// The stages of one kind, for all images of `chunk` together.
void run_stages(const Call& call, int first_image, const Chunk& chunk, bool single) {
  for (const auto& stage : call.network.stages) {
    if ((stage->first_step < call.network.conv_steps) != single) continue;
    const StepTimer timer(call.step_seconds, stage->last_step);
    stage->run(chunk);
    give_output(call, stage->last_step, first_image, chunk);
  }
}

void run_chunk(const Call& call, int index, size_t place, ThreadPool::Lease* workers) {
  const Network& network = call.network;
  NetworkContext& context = *call.context;
  const int first = index * network.chunk_images;
  Chunk chunk = {};
  chunk.workspace = context.workspaces[place].as<char>();
  chunk.transformed = context.transformed[place].as();
  chunk.scratch = context.scratch.as();
  chunk.scratch_floats = static_cast<int64_t>(network.scratch_bytes / sizeof(float));
  chunk.features_pitch = static_cast<int64_t>(network.features_pitch);
  chunk.features = network.has_fc_part() ? context.features[0].as() + first * network.features_pitch : nullptr;
  chunk.workers = workers;
  const int images = std::min(network.chunk_images, network.batch() - first);
  chunk.images = 1;
  for (chunk.first = 0; chunk.first < images; ++chunk.first) {
    import_input(call, first, chunk);
    run_stages(call, first, chunk, true);
  }
  chunk.first = 0;
  chunk.images = images;
  run_stages(call, first, chunk, false);
}

void run_image_part(const Call& call, ThreadPool::Lease* workers) {
  if (call.network.parallel_over_chunks && !call.step_seconds && workers->threads() > 1) {
    workers->run(
        [](const void* erased, int unit, int worker) {
          const Call& call = *static_cast<const Call*>(erased);
          ThreadPool::Lease alone = ThreadPool::Lease::within(worker, call.interrupt);
          run_chunk(call, unit, worker, &alone);
        },
        &call, call.network.chunks(), 1);
    return;
  }
  for (int i = 0; i < call.network.chunks(); ++i) run_chunk(call, i, 0, workers);
}

// Batch part ------------------------------------------------------------------------------------------------------

void softmax_row(float* x, int count) {
  float largest = x[0];
  for (int i = 1; i < count; ++i) largest = x[i] > largest ? x[i] : largest;
  double sum = 0;
  for (int i = 0; i < count; ++i) sum += x[i] = std::exp(x[i] - largest);
  for (int i = 0; i < count; ++i) x[i] = static_cast<float>(x[i] / sum);
}

void run_fully_connected(const Call& call, const fastalex_step& step, float* in, float* out,
                         ThreadPool::Lease* workers) {
  const FcLayer& layer = *call.network.model->fc(step);
  NetworkContext& context = *call.context;
  FcArgs task = {};
  task.in = in;
  task.out = out;
  task.n = step.n;
  task.in_stride = task.out_stride = static_cast<int>(call.network.features_pitch);
  task.k = layer.k;
  task.rows = layer.rows;
  task.panels = layer.panels.count();
  task.strip_panels = layer.strip_panels;
  task.panel_bytes = layer.panel_bytes;
  task.activation = step.activation;
  task.form = layer.choice.form;
  task.storage = layer.storage;
  task.weights = layer.weights.as<void>();
  task.scale = layer.scale.as();
  task.sums = layer.sums.as<int32_t>();
  task.bias = layer.bias.as();
  task.byte_planes = layer.choice.byte_planes;
  task.fixed_scale = static_cast<float>(layer.input_scale);
  task.fixed_zero = layer.in_negative ? kSignedZero : 0;
  task.prepared = context.prepared.as<uint8_t>();
  task.plane = static_cast<int64_t>(layer.plane());
  task.row_scale = context.row_scales.as();
  task.row_zero = context.row_zeros.as<int32_t>();
  task.plane_sums = context.plane_sums.as<int32_t>();
  task.totals = context.totals.as<int32_t>();
  task.scratch = context.interleaved.as<char>();
  task.scratch_bytes = static_cast<int64_t>(call.network.interleaved_bytes());
  const CpuKernels& kernels = *call.network.model->kernels;
  workers->run(kernels.fc_prepare, &task, task.n);
  list_active(layer, &context, &task);
  workers->run(kernels.fully_connected, &task, layer.strips(), 1);  // a strip of a large batch takes a while
}

void copy_rows(const Network& network, const fastalex_step& step, const float* from, float* to) {
  for (int row = 0; row < step.n; ++row)
    std::memcpy(to + static_cast<size_t>(row) * step.out_c, from + row * network.features_pitch,
                step.out_c * sizeof(float));
}

void run_activation(const Call& call, const fastalex_step& step, float* in, ThreadPool::Lease* workers) {
  ActivationArgs task = {};
  task.in = plain_tensor(step.out_c, 1, 1).view_at(in, static_cast<int64_t>(call.network.features_pitch));
  task.out = task.in;
  task.activation = step.activation;
  task.slope = static_cast<float>(step.alpha);
  workers->run(call.network.model->kernels->activation, &task, step.n);
}

void run_batch_part(const Call& call, ThreadPool::Lease* workers) {
  const Network& network = call.network;
  int current = 0;
  for (size_t i = network.per_image_steps; i < network.steps.size(); ++i) {
    const StepTimer timer(call.step_seconds, i);
    const fastalex_step& step = network.steps[i];
    float* in = call.context->features[current].as();
    if (step.op == FASTALEX_OP_FULLY_CONNECTED) {
      run_fully_connected(call, step, in, call.context->features[1 - current].as(), workers);
      current = 1 - current;
    } else if (step.op == FASTALEX_OP_SOFTMAX) {
      for (int row = 0; row < step.n; ++row) softmax_row(in + row * network.features_pitch, step.out_c);
    } else {
      FASTALEX_ASSERT(step.op == FASTALEX_OP_ACTIVATION);
      run_activation(call, step, in, workers);
    }
    if (step.output >= 0) copy_rows(network, step, call.context->features[current].as(), call.outputs[step.output]);
  }
}

}  // namespace

void run_network(const Network& network, NetworkContext* context, const fastalex_backend_call& asked) {
  Interrupt interrupt(asked.interrupted, asked.interrupted_user);
  const Call call = {network, context, asked.input, asked.outputs, asked.step_seconds, &interrupt};
  ThreadPool::Lease workers(network.model->pool.get(), &interrupt);
  run_image_part(call, &workers);
  if (network.has_fc_part()) run_batch_part(call, &workers);
  if (interrupt.raised()) throw Error(FASTALEX_INTERRUPTED, "the call was interrupted");
}

}  // namespace fastalex
