// A plan on a device: for each step, or pair of steps that is fused, the candidate that serves it and its weights.
#ifndef FASTALEX_CUDA_PLAN_DEVICE_PLAN_H
#define FASTALEX_CUDA_PLAN_DEVICE_PLAN_H

#include <memory>
#include <string>
#include <vector>

#include "backend/backend_impl.h"
#include "cuda/plan/choose.h"
#include "cuda/weights/weights.h"

namespace fastalex {
namespace cuda {

// The state that the plans of a net share.
struct Model {
  DeviceFacts device;
  Dtype dtype;
  int storage;
  Tuning tuning;
  std::vector<std::unique_ptr<LayerWeights>> layers;  // by param / 2
  bool keeps_forms = false;                           // others may have captured launches, so no weights may go

  bool both_layouts() const { return keeps_forms || tuning.both_layouts > 0; }
  bool graphs() const { return tuning.graphs < 0 ? !device.integrated : tuning.graphs != 0; }
  // Returns whether the kernels read frames from host memory, which a Jetson does not cache.
  bool maps_frames() const { return device.integrated && tuning.copied_frames <= 0; }
};

struct PlannedStep {
  Problem problem;
  size_t first, count;  // of the plan's steps
  Choice choice;
  DeviceWeights weights;
  size_t workspace;  // bytes

  const fastalex_step& last() const { return count == 2 ? problem.second : problem.step; }
};

// Sizes in bytes of a context's memory.
struct PlanSizes {
  size_t input;      // dense float32
  size_t tensor;     // the largest tensor
  size_t workspace;  // the largest
  std::vector<size_t> outputs;
  size_t indices;  // of top_k
};

size_t tensor_bytes(int n, int h, int w, int c, Dtype dtype);

// Chooses the candidate for the steps from `index`, without its weights and without using the device.
PlannedStep choose_step(const Model& model, const std::vector<fastalex_step>& steps, size_t index);

class DevicePlan {
 public:
  DevicePlan(const Model* model, const fastalex_step* steps, size_t count);

  std::string describe(const char* const* names) const;
  const Model& model() const { return *model_; }
  const fastalex_step& input_step() const { return steps_.front(); }
  const std::vector<PlannedStep>& steps() const { return planned_; }
  bool is_outdated() const;  // its columns have given way to rows
  const PlanSizes& sizes() const { return sizes_; }

 private:
  size_t plan_step(size_t index);  // returns the number of steps that it covers
  void measure();

  const Model* model_;
  std::vector<fastalex_step> steps_;
  std::vector<PlannedStep> planned_;
  PlanSizes sizes_;
};

}  // namespace cuda
}  // namespace fastalex
#endif  // FASTALEX_CUDA_PLAN_DEVICE_PLAN_H
