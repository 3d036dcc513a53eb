// Candidates for activations that are not fused, and the launches of the layout kernels.
#include "cuda/candidates/candidate_table.h"
#include "cuda/candidates/layout.h"
#include "cuda/kernels/elementwise.cuh"
#include "cuda/kernels/elementwise_instances.h"

namespace fastalex {
namespace cuda {
namespace {

enum Kind { kActivation, kPixelsToTensor, kToTensor, kFromTensor, kToVectors, kFromVectors };

struct Row {
  KernelInfo kernel;
  Kind kind;
  Dtype dtype;
  Dtype dense;  // of the array
};

typedef CandidateTable<Row> Table;

const Table& table() {
  static const Table table({FASTALEX_ELEMENTWISE_INSTANCES(FASTALEX_CANDIDATE_ROW)});
  return table;
}

const KernelInfo& kernel_of(Kind kind, Dtype dtype, Dtype dense) {
  return table().kernel([=](const Row& row) { return row.kind == kind && row.dtype == dtype && row.dense == dense; });
}

u64 values_of(const fastalex_step& s) { return u64(s.n) * s.in_h * s.in_w * channel_pitch(s.in_c); }

bool serves(const Candidate&, const Problem& problem) { return problem.second.op < 0; }

// Memory traffic: 25 GB/s for a Jetson's multiprocessor, at least 9 GB/s for others.
double cost(const Candidate&, const Problem& problem, const DeviceFacts& device, int) {
  return 2.0 * values_of(problem.step) * size_of(problem.dtype) / (device.sms * (device.integrated ? 25e3 : 9e3));
}

void launches(const Candidate& candidate, const Problem& problem, const DeviceFacts&, int, const Buffers& buffers,
              std::vector<KernelLaunch>* out) {
  const fastalex_step& s = problem.step;
  const ActivationArgs a = {buffers.in,
                            buffers.out,
                            values_of(s),
                            s.out_c,
                            channel_pitch(s.out_c),
                            s.activation,
                            static_cast<float>(s.alpha)};
  const int blocks = static_cast<int>(ceil_div(a.count, u64(4 * elementwise::kThreads)));
  out->push_back(KernelLaunch::make(candidate.kernels[0], Grid{blocks, 1, 1}, a));
}

KernelLaunch layout_launch(Dtype dtype, Dtype dense, const LayoutArgs& a, bool to_tensor) {
  using elementwise::kSide;
  using elementwise::kThreads;
  const long long plane = static_cast<long long>(a.h) * a.w;
  if (plane == 1) {
    const Grid grid = {a.n, ceil_div(to_tensor ? a.pitch : a.c, kThreads), 1};
    return KernelLaunch::make(kernel_of(to_tensor ? kToVectors : kFromVectors, dtype, dense), grid, a);
  }
  if (to_tensor && a.pitch == 4) {
    const Grid grid = {static_cast<int>(ceil_div(plane * a.n, kThreads)), 1, 1};
    return KernelLaunch::make(kernel_of(kPixelsToTensor, dtype, dense), grid, a);
  }
  const Grid grid = {static_cast<int>(a.n * ceil_div(plane, kSide)), ceil_div(a.pitch, kSide), 1};
  return KernelLaunch::make(kernel_of(to_tensor ? kToTensor : kFromTensor, dtype, dense), grid, a);
}

}  // namespace

const std::vector<Candidate>& elementwise_candidates() {
  static const std::vector<Candidate> list = table().candidates([](const Row& row, Candidate* c) {
    c->op = FASTALEX_OP_ACTIVATION;
    c->serves = serves;
    c->cost = cost;
    c->launches = launches;
    return row.kind == kActivation;
  });
  return list;
}

KernelLaunch to_tensor_launch(Dtype dtype, const LayoutArgs& args, Dtype dense) {
  return layout_launch(dtype, dense, args, true);
}
KernelLaunch from_tensor_launch(Dtype dtype, const LayoutArgs& args, Dtype dense) {
  return layout_launch(dtype, dense, args, false);
}

std::vector<const KernelInfo*> layout_kernels() {
  std::vector<const KernelInfo*> list;
  for (const Row& row : table().rows())
    if (row.kind != kActivation) list.push_back(&row.kernel);
  return list;
}

}  // namespace cuda
}  // namespace fastalex
