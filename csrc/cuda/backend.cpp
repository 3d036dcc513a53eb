// The CUDA backend behind backend/backend_api.h: devices, models, and the one symbol that the library exports.
#include <memory>

#include "backend/backend_impl.h"
#include "cuda/candidates/layout.h"
#include "cuda/plan/device_step.h"
#include "cuda/plan/net_plan.h"
#include "cuda/runtime/device_arrays.h"
#include "weights/dequantize.h"

#ifndef FASTALEX_BACKEND_NAME
#define FASTALEX_BACKEND_NAME "cuda"
#endif

namespace fastalex {
namespace cuda {
namespace {

class DeviceModel final : public DeviceArrays {
 public:
  DeviceModel(const fastalex_step* steps, size_t count, const fastalex_param* params, size_t param_count,
              const fastalex_model_options& options)
      : DeviceArrays(options.device_index) {
    model_.device = device_facts(options.device_index);
    model_.dtype = options.precision == FASTALEX_PRECISION_FP16 ? kHalf : kFloat;
    model_.storage = options.fc_storage;
    model_.tuning = parse_tuning(options.tuning);
    const DeviceScope scope(model_.device.index);
    for (const fastalex_step* step = steps; step < steps + count; ++step) {
      if (step->param < 0) continue;
      FASTALEX_ASSERT(step->param == static_cast<int>(2 * model_.layers.size()));
      const float* bias = static_cast<const float*>(params[step->param + 1].data);
      if (used_as_given(*step, params[step->param])) {
        model_.layers.emplace_back(new LayerWeights(*step, model_.dtype, params[step->param], bias));
        continue;
      }
      const FloatParams floats(step, 1, params, param_count);
      model_.layers.emplace_back(new LayerWeights(*step, model_.dtype, model_.storage, floats[step->param], bias));
    }
  }

  ~DeviceModel() override {
    try {
      const DeviceScope scope(model_.device.index);
      model_.layers.clear();
    } catch (const std::exception&) {
      // Without the device there is nothing to free.
    }
  }

  void param(size_t index, float* out) const override {
    const DeviceScope scope(model_.device.index);
    unpack_param(model_.layers, index, out);
  }

  void quantized(size_t index, void* values, void* scale) const override {
    const DeviceScope scope(model_.device.index);
    model_.layers.at(index / 2)->unpack_quantized(values, scale);
  }

  size_t bytes() const override { return bytes_of_all(model_.layers); }

  std::unique_ptr<BackendPlan> make_plan(const fastalex_step* steps, size_t count) const override {
    return std::unique_ptr<BackendPlan>(new NetPlan(&model_, &runs_, steps, count));
  }

 private:
  bool used_as_given(const fastalex_step& step, const fastalex_param& weight) const {
    return weight.storage == model_.storage && weight.storage != FASTALEX_FP32 &&
           keeps_groups(streamed_layout(step, weight.storage, channel_pitch(step.in_c), channel_pitch(step.out_c)));
  }

  Model model_;
  mutable RunLock runs_;
};

// Rejects a library built for other architectures before it is used: looks up one kernel on each device.
void probe() {
  std::string problem;
  const int count = device_count();
  for (int i = 0; i < count; ++i) {
    try {
      const DeviceScope scope(i);
      prepare_kernel(*layout_kernels()[0]);
      return;
    } catch (const Error& error) {
      problem = error.what();
    }
  }
  throw Error(FASTALEX_UNAVAILABLE, problem);
}

std::string device_info(int index) { return device_json(device_facts(index)); }

std::unique_ptr<BackendModel> make_model(const fastalex_step* steps, size_t count, const fastalex_param* params,
                                         size_t param_count, const fastalex_model_options& options) {
  if (options.precision > FASTALEX_PRECISION_FP16)
    invalid("the cuda backend computes in fp32 or fp16; use one of them");
  if (options.fc_storage > FASTALEX_INT4) invalid("the cuda backend keeps no weights in bf16; use fp16");
  if (options.precision == FASTALEX_PRECISION_FP16 && options.fc_storage == FASTALEX_FP32)
    invalid("with fp16 activations fully connected weights are kept in fp16, int8 or int4, not in fp32");
  return std::unique_ptr<BackendModel>(new DeviceModel(steps, count, params, param_count, options));
}

struct Cuda {
  static const BackendVTable& parts() {
    static const BackendVTable parts = {FASTALEX_BACKEND_NAME, probe, device_info, make_model, true, layer_api()};
    return parts;
  }
};

}  // namespace
}  // namespace cuda
}  // namespace fastalex

extern "C" __attribute__((visibility("default"))) const fastalex_backend_api* fastalex_backend_entry() {
  return fastalex::BackendApi<fastalex::cuda::Cuda>::get();
}
