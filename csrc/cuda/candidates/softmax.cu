// The candidate of softmax, and the kernel of the k largest values.
#include <algorithm>

#include "cuda/candidates/candidate.h"
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

const std::vector<Row>& rows() {
  static const std::vector<Row> table = {
#define FASTALEX_ROW(NAME, KERNEL, ARGS, THREADS, SHARED, MIN_SM, MAX_SM, TENSOR, KIND, DTYPE) \
  Row{FASTALEX_KERNEL_INFO(NAME, KERNEL, ARGS, THREADS, SHARED, MIN_SM, MAX_SM, TENSOR), KIND, DTYPE},
      FASTALEX_SOFTMAX_TOPK_INSTANCES(FASTALEX_ROW)
#undef FASTALEX_ROW
  };
  return table;
}

const KernelInfo& kernel_of(Kind kind, Dtype dtype) {
  return std::find_if(rows().begin(), rows().end(),
                      [&](const Row& row) { return row.kind == kind && row.dtype == dtype; })
      ->kernel;
}

bool serves(const Candidate&, const Problem& problem) {
  return problem.second.op < 0 && problem.step.in_h == 1 && problem.step.in_w == 1;
}

// A few passes over one row a block.
double cost(const Candidate&, const Problem& problem, const DeviceFacts& device, int) {
  const double rounds = ceil_div(problem.step.n, 4 * device.sms);
  return rounds * (3 + 3e-3 * problem.step.in_c);
}

void launches(const Candidate& candidate, const Problem& problem, int, const Buffers& buffers,
              std::vector<KernelLaunch>* out) {
  const fastalex_step& s = problem.step;
  const SoftmaxArgs a = {buffers.in, buffers.out, s.n, s.in_c, channel_pitch(s.in_c), s.activation};
  out->push_back(KernelLaunch::make(candidate.kernels[0], Grid{s.n, 1, 1}, a));
}

std::vector<Candidate> make_candidates() {
  std::vector<Candidate> list;
  for (Dtype dtype : {kFloat, kHalf}) {
    Candidate c = {};
    c.kernels = {kernel_of(kSoftmax, dtype)};
    c.name = c.kernels[0].name;
    c.op = FASTALEX_OP_SOFTMAX;
    c.dtype = dtype;
    c.format = kNoWeights;
    c.serves = serves;
    c.cost = cost;
    c.launches = launches;
    list.push_back(c);
  }
  return list;
}

}  // namespace

const std::vector<Candidate>& softmax_candidates() {
  static const std::vector<Candidate> list = make_candidates();
  return list;
}

const KernelInfo& topk_kernel(Dtype dtype) { return kernel_of(kTopK, dtype); }

}  // namespace cuda
}  // namespace fastalex
