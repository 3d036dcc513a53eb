// The engines of a net: from memory, from the cache, or newly built.
#ifndef FASTALEX_TENSORRT_ENGINE_STORE_H
#define FASTALEX_TENSORRT_ENGINE_STORE_H

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "tensorrt/engine/cache.h"
#include "tensorrt/engine/runtime.h"
#include "tensorrt/engine/settings.h"

namespace fastalex {
namespace tensorrt {

// The range of the engine that serves batch n: one image has its own, more share one up to the next power of two.
BatchRange range_for(int n);

struct StoredEngine {
  std::shared_ptr<const Engine> engine;
  std::string origin;  // "built" or "loaded from PATH", with the reason if the cache was of no use
};

class EngineStore {
 public:
  EngineStore(const cuda::DeviceFacts& device, const EngineSettings& settings, const EngineWeights& weights,
              const std::string& precision);

  // Thread-safe. Builds if necessary, holding the lock of the cache's file, so that only one of several processes
  // builds.
  StoredEngine get(const EnginePlan& plan, const BatchRange& batch);
  // The serialized engine.
  std::vector<char> bytes(const EnginePlan& plan, const BatchRange& batch);

 private:
  struct Loaded {
    std::vector<char> bytes;
    std::unique_ptr<Engine> engine;
    std::string origin;
  };
  EngineKey key_for(const EnginePlan& plan, const BatchRange& batch) const;
  Loaded load_or_build(const EnginePlan& plan, const BatchRange& batch) const;
  std::vector<char> build(const EnginePlan& plan, const BatchRange& batch) const;

  const cuda::DeviceFacts device_;
  const EngineSettings settings_;
  const EngineWeights& weights_;
  const std::string precision_;
  std::mutex mutex_;  // guards engines_, and lets one thread build at a time
  std::map<std::string, std::pair<std::weak_ptr<const Engine>, std::string>> engines_;  // by key; with its origin
};

}  // namespace tensorrt
}  // namespace fastalex
#endif  // FASTALEX_TENSORRT_ENGINE_STORE_H
