// A net: immutable packed parameters, a cache of plans by shape, and a pool of contexts for each plan.
#ifndef FASTALEX_CORE_NET_H
#define FASTALEX_CORE_NET_H

#include <condition_variable>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "backend/backend_api.h"
#include "common/fork_guard.h"
#include "core/plan.h"

namespace fastalex {

class Net final : private ForkGuarded {
 public:
  class Call;

  // See fastalex.h for the order of the parameters.
  Net(const std::string& table, int c, int h, int w, const fastalex_param* params, size_t param_total,
      const fastalex_backend_api* backend, const fastalex_model_options& options);
  ~Net();  // waits for running calls
  Net(const Net&) = delete;
  Net& operator=(const Net&) = delete;

  int channels() const { return channels_; }
  const std::vector<size_t>& param_counts() const { return param_counts_; }
  std::vector<fastalex_step> output_steps(const Request& request);  // those of Call::outputs
  void describe(const Request& request, char* text, size_t capacity, size_t* size);
  void save(const Request& request, const char* path);
  void get_param(size_t index, float* out) const;
  // value_room, scale_room: bytes that there is room for.
  void get_quantized(size_t index, void* values, size_t value_room, void* scale, size_t scale_room) const;
  size_t param_bytes() const { return backend_->model_bytes(model_); }
  void* allocate(size_t bytes);
  void release(void* memory) { backend_->memory_destroy(model_, memory); }
  void copy(void* to, const void* from, size_t bytes, bool to_host);

 private:
  struct CachedPlan;

  void check_param(size_t index, const fastalex_param& param) const;
  std::shared_ptr<CachedPlan> find_plan(const Request& request);  // mutex_ held
  void check(int status) const;

  void before_fork() override { mutex_.lock(); }
  void after_fork_in_parent() override { mutex_.unlock(); }
  void after_fork_in_child() override;

  const fastalex_backend_api* backend_;
  std::vector<LayerRow> rows_;
  int channels_;
  std::vector<size_t> param_counts_;
  std::vector<size_t> outputs_;  // of each parameter that is a fully connected weight; 0 for others
  int fc_storage_;
  void* model_ = nullptr;

  std::mutex mutex_;
  std::condition_variable idle_;
  int running_ = 0;
  std::list<std::shared_ptr<CachedPlan>> plans_;  // most recently used first
};

// One call: a plan and a context borrowed from the net, looked up once. The net's destructor waits for it.
class Net::Call {
 public:
  Call(Net* net, const Request& request);
  ~Call();
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  const std::vector<fastalex_step>& outputs() const;   // the steps whose results are the outputs, in order
  const std::vector<std::string>& step_names() const;  // the last layer in each step
  void run(const fastalex_backend_call& call);         // step_seconds: null, or one value per step

 private:
  void run_plan(const fastalex_backend_call& call);

  Net* net_;
  std::shared_ptr<CachedPlan> plan_;
  void* context_ = nullptr;
};

}  // namespace fastalex
#endif  // FASTALEX_CORE_NET_H
