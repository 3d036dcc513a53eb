#include "cuda/plan/device_plan.h"

#include <algorithm>
#include <sstream>

#include "backend/steps.h"
#include "cuda/candidates/layout.h"

namespace fastalex {
namespace cuda {
namespace {

const char* format_name(WeightFormat format) {
  switch (format) {
    case kDirect:
      return "direct";
    case kWinograd2x3:
      return "winograd 2x3";
    case kWinograd4x3:
      return "winograd 4x3";
    case kWinograd3x5:
      return "winograd 3x5";
    case kStreamed:
      return "streamed";
    case kColumns:
      return "columns";
    default:
      return "none";
  }
}

std::string quoted(const std::string& text) { return "\"" + text + "\""; }

void describe_kernels(const PlannedStep& step, const DeviceFacts& device, std::ostringstream* out) {
  std::vector<KernelLaunch> launches;
  const Buffers nowhere = {};
  step.choice.candidate->launches(*step.choice.candidate, step.problem, device, step.choice.split, nowhere, &launches);
  for (size_t i = 0; i < launches.size(); ++i) {
    const KernelLaunch& launch = launches[i];
    *out << (i ? ", " : "") << "{\"name\": " << quoted(launch.kernel->name)
         << ", \"threads\": " << launch.kernel->threads << ", \"shared_bytes\": " << launch.kernel->shared_bytes
         << ", \"grid\": [" << launch.grid.x << ", " << launch.grid.y << ", " << launch.grid.z << "]}";
  }
}

void describe_candidates(const PlannedStep& step, const DeviceFacts& device, std::ostringstream* out) {
  const char* comma = "";
  for (const Candidate* candidate : eligible(step.problem, device)) {
    const Choice choice = best_split(*candidate, step.problem, device);
    const int limit = candidate->max_split ? std::max(1, candidate->max_split(*candidate, step.problem)) : 1;
    *out << comma << "{\"name\": " << quoted(candidate->name) << ", \"max_split\": " << limit
         << ", \"split\": " << choice.split
         << ", \"cost\": " << candidate->cost(*candidate, step.problem, device, choice.split) << "}";
    comma = ", ";
  }
}

}  // namespace

size_t tensor_bytes(int n, int h, int w, int c, Dtype dtype) {
  return static_cast<size_t>(n) * h * w * channel_pitch(c) * size_of(dtype);
}

DevicePlan::DevicePlan(const Model* model, const fastalex_step* steps, size_t count)
    : model_(model), steps_(steps, steps + count), sizes_() {
  for (const KernelInfo* kernel : layout_kernels()) prepare_kernel(*kernel);
  if (steps_.back().top_k) prepare_kernel(topk_kernel(model_->dtype));
  for (size_t i = 0; i < count;) i += plan_step(i);
  measure();
}

PlannedStep choose_step(const Model& model, const std::vector<fastalex_step>& steps, size_t index) {
  const fastalex_step& step = steps[index];
  PlannedStep planned = {};
  planned.problem = Problem{step, step, model.dtype, model.storage, false};
  planned.problem.second.op = -1;
  if (step.op == FASTALEX_OP_FULLY_CONNECTED && !model.layers.empty())
    planned.problem.rows_alone = model.layers.at(step.param / 2)->rows_alone(model.both_layouts());
  planned.first = index;
  planned.count = 1;
  if (index + 1 < steps.size() && is_norm_pool_pair(step, steps[index + 1])) {
    Problem pair = planned.problem;
    pair.second = steps[index + 1];
    if (!eligible(pair, model.device).empty() && !is_kept_apart(pair, model.tuning)) {
      planned.problem = pair;
      planned.count = 2;
    }
  }
  planned.choice = choose(planned.problem, model.device, model.tuning);
  const Candidate& candidate = *planned.choice.candidate;
  if (candidate.workspace) planned.workspace = candidate.workspace(candidate, planned.problem, planned.choice.split);
  return planned;
}

size_t DevicePlan::plan_step(size_t index) {
  const fastalex_step& step = steps_[index];
  PlannedStep planned = choose_step(*model_, steps_, index);
  const Candidate& candidate = *planned.choice.candidate;
  for (const KernelInfo& kernel : candidate.kernels) prepare_kernel(kernel);
  if (step.param >= 0) {
    LayerWeights* layer = model_->layers.at(step.param / 2).get();
    const fastalex_step& packed = layer->step();
    if (step.op == FASTALEX_OP_FULLY_CONNECTED) check_same_features(step, packed.in_c, packed.in_h, packed.in_w);
    planned.weights = layer->get(candidate.format, model_->both_layouts());
    if (model_->tuning.read_zeros > 0) planned.weights.skip_zeros = false;
  }
  planned_.push_back(planned);
  return planned.count;
}

bool DevicePlan::is_outdated() const {
  for (const PlannedStep& step : planned_)
    if (step.choice.candidate->format == kColumns &&
        model_->layers.at(step.problem.step.param / 2)->rows_alone(model_->both_layouts()))
      return true;
  return false;
}

void DevicePlan::measure() {
  const fastalex_step& first = steps_.front();
  sizes_.input = static_cast<size_t>(first.n) * first.in_c * first.in_h * first.in_w * sizeof(float);
  sizes_.tensor = tensor_bytes(first.n, first.in_h, first.in_w, first.in_c, model_->dtype);
  for (const PlannedStep& planned : planned_) {
    const fastalex_step& last = planned.last();
    sizes_.tensor = std::max(sizes_.tensor, tensor_bytes(last.n, last.out_h, last.out_w, last.out_c, model_->dtype));
    sizes_.workspace = std::max(sizes_.workspace, planned.workspace);
    if (last.output < 0) continue;
    if (sizes_.outputs.size() <= static_cast<size_t>(last.output)) sizes_.outputs.resize(last.output + 1);
    const size_t values = last.top_k ? last.top_k : static_cast<size_t>(last.out_c) * last.out_h * last.out_w;
    sizes_.outputs[last.output] = last.n * values * sizeof(float);
    if (last.top_k) sizes_.indices = last.n * values * sizeof(int32_t);
  }
}

std::string DevicePlan::describe(const char* const* names) const {
  std::ostringstream out;
  out << "{\"graph\": " << (model_->graphs() ? "true" : "false") << ", \"steps\": [";
  for (size_t i = 0; i < planned_.size(); ++i) {
    const PlannedStep& step = planned_[i];
    const Candidate& candidate = *step.choice.candidate;
    out << (i ? ", " : "") << "{\"layers\": [" << quoted(names[step.first]);
    if (step.count == 2) out << ", " << quoted(names[step.first + 1]);
    out << "], \"key\": " << quoted((model_->dtype == kHalf ? "fp16 " : "fp32 ") + tuning_key(step.problem))
        << ", \"candidate\": " << quoted(candidate.name) << ", \"split\": " << step.choice.split
        << ", \"general\": " << (candidate.general ? "true" : "false") << ", \"half_sum\": " << candidate.half_sum
        << ", \"format\": " << quoted(format_name(candidate.format)) << ", \"workspace\": " << step.workspace
        << ", \"kernels\": [";
    describe_kernels(step, model_->device, &out);
    out << "], \"candidates\": [";
    describe_candidates(step, model_->device, &out);
    out << "]}";
  }
  out << "]}";
  return out.str();
}

}  // namespace cuda
}  // namespace fastalex
