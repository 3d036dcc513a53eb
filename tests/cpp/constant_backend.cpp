// A backend in a shared library, for tests/test_engine.py: whatever the net, every output is 42.
#include "backend.h"

namespace {

#ifndef ABI
#define ABI FASTALEX_BACKEND_ABI
#endif

size_t output_count(const fastalex_step* steps, size_t count) {
  const fastalex_step& last = steps[count - 1];
  return static_cast<size_t>(last.n) * last.out_c * last.out_h * last.out_w;
}

const char* last_error() { return "the constant machine is out of order"; }

int probe() {
#ifdef BROKEN
  return 3;
#else
  return 0;
#endif
}

int model_create(const fastalex_step*, size_t, const float* const*, size_t, const fastalex_model_options*, void** out) {
  *out = nullptr;
  return 0;
}
void destroy(void*) {}
int model_param(const void*, size_t, float*) { return 0; }
size_t model_bytes(const void*) { return 0; }

int plan_create(const void*, const fastalex_step* steps, size_t count, void** plan) {
  *plan = new size_t(output_count(steps, count));
  return 0;
}
void plan_destroy(void* plan) { delete static_cast<size_t*>(plan); }

int context_create(const void*, void** context) {
  *context = nullptr;
  return 0;
}

int run(const void* plan, void*, const float*, float* const* outputs, double*) {
  for (size_t i = 0; i < *static_cast<const size_t*>(plan); ++i) outputs[0][i] = 42;
  return 0;
}

const fastalex_backend_api kApi = {
    ABI,          sizeof(fastalex_backend_api),
    "constant",   last_error,
    probe,        model_create,
    destroy,      model_param,
    model_bytes,  plan_create,
    plan_destroy, context_create,
    destroy,      run,
};

}  // namespace

#ifndef NO_ENTRY
extern "C" __attribute__((visibility("default"))) const fastalex_backend_api* fastalex_backend_entry() { return &kApi; }
#endif
