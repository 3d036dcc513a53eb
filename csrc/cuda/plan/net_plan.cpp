#include "cuda/plan/net_plan.h"

#include "cuda/plan/device_context.h"

namespace fastalex {
namespace cuda {
namespace {

// The context of the plan that it was last used with.
struct NetContext final : BackendContext {
  std::shared_ptr<const DevicePlan> plan;  // lives longer than the context
  std::unique_ptr<DeviceContext> context;

  void follow(const std::shared_ptr<const DevicePlan>& current) {
    if (context && plan == current) return;
    context.reset();  // before it is made anew, so that its memory is free
    plan = current;
    context.reset(new DeviceContext(*plan));
  }
};

}  // namespace

std::shared_lock<std::shared_timed_mutex> RunLock::use() {
  const std::lock_guard<std::mutex> lock(door_);
  return std::shared_lock<std::shared_timed_mutex>(runs_);
}

std::unique_lock<std::shared_timed_mutex> RunLock::make() {
  const std::lock_guard<std::mutex> lock(door_);
  return std::unique_lock<std::shared_timed_mutex>(runs_);
}

NetPlan::NetPlan(const Model* model, RunLock* runs, const fastalex_step* steps, size_t count)
    : model_(model), runs_(runs), steps_(steps, steps + count) {
  const auto alone = runs_->make();
  const DeviceScope scope(model_->device.index);
  plan_ = std::make_shared<DevicePlan>(model_, steps_.data(), steps_.size());
}

// The plan; the caller holds use(), so that no layout goes.
std::shared_ptr<const DevicePlan> NetPlan::current() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (plan_->is_outdated()) plan_ = std::make_shared<DevicePlan>(model_, steps_.data(), steps_.size());
  return plan_;
}

std::unique_ptr<BackendContext> NetPlan::make_context() const {
  const auto use = runs_->use();
  const DeviceScope scope(model_->device.index);
  std::unique_ptr<NetContext> context(new NetContext);
  context->follow(current());
  return context;
}

void NetPlan::run(BackendContext* context, const fastalex_backend_call& call) const {
  const auto use = runs_->use();
  const DeviceScope scope(model_->device.index);
  NetContext* mine = static_cast<NetContext*>(context);
  mine->follow(current());
  mine->context->run(call);
}

std::string NetPlan::describe(const char* const* names) const {
  const auto use = runs_->use();
  const DeviceScope scope(model_->device.index);
  return current()->describe(names);
}

}  // namespace cuda
}  // namespace fastalex
