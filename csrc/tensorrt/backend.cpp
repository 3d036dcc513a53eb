// The TensorRT backend behind backend/backend_api.h: one engine for the plans of a range of batches, and one execution
// of it for each running call.
#include "backend/backend_impl.h"
#include "backend/steps.h"
#include "cuda/runtime/device_arrays.h"
#include "tensorrt/engine/call.h"
#include "tensorrt/engine/plan.h"
#include "tensorrt/engine/runtime.h"
#include "tensorrt/engine/settings.h"
#include "tensorrt/engine/store.h"
#include "tensorrt/engine/weights.h"

#ifndef FASTALEX_TENSORRT_BACKEND_NAME
#define FASTALEX_TENSORRT_BACKEND_NAME "tensorrt"
#endif

namespace fastalex {
namespace tensorrt {
namespace {

class EngineModel final : public cuda::DeviceArrays {
 public:
  EngineModel(const fastalex_step* steps, size_t count, const fastalex_param* params, size_t param_count,
              const fastalex_model_options& options)
      : DeviceArrays(options.device_index),
        device_(cuda::device_facts(options.device_index)),
        settings_(parse_engine_settings(options.tuning)),
        options_{engine_runtime().strongly_typed(), options.precision, options.fc_storage, settings_.native,
                 settings_.preferred},
        weights_(steps, count, params, param_count, options.fc_storage),
        store_(device_, settings_, weights_,
               std::string(options.precision == FASTALEX_PRECISION_FP16 ? "fp16" : "fp32") + ", fc " +
                   storage_name(options.fc_storage)) {
    make_engine_plan(steps, count, options_);  // reports what is not supported before the first call
  }

  void param(size_t index, float* out) const override { weights_.unpack(index, out); }
  void quantized(size_t index, void* values, void* scale) const override { weights_.quantized(index, values, scale); }
  size_t bytes() const override { return weights_.bytes(); }
  std::unique_ptr<BackendPlan> make_plan(const fastalex_step* steps, size_t count) const override;

  const cuda::DeviceFacts& device() const { return device_; }
  const EngineOptions& options() const { return options_; }
  EngineStore& store() const { return store_; }
  bool graphs() const { return settings_.graphs < 0 ? !device_.integrated : settings_.graphs != 0; }

 private:
  const cuda::DeviceFacts device_;
  const EngineSettings settings_;
  const EngineOptions options_;
  const EngineWeights weights_;
  mutable EngineStore store_;
};

class EnginePlanOnDevice final : public BackendPlan {
 public:
  EnginePlanOnDevice(const EngineModel& model, const fastalex_step* steps, size_t count)
      : model_(model),
        plan_(make_engine_plan(steps, count, model.options())),
        batch_(range_for(steps->n)),
        stored_(model.store().get(plan_, batch_)) {}

  std::unique_ptr<BackendContext> make_context() const override {
    const cuda::DeviceScope scope(model_.device().index);
    return std::unique_ptr<BackendContext>(new EngineCall(*stored_.engine, plan_, model_.device(), model_.graphs()));
  }

  void run(BackendContext* context, const fastalex_backend_call& call) const override {
    const cuda::DeviceScope scope(model_.device().index);
    static_cast<EngineCall*>(context)->run(call);
  }

  // The layers that each plugin and TensorRT serve; TensorRT fuses its own further.
  std::string describe(const char* const* names) const override {
    std::ostringstream out;
    out << "{\"graph\": " << (model_.graphs() ? "true" : "false") << ", \"engine\": " << quoted(stored_.origin)
        << ", \"tensorrt\": " << quoted(engine_runtime().version()) << ", \"batch\": [" << batch_.least << ", "
        << batch_.most << "], \"steps\": [";
    for (size_t i = 0; i < plan_.steps.size();) {
      const EngineLayer* plugin = plugin_from(i);
      const size_t end = i + (plugin ? plugin->count : 1);
      out << (i ? ", " : "") << "{\"layers\": [";
      for (size_t k = i; k < end; ++k) out << (k > i ? ", " : "") << quoted(names[k]);
      out << "], \"candidate\": " << quoted(plugin ? plugin->plugin : "TensorRT") << ", \"kernels\": []}";
      i = end;
    }
    out << "]}";
    return out.str();
  }

  void save(const std::string& path) const override {
    const std::vector<char> bytes = model_.store().bytes(plan_, batch_);
    write_whole(path, {{bytes.data(), bytes.size()}});
  }

 private:
  const EngineLayer* plugin_from(size_t step) const {
    for (const EngineLayer& layer : plan_.layers)
      if (layer.kind == LayerKind::kPlugin && layer.first == step) return &layer;
    return nullptr;
  }

  static std::string quoted(const std::string& text) {
    std::string out = "\"";
    for (char c : text) {
      if (c == '"' || c == '\\') out += '\\';
      out += c < ' ' && c >= 0 ? ' ' : c;
    }
    return out + "\"";
  }

  const EngineModel& model_;
  const EnginePlan plan_;
  const BatchRange batch_;
  const StoredEngine stored_;
};

std::unique_ptr<BackendPlan> EngineModel::make_plan(const fastalex_step* steps, size_t count) const {
  const cuda::DeviceScope scope(device_.index);
  return std::unique_ptr<BackendPlan>(new EnginePlanOnDevice(*this, steps, count));
}

void probe() {
  cuda::device_count();
  engine_runtime().check();
}

std::string device_info(int index) { return cuda::device_json(cuda::device_facts(index)); }

std::unique_ptr<BackendModel> make_model(const fastalex_step* steps, size_t count, const fastalex_param* params,
                                         size_t param_count, const fastalex_model_options& options) {
  const bool half = options.precision == FASTALEX_PRECISION_FP16;
  if (options.precision != FASTALEX_PRECISION_FP32 && !half)
    invalid("the tensorrt backend computes in fp32 or fp16; use one of them");
  if (options.fc_storage != FASTALEX_INT8 && options.fc_storage != FASTALEX_INT4 &&
      options.fc_storage != (half ? FASTALEX_FP16 : FASTALEX_FP32))
    invalid("the tensorrt backend keeps fully connected weights in int8, int4 or its precision, ",
            half ? "fp16" : "fp32");
  const cuda::DeviceScope scope(options.device_index);
  return std::unique_ptr<BackendModel>(new EngineModel(steps, count, params, param_count, options));
}

struct TensorRt {
  static const BackendVTable& parts() {
    static const BackendVTable parts = {FASTALEX_TENSORRT_BACKEND_NAME, probe, device_info, make_model};
    return parts;
  }
};

}  // namespace
}  // namespace tensorrt
}  // namespace fastalex

extern "C" __attribute__((visibility("default"))) const fastalex_backend_api* fastalex_backend_entry() {
  return fastalex::BackendApi<fastalex::tensorrt::TensorRt>::get();
}
