// The candidate for softmax, and the kernel of the k largest values.
#include "cuda/candidates/candidate_table.h"
#include "cuda/kernels/softmax_topk.cuh"
#include "cuda/kernels/softmax_topk_instances.h"

namespace fastalex {
namespace cuda {
namespace {

enum Kind { kSoftmax, kTopK };

struct Row {
  KernelInfo kernel;
  Kind kind;
  Dtype dtype;
};

typedef CandidateTable<Row> Table;

const Table& table() {
  static const Table table({FASTALEX_SOFTMAX_TOPK_INSTANCES(FASTALEX_CANDIDATE_ROW)});
  return table;
}

bool serves(const Candidate&, const Problem& problem) {
  return problem.second.op < 0 && problem.step.in_h == 1 && problem.step.in_w == 1;
}

// A few passes over a row, one block per row.
double cost(const Candidate&, const Problem& problem, const DeviceFacts& device, int) {
  const double rounds = ceil_div(problem.step.n, 4 * device.sms);
  return rounds * (3 + 3e-3 * problem.step.in_c);
}

void launches(const Candidate& candidate, const Problem& problem, const DeviceFacts&, int, const Buffers& buffers,
              std::vector<KernelLaunch>* out) {
  const fastalex_step& s = problem.step;
  const SoftmaxArgs a = {buffers.in, buffers.out, s.n, s.in_c, channel_pitch(s.in_c), s.activation};
  out->push_back(KernelLaunch::make(candidate.kernels[0], Grid{s.n, 1, 1}, a));
}

}  // namespace

const std::vector<Candidate>& softmax_candidates() {
  static const std::vector<Candidate> list = table().candidates([](const Row& row, Candidate* c) {
    c->op = FASTALEX_OP_SOFTMAX;
    c->serves = serves;
    c->cost = cost;
    c->launches = launches;
    return row.kind == kSoftmax;
  });
  return list;
}

const KernelInfo& topk_kernel(Dtype dtype) {
  return table().kernel([=](const Row& row) { return row.kind == kTopK && row.dtype == dtype; });
}

}  // namespace cuda
}  // namespace fastalex
