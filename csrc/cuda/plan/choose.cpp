#include "cuda/plan/choose.h"

#include <algorithm>
#include <cstdlib>
#include <sstream>

#include "backend/steps.h"
#include "common/error.h"

namespace fastalex {
namespace cuda {
namespace {

const char* op_name(int op) {
  switch (op) {
    case FASTALEX_OP_CONV:
      return "conv";
    case FASTALEX_OP_FULLY_CONNECTED:
      return "fc";
    case FASTALEX_OP_LRN:
      return "lrn";
    case FASTALEX_OP_SPATIAL_NORM:
      return "spatial_norm";
    case FASTALEX_OP_MAXPOOL:
      return "maxpool";
    case FASTALEX_OP_ADAPTIVE_AVGPOOL:
      return "adaptive_avgpool";
    case FASTALEX_OP_ACTIVATION:
      return "activation";
    default:
      return "softmax";
  }
}

int number(const std::string& word, int line, const std::string& what) {
  char* end = nullptr;
  const long value = std::strtol(word.c_str(), &end, 10);
  if (word.empty() || *end || value < 1 || value > 1 << 30)
    invalid("line ", line, " of the tuning rules: ", what, " is '", word, "'; it must be a positive number");
  return static_cast<int>(value);
}

TuningRule parse_rule(const std::vector<std::string>& words, int line) {
  if (words.size() < 4 || words.size() > 5 || (words[0] != "fp32" && words[0] != "fp16"))
    invalid("line ", line, " of the tuning rules must be: fp32|fp16 KEY FIRST-LAST CANDIDATE [split=N]");
  TuningRule rule;
  rule.dtype = words[0] == "fp16" ? kHalf : kFloat;
  rule.key = words[1];
  const size_t dash = words[2].find('-');
  rule.first = number(words[2].substr(0, dash), line, "the first batch");
  rule.last = dash == std::string::npos ? rule.first : number(words[2].substr(dash + 1), line, "the last batch");
  rule.candidate = words[3];
  rule.split = 0;
  if (words.size() == 5) {
    if (words[4].compare(0, 6, "split=") != 0)
      invalid("line ", line, " of the tuning rules: '", words[4], "' is not split=N");
    rule.split = number(words[4].substr(6), line, "the split");
  }
  return rule;
}

const char* const kSeparate = "separate";  // instead of a pair's candidate

// Parses a line of two words, the second of which has two possible values.
bool parse_setting(const std::vector<std::string>& words, int line, Tuning* tuning) {
  struct Setting {
    const char *name, *off, *on;
    int Tuning::* value;
  };
  for (const Setting& each :
       {Setting{"graphs", "off", "on", &Tuning::graphs}, Setting{"frames", "mapped", "copied", &Tuning::copied_frames},
        Setting{"zeros", "skipped", "read", &Tuning::read_zeros},
        Setting{"layouts", "one", "both", &Tuning::both_layouts}}) {
    if (words[0] != each.name) continue;
    if (words.size() != 2 || (words[1] != each.on && words[1] != each.off))
      invalid("line ", line, " of the tuning rules must be: ", each.name, " ", each.on, "|", each.off);
    tuning->*each.value = words[1] == each.on;
    return true;
  }
  return false;
}

bool is_for(const TuningRule& rule, const Problem& problem, const std::string& key) {
  return rule.dtype == problem.dtype && rule.key == key && problem.step.n >= rule.first && problem.step.n <= rule.last;
}

// Whether the rule's candidate is missing only because the weights lie by row.
bool gave_way(const TuningRule& rule, Problem problem, const DeviceFacts& device) {
  if (!problem.rows_alone) return false;
  problem.rows_alone = false;
  for (const Candidate* candidate : eligible(problem, device))
    if (rule.candidate == candidate->name) return true;
  return false;
}

bool fits(const KernelInfo& kernel, const DeviceFacts& device) {
  return (!kernel.min_sm || device.sm >= kernel.min_sm) && (!kernel.max_sm || device.sm <= kernel.max_sm) &&
         (!kernel.tensor_cores || device.tensor_cores) &&
         static_cast<size_t>(kernel.shared_bytes) <= device.shared_per_block;
}

bool can_serve(const Candidate& candidate, const Problem& problem, const DeviceFacts& device) {
  if (candidate.op != problem.step.op || candidate.dtype != problem.dtype ||
      candidate.fused_pair != (problem.second.op >= 0))
    return false;
  for (const KernelInfo& kernel : candidate.kernels)
    if (!fits(kernel, device)) return false;
  return candidate.serves(candidate, problem);
}

int split_limit(const Candidate& candidate, const Problem& problem) {
  return candidate.max_split ? std::max(1, candidate.max_split(candidate, problem)) : 1;
}

}  // namespace

Tuning parse_tuning(const std::string& text) {
  Tuning tuning;
  std::istringstream lines(text);
  int line = 0;
  for (std::string row; std::getline(lines, row);) {
    ++line;
    std::istringstream stream(row.substr(0, row.find('#')));
    std::vector<std::string> words;
    for (std::string word; stream >> word;) words.push_back(word);
    if (words.empty() || parse_setting(words, line, &tuning)) continue;
    tuning.rules.push_back(parse_rule(words, line));
  }
  return tuning;
}

std::string tuning_key(const Problem& problem) {
  const fastalex_step& s = problem.step;
  std::ostringstream key;
  key << op_name(s.op);
  if (s.op == FASTALEX_OP_CONV) {
    key << ':' << s.in_c / s.groups << 'x' << s.kernel << 'x' << s.kernel << '/' << s.stride << ':'
        << s.out_c / s.groups;
  } else if (s.op == FASTALEX_OP_FULLY_CONNECTED) {
    key << ':' << static_cast<long long>(s.in_c) * s.in_h * s.in_w << ':' << s.out_c << ':'
        << storage_name(problem.storage);
  }
  if (problem.second.op >= 0) key << '+' << op_name(problem.second.op);
  return key.str();
}

bool is_kept_apart(const Problem& pair, const Tuning& tuning) {
  const std::string key = tuning_key(pair);
  for (const TuningRule& rule : tuning.rules)
    if (is_for(rule, pair, key)) return rule.candidate == kSeparate;
  return false;
}

const std::vector<const Candidate*>& all_candidates() {
  static const std::vector<const Candidate*> all = [] {
    std::vector<const Candidate*> list;
    for (const std::vector<Candidate>* table :
         {&conv_winograd_candidates(), &conv_mma_candidates(), &conv_simt_candidates(),
          &fully_connected_columns_candidates(), &fully_connected_candidates(), &gemm_fc_candidates(),
          &norm_pool_candidates(), &elementwise_candidates(), &softmax_candidates()})
      for (const Candidate& candidate : *table) list.push_back(&candidate);
    return list;
  }();
  return all;
}

std::vector<const Candidate*> eligible(const Problem& problem, const DeviceFacts& device) {
  std::vector<const Candidate*> special, general;
  for (const Candidate* candidate : all_candidates())
    if (can_serve(*candidate, problem, device)) (candidate->general ? general : special).push_back(candidate);
  return special.empty() ? general : special;
}

Choice best_split(const Candidate& candidate, const Problem& problem, const DeviceFacts& device) {
  Choice best = {&candidate, 1};
  const int limit = split_limit(candidate, problem);
  double least = candidate.cost(candidate, problem, device, 1);
  for (int split = 2; split <= limit; split += split < 8 ? 1 : split < 16 ? 2 : 4) {
    const double cost = candidate.cost(candidate, problem, device, split);
    if (cost < least) {
      least = cost;
      best.split = split;
    }
  }
  return best;
}

Choice choose(const Problem& problem, const DeviceFacts& device, const Tuning& tuning) {
  const std::vector<const Candidate*> candidates = eligible(problem, device);
  const std::string key = tuning_key(problem);
  if (candidates.empty()) invalid("no kernel of this library serves ", key, " on ", device.name);
  for (const TuningRule& rule : tuning.rules) {
    if (!is_for(rule, problem, key)) continue;
    for (const Candidate* candidate : candidates) {
      if (rule.candidate != candidate->name) continue;
      if (rule.split > split_limit(*candidate, problem))
        invalid("a tuning rule splits ", rule.candidate, " in ", rule.split, " for ", key, "; at most ",
                split_limit(*candidate, problem), " is possible");
      return rule.split ? Choice{candidate, rule.split} : best_split(*candidate, problem, device);
    }
    if (gave_way(rule, problem, device)) continue;
    invalid("a tuning rule names ", rule.candidate, " for ", key, ", which cannot serve it on ", device.name);
  }
  Choice best = best_split(*candidates[0], problem, device);
  double least = best.candidate->cost(*best.candidate, problem, device, best.split);
  for (const Candidate* candidate : candidates) {
    const Choice choice = best_split(*candidate, problem, device);
    const double cost = candidate->cost(*candidate, problem, device, choice.split);
    if (cost < least) {
      least = cost;
      best = choice;
    }
  }
  return best;
}

}  // namespace cuda
}  // namespace fastalex
