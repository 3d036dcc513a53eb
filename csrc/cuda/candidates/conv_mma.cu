// Candidates for convolutions on tensor cores, and for fully connected layers with half weights and many vectors: those
// are 1x1 convolutions over images of one pixel.
#include <algorithm>
#include <string>

#include "cuda/candidates/candidate_table.h"
#include "cuda/candidates/mma_cost.h"
#include "cuda/kernels/conv_mma.cuh"
#include "cuda/kernels/conv_mma_instances.h"
#include "cuda/kernels/split_reduce.cuh"
#include "fastalex.h"

namespace fastalex {
namespace cuda {
namespace {

struct Row {
  KernelInfo kernel;
  Dtype dtype;
  int channels;  // of a group; a multiple of this many where `exact` is not set
  bool exact;
  int side;  // of the window, 0: any
  MmaShape tile;
};

template <class Window>
Row row_of(const KernelInfo& kernel, const MmaShape& tile) {
  const int multiple = Window::UNIFORM ? 64 : 8;
  return {kernel, kHalf, Window::CHANNELS ? Window::CHANNELS : multiple, Window::CHANNELS != 0, Window::KERNEL, tile};
}

typedef CandidateTable<Row> Table;

const Table& table() {
#define FASTALEX_ROW(NAME, KERNEL, ARGS, THREADS, SHARED, MIN_SM, MAX_SM, TENSOR, WINDOW, ...)      \
  row_of<WINDOW>(FASTALEX_KERNEL_INFO(NAME, KERNEL, ARGS, THREADS, SHARED, MIN_SM, MAX_SM, TENSOR), \
                 mma_shape<__VA_ARGS__>()),
  static const Table table({FASTALEX_CONV_MMA_INSTANCES(FASTALEX_ROW)});
#undef FASTALEX_ROW
  return table;
}

static_assert(kWeightProducts % 32 == 0 && kWeightRows % 4 == 0, "what conv_mma.cuh and split_reduce.cuh assume");

ConvArgs conv_args(const fastalex_step& s) {
  ConvArgs a = {};
  a.n = s.n;
  a.in_h = s.in_h;
  a.in_w = s.in_w;
  a.in_pitch = channel_pitch(s.in_c);
  a.out_h = s.out_h;
  a.out_w = s.out_w;
  a.out_pitch = channel_pitch(s.out_c);
  a.groups = s.groups;
  a.in_c_group = s.groups == 1 && s.in_c <= 4 ? 4 : s.in_c / s.groups;
  a.out_c_group = s.out_c / s.groups;
  a.kernel = s.kernel;
  a.stride = s.stride;
  a.pad = s.pad;
  a.w_rows = round_up(a.out_c_group, kWeightRows);
  a.w_pitch = round_up(a.kernel * a.kernel * a.in_c_group, kWeightProducts);
  a.activation = s.activation;
  return a;
}

ConvArgs fully_connected_args(const fastalex_step& s) {
  ConvArgs a = {};
  a.n = s.n;
  a.in_h = a.in_w = a.out_h = a.out_w = a.groups = a.kernel = a.stride = 1;
  a.in_pitch = a.in_c_group = s.in_h * s.in_w * channel_pitch(s.in_c);
  a.out_pitch = a.out_c_group = a.w_rows = channel_pitch(s.out_c);
  a.w_pitch = round_up(a.in_pitch, kQuantGroup);
  a.activation = s.activation;
  return a;
}

ConvArgs args_of(const fastalex_step& s) { return s.op == FASTALEX_OP_CONV ? conv_args(s) : fully_connected_args(s); }

long long pixels_of(const ConvArgs& a) { return static_cast<long long>(a.n) * a.out_h * a.out_w; }
int stages_of(const Row& row, const ConvArgs& a) { return ceil_div(a.w_pitch, row.tile.k); }

long long blocks_of(const Row& row, const ConvArgs& a) {
  const int columns = a.out_pitch - (a.groups - 1) * a.out_c_group;
  return ceil_div(pixels_of(a), static_cast<long long>(row.tile.m)) * ceil_div(columns, row.tile.n);
}

// Indices of pixels and blocks have 31 bits, byte offsets from a tile's first image and within a group's weights 32.
bool fits(const Row& row, const ConvArgs& a) {
  const double image = 2.0 * (a.in_h + 2 * a.pad) * (a.in_w + 2 * a.pad) * a.in_pitch;
  const double images = 2.0 + row.tile.m / (a.out_h * a.out_w);
  return pixels_of(a) < (1LL << 31) - row.tile.m && blocks_of(row, a) < 1LL << 31 && image * images < 4e9 &&
         2.0 * (a.w_rows + row.tile.n) * a.w_pitch < 4e9 && a.groups < 2048;
}

bool serves(const Candidate& candidate, const Problem& problem) {
  const Row& row = Table::row_of(candidate);
  const fastalex_step& s = problem.step;
  if (s.op == FASTALEX_OP_FULLY_CONNECTED && problem.storage != FASTALEX_FP16) return false;
  const ConvArgs a = args_of(s);
  const int channels = a.in_c_group;
  if (row.exact ? channels != row.channels : channels % row.channels != 0) return false;
  if (row.side ? a.kernel != row.side : a.kernel > kMmaLargestKernel) return false;
  return fits(row, a);
}

// At least two stages for each part.
int max_split(const Candidate& candidate, const Problem& problem) {
  return std::min(32, stages_of(Table::row_of(candidate), args_of(problem.step)) / 2);
}

double cost(const Candidate& candidate, const Problem& problem, const DeviceFacts& device, int split) {
  const Row& row = Table::row_of(candidate);
  const ConvArgs a = args_of(problem.step);
  const int stages = ceil_div(stages_of(row, a), split);
  const double blocks = static_cast<double>(blocks_of(row, a)) * a.groups * split;
  double us = mma_cost(row.tile, device, blocks, stages);
  if (split > 1) us += mma_reduce_cost(device, static_cast<double>(split) * a.groups * pixels_of(a) * a.w_rows);
  return problem.step.op == FASTALEX_OP_CONV ? us
                                             : std::max(us, mma_weights_cost(device, 2.0 * a.out_pitch * a.w_pitch));
}

size_t workspace(const Candidate&, const Problem& problem, int split) {
  const ConvArgs a = args_of(problem.step);
  return split == 1 ? 0 : sizeof(float) * split * a.groups * pixels_of(a) * a.w_rows;
}

void launches(const Candidate& candidate, const Problem& problem, const DeviceFacts&, int split, const Buffers& buffers,
              std::vector<KernelLaunch>* out) {
  const Row& row = Table::row_of(candidate);
  ConvArgs a = args_of(problem.step);
  a.in = buffers.in;
  a.w = buffers.weights.values;
  a.bias = buffers.weights.bias;
  a.out = buffers.out;
  a.partial = static_cast<float*>(buffers.workspace);
  a.split = split;
  out->push_back(
      KernelLaunch::make(candidate.kernels[0], {static_cast<int>(blocks_of(row, a)), 1, a.groups * split}, a));
  if (split == 1) return;
  const ReduceArgs reduce = {
      a.partial, a.bias,        a.out,       split,       a.groups, static_cast<int>(pixels_of(a)),
      a.w_rows,  a.out_c_group, a.out_pitch, a.activation};
  const long long vectors = pixels_of(a) * (a.out_pitch / kReduceChannels);
  const int blocks = static_cast<int>(ceil_div(vectors, static_cast<long long>(kReduceThreads)));
  out->push_back(KernelLaunch::make(candidate.kernels[1], {blocks, 1, 1}, reduce));
}

Candidate candidate_of(const Row& row, const char* name, int op) {
  Candidate c = Table::candidate(row);
  c.name = name;
  c.op = op;
  c.format = op == FASTALEX_OP_CONV ? kDirect : kStreamed;
  c.general = row.channels == 8;
  c.kernels.push_back(kernel_info("split_reduce_half", split_reduce<Half>, kReduceThreads, 0));
  c.serves = serves;
  c.max_split = max_split;
  c.cost = cost;
  c.workspace = workspace;
  c.launches = launches;
  return c;
}

}  // namespace

const std::vector<Candidate>& conv_mma_candidates() {
  static std::vector<std::string> names;  // of the fully connected ones
  static const std::vector<Candidate> list = [] {
    std::vector<Candidate> all;
    names.reserve(table().rows().size());
    for (const Row& row : table().rows()) {
      all.push_back(candidate_of(row, row.kernel.name, FASTALEX_OP_CONV));
      if (row.exact) continue;
      names.push_back(std::string("fc_") + row.kernel.name);
      all.push_back(candidate_of(row, names.back().c_str(), FASTALEX_OP_FULLY_CONNECTED));
    }
    return all;
  }();
  return list;
}

}  // namespace cuda
}  // namespace fastalex
