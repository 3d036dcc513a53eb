// Candidates for convolutions without tensor cores.
#include <algorithm>
#include <climits>
#include <cmath>

#include "common/error.h"
#include "cuda/candidates/candidate_table.h"
#include "cuda/kernels/conv_simt.cuh"
#include "cuda/kernels/conv_simt_instances.h"

namespace fastalex {
namespace cuda {
namespace {

enum Kind { kTiles, kFirst, kGeneral, kReduce };

struct Row {
  KernelInfo kernel;
  Kind kind;
  Dtype dtype;
  int pixels, columns, resident;  // of a block; blocks of a multiprocessor
  bool half;                      // arithmetic
  double share;                   // of the instructions that are multiply-adds
};

typedef CandidateTable<Row> Table;

const Table& table() {
  static const Table table({FASTALEX_CONV_SIMT_INSTANCES(FASTALEX_CANDIDATE_ROW)});
  return table;
}

// Sizes of a problem as seen by a kernel.
struct Sizes {
  long long tiles, pixels, columns;  // blocks along x, results, blocks along y
  int channels, w_rows, w_pitch;     // of a pixel in a row of weights
  int stages, stage_products;        // what a split divides
};

Sizes sizes_of(const Row& row, const fastalex_step& s) {
  Sizes z;
  const long long lines = static_cast<long long>(s.n) * s.out_h;
  z.pixels = lines * s.out_w;
  z.tiles = row.kind == kFirst ? lines * ceil_div(s.out_w, row.pixels) : ceil_div(z.pixels, row.pixels);
  z.columns = ceil_div(s.out_c / s.groups, row.columns);
  z.channels = simt::window_channels(s.groups, s.in_c / s.groups);
  const int products = s.kernel * s.kernel * z.channels;
  z.w_rows = round_up(s.out_c / s.groups, kWeightRows);
  z.w_pitch = round_up(products, kWeightProducts);
  z.stage_products = row.kind == kFirst ? simt::kFirstProducts
                     : row.half         ? simt::stage_products<Half>()
                                        : simt::stage_products<float>();
  z.stages = row.kind == kFirst ? simt::kFirstKernel : ceil_div(products, z.stage_products);
  return z;
}

bool serves(const Candidate& candidate, const Problem& problem) {
  const Row& row = Table::row_of(candidate);
  const fastalex_step& s = problem.step;
  const Sizes z = sizes_of(row, s);
  if (z.pixels > INT_MAX - row.pixels || z.tiles > INT_MAX || z.columns > 65535 || s.groups > 65535) return false;
  const int unit = 16 / static_cast<int>(size_of(row.dtype));
  if (static_cast<long long>(s.groups) * z.w_rows * z.w_pitch > INT_MAX) return false;
  if (row.kind == kGeneral) return true;
  if (row.kind == kFirst)
    return s.kernel == simt::kFirstKernel && s.stride == simt::kFirstStride && s.groups == 1 && s.in_c <= simt::kColors;
  // Offsets in the tensor are in units. Missing pixels of the last tile would lie in images past the last one.
  const long long images = s.n + 1 + row.pixels / (static_cast<long long>(s.out_h) * s.out_w);
  const long long units = images * (s.in_h + 2 * s.pad) * (s.in_w + 2 * s.pad) * (channel_pitch(s.in_c) / unit);
  return z.channels % unit == 0 && s.kernel <= simt::kLargestKernel && units <= INT_MAX;
}

// A part should take longer to compute than to start.
int max_split(const Candidate& candidate, const Problem& problem) {
  const Sizes z = sizes_of(Table::row_of(candidate), problem.step);
  return std::min({z.stages / 2, 32, 65535 / problem.step.groups});
}

// Returns whether split_reduce computes the final result.
bool in_parts(const fastalex_step& s, int split) { return split > 1 || s.activation == FASTALEX_ACT_TANH; }

size_t workspace(const Candidate& candidate, const Problem& problem, int split) {
  const Sizes z = sizes_of(Table::row_of(candidate), problem.step);
  return in_parts(problem.step, split) ? sizeof(float) * split * problem.step.groups * z.pixels * z.w_rows : 0;
}

// Multiply-adds per clock of a multiprocessor. Half precision is slow on sm_61 (CUDA programming guide).
double rate(const Row& row, const DeviceFacts& device) {
  return row.half && device.sm == 61 ? 2 : simt_rate(device, row.half ? kHalf : kFloat);
}

// Arithmetic overlaps with the loads that it waits for; the sum of the parts follows.
double cost(const Candidate& candidate, const Problem& problem, const DeviceFacts& device, int split) {
  const double kBytesPerUs = 25e3, kBytesPerUsAndSm = 9e3;  // 25 GB/s of an integrated GPU's SM, 9 GB/s of another's
  const double kLaunchUs = 3;
  const Row& row = Table::row_of(candidate);
  const fastalex_step& s = problem.step;
  const Sizes z = sizes_of(row, s);
  const double blocks = static_cast<double>(z.tiles) * z.columns * s.groups * split;
  const double macs = static_cast<double>(row.pixels) * row.columns * z.stage_products * ceil_div(z.stages, split);
  const int threads = row.kernel.threads;
  const int most = std::max(1, std::min({row.resident, device.threads_per_sm / threads,
                                         static_cast<int>(device.shared_per_sm / row.kernel.shared_bytes)}));
  const int resident = static_cast<int>(std::min<double>(most, std::max(1.0, std::ceil(blocks / device.sms))));
  const double warps = resident * threads / 32.0;  // eight keep the four schedulers busy; fewer do in part
  const double efficiency = row.share * std::min(1.0, (warps + 2) / 10);
  const double compute = compute_cost(device, blocks, macs, rate(row, device), efficiency, resident);

  const double bandwidth = device.sms * (device.integrated ? kBytesPerUs : kBytesPerUsAndSm);
  const double weights = static_cast<double>(s.groups) * z.w_rows * z.w_pitch * size_of(row.dtype);
  const double input = static_cast<double>(s.n) * s.in_h * s.in_w * channel_pitch(s.in_c) * size_of(row.dtype);
  const double parts = 2.0 * workspace(candidate, problem, split);
  return std::max(compute, (weights + input) / bandwidth) + parts / bandwidth + (in_parts(s, split) ? kLaunchUs : 0);
}

void launches(const Candidate& candidate, const Problem& problem, const DeviceFacts&, int split, const Buffers& buffers,
              std::vector<KernelLaunch>* out) {
  const Row& row = Table::row_of(candidate);
  const fastalex_step& s = problem.step;
  const Sizes z = sizes_of(row, s);
  FASTALEX_ASSERT(split >= 1 && split <= std::max(1, z.stages));
  ConvArgs a = {};
  a.in = buffers.in;
  a.w = buffers.weights.values;
  a.bias = buffers.weights.bias;
  a.out = buffers.out;
  a.partial = in_parts(s, split) ? static_cast<float*>(buffers.workspace) : nullptr;
  a.n = s.n;
  a.in_h = s.in_h;
  a.in_w = s.in_w;
  a.in_pitch = channel_pitch(s.in_c);
  a.out_h = s.out_h;
  a.out_w = s.out_w;
  a.out_pitch = channel_pitch(s.out_c);
  a.in_c_group = s.in_c / s.groups;
  a.out_c_group = s.out_c / s.groups;
  a.groups = s.groups;
  a.kernel = s.kernel;
  a.stride = s.stride;
  a.pad = s.pad;
  a.w_rows = z.w_rows;
  a.w_pitch = z.w_pitch;
  a.split = split;
  a.activation = s.activation;
  const Grid grid = {static_cast<int>(z.tiles), static_cast<int>(z.columns), s.groups * split};
  out->push_back(KernelLaunch::make(candidate.kernels[0], grid, a));
  if (!a.partial) return;
  const ReduceArgs reduce = {a.partial, a.bias,        a.out,       split,       s.groups, static_cast<int>(z.pixels),
                             z.w_rows,  a.out_c_group, a.out_pitch, s.activation};
  const long long vectors = z.pixels * (a.out_pitch / kReduceChannels);
  out->push_back(
      KernelLaunch::make(candidate.kernels[1], {static_cast<int>(ceil_div(vectors, kReduceThreads)), 1, 1}, reduce));
}

}  // namespace

const std::vector<Candidate>& conv_simt_candidates() {
  static const std::vector<Candidate> list = table().candidates([](const Row& row, Candidate* c) {
    if (row.kind == kReduce) return false;
    c->op = FASTALEX_OP_CONV;
    c->format = kDirect;
    c->general = row.kind == kGeneral;
    c->half_sum = !row.half ? 0 : row.kind == kFirst ? simt::kFirstHalfSum : simt::kHalfSum;
    c->kernels.push_back(
        table().kernel([&](const Row& other) { return other.kind == kReduce && other.dtype == row.dtype; }));
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
