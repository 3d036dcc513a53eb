// Candidates for normalization across channels, max-pool, both fused, normalization within a channel, and average pool.
#include <algorithm>

#include "cuda/candidates/candidate_table.h"
#include "cuda/kernels/norm_pool.cuh"
#include "cuda/kernels/norm_pool_instances.h"

namespace fastalex {
namespace cuda {
namespace {

enum Kind { kLrn, kPool, kLrnPool, kPoolLrn, kSpatialNorm, kAveragePool };

struct Row {
  KernelInfo kernel;
  Kind kind;
  Dtype dtype;
  int vector;  // channels of a thread
  bool five;   // windows of five channels to the power 3/4 only
};

typedef CandidateTable<Row> Table;

const Table& table() {
  static const Table table({FASTALEX_NORM_POOL_INSTANCES(FASTALEX_CANDIDATE_ROW)});
  return table;
}

bool is_pair(Kind kind) { return kind == kLrnPool || kind == kPoolLrn; }

int op_of(Kind kind) {
  switch (kind) {
    case kLrn:
    case kLrnPool:
      return FASTALEX_OP_LRN;
    case kPool:
    case kPoolLrn:
      return FASTALEX_OP_MAXPOOL;
    case kSpatialNorm:
      return FASTALEX_OP_SPATIAL_NORM;
    default:
      return FASTALEX_OP_ADAPTIVE_AVGPOOL;
  }
}

const fastalex_step& norm_of(const Row& row, const Problem& problem) {
  return row.kind == kPoolLrn ? problem.second : problem.step;
}
const fastalex_step& pool_of(const Row& row, const Problem& problem) {
  return row.kind == kLrnPool ? problem.second : problem.step;
}
const fastalex_step& last_of(const Row& row, const Problem& problem) {
  return is_pair(row.kind) ? problem.second : problem.step;
}

// Pooled pixels and vectors of channels that a block of a fused kernel works on.
struct Tile {
  int rows, cols, chunk;
};

// Work of a thread for a tile, in vector loads: normalizing a vector takes about four times as long as its part in a
// maximum, and reads past the chunk's ends.
double tile_work(const Row& row, const fastalex_step& pool, const Tile& tile) {
  constexpr double kStart = 8;  // launch and barrier
  const int lanes = norm_pool::kThreads / tile.chunk, out = tile.rows * tile.cols;
  int normalized = out;
  double ends = 1;
  if (row.kind == kLrnPool) {
    normalized = ((tile.rows - 1) * pool.stride + pool.kernel) * ((tile.cols - 1) * pool.stride + pool.kernel);
    ends = (tile.chunk + 1.0) / tile.chunk;
  }
  return kStart + 4 * ends * ceil_div(normalized, lanes) + double(pool.kernel) * pool.kernel * ceil_div(out, lanes);
}

bool tile_fits(const Row& row, const fastalex_step& pool, const Tile& tile) {
  const bool pooled = row.kind == kPoolLrn;  // what lies in shared memory
  const double high = pooled ? tile.rows : double(tile.rows - 1) * pool.stride + pool.kernel;
  const double wide = pooled ? tile.cols : double(tile.cols - 1) * pool.stride + pool.kernel;
  return high * wide * tile.chunk <= norm_pool::kTileVectors;
}

// The tile with the least work on a device that runs kBlocks at a time: large tiles share more between overlapping
// windows, small ones keep more multiprocessors busy. chunk = 0: no tile fits in shared memory.
Tile best_tile(const Row& row, const Problem& problem) {
  constexpr double kBlocks = 64;
  const fastalex_step& pool = pool_of(row, problem);
  const int vectors = channel_pitch(pool.in_c) / row.vector;
  Tile best = {0, 0, 0};
  double least = 0;
  for (int chunks = 1; chunks <= (row.kind == kPoolLrn ? 1 : vectors); ++chunks) {
    Tile tile = {1, 1, ceil_div(vectors, chunks)};
    if (tile.chunk > norm_pool::kThreads) continue;
    for (tile.rows = 1; tile.rows <= std::min(pool.out_h, 16); ++tile.rows) {
      for (tile.cols = 1; tile.cols <= std::min(pool.out_w, 32) && tile_fits(row, pool, tile); ++tile.cols) {
        const double blocks = double(pool.n) * ceil_div(pool.out_h, tile.rows) * ceil_div(pool.out_w, tile.cols) *
                              ceil_div(vectors, tile.chunk);
        const double work = std::max(1.0, blocks / kBlocks) * tile_work(row, pool, tile);
        if (best.chunk && work >= least) continue;
        best = tile;
        least = work;
      }
    }
  }
  return best;
}

bool serves(const Candidate& candidate, const Problem& problem) {
  const Row& row = Table::row_of(candidate);
  const fastalex_step& norm = norm_of(row, problem);
  const int last_op = row.kind == kLrnPool ? FASTALEX_OP_MAXPOOL : row.kind == kPoolLrn ? FASTALEX_OP_LRN : -1;
  if (problem.second.op != last_op || channel_pitch(problem.step.in_c) % row.vector) return false;
  if (row.five && (norm.size != 5 || norm.beta != 0.75 || (norm.groups > 1 && norm.in_c / norm.groups % row.vector)))
    return false;
  return !is_pair(row.kind) || best_tile(row, problem).chunk > 0;
}

// Memory traffic, since these kernels do little else: 25 GB/s for a Jetson's multiprocessor, at least 9 GB/s for
// others.
double cost(const Candidate& candidate, const Problem& problem, const DeviceFacts& device, int) {
  const fastalex_step &in = problem.step, &out = last_of(Table::row_of(candidate), problem);
  const double values =
      double(in.in_h) * in.in_w * channel_pitch(in.in_c) + double(out.out_h) * out.out_w * channel_pitch(out.out_c);
  return in.n * values * size_of(problem.dtype) / (device.sms * (device.integrated ? 25e3 : 9e3));
}

NormPoolArgs arguments(const Row& row, const Problem& problem, const Buffers& buffers) {
  const fastalex_step &norm = norm_of(row, problem), &pool = pool_of(row, problem), &last = last_of(row, problem);
  NormPoolArgs a = {};
  a.in = buffers.in;
  a.out = buffers.out;
  a.n = problem.step.n;
  a.c = problem.step.in_c;
  a.pitch = channel_pitch(a.c);
  a.in_h = problem.step.in_h;
  a.in_w = problem.step.in_w;
  a.out_h = last.out_h;
  a.out_w = last.out_w;
  a.size = norm.size;
  a.groups = norm.groups;
  a.alpha = static_cast<float>(norm.alpha);
  a.beta = static_cast<float>(norm.beta);
  a.k = static_cast<float>(norm.k);
  a.kernel = pool.kernel;
  a.stride = pool.stride;
  a.activation = last.activation;
  a.first_activation = problem.step.activation;
  return a;
}

KernelLaunch norm_pool_launch(const Row& row, const KernelInfo& kernel, const Problem& problem,
                              const Buffers& buffers) {
  NormPoolArgs a = arguments(row, problem, buffers);
  const long long vectors = a.pitch / row.vector;
  if (row.kind == kLrn) {
    const long long blocks = ceil_div(vectors * a.n * a.in_h * a.in_w, norm_pool::kThreads);
    return KernelLaunch::make(kernel, Grid{static_cast<int>(blocks), 1, 1}, a);
  }
  if (row.kind == kPool) {
    const long long blocks = ceil_div(vectors * a.out_w, norm_pool::kThreads);
    return KernelLaunch::make(kernel, Grid{a.n * a.out_h, static_cast<int>(blocks), 1}, a);
  }
  const Tile tile = best_tile(row, problem);
  a.tile_rows = tile.rows;
  a.tile_cols = tile.cols;
  a.chunk = tile.chunk;
  const Grid grid = {a.n * ceil_div(a.out_h, a.tile_rows), ceil_div(a.out_w, a.tile_cols),
                     static_cast<int>(ceil_div(vectors, a.chunk))};
  return KernelLaunch::make(kernel, grid, a);
}

KernelLaunch spatial_norm_launch(const Row& row, const KernelInfo& kernel, const Problem& problem,
                                 const Buffers& buffers) {
  const fastalex_step& s = problem.step;
  SpatialNormArgs a = {};
  a.in = buffers.in;
  a.out = buffers.out;
  a.n = s.n;
  a.c = s.in_c;
  a.pitch = channel_pitch(s.in_c);
  a.h = s.in_h;
  a.w = s.in_w;
  a.size = s.size;
  a.alpha = static_cast<float>(s.alpha);
  a.beta = static_cast<float>(s.beta);
  a.k = static_cast<float>(s.k);
  a.activation = s.activation;
  const int vectors = a.pitch / row.vector;
  a.chunk = std::min(vectors, 8);
  static_assert(norm_pool::kTileVectors / 8 > FASTALEX_MAX_WINDOW, "a pixel with the largest window must fit");
  a.tile_cols = std::min(a.w, norm_pool::kTileVectors / a.chunk - (a.size - 1));
  return KernelLaunch::make(kernel, Grid{a.n * a.h, ceil_div(a.w, a.tile_cols), ceil_div(vectors, a.chunk)}, a);
}

KernelLaunch average_pool_launch(const Row& row, const KernelInfo& kernel, const Problem& problem,
                                 const Buffers& buffers) {
  const fastalex_step& s = problem.step;
  const int pitch = channel_pitch(s.in_c);
  const AveragePoolArgs a = {buffers.in, buffers.out, s.n, pitch, s.in_h, s.in_w, s.out_h, s.out_w, s.activation};
  const int blocks = ceil_div(pitch / row.vector * s.out_w, norm_pool::kThreads);
  return KernelLaunch::make(kernel, Grid{s.n * s.out_h, blocks, 1}, a);
}

void launches(const Candidate& candidate, const Problem& problem, const DeviceFacts&, int, const Buffers& buffers,
              std::vector<KernelLaunch>* out) {
  const Row& row = Table::row_of(candidate);
  const KernelInfo& kernel = candidate.kernels[0];
  out->push_back(row.kind == kSpatialNorm   ? spatial_norm_launch(row, kernel, problem, buffers)
                 : row.kind == kAveragePool ? average_pool_launch(row, kernel, problem, buffers)
                                            : norm_pool_launch(row, kernel, problem, buffers));
}

// Any window and any power across channels, which no standard layer needs. The same goes for a pool of at most four
// channels.
bool is_general(const Row& row) {
  return (row.kind == kPool && row.vector * size_of(row.dtype) < 16) ||
         (!row.five && (row.kind == kLrn || is_pair(row.kind)));
}

}  // namespace

const std::vector<Candidate>& norm_pool_candidates() {
  static const std::vector<Candidate> list = table().candidates([](const Row& row, Candidate* c) {
    c->op = op_of(row.kind);
    c->fused_pair = is_pair(row.kind);
    c->general = is_general(row);
    c->serves = serves;
    c->cost = cost;
    c->launches = launches;
    return true;
  });
  return list;
}

}  // namespace cuda
}  // namespace fastalex
