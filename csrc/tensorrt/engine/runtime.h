// The backend's interface to TensorRT: build, load, run. runtime.cpp implements it with TensorRT,
// cuda_emulator/src/engine_emulated.cpp by computing the layers of the plan one after the other.
#ifndef FASTALEX_TENSORRT_ENGINE_RUNTIME_H
#define FASTALEX_TENSORRT_ENGINE_RUNTIME_H

#include <memory>
#include <string>
#include <vector>

#include "cuda/runtime/runtime.h"
#include "tensorrt/engine/plan.h"
#include "tensorrt/engine/weights.h"

namespace fastalex {
namespace tensorrt {

// An engine serves batches from `least` to `most` and is tuned for `best`.
struct BatchRange {
  int least, best, most;
};

// Receives the progress of a build; called by one thread at a time.
class BuildProgress {
 public:
  virtual ~BuildProgress() = default;
  virtual void phase(const std::string& name, int done, int steps) = 0;
};

struct BuildRequest {
  const EnginePlan& plan;
  const EngineWeights& weights;
  BatchRange batch;
  std::string kernels;  // tuning rules of the plugins
  size_t workspace;     // bytes that a layer may use at most
  BuildProgress* progress;
};

// One running call: the memory of an engine's layers.
class EngineExecution {
 public:
  virtual ~EngineExecution() = default;
  // Device addresses: input float32 [n, c, h, w], outputs[i] float32.
  virtual void enqueue(int n, const void* input, void* const* outputs, cuda::StreamHandle stream) = 0;
};

class Engine {
 public:
  virtual ~Engine() = default;
  virtual std::unique_ptr<EngineExecution> make_execution() const = 0;
};

// Every function throws Error with TensorRT's own message. The current device is the net's.
class EngineRuntime {
 public:
  virtual ~EngineRuntime() = default;
  virtual std::string version() const = 0;  // of the TensorRT that is loaded, 8.2.1.8
  virtual bool strongly_typed() const = 0;
  virtual void check() const = 0;  // throws Error(FASTALEX_UNAVAILABLE) if nothing can be run here
  // timings: those of earlier builds on this device, or empty; this build's are added.
  virtual std::vector<char> build(const BuildRequest& request, std::vector<char>* timings) const = 0;
  virtual std::unique_ptr<Engine> load(const std::vector<char>& bytes, size_t outputs) const = 0;
};

const EngineRuntime& engine_runtime();

}  // namespace tensorrt
}  // namespace fastalex
#endif  // FASTALEX_TENSORRT_ENGINE_RUNTIME_H
