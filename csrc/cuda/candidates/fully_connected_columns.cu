// Candidates for fully connected layers on one or two vectors with the weights by column, so that those that meet a
// zero need not be read.
#include <algorithm>
#include <cmath>

#include "cuda/candidates/bandwidth.h"
#include "cuda/candidates/candidate_table.h"
#include "cuda/candidates/split_sum.h"
#include "cuda/kernels/fully_connected_columns.cuh"
#include "cuda/kernels/fully_connected_columns_instances.h"
#include "fastalex.h"

namespace fastalex {
namespace cuda {
namespace {

constexpr int kLargestSplit = 64, kResident = 2;  // blocks of a multiprocessor

struct Row {
  KernelInfo kernel;
  Dtype dtype;
  int storage, vectors;
  int k_warps;  // that share the columns
  int ahead;    // bytes that a lane has under way
  int half_sum;
};

typedef CandidateTable<Row> Table;

const Table& table() {
  static const Table table({FASTALEX_FULLY_CONNECTED_COLUMNS_INSTANCES(FASTALEX_CANDIDATE_ROW)});
  return table;
}

// Padded sizes of a layer, and what an instance makes of it.
struct Extent {
  Extent(const Row& row, const fastalex_step& s)
      : in_pitch(s.in_h * s.in_w * channel_pitch(s.in_c)),
        out_pitch(channel_pitch(s.out_c)),
        w_pitch(round_up(in_pitch, kQuantGroup)),
        tiles(ceil_div(out_pitch, column_outputs(row.storage))),
        rounds(ceil_div(w_pitch / fully_connected_columns::kChunk, row.k_warps)) {}
  double weight_bytes() const { return double(tiles) * w_pitch * kColumnBytes; }
  // Blocks side by side that stay resident with `split` layers of them.
  int blocks(int split, int sms) const { return std::min(tiles, std::max(1, kResident * sms / split)); }
  int in_pitch, out_pitch, w_pitch, tiles;
  int rounds;  // chunks of a warp that has a share of all columns
};

// The padding of the outputs must not take more than a twentieth of the memory. Offsets are 32 bits.
bool serves(const Candidate& candidate, const Problem& problem) {
  const Row& row = Table::row_of(candidate);
  const Extent e(row, problem.step);
  return problem.second.op < 0 && !problem.rows_alone && problem.storage == row.storage &&
         problem.step.n == row.vectors && 20LL * e.tiles * column_outputs(row.storage) <= 21LL * e.out_pitch &&
         e.weight_bytes() < 4294967296.0;
}

int max_split(const Candidate& candidate, const Problem& problem) {
  return std::min(kLargestSplit, Extent(Table::row_of(candidate), problem.step).rounds);
}

// Instructions per lane and weight, from the sm_53 code of the inner loop: to unpack it, for each vector, and the share
// of a column's own.
double instructions(const Row& row) {
  const bool half = row.half_sum > 0;
  const double unpack = row.storage == FASTALEX_FP16 ? 1 : half ? 1 : 2;
  const double product = half ? 0.5 + 3.0 / row.half_sum : row.storage == FASTALEX_INT4 ? 1.1 : 1;
  const double of_column = 13.0 * row.kernel.threads / row.k_warps / column_outputs(row.storage);
  return unpack + row.vectors * product + of_column;
}

// The expected share of the columns that some vector needs. Inputs that are never negative went through a ReLU, which
// leaves about half of them (docs/precisions.md, "Zeros": 0.29 to 0.67). All others count as dense.
double read_share(const fastalex_step& step) { return step.signed_input ? 1 : 1 - std::pow(0.5, step.n); }

double cost(const Candidate& candidate, const Problem& problem, const DeviceFacts& device, int split) {
  const Row& row = Table::row_of(candidate);
  const Extent e(row, problem.step);
  const int blocks = e.blocks(split, device.sms);
  const double tiles = ceil_div(e.tiles, blocks), rounds = tiles * ceil_div(e.rounds, split);
  const double share = read_share(problem.step);
  const double block_bytes = share * rounds * row.k_warps * fully_connected_columns::kChunk * kColumnBytes;
  const double mine = ceil_div(blocks * split, device.sms);
  const double rate =
      std::min(kStreamRate, std::min<double>(kResident, mine) * row.kernel.threads * row.ahead / kStreamLatency);
  const double dram = bandwidth(device);
  const double memory = std::max(share * e.weight_bytes() / dram, mine * block_bytes / rate);
  const double weights = mine * block_bytes * column_outputs(row.storage) / kColumnBytes;
  const double compute = weights * instructions(row) / (128 * kStreamIssued * device.clock_khz * 1e-3);
  const double x = double(e.tiles) * problem.step.n * e.w_pitch * size_of(problem.dtype) / (kStreamAgain * dram);
  const double sum = split > 1 ? kStreamLaunch + 2.0 * split * problem.step.n * e.out_pitch * 4 / dram : 0;
  return kStreamLaunch + std::max(memory, compute) + x + sum;
}

size_t workspace(const Candidate&, const Problem& problem, int split) {
  return split > 1 ? size_t(split) * problem.step.n * channel_pitch(problem.step.out_c) * sizeof(float) : 0;
}

void launches(const Candidate& candidate, const Problem& problem, const DeviceFacts& device, int split,
              const Buffers& buffers, std::vector<KernelLaunch>* out) {
  const fastalex_step& s = problem.step;
  const Extent e(Table::row_of(candidate), s);
  ColumnsArgs a = {};
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
  a.tiles = e.tiles;
  a.split = split;
  a.activation = s.activation;
  a.out_c = s.out_c;
  a.skip = buffers.weights.skip_zeros;
  out->push_back(KernelLaunch::make(candidate.kernels[0], Grid{e.blocks(split, device.sms), 1, split}, a));
  if (split == 1) return;
  out->push_back(split_sum_launch(candidate.kernels[1], a));
}

}  // namespace

const std::vector<Candidate>& fully_connected_columns_candidates() {
  static const std::vector<Candidate> list = table().candidates([](const Row& row, Candidate* c) {
    c->op = FASTALEX_OP_FULLY_CONNECTED;
    c->format = kColumns;
    c->half_sum = row.half_sum;
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
