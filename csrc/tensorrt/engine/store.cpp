#include "tensorrt/engine/store.h"

#include <algorithm>
#include <sstream>

#include "common/error.h"
#include "common/xxhash.h"
#include "tensorrt/engine/progress.h"
#include "tensorrt/plugins/plugin_fields.h"

namespace fastalex {
namespace tensorrt {
namespace {

// The most workspace of a layer: a quarter of the memory, up to a gigabyte. A Nano shares its memory with the CPU.
const size_t kMostWorkspace = size_t(1) << 30;

// Identifies the code in this library that engines depend on.
std::string library_identity() {
  std::ostringstream text;
  text << "plugins " << kPluginVersion << "." << kSerialVersion;
  return text.str();
}

// The timings of one TensorRT on one kind of device.
CacheFile timing_file(const std::string& folder, const cuda::DeviceFacts& device, const std::string& tensorrt) {
  std::ostringstream key;
  key << "timings\ngpu " << device.name << "\nsm " << device.sm << "\nsms " << device.sms << "\ntensorrt " << tensorrt
      << "\n";
  return CacheFile(folder, Xxh64().add(key.str()).hex() + ".timings", key.str());
}

// A cache that cannot be written only costs time at the next start.
void keep(const CacheFile& file, const std::vector<char>& content) {
  try {
    file.write(content);
  } catch (const Error& error) {
    print_to_stderr(std::string("fastalex: the TensorRT cache cannot be written: ") + error.what());
  }
}

}  // namespace

BatchRange range_for(int n) {
  int most = 1;
  while (most < n) most *= 2;
  return BatchRange{1, most, most};
}

EngineStore::EngineStore(const cuda::DeviceFacts& device, const EngineSettings& settings, const EngineWeights& weights,
                         const std::string& precision)
    : device_(device), settings_(settings), weights_(weights), precision_(precision) {}

EngineKey EngineStore::key_for(const EnginePlan& plan, const BatchRange& batch) const {
  EngineKey key;
  key.gpu = device_.name;
  key.sm = device_.sm;
  key.sms = device_.sms;
  key.plan = Xxh64().add(plan.text()).hex();
  key.weights = weights_.hash();
  key.precision = precision_;
  key.min_batch = batch.least;
  key.best_batch = batch.best;
  key.max_batch = batch.most;
  key.tensorrt = engine_runtime().version();
  key.tuning = settings_.kernels;
  key.library = library_identity();
  return key;
}

StoredEngine EngineStore::get(const EnginePlan& plan, const BatchRange& batch) {
  const std::string key = key_for(plan, batch).text();
  const std::lock_guard<std::mutex> lock(mutex_);
  auto& entry = engines_[key];
  if (std::shared_ptr<const Engine> engine = entry.first.lock()) return StoredEngine{engine, entry.second};
  Loaded made = load_or_build(plan, batch);
  const std::shared_ptr<const Engine> engine = std::move(made.engine);
  entry = {engine, made.origin};
  return StoredEngine{engine, made.origin};
}

std::vector<char> EngineStore::bytes(const EnginePlan& plan, const BatchRange& batch) {
  const std::lock_guard<std::mutex> lock(mutex_);
  return load_or_build(plan, batch).bytes;
}

EngineStore::Loaded EngineStore::load_or_build(const EnginePlan& plan, const BatchRange& batch) const {
  const EngineKey key = key_for(plan, batch);
  const CacheFile file(settings_.cache, key.file_name(), key.text());
  const FolderLock lock(settings_.cache, key.file_name());
  Loaded made;
  std::string reason;
  if (file.read(&made.bytes, &reason)) {
    try {
      made.engine = engine_runtime().load(made.bytes, plan.outputs.size());
      made.origin = "loaded from " + file.path();
      return made;
    } catch (const Error& error) {
      reason = file.path() + " cannot be used: " + error.what();
    }
  }
  try {
    made.bytes = build(plan, batch);
  } catch (const Error& error) {
    if (reason.empty()) throw;
    throw Error(error.status, std::string(error.what()) + "; " + reason);
  }
  made.engine = engine_runtime().load(made.bytes, plan.outputs.size());
  made.origin = reason.empty() ? "built" : "built, since " + reason;
  keep(file, made.bytes);
  return made;
}

std::vector<char> EngineStore::build(const EnginePlan& plan, const BatchRange& batch) const {
  const EngineRuntime& runtime = engine_runtime();
  const CacheFile file = timing_file(settings_.cache, device_, runtime.version());
  std::vector<char> timings;
  std::string reason;
  file.read(&timings, &reason);
  const std::vector<char> before = timings;
  std::ostringstream what;
  what << precision_ << ", " << (batch.most == 1 ? "one image" : "batches to " + std::to_string(batch.most)) << ", on "
       << device_.name;
  std::unique_ptr<BuildProgress> progress;
  if (settings_.progress) progress.reset(new PrintedProgress(what.str(), print_to_stderr));
  const BuildRequest request = {
      plan, weights_, batch, settings_.kernels, std::min(device_.memory_bytes / 4, kMostWorkspace), progress.get()};
  std::vector<char> built = runtime.build(request, &timings);
  if (timings != before) keep(file, timings);
  return built;
}

}  // namespace tensorrt
}  // namespace fastalex
