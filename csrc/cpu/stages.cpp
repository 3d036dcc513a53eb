#include "cpu/stages.h"

#include <algorithm>

#include "common/error.h"
#include "cpu/integer_winograd.h"

namespace fastalex {
namespace {

// Minimum positions per unit of a direct convolution: enough to reuse weights in the cache many times, few enough that
// a layer has units for every thread.
const int kPositionsPerUnit = 384;

// Winograd tiles per unit of work: sized so that the products of one output panel fit in a cache of 256 KiB.
const int kBlockTiles = 28;
// For large weights, which are read again for every block: as many tiles as a cache of 1 MiB allows.
const int kLargeBlockTiles = 128;
// More of either gain nothing from a cache of 2 MiB, since the next operands are fetched ahead: blocks of 28 to 56
// tiles of small weights are within 3%, of 70 to 140 tiles of large ones within 2%, as are two or three panels at a
// time.

// Bytes of transformed inputs of a block of 16-bit tiles, which stay in an L2 cache while large weights are read.
const int64_t kIntegerBlockBytes = 1 << 20;

// Bytes of transformed inputs that a thread keeps in its cache while small weights are read again for each strip of
// tiles.
const int64_t kStripBytes = 384 << 10;

// Pooled rows per unit of fused LRN and pool. LRN rows shared by two units are computed twice.
const int kNormPoolRows = 5;

int round_up(int value, int multiple) { return (value + multiple - 1) / multiple * multiple; }

// Distance of blocks of `floats` that a transform reads or writes side by side: an odd number of cache lines, so that
// they are in different sets of the caches.
int64_t spread(int64_t floats) { return ((floats + 15) / 16 | 1) * 16; }

class StageIO {  // the tensors that a stage reads and writes
 public:
  StageIO(const StageContext& parts, size_t first, size_t last)
      : in_(parts.tensors[first]),
        out_(parts.tensors[last + 1]),
        to_features_(parts.last_is_features && last + 1 == parts.per_image_steps) {}

  Activations in(const Chunk& chunk) const { return in_.view(chunk.workspace, chunk.first); }
  Activations padded_in(const Chunk& chunk) const { return in_.padded_view(chunk.workspace, chunk.first); }
  Activations out(const Chunk& chunk) const {
    if (!to_features_) return out_.view(chunk.workspace, chunk.first);
    return out_.view_at(chunk.features + chunk.first * chunk.features_pitch, chunk.features_pitch);
  }

 private:
  Tensor in_, out_;
  bool to_features_;
};

class DirectConv final : public Stage {
 public:
  DirectConv(const StageContext& parts, size_t index, const ConvLayer& layer)
      : ends_(parts, index, index), kernel_(parts.kernels->conv[layer.choice.dtype]), task_() {
    const fastalex_step& step = parts.steps[index];
    offsets_ = window_offsets(step, parts.tensors[index], layer.step_units);
    task_.stride = step.stride;
    task_.weights = layer.weights.as<void>();
    task_.bias = layer.bias.as();
    task_.scale = layer.scale.as();
    task_.offset = layer.offset.as<int32_t>();
    task_.groups = step.groups;
    task_.units = layer.units;
    task_.step_units = layer.step_units;
    task_.in_per_group = step.in_c / step.groups;
    task_.out_per_group = layer.panels.out_per_group;
    task_.panels_per_group = layer.panels.per_group;
    task_.offsets = offsets_.data();
    task_.kernel = step.kernel;
    task_.pad = step.pad;
    task_.rows_per_unit = (kPositionsPerUnit + step.out_w - 1) / step.out_w;
    task_.units_per_panel = (step.out_h + task_.rows_per_unit - 1) / task_.rows_per_unit;
    task_.activation = step.activation;
  }

  void run(const Chunk& chunk) const override {
    ConvArgs task = task_;
    task.in = ends_.padded_in(chunk);
    task.out = ends_.out(chunk);
    chunk.workers->run(kernel_, &task, chunk.images * task.groups * task.panels_per_group * task.units_per_panel);
  }

 private:
  StageIO ends_;
  UnitFn kernel_;
  std::vector<int32_t> offsets_;
  ConvArgs task_;
};

class WinogradConv final : public Stage {
 public:
  WinogradConv(const StageContext& parts, size_t index, const ConvLayer& layer)
      : ends_(parts, index, index), kernels_(*parts.kernels), task_() {
    const fastalex_step& step = parts.steps[index];
    const bool integer = layer.choice.form == kIntegerForm;
    const int out = tile_edge(layer.choice, kernels_);
    const int in = integer ? static_cast<int>(kIntegerIn) : out + layer.choice.kernel - 1, positions = in * in;
    const KernelPieces pieces(layer.choice.kernel);
    task_.form = layer.choice.form;
    task_.pieces = pieces.edge;
    task_.partial_pieces = pieces.partial;
    task_.tiles_x = (step.out_w + out - 1) / out;
    task_.tiles = task_.tiles_x * ((step.out_h + out - 1) / out);
    task_.groups = step.groups;
    task_.in_per_group = step.in_c / step.groups * layer.choice.block * layer.choice.block;
    task_.out_per_group = layer.panels.out_per_group;
    task_.panels_per_group = layer.panels.per_group;
    task_.pitch = round_up(task_.in_per_group, integer ? 2 * kernels_.lanes : kernels_.lanes);
    task_.weights = layer.weights.as<void>();
    task_.bias = layer.bias.as();
    task_.scale = layer.scale.as();
    task_.activation = step.activation;
    const bool in_strips = layer.weights.bytes() <= kSmallWeights;
    block_tiles_ = round_up(in_strips ? kBlockTiles : kLargeBlockTiles, kernels_.rows);
    if (integer && !in_strips) {
      const int most = static_cast<int>(kIntegerBlockBytes / (2 * pieces.total() * task_.pitch)) / kernels_.rows;
      block_tiles_ = std::min(block_tiles_, std::max(4, most) * kernels_.rows);
    }
    position_floats_ = static_cast<int64_t>(task_.groups) * task_.pitch;
    const int64_t tile_floats = integer ? pieces.total() * position_floats_ / 2 : positions * position_floats_;
    const int64_t strip = kStripBytes / (tile_floats * 4) / block_tiles_ * block_tiles_;
    strip_tiles_ = in_strips ? std::max<int>(block_tiles_, static_cast<int>(strip)) : 0;
    task_.scratch_position = spread(static_cast<int64_t>(block_tiles_) * kernels_.panel);
    scratch_floats = positions * task_.scratch_position;
    // 16: spread() of several images
    transformed_floats =
        integer ? tile_floats * task_.tiles : positions * (spread(position_floats_ * task_.tiles) + 16);
  }

  void run(const Chunk& chunk) const override {
    WinogradArgs task = task_;
    task.in = ends_.padded_in(chunk);
    task.out = ends_.out(chunk);
    task.transformed = chunk.transformed;
    task.scratch = chunk.scratch;
    task.scratch_floats = chunk.scratch_floats;
    const int tiles = chunk.images * task.tiles, threads = chunk.workers->threads();
    const int strip = strip_tiles_ ? strip_tiles_ * threads : tiles;
    for (int first = 0; first < tiles; first += strip) {
      task.first_tile = first;
      task.strip_tiles = std::min(strip, tiles - first);
      run_strip(&task, chunk.workers);
    }
  }

 private:
  void run_strip(WinogradArgs* task, ThreadPool::Lease* workers) const {
    const int panels = task->groups * task->panels_per_group;
    task->block_tiles = block_of(task->strip_tiles, 2 * workers->threads(), panels);
    task->position = spread(position_floats_ * task->strip_tiles);
    workers->run(kernels_.winograd_input, task, task->strip_tiles);
    const int blocks = (task->strip_tiles + task->block_tiles - 1) / task->block_tiles;
    workers->run(kernels_.winograd_output, task, blocks * panels);
  }

  // Tiles per block, reduced as far as needed to give the threads `least` units.
  int block_of(int tiles, int least, int panels) const {
    int block = block_tiles_;
    while (block > kernels_.rows && (tiles + block - 1) / block * panels < least) block -= kernels_.rows;
    return block;
  }

  StageIO ends_;
  const CpuKernels& kernels_;
  WinogradArgs task_;
  int64_t position_floats_;        // fp32: of a tile at one position
  int block_tiles_, strip_tiles_;  // 0: all tiles of a chunk are one strip
};

NormArgs norm_task(const fastalex_step& step) {
  NormArgs task = {};
  task.groups = step.groups;
  task.size = step.size;
  task.alpha = static_cast<float>(step.alpha);
  task.beta = static_cast<float>(step.beta);
  task.k = static_cast<float>(step.k);
  return task;
}

PoolArgs pool_task(const fastalex_step& step) {
  PoolArgs task = {};
  task.kernel = step.kernel;
  task.stride = step.stride;
  task.activation = step.activation;
  return task;
}

class NormPool final : public Stage {
 public:
  NormPool(const StageContext& parts, size_t index)
      : ends_(parts, index, index + 1), kernel_(parts.kernels->norm_pool), middle_(parts.tensors[index + 1]), task_() {
    const fastalex_step* steps = parts.steps + index;
    task_.pool_first = steps[0].op == FASTALEX_OP_MAXPOOL;
    task_.norm = norm_task(steps[task_.pool_first]);
    const fastalex_step& pool = steps[!task_.pool_first];
    task_.pool = pool_task(pool);
    task_.rows_per_unit = std::min(kNormPoolRows, pool.out_h);
    task_.units_per_image = (pool.out_h + task_.rows_per_unit - 1) / task_.rows_per_unit;
    scratch_floats = task_.pool_first ? 2 * (pool.in_c + kSlack)
                                      : static_cast<int64_t>(pool.kernel) * pool.in_w * pool.in_c + kSlack;
  }

  void run(const Chunk& chunk) const override {
    NormPoolArgs task = task_;
    // The tensor between the two has a shape, but is not stored.
    const Activations middle = middle_.view_at(nullptr, 0);
    NormArgs& norm = task.norm;
    PoolArgs& pool = task.pool;
    norm.in = pool.in = middle;
    norm.out = pool.out = middle;
    (task.pool_first ? pool.in : norm.in) = ends_.in(chunk);
    (task.pool_first ? norm.out : pool.out) = ends_.out(chunk);
    task.scratch = chunk.scratch;
    task.scratch_floats = chunk.scratch_floats;
    chunk.workers->run(kernel_, &task, chunk.images * task.units_per_image);
  }

 private:
  StageIO ends_;
  UnitFn kernel_;
  Tensor middle_;
  NormPoolArgs task_;
};

// Tasks of one input and one output whose units are rows of the output.
template <typename Task>
class RowStage final : public Stage {
 public:
  RowStage(const StageContext& parts, size_t index, UnitFn kernel, const Task& task)
      : ends_(parts, index, index), kernel_(kernel), task_(task) {}

  void run(const Chunk& chunk) const override {
    Task task = task_;
    task.in = ends_.in(chunk);
    task.out = ends_.out(chunk);
    chunk.workers->run(kernel_, &task, chunk.images * task.out.h);
  }

 private:
  StageIO ends_;
  UnitFn kernel_;
  Task task_;
};

template <typename Task>
std::unique_ptr<Stage> row_stage(const StageContext& parts, size_t index, UnitFn kernel, const Task& task) {
  return std::unique_ptr<Stage>(new RowStage<Task>(parts, index, kernel, task));
}

std::unique_ptr<Stage> new_stage(const StageContext& parts, size_t index, const ConvLayer* conv, bool pair) {
  const fastalex_step& step = parts.steps[index];
  const CpuKernels& kernels = *parts.kernels;
  if (pair) return std::unique_ptr<Stage>(new NormPool(parts, index));
  switch (step.op) {
    case FASTALEX_OP_CONV:
      if (conv->choice.form < 0) return std::unique_ptr<Stage>(new DirectConv(parts, index, *conv));
      return std::unique_ptr<Stage>(new WinogradConv(parts, index, *conv));
    case FASTALEX_OP_LRN:
      return row_stage(parts, index, kernels.lrn, norm_task(step));
    case FASTALEX_OP_SPATIAL_NORM:
      return row_stage(parts, index, kernels.spatial_norm, norm_task(step));
    case FASTALEX_OP_MAXPOOL:
      return row_stage(parts, index, kernels.maxpool, pool_task(step));
    case FASTALEX_OP_ADAPTIVE_AVGPOOL:
      return row_stage(parts, index, kernels.adaptive_avgpool, pool_task(step));
    default: {
      FASTALEX_ASSERT(step.op == FASTALEX_OP_ACTIVATION);
      ActivationArgs task = {};
      task.activation = step.activation;
      task.slope = static_cast<float>(step.alpha);
      return row_stage(parts, index, kernels.activation, task);
    }
  }
}

}  // namespace

std::unique_ptr<Stage> make_stage(const StageContext& parts, size_t index, const ConvLayer* conv, bool pair) {
  std::unique_ptr<Stage> stage = new_stage(parts, index, conv, pair);
  stage->first_step = index;
  stage->last_step = index + (pair ? 1 : 0);
  return stage;
}

}  // namespace fastalex
