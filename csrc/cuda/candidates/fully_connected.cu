// Candidates for fully connected layers on few vectors, whose time is that of reading the weights.
#include <algorithm>

#include "cuda/candidates/bandwidth.h"
#include "cuda/candidates/candidate_table.h"
#include "cuda/kernels/fully_connected.cuh"
#include "cuda/kernels/fully_connected_instances.h"
#include "fastalex.h"

namespace fastalex {
namespace cuda {
namespace {

static_assert(fully_connected::kInt4 == static_cast<int>(FASTALEX_INT4), "constants that the kernels repeat");

constexpr int kLargestBatch = 16, kMostPasses = 2, kLargestSplit = 16;

struct Row {
  KernelInfo kernel;
  Dtype dtype;
  int storage;     // -1: the sum of a split's parts
  int vectors;     // of a pass
  int block_rows;  // outputs of a block
  int segment;     // values of a row that a warp reads at once
  int half_sum;
};

typedef CandidateTable<Row> Table;

const Table& table() {
  static const Table table({FASTALEX_FULLY_CONNECTED_INSTANCES(FASTALEX_CANDIDATE_ROW)});
  return table;
}

// Padded sizes of a layer, and the blocks that an instance needs for it.
struct Extent {
  Extent(const Row& row, const fastalex_step& s)
      : in_pitch(s.in_h * s.in_w * channel_pitch(s.in_c)),
        out_pitch(channel_pitch(s.out_c)),
        w_pitch(round_up(in_pitch, kQuantGroup)),
        passes(ceil_div(s.n, row.vectors)),
        row_blocks(ceil_div(out_pitch, row.block_rows)),
        segments(ceil_div(w_pitch, row.segment)) {}
  int in_pitch, out_pitch, w_pitch, passes, row_blocks, segments;
};

bool serves(const Candidate& candidate, const Problem& problem) {
  const Row& row = Table::row_of(candidate);
  const int n = problem.step.n;
  return problem.second.op < 0 && problem.storage == row.storage && n <= kLargestBatch &&
         n <= kMostPasses * row.vectors && (n > row.vectors / 2 || row.vectors <= 4);
}

int max_split(const Candidate& candidate, const Problem& problem) {
  return std::min(kLargestSplit, Extent(Table::row_of(candidate), problem.step).segments);
}

// Instructions per lane and weight, from the sm_53 code of the inner loops: to unpack it, and for each vector.
double instructions(const Row& row, int vectors) {
  const bool half = row.half_sum > 0;
  const double unpack = row.storage >= FASTALEX_INT8 ? (half ? 1.4 : 2.4) : row.storage == FASTALEX_FP16 ? 1.5 : 0.8;
  return unpack + vectors * (half ? 0.75 : 1.2);
}

double cost(const Candidate& candidate, const Problem& problem, const DeviceFacts& device, int split) {
  const Row& row = Table::row_of(candidate);
  const Extent e(row, problem.step);
  const double bytes_per_weight = problem.storage == FASTALEX_INT4 ? 0.516 : 4 >> problem.storage;
  const double weights = double(e.out_pitch) * e.w_pitch, blocks = double(e.row_blocks) * e.passes * split;
  const double block_weights = weights / (double(e.row_blocks) * split);
  const double rounds = ceil_div(static_cast<long long>(blocks), static_cast<long long>(device.sms));

  // A warp has at most two units of 16 bytes of four rows in flight, which arrive after the latency of the memory.
  const double threads = row.kernel.threads * std::min(1.0, double(e.out_pitch) / row.block_rows);
  const double resident = std::min(rounds, std::floor(device.shared_per_sm / (row.kernel.shared_bytes + 1024.0)));
  const double rate =
      std::min(kStreamRate, std::max(1.0, resident) * threads * 2 * 16 * fully_connected::kRows / kStreamLatency);
  const double x_bytes = blocks * row.vectors * e.w_pitch / split * size_of(problem.dtype);
  const double dram = bandwidth(device), again = 1 + 0.3 * (e.passes - 1);  // a later pass finds weights in the cache
  const double x = x_bytes / (kStreamAgain * dram);
  const double memory =
      std::max(weights * bytes_per_weight * again / dram, rounds * block_weights * bytes_per_weight / rate);

  const int computed = row.vectors > 4 ? std::min(row.vectors, round_up(problem.step.n, 4)) : row.vectors;
  const double compute =
      rounds * block_weights * instructions(row, computed) / (128 * kStreamIssued * device.clock_khz * 1e-3);
  const double sum = split > 1 ? kStreamLaunch + 2.0 * split * problem.step.n * e.out_pitch * 4 / dram : 0;
  return kStreamLaunch + std::max(memory, compute) + x + sum;
}

size_t workspace(const Candidate&, const Problem& problem, int split) {
  return split > 1 ? size_t(split) * problem.step.n * channel_pitch(problem.step.out_c) * sizeof(float) : 0;
}

void launches(const Candidate& candidate, const Problem& problem, const DeviceFacts&, int split, const Buffers& buffers,
              std::vector<KernelLaunch>* out) {
  const fastalex_step& s = problem.step;
  const Extent e(Table::row_of(candidate), s);
  FullyConnectedArgs a = {};
  a.in = buffers.in;
  a.w = buffers.weights.values;
  a.scale = buffers.weights.scale;
  a.bias = buffers.weights.bias;
  a.out = buffers.out;
  a.partial = static_cast<float*>(buffers.workspace);
  a.n = s.n;
  a.in_pitch = e.in_pitch;
  a.out_pitch = e.out_pitch;
  a.w_pitch = e.w_pitch;
  a.split = split;
  a.activation = s.activation;
  a.out_c = s.out_c;
  out->push_back(KernelLaunch::make(candidate.kernels[0], Grid{e.row_blocks * e.passes, split, 1}, a));
  if (split == 1) return;
  const ReduceArgs r = {a.partial, a.bias, a.out, split, 1, s.n, e.out_pitch, s.out_c, e.out_pitch, s.activation};
  const int blocks = ceil_div(s.n * e.out_pitch, fully_connected::kReduceThreads);
  out->push_back(KernelLaunch::make(candidate.kernels[1], Grid{blocks, 1, 1}, r));
}

}  // namespace

const std::vector<Candidate>& fully_connected_candidates() {
  static const std::vector<Candidate> list = table().candidates([](const Row& row, Candidate* c) {
    if (row.storage < 0) return false;
    c->op = FASTALEX_OP_FULLY_CONNECTED;
    c->format = kStreamed;
    c->half_sum = row.half_sum;
    c->kernels.push_back(table().kernel([&](const Row& sum) { return sum.storage < 0 && sum.dtype == row.dtype; }));
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
