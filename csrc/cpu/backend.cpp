// The tuned CPU backend behind backend/backend_api.h.
#include "cpu/backend.h"

#include <memory>
#include <sstream>

#include "backend/backend_impl.h"
#include "cpu/isa.h"
#include "cpu/model.h"
#include "cpu/plan.h"

namespace fastalex {
namespace {

const char* name_of(int dtype) { return dtype == kFloat32 ? "fp32" : dtype == kBfloat16 ? "bf16" : "int8"; }

std::string format_of(const ConvChoice& choice, const CpuKernels& kernels) {
  if (choice.form < 0) return "direct";
  std::ostringstream text;
  text << "winograd " << tile_edge(choice, kernels) << "x" << choice.kernel;
  if (choice.block > 1) text << " of blocks " << choice.block;
  return text.str();
}

// The data type that a fully connected layer multiplies in. Its rate bounds the layer unless reading the weights does.
const char* fc_dtype(const FcLayer& layer) {
  if (layer.choice.form == kFcBf16) return "bf16";
  return layer.choice.form >= kFcBytePlanes ? "int8" : "fp32";
}

// JSON of a step's algorithm, its products per image and the bytes of weights per call.
std::string describe_work(const Network& network, const fastalex_step& step) {
  std::ostringstream text;
  if (const ConvLayer* conv = network.model->conv(step)) {
    text << ", \"format\": \"" << format_of(conv->choice, *network.model->kernels) << "\", \"dtype\": \""
         << name_of(conv->choice.dtype)
         << "\", \"products\": " << static_cast<long long>(products_of(step, conv->choice, *network.model->kernels))
         << ", \"weight_bytes\": " << conv->weights.bytes();
  } else if (const FcLayer* fc = network.model->fc(step)) {
    const bool byte_planes = fc->choice.form >= kFcBytePlanes;
    text << ", \"format\": \"direct\", \"dtype\": \"" << fc_dtype(*fc)
         << "\", \"byte_planes\": " << fc->choice.byte_planes << ", \"products\": "
         << static_cast<long long>(fc->k) * step.out_c * (byte_planes ? fc->choice.byte_planes : 1)
         << ", \"weight_bytes\": " << fc->weights.bytes() + fc->scale.bytes();
  }
  return text.str();
}

class CpuPlan final : public BackendPlan {
 public:
  CpuPlan(const Model* model, const fastalex_step* steps, size_t count) : network_(model, steps, count) {}

  std::unique_ptr<BackendContext> make_context() const override {
    return std::unique_ptr<BackendContext>(new NetworkContext(network_));
  }

  std::string describe(const char* const* names) const override {
    std::vector<std::pair<size_t, size_t>> parts;  // first and last step
    for (const auto& stage : network_.stages) parts.emplace_back(stage->first_step, stage->last_step);
    for (size_t i = network_.per_image_steps; i < network_.steps.size(); ++i) parts.emplace_back(i, i);
    std::ostringstream text;
    text << "{\"graph\": false, \"steps\": [";
    for (size_t i = 0; i < parts.size(); ++i) {
      text << (i ? ", " : "") << "{\"layers\": [\"" << names[parts[i].first];
      if (parts[i].second > parts[i].first) text << "\", \"" << names[parts[i].second];
      text << "\"], \"candidate\": \"" << network_.model->kernels->isa << "\", \"kernels\": []"
           << describe_work(network_, network_.steps[parts[i].first]) << "}";
    }
    text << "]}";
    return text.str();
  }

  void run(BackendContext* context, const fastalex_backend_call& call) const override {
    check_host_call(call);
    run_network(network_, static_cast<NetworkContext*>(context), call);
  }

 private:
  const Network network_;
};

class CpuModel final : public BackendModel {
 public:
  CpuModel(const fastalex_step* steps, size_t count, const fastalex_param* params, size_t param_count,
           const fastalex_model_options& options)
      : model_(steps, count, params, param_count, options) {}

  void param(size_t index, float* out) const override { unpack_param(model_.layers, index, out); }
  void quantized(size_t index, void* values, void* scale) const override {
    static_cast<const FcLayer&>(*model_.layers.at(index / 2))
        .unpack_quantized(static_cast<unsigned char*>(values), static_cast<char*>(scale));
  }
  size_t bytes() const override { return bytes_of_all(model_.layers); }

  std::unique_ptr<BackendPlan> make_plan(const fastalex_step* steps, size_t count) const override {
    return std::unique_ptr<BackendPlan>(new CpuPlan(&model_, steps, count));
  }

 private:
  const Model model_;
};

std::unique_ptr<BackendModel> make_model(const fastalex_step* steps, size_t count, const fastalex_param* params,
                                         size_t param_count, const fastalex_model_options& options) {
  return std::unique_ptr<BackendModel>(new CpuModel(steps, count, params, param_count, options));
}

struct Cpu {
  static const BackendVTable& parts() {
    static const BackendVTable parts = {"cpu", [] { cpu_kernels(); }, no_device_info, make_model};
    return parts;
  }
};

}  // namespace

const fastalex_backend_api* cpu_backend() { return BackendApi<Cpu>::get(); }

}  // namespace fastalex
