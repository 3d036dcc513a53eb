// Candidates for fully connected layers on many vectors, except half weights on tensor cores (conv_mma.cu).
#include <algorithm>

#include "cuda/candidates/candidate_table.h"
#include "cuda/candidates/mma_cost.h"
#include "cuda/candidates/split_sum.h"
#include "cuda/kernels/gemm_fc.cuh"
#include "cuda/kernels/gemm_fc_instances.h"

namespace fastalex {
namespace cuda {
namespace {

struct Row {
  KernelInfo kernel;
  Dtype dtype;
  int storage;
  MmaShape tile;
};

typedef CandidateTable<Row> Table;

const Table& table() {
#define FASTALEX_ROW(NAME, KERNEL, ARGS, THREADS, SHARED, MIN_SM, MAX_SM, TENSOR, DTYPE, STORAGE, ...) \
  FASTALEX_CANDIDATE_ROW(NAME, KERNEL, ARGS, THREADS, SHARED, MIN_SM, MAX_SM, TENSOR, DTYPE, STORAGE,  \
                         mma_shape<__VA_ARGS__>())
  static const Table table({FASTALEX_GEMM_FC_INSTANCES(FASTALEX_ROW)});
#undef FASTALEX_ROW
  return table;
}

static_assert(kQuantGroup % gemm_fc::kSimtProducts == 0 && kQuantGroup % GemmFc64x64<kAmpere>::BK == 0,
              "a stage lies in one group of an int4 row");

FullyConnectedArgs args_of(const fastalex_step& s) {
  FullyConnectedArgs a = {};
  a.n = s.n;
  a.in_pitch = s.in_h * s.in_w * channel_pitch(s.in_c);
  a.out_pitch = channel_pitch(s.out_c);
  a.w_pitch = round_up(a.in_pitch, kQuantGroup);
  a.activation = s.activation;
  a.out_c = s.out_c;
  return a;
}

Grid grid_of(const Row& row, const FullyConnectedArgs& a, int split) {
  return {ceil_div(a.out_pitch, row.tile.n), ceil_div(a.n, row.tile.m), split};
}

size_t partial_values(const FullyConnectedArgs& a, int split) { return static_cast<size_t>(split) * a.n * a.out_pitch; }

// Tensor cores take vectors in pieces of eight values.
bool serves(const Candidate& candidate, const Problem& problem) {
  const Row& row = Table::row_of(candidate);
  const FullyConnectedArgs a = args_of(problem.step);
  return problem.storage == row.storage && (!row.kernel.tensor_cores || a.in_pitch % 8 == 0) &&
         grid_of(row, a, 1).y <= 65535;
}

// At least four stages for each part.
int max_split(const Candidate& candidate, const Problem& problem) {
  return std::min(16, args_of(problem.step).w_pitch / Table::row_of(candidate).tile.k / 4);
}

double weight_bytes(const Row& row, const FullyConnectedArgs& a) {
  const double bytes[] = {4, 2, 1, 0.5};  // by fastalex_storage
  return bytes[row.storage] * a.out_pitch * a.w_pitch;
}

// Unpacking a stage of weights costs about four clocks per 128 values, one value for each lane.
double cost(const Candidate& candidate, const Problem& problem, const DeviceFacts& device, int split) {
  const Row& row = Table::row_of(candidate);
  const FullyConnectedArgs a = args_of(problem.step);
  const Grid grid = grid_of(row, a, split);
  const double blocks = static_cast<double>(grid.x) * grid.y * grid.z;
  const int part = row.kernel.tensor_cores ? kQuantGroup : row.tile.k;  // products that a split keeps together
  const double stages = ceil_div(a.w_pitch / part, split) * (part / row.tile.k);
  double us;
  if (row.kernel.tensor_cores) {
    us = mma_cost(row.tile, device, blocks, stages, row.tile.n * row.tile.k / 128.0 * 4);
  } else {
    const double macs = static_cast<double>(row.tile.m) * row.tile.n * row.tile.k * stages;
    us = kMmaLaunchUs + compute_cost(device, blocks, macs, simt_rate(device, kFloat), 0.5, 1);
  }
  us = std::max(us, mma_weights_cost(device, weight_bytes(row, a)));
  return split > 1 ? us + mma_reduce_cost(device, static_cast<double>(partial_values(a, split))) : us;
}

size_t workspace(const Candidate&, const Problem& problem, int split) {
  return split > 1 ? sizeof(float) * partial_values(args_of(problem.step), split) : 0;
}

void launches(const Candidate& candidate, const Problem& problem, const DeviceFacts&, int split, const Buffers& buffers,
              std::vector<KernelLaunch>* out) {
  FullyConnectedArgs a = args_of(problem.step);
  a.in = buffers.in;
  a.w = buffers.weights.values;
  a.scale = buffers.weights.scale;
  a.bias = buffers.weights.bias;
  a.out = buffers.out;
  a.partial = static_cast<float*>(buffers.workspace);
  a.split = split;
  out->push_back(KernelLaunch::make(candidate.kernels[0], grid_of(Table::row_of(candidate), a, split), a));
  if (split == 1) return;
  out->push_back(split_sum_launch(candidate.kernels[1], a));
}

}  // namespace

const std::vector<Candidate>& gemm_fc_candidates() {
  static const std::vector<Candidate> list = table().candidates([](const Row& row, Candidate* c) {
    c->op = FASTALEX_OP_FULLY_CONNECTED;
    c->format = kStreamed;
    c->kernels.push_back(split_sum_kernel(row.dtype));
    c->serves = serves;
    c->max_split = max_split;
    c->cost = cost;
    c->workspace = workspace;
    c->launches = launches;
    return true;
  });
  return list;
}

}  // namespace cuda
}  // namespace fastalex
