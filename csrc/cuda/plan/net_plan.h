// A plan of a net. Plans share the weights, and one that is made may take a layout from others, which then plan anew at
// their next use.
#ifndef FASTALEX_CUDA_PLAN_NET_PLAN_H
#define FASTALEX_CUDA_PLAN_NET_PLAN_H

#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <vector>

#include "cuda/plan/device_plan.h"

namespace fastalex {
namespace cuda {

// A readers-writer lock that prefers the writer: the uses of a net's plans pass side by side, the making of a plan
// alone, which does not wait for uses that begin after it.
class RunLock {
 public:
  std::shared_lock<std::shared_timed_mutex> use();
  std::unique_lock<std::shared_timed_mutex> make();

 private:
  std::mutex door_;
  std::shared_timed_mutex runs_;
};

class NetPlan final : public BackendPlan {
 public:
  NetPlan(const Model* model, RunLock* runs, const fastalex_step* steps, size_t count);

  std::unique_ptr<BackendContext> make_context() const override;
  std::string describe(const char* const* names) const override;
  void run(BackendContext* context, const fastalex_backend_call& call) const override;

 private:
  std::shared_ptr<const DevicePlan> current() const;

  const Model* model_;
  RunLock* runs_;
  const std::vector<fastalex_step> steps_;
  mutable std::mutex mutex_;  // guards plan_
  mutable std::shared_ptr<const DevicePlan> plan_;
};

}  // namespace cuda
}  // namespace fastalex
#endif  // FASTALEX_CUDA_PLAN_NET_PLAN_H
