// Chooses the candidate that serves a problem on a device: by the first tuning rule that fits, else by the least
// predicted cost.
#ifndef FASTALEX_CUDA_PLAN_CHOOSE_H
#define FASTALEX_CUDA_PLAN_CHOOSE_H

#include <string>
#include <vector>

#include "cuda/candidates/candidate.h"

namespace fastalex {
namespace cuda {

// One line of the tuning text (grammar: fastalex.h).
struct TuningRule {
  Dtype dtype;
  std::string key;
  int first, last;  // batches
  std::string candidate;
  int split;  // 0: not set, the cost model decides
};

struct Tuning {
  std::vector<TuningRule> rules;
  int graphs = -1;         // 0 or 1; -1: not set
  int copied_frames = -1;  // the same
  int read_zeros = -1;
  int both_layouts = -1;
};

// Throws Error(FASTALEX_INVALID) with the line's number.
Tuning parse_tuning(const std::string& text);

// The key of the problem in tuning rules, without its precision.
std::string tuning_key(const Problem& problem);

// Returns whether the first rule that fits a pair keeps its two ops separate.
bool is_kept_apart(const Problem& pair, const Tuning& tuning);

struct Choice {
  const Candidate* candidate;
  int split;
};

// Candidates that can serve the problem on the device. General ones are included only if there are no others.
std::vector<const Candidate*> eligible(const Problem& problem, const DeviceFacts& device);

// The split with the least predicted cost.
Choice best_split(const Candidate& candidate, const Problem& problem, const DeviceFacts& device);

// Throws Error(FASTALEX_INVALID) if a rule names a candidate that is not eligible, or if none is. A rule is
// passed over whose candidate would be eligible if the weights did not lie by row alone.
Choice choose(const Problem& problem, const DeviceFacts& device, const Tuning& tuning);

// Every candidate of every op.
const std::vector<const Candidate*>& all_candidates();

}  // namespace cuda
}  // namespace fastalex
#endif  // FASTALEX_CUDA_PLAN_CHOOSE_H
