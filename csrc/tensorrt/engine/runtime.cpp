// Implements runtime.h with TensorRT. The library is not linked with it: symbols are looked up in the TensorRT that the
// process has loaded, or in the one that is found here.
#include "tensorrt/engine/runtime.h"

#include <dlfcn.h>

#include <mutex>
#include <sstream>

#include "backend/dynamic_library.h"
#include "common/error.h"
#include "tensorrt/engine/network.h"

namespace fastalex {
namespace tensorrt {
namespace {

// Keeps TensorRT's first error, the cause of those that follow, for the message that the caller gets.
class Logger final : public nvinfer1::ILogger {
 public:
  void log(Severity severity, const char* message) noexcept override {
    if (severity > Severity::kERROR) return;
    try {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (first_.empty()) first_ = message;
    } catch (const std::exception&) {
      // The message then lacks TensorRT's text.
    }
  }

  std::string take() {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::string text;
    text.swap(first_);
    for (char& c : text)
      if (c == '\n') c = ' ';
    return text.empty() ? "it does not say why" : text;
  }

 private:
  std::mutex mutex_;
  std::string first_;
};

Logger& logger() {
  static Logger* instance = new Logger;  // TensorRT's objects may outlive static destructors
  return *instance;
}

[[noreturn]] void fail(const std::string& what) {
  throw Error(FASTALEX_INTERNAL, "TensorRT " + what + ": " + logger().take());
}

// Opens TensorRT of this major release: on the library path, beside this package as installed by pip's
// tensorrt-cu12-libs and the like, or in the process already. Returns "" or the reason why there is none. Its symbols
// stay private (RTLD_LOCAL), so that another release may be tried.
std::string open_tensorrt() {
  const std::string file = "libnvinfer.so." + std::to_string(NV_TENSORRT_MAJOR);
  if (dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL)) return "";
  const char* why = dlerror();
  const std::string reason = why ? why : file + " cannot be opened";
  if (dlopen((own_folder() + "/../tensorrt_libs/" + file).c_str(), RTLD_NOW | RTLD_LOCAL)) return "";
  return find_symbol("createInferRuntime_INTERNAL") ? "" : reason;
}

template <typename Object>
Object* create(const char* function) {
  typedef void* (*Create)(void*, int32_t);
  const Create make = reinterpret_cast<Create>(find_symbol(function));
  void* made = make ? make(static_cast<nvinfer1::ILogger*>(&logger()), NV_TENSORRT_VERSION) : nullptr;
  // Without a driver the lean runtime of 10.16 gives an offset from null.
  return reinterpret_cast<uintptr_t>(made) < 4096 ? nullptr : static_cast<Object*>(made);
}

class TensorRtExecution final : public EngineExecution {
 public:
  TensorRtExecution(std::shared_ptr<nvinfer1::ICudaEngine> engine, size_t outputs)
      : engine_(std::move(engine)), context_(engine_->createExecutionContext()) {
    if (!context_) fail("cannot make an execution context");
    for (size_t i = 0; i < outputs; ++i) names_.push_back(output_name(i));
  }

  void enqueue(int n, const void* input, void* const* outputs, cuda::StreamHandle stream) override {
    nvinfer1::Dims dims = input_dims(*engine_, kInputName);
    dims.d[0] = n;
    std::vector<std::pair<const char*, void*>> addresses = {{kInputName, const_cast<void*>(input)}};
    for (size_t i = 0; i < names_.size(); ++i) addresses.emplace_back(names_[i].c_str(), outputs[i]);
    if (!run_engine(*engine_, *context_, kInputName, dims, addresses, static_cast<cudaStream_t>(stream)))
      fail("cannot run the engine");
  }

 private:
  const std::shared_ptr<nvinfer1::ICudaEngine> engine_;
  const std::unique_ptr<nvinfer1::IExecutionContext> context_;
  std::vector<std::string> names_;
};

class TensorRtEngine final : public Engine {
 public:
  TensorRtEngine(std::shared_ptr<nvinfer1::ICudaEngine> engine, size_t outputs) : engine_(engine), outputs_(outputs) {}
  std::unique_ptr<EngineExecution> make_execution() const override {
    return std::unique_ptr<EngineExecution>(new TensorRtExecution(engine_, outputs_));
  }

 private:
  const std::shared_ptr<nvinfer1::ICudaEngine> engine_;
  const size_t outputs_;
};

class TensorRtRuntime final : public EngineRuntime {
 public:
  std::string version() const override {
    typedef int32_t (*GetVersion)();
    const GetVersion get = reinterpret_cast<GetVersion>(find_symbol("getInferLibVersion"));
    const int number = get ? get() : 0;
    std::ostringstream text;
    text << number / kMajorInVersion << "." << number % kMajorInVersion / 100 << "." << number % 100;
    return text.str();
  }

  bool strongly_typed() const override { return kStronglyTyped; }

  void check() const override {
    const std::string problem = open_tensorrt();
    if (!problem.empty())
      throw Error(FASTALEX_UNAVAILABLE,
                  "TensorRT " + std::to_string(NV_TENSORRT_MAJOR) + " is not available: " + problem);
    kernels();
    nvinfer1::IPluginRegistry* registry = find_registry();
    if (!registry) throw Error(FASTALEX_UNAVAILABLE, "TensorRT has no plugin registry");
    register_plugins(*registry);
  }

  std::vector<char> build(const BuildRequest& request, std::vector<char>* timings) const override {
    logger().take();  // drops earlier errors
    if (!find_symbol("createInferBuilder_INTERNAL"))
      throw Error(FASTALEX_UNAVAILABLE,
                  "TensorRT has no builder here, and no engine for this network, GPU and TensorRT is cached");
    const std::unique_ptr<nvinfer1::IBuilder> builder(create<nvinfer1::IBuilder>("createInferBuilder_INTERNAL"));
    if (!builder) fail("cannot make a builder");
    const std::unique_ptr<nvinfer1::INetworkDefinition> network(builder->createNetworkV2(kNetworkFlags));
    if (!network) fail("cannot make a network");
    NetworkWriter writer(request.plan, request.weights, request.kernels, *network);
    writer.write();
    const std::unique_ptr<nvinfer1::IBuilderConfig> config(builder->createBuilderConfig());
    if (!config) fail("cannot make a configuration");
    configure(*config, request.workspace, request.plan.precision == FASTALEX_PRECISION_FP16);
    config->clearFlag(nvinfer1::BuilderFlag::kTF32);  // fp32 means fp32
    add_profile(*builder, *config, request);
    const std::unique_ptr<nvinfer1::ITimingCache> cache(config->createTimingCache(timings->data(), timings->size()));
    if (cache) config->setTimingCache(*cache, false);
    BuildProgress* told = request.progress;
    ProgressMonitor monitor([told](const char* phase, int done, int steps) {
      if (told) told->phase(phase, done, steps);
    });
    monitor.watch(*config);
    const std::unique_ptr<nvinfer1::IHostMemory> engine(builder->buildSerializedNetwork(*network, *config));
    if (!engine) fail("cannot build an engine");
    if (cache) keep_timings(*cache, timings);
    const char* bytes = static_cast<const char*>(engine->data());
    return std::vector<char>(bytes, bytes + engine->size());
  }

  std::unique_ptr<Engine> load(const std::vector<char>& bytes, size_t outputs) const override {
    logger().take();
    const std::shared_ptr<nvinfer1::IRuntime> runtime(create<nvinfer1::IRuntime>("createInferRuntime_INTERNAL"));
    if (!runtime) fail("cannot make a runtime");
    nvinfer1::ICudaEngine* engine = runtime->deserializeCudaEngine(bytes.data(), bytes.size());
    if (!engine) fail("refuses the engine");
    // An engine must not outlive its runtime.
    const std::shared_ptr<nvinfer1::ICudaEngine> held(engine, [runtime](nvinfer1::ICudaEngine* last) { delete last; });
    return std::unique_ptr<Engine>(new TensorRtEngine(held, outputs));
  }

 private:
  static void add_profile(nvinfer1::IBuilder& builder, nvinfer1::IBuilderConfig& config, const BuildRequest& request) {
    nvinfer1::IOptimizationProfile* profile = builder.createOptimizationProfile();
    const std::pair<nvinfer1::OptProfileSelector, int> ends[] = {
        {nvinfer1::OptProfileSelector::kMIN, request.batch.least},
        {nvinfer1::OptProfileSelector::kOPT, request.batch.best},
        {nvinfer1::OptProfileSelector::kMAX, request.batch.most}};
    bool ok = profile != nullptr;
    for (const auto& end : ends) {
      nvinfer1::Dims4 dims(end.second, request.plan.in_c, request.plan.in_h, request.plan.in_w);
      ok = ok && profile->setDimensions(kInputName, end.first, dims);
    }
    if (!ok || config.addOptimizationProfile(profile) < 0) fail("refuses these batches");
  }

  static void keep_timings(const nvinfer1::ITimingCache& cache, std::vector<char>* timings) {
    const std::unique_ptr<nvinfer1::IHostMemory> serialized(cache.serialize());
    if (!serialized) return;
    const char* bytes = static_cast<const char*>(serialized->data());
    timings->assign(bytes, bytes + serialized->size());
  }
};

}  // namespace

const EngineRuntime& engine_runtime() {
  static const TensorRtRuntime runtime;
  return runtime;
}

}  // namespace tensorrt
}  // namespace fastalex
