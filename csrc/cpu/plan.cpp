#include "cpu/plan.h"

#include <algorithm>
#include <limits>

#include "backend/steps.h"
#include "common/error.h"
#include "cpu/algorithm.h"
#include "cpu/integer_winograd.h"
#include "cpu/zeros.h"
#include "weights/dequantize.h"

namespace fastalex {
namespace {

// Images of a chunk in networks with large weights, at most; and at least where each thread takes chunks of its own, so
// that the weights are not read again for too few images.
const int kChunkImages = 8, kOwnImages = 4;

bool works_on_batch(const fastalex_step& step) {
  return step.op == FASTALEX_OP_FULLY_CONNECTED || step.op == FASTALEX_OP_SOFTMAX;
}

// The tensor of c x h x w in the layout that `reader` takes; null: only the caller reads it.
Tensor tensor_for(int c, int h, int w, const fastalex_step* reader, const ConvLayer* conv, const CpuKernels& kernels) {
  Tensor tensor = plain_tensor(c, h, w);
  if (!conv) return tensor;
  const ConvChoice& choice = conv->choice;
  if (choice.form >= 0) {
    const bool integer = choice.form == kIntegerForm;
    const int out = tile_edge(choice, kernels), margin = choice.kernel - 1;
    // Integer tiles read whole pieces of the kernel.
    const int read = integer ? KernelPieces(choice.kernel).edge * kPieceEdge - 1 : margin;
    if (choice.block > 1) {
      tensor = plain_tensor(c * choice.block * choice.block, reader->out_h + margin, reader->out_w + margin);
    } else {
      tensor.border = reader->pad;
    }
    tensor.padded_h = (reader->out_h + out - 1) / out * out + read;
    tensor.padded_w = (reader->out_w + out - 1) / out * out + read;
  } else {
    tensor.border = reader->pad;
    tensor.padded_h = std::max(h + reader->pad, (reader->out_h - 1) * reader->stride + reader->kernel);
    tensor.padded_w = std::max(w + reader->pad, (reader->out_w - 1) * reader->stride + reader->kernel);
  }
  tensor.dtype = choice.dtype;
  tensor.bytes = value_bytes(choice.dtype, kernels);
  tensor.negative = conv->in_negative;
  tensor.scale = reader->input_scale;
  return tensor;
}

// Images of a chunk if each thread takes as many chunks of its own, of about as many images; 0: they are too few.
int own_images(int batch, int threads) {
  const int rounds = (batch + kChunkImages * threads - 1) / (kChunkImages * threads);
  const int own = (batch + rounds * threads - 1) / (rounds * threads);
  return own >= kOwnImages ? own : 0;
}

int chunk_of(int batch, int threads) {
  const int own = own_images(batch, threads);
  return own > 0 ? own : std::min(kChunkImages, batch);
}

// The first step with large weights; never splits a pair of steps that form one stage.
size_t first_large(const Model& model, const std::vector<fastalex_step>& steps, size_t per_image_steps) {
  for (size_t i = 0; i < per_image_steps; ++i) {
    const ConvLayer* conv = model.conv(steps[i]);
    if (conv && conv->weights.bytes() > kSmallWeights) return i;
  }
  return per_image_steps;
}

// Quantization keeps the order of values, so a pool with quantized output may have quantized input.
bool pools_quantized(const fastalex_step& before, const fastalex_step& pool, const Tensor& pooled) {
  return pool.op == FASTALEX_OP_MAXPOOL && pool.activation == FASTALEX_ACT_NONE && pooled.dtype == kQuantized &&
         before.op == FASTALEX_OP_CONV && before.output < 0;
}

size_t round_up(size_t value, size_t multiple) { return (value + multiple - 1) / multiple * multiple; }

}  // namespace

Network::Network(const Model* model_, const fastalex_step* steps_, size_t count)
    : model(model_),
      steps(steps_, steps_ + count),
      per_image_steps(std::find_if(steps_, steps_ + count, works_on_batch) - steps_),
      conv_steps(first_large(*model_, steps, per_image_steps)),
      input_block(1),
      chunk_images(conv_steps == per_image_steps ? 1 : chunk_of(steps_[0].n, model_->threads)),
      parallel_over_chunks(false),
      workspace_bytes(0),
      transformed_bytes(0),
      scratch_bytes(0),
      features_pitch(0),
      prepared_bytes(0),
      plane_sums(0),
      list_entries(0),
      used_rows(0),
      listed_bytes(0),
      totals(0) {
  for (const fastalex_step& step : steps)
    if (const FcLayer* layer = model->fc(step)) check_same_features(step, layer->in_c, layer->in_h, layer->in_w);
  parallel_over_chunks =
      model->threads > 1 &&
      (chunks() >= 2 * model->threads || (conv_steps < per_image_steps && own_images(batch(), model->threads) > 0));
  make_tensors();
  make_stages();
  size_batch_part();
}

void Network::make_tensors() {
  for (size_t i = 0; i <= per_image_steps; ++i) {
    const bool input = i == 0;
    const fastalex_step& step = steps[input ? 0 : i - 1];
    const fastalex_step* reader = i < per_image_steps ? &steps[i] : nullptr;
    const ConvLayer* conv = reader ? model->conv(*reader) : nullptr;
    Tensor tensor = input ? tensor_for(step.in_c, step.in_h, step.in_w, reader, conv, *model->kernels)
                          : tensor_for(step.out_c, step.out_h, step.out_w, reader, conv, *model->kernels);
    if (input && conv) input_block = conv->choice.block;
    // Offsets within an image are 32-bit.
    if (1.0 * tensor.padded_h * tensor.padded_w * tensor.c * tensor.bytes > std::numeric_limits<int32_t>::max())
      invalid("an image of ", tensor.c, " x ", tensor.h, " x ", tensor.w, " is too large with its border");
    tensor.images = i < conv_steps ? 1 : chunk_images;
    tensors.push_back(tensor);
  }
  for (size_t i = 1; i < per_image_steps; ++i)
    if (pools_quantized(steps[i - 1], steps[i], tensors[i + 1])) tensors[i].take_values_of(tensors[i + 1]);
  for (Tensor& tensor : tensors) {
    tensor.offset = workspace_bytes;
    workspace_bytes += tensor.image_bytes() * tensor.images;
  }
  workspace_bytes += kSlack * sizeof(float);
}

void Network::make_stages() {
  const StageContext parts = {model->kernels, steps.data(), tensors.data(), has_fc_part(), per_image_steps};
  int64_t transformed = 0, scratch = 0;
  for (size_t i = 0; i < per_image_steps;) {
    const bool pair = i + 1 < per_image_steps && is_norm_pool_pair(steps[i], steps[i + 1]);
    stages.push_back(make_stage(parts, i, model->conv(steps[i]), pair));
    const int images = i < conv_steps ? 1 : chunk_images;
    transformed = std::max(transformed, stages.back()->transformed_floats * images);
    scratch = std::max(scratch, stages.back()->scratch_floats);
    i += pair ? 2 : 1;
  }
  transformed_bytes = static_cast<size_t>(transformed) * sizeof(float);
  scratch_bytes = round_up(static_cast<size_t>(scratch) * sizeof(float), 64);
}

void Network::size_batch_part() {
  for (size_t i = per_image_steps; i < steps.size(); ++i) {
    const size_t in = static_cast<size_t>(steps[i].in_c) * steps[i].in_h * steps[i].in_w;
    const size_t widest = std::max(in, static_cast<size_t>(steps[i].out_c));
    // One cache line more than the panels need: rows 4 KiB apart would map to the same few sets of the L1.
    features_pitch = std::max(features_pitch, round_up(widest, std::max<int>(model->kernels->panel, kBytePanel4)) + 16);
    const FcLayer* layer = model->fc(steps[i]);
    if (!layer) continue;
    prepared_bytes = std::max(prepared_bytes, layer->plane() * std::max(2, layer->choice.byte_planes));
    list_entries = std::max(list_entries, fastalex::list_entries(*layer));
    used_rows = std::max(used_rows, static_cast<size_t>(layer->rows));
    if (layer->byte_rows()) {
      listed_bytes = std::max(listed_bytes, layer->choice.byte_planes * listed_plane(*layer));
      totals = layer->choice.byte_planes;  // times features_pitch
    }
    plane_sums = std::max(plane_sums, int4_groups(layer->k) * std::max(1, layer->choice.byte_planes));
  }
}

size_t Network::interleaved_bytes() const {
  const size_t rows = kBytePartRows, panel = kBytePanel;
  return model->kernels->byte_planes == kMaxBytePlanes ? rows * panel : 2 * rows * (panel + batch());
}

NetworkContext::NetworkContext(const Network& network) {
  const size_t n = network.batch(), concurrent = network.parallel_over_chunks ? network.model->threads : 1;
  for (size_t i = 0; i < concurrent; ++i) {
    workspaces.emplace_back(network.workspace_bytes);
    transformed.emplace_back(network.transformed_bytes);
    // Borders hold the quantized value of 0, and so does everything else until it is written.
    for (const Tensor& tensor : network.tensors)
      if (tensor.zero())
        std::fill_n(workspaces.back().as<unsigned char>() + tensor.offset, tensor.image_bytes() * tensor.images,
                    static_cast<unsigned char>(tensor.zero()));
  }
  scratch = Buffer(network.scratch_bytes * network.model->threads);
  if (!network.has_fc_part()) return;
  for (Buffer& buffer : features) buffer = Buffer((network.features_pitch * n + kSlack) * sizeof(float));
  // Tiles read a step at a time, past the end of what is listed.
  prepared = Buffer(network.prepared_bytes * n + 4 * kStepUnits);
  row_scales = Buffer(n * sizeof(float));
  row_zeros = Buffer(n * sizeof(int32_t));
  active = Buffer(network.list_entries * sizeof(int32_t));
  used = Buffer(network.used_rows);
  listed = Buffer(network.listed_bytes * n + 4 * kStepUnits);
  if (network.totals && n > 1) interleaved = Buffer(network.model->threads * network.interleaved_bytes());
  totals = Buffer(network.totals * network.features_pitch * n * sizeof(int32_t));
  plane_sums = Buffer(network.plane_sums * n * sizeof(int32_t));
}

}  // namespace fastalex
