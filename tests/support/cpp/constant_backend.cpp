// A backend in a shared library, for tests/engine/test_engine.py: whatever the net, every output is 42.
#include "backend/backend_impl.h"

namespace {

class Plan final : public fastalex::BackendPlan {
 public:
  Plan(const fastalex_step& last) : count_(static_cast<size_t>(last.n) * last.out_c * last.out_h * last.out_w) {}
  std::unique_ptr<fastalex::BackendContext> make_context() const override { return nullptr; }
  std::string describe(const char* const*) const override { return "{}"; }
  void run(fastalex::BackendContext*, const fastalex_backend_call& call) const override {
    for (size_t i = 0; i < count_; ++i) call.outputs[0][i] = 42;
  }

 private:
  size_t count_;
};

class Model final : public fastalex::BackendModel {
 public:
  void param(size_t, float*) const override {}
  size_t bytes() const override { return 0; }
  std::unique_ptr<fastalex::BackendPlan> make_plan(const fastalex_step* steps, size_t count) const override {
    return std::unique_ptr<fastalex::BackendPlan>(new Plan(steps[count - 1]));
  }
};

void probe() {
#ifdef BROKEN
  throw fastalex::Error(FASTALEX_UNAVAILABLE, "the constant machine is out of order");
#endif
}

std::unique_ptr<fastalex::BackendModel> make_model(const fastalex_step*, size_t, const fastalex_param*, size_t,
                                                   const fastalex_model_options&) {
  return std::unique_ptr<fastalex::BackendModel>(new Model);
}

struct Constant {
  static const fastalex::BackendVTable& parts() {
    static const fastalex::BackendVTable parts = {"constant", probe, fastalex::no_device_info, make_model};
    return parts;
  }
};

}  // namespace

#ifndef NO_ENTRY
extern "C" __attribute__((visibility("default"))) const fastalex_backend_api* fastalex_backend_entry() {
  static fastalex_backend_api api = *fastalex::BackendApi<Constant>::get();
#ifdef ABI
  api.abi = ABI;
#endif
  return &api;
}
#endif
