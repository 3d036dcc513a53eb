#include "core/net.h"

#include <algorithm>

#include "backend/steps.h"
#include "common/error.h"
#include "core/top_k.h"

namespace fastalex {
namespace {
// Plans that a net caches. Eight covers a few batch and image sizes; evicted plans are rebuilt when needed.
const size_t kPlanCacheSize = 8;
}  // namespace

struct Net::CachedPlan {
  CachedPlan(const fastalex_backend_api* backend_, const Request& request_) : backend(backend_), request(request_) {}
  ~CachedPlan() {
    for (void* context : free_contexts) backend->context_destroy(context);
    if (plan) backend->plan_destroy(plan);
  }
  CachedPlan(const CachedPlan&) = delete;
  CachedPlan& operator=(const CachedPlan&) = delete;

  const fastalex_backend_api* backend;
  Request request;
  std::vector<fastalex_step> outputs;
  std::vector<std::string> names;
  void* plan = nullptr;
  std::vector<void*> free_contexts;  // guarded by the net's mutex
};

Net::Call::Call(Net* net, const Request& request) : net_(net) {
  std::lock_guard<std::mutex> lock(net_->mutex_);
  plan_ = net_->find_plan(request);
  if (plan_->free_contexts.empty()) {
    net_->check(net_->backend_->context_create(plan_->plan, &context_));
  } else {
    context_ = plan_->free_contexts.back();
    plan_->free_contexts.pop_back();
  }
  ++net_->running_;
}

Net::Call::~Call() {
  std::lock_guard<std::mutex> lock(net_->mutex_);
  plan_->free_contexts.push_back(context_);
  plan_.reset();  // an evicted plan is destroyed here, before the net
  if (--net_->running_ == 0) net_->idle_.notify_all();
}

const std::vector<fastalex_step>& Net::Call::outputs() const { return plan_->outputs; }

const std::vector<std::string>& Net::Call::step_names() const { return plan_->names; }

void Net::Call::run(const fastalex_backend_call& call) {
  const fastalex_step& output = plan_->outputs[0];
  if (!output.top_k || net_->backend_->top_k) return run_plan(call);
  std::vector<float> values(static_cast<size_t>(output.n) * output.out_c);
  float* const outputs[] = {values.data()};
  fastalex_backend_call whole = call;
  whole.outputs = outputs;
  whole.indices = nullptr;
  run_plan(whole);
  select_top_k(values.data(), output.n, output.out_c, output.top_k, call.outputs[0], call.indices);
}

void Net::Call::run_plan(const fastalex_backend_call& call) {
  net_->check(net_->backend_->run(plan_->plan, context_, &call));
}

Net::Net(const std::string& table, int c, int h, int w, const fastalex_param* params, size_t param_total,
         const fastalex_backend_api* backend, const fastalex_model_options& options)
    : backend_(backend), rows_(parse_table(table)), channels_(c), fc_storage_(options.fc_storage) {
  Plan native = build_plan(rows_, c, {1, h, w, false, 0, {}});
  param_counts_ = native.param_counts;
  if (param_total != param_counts_.size())
    invalid("the layer table has ", param_counts_.size(), " parameters, but ", param_total, " were given");
  outputs_.resize(param_total);
  for (const fastalex_step& step : native.steps)
    if (step.op == FASTALEX_OP_FULLY_CONNECTED) outputs_[step.param] = static_cast<size_t>(step.out_c);
  for (size_t i = 0; i < param_total; ++i) check_param(i, params[i]);
  check(backend_->model_create(native.steps.data(), native.steps.size(), params, param_total, &options, &model_));
  register_fork_guarded(this);
}

void Net::check_param(size_t index, const fastalex_param& param) const {
  if (!param.data) invalid("the data of parameter ", index, " must not be NULL");
  if (param.count != param_counts_[index])
    invalid("parameter ", index, " must have ", param_counts_[index], " values, not ", param.count);
  if (param.storage == FASTALEX_FP32) return;
  if (param.storage != FASTALEX_INT8 && param.storage != FASTALEX_INT4)
    invalid("the storage of parameter ", index, " must be fp32, int8 or int4, not ", param.storage);
  if (!outputs_[index])
    invalid("parameter ", index, " is quantized, but only weights of fully connected layers may be");
  if (!param.scale) invalid("the scale of parameter ", index, ", which is quantized, must not be NULL");
  if (param.outputs < 0 || static_cast<size_t>(param.outputs) != outputs_[index])
    invalid("the values and scales of parameter ", index, " are for ", param.outputs, " outputs, but its layer has ",
            outputs_[index]);
}

Net::~Net() {
  unregister_fork_guarded(this);
  {
    std::unique_lock<std::mutex> lock(mutex_);
    idle_.wait(lock, [this] { return running_ == 0; });
  }
  plans_.clear();
  backend_->model_destroy(model_);
}

void Net::check(int status) const {
  if (status != FASTALEX_OK) throw Error(status, backend_->last_error());
}

std::shared_ptr<Net::CachedPlan> Net::find_plan(const Request& request) {
  for (auto it = plans_.begin(); it != plans_.end(); ++it) {
    if ((*it)->request == request) {
      plans_.splice(plans_.begin(), plans_, it);
      return plans_.front();
    }
  }
  Plan plan = build_plan(rows_, channels_, request);
  std::shared_ptr<CachedPlan> made = std::make_shared<CachedPlan>(backend_, request);
  made->names = plan.names;
  made->outputs.resize(std::max<size_t>(1, request.taps.size()));
  for (fastalex_step& step : plan.steps) {
    if (step.output < 0) continue;
    made->outputs[step.output] = step;
    if (!backend_->top_k) step.top_k = 0;
  }
  check(backend_->plan_create(model_, plan.steps.data(), plan.steps.size(), &made->plan));
  plans_.push_front(made);
  if (plans_.size() > kPlanCacheSize) plans_.pop_back();
  return made;
}

std::vector<fastalex_step> Net::output_steps(const Request& request) {
  std::lock_guard<std::mutex> lock(mutex_);
  return find_plan(request)->outputs;
}

void Net::describe(const Request& request, char* text, size_t capacity, size_t* size) {
  std::lock_guard<std::mutex> lock(mutex_);
  const std::shared_ptr<CachedPlan> plan = find_plan(request);
  std::vector<const char*> names;
  for (const std::string& name : plan->names) names.push_back(name.c_str());
  check(backend_->plan_describe(plan->plan, names.data(), text, capacity, size));
}

void Net::save(const Request& request, const char* path) {
  const std::lock_guard<std::mutex> lock(mutex_);
  check(backend_->plan_save(find_plan(request)->plan, path));
}

void* Net::allocate(size_t bytes) {
  void* memory = nullptr;
  check(backend_->memory_create(model_, bytes, &memory));
  return memory;
}

void Net::copy(void* to, const void* from, size_t bytes, bool to_host) {
  check(backend_->memory_copy(model_, to, from, bytes, to_host));
}

void Net::get_param(size_t index, float* out) const {
  if (index >= param_counts_.size()) invalid("there is no parameter ", index, ": the net has ", param_counts_.size());
  check(backend_->model_param(model_, index, out));
}

void Net::get_quantized(size_t index, void* values, size_t value_room, void* scale, size_t scale_room) const {
  if (index >= param_counts_.size()) invalid("there is no parameter ", index, ": the net has ", param_counts_.size());
  const size_t outputs = outputs_[index];
  if (!outputs || (fc_storage_ != FASTALEX_INT8 && fc_storage_ != FASTALEX_INT4))
    invalid("the net does not keep parameter ", index, " in int8 or int4; use fastalex_get_param");
  const size_t inputs = param_counts_[index] / outputs;
  const size_t value_need = outputs * quantized_bytes(fc_storage_, inputs);
  const size_t scale_need = outputs * scale_bytes(fc_storage_, inputs);
  if (value_room != value_need || scale_room != scale_need)
    invalid("parameter ", index, " has ", value_need, " bytes of values and ", scale_need, " of scales, room for ",
            value_room, " and ", scale_room, " was given");
  check(backend_->model_quantized(model_, index, values, scale));
}

void Net::after_fork_in_child() {
  // The computing threads do not exist in the child process; the contexts they had borrowed are leaked.
  running_ = 0;
  mutex_.unlock();
}

}  // namespace fastalex
