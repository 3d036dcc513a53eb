// A plan's steps that work on images, ready to run: each a kernel with its task, or two.
#ifndef FASTALEX_CPU_STAGES_H
#define FASTALEX_CPU_STAGES_H

#include <memory>
#include <vector>

#include "cpu/kernels/kernel_table.h"
#include "cpu/layout.h"
#include "cpu/pack.h"
#include "cpu/thread_pool.h"

namespace fastalex {

// Images that are computed together, and their memory.
struct Chunk {
  char* workspace;     // of Tensor::offset
  float* transformed;  // Winograd's inputs
  float* scratch;      // [worker][scratch_floats]
  int64_t scratch_floats;
  int first, images;  // of a chunk
  float* features;    // destination of the last tensor, [image][features_pitch]; null: the workspace
  int64_t features_pitch;
  ThreadPool::Lease* workers;
};

class Stage {
 public:
  virtual ~Stage() = default;
  virtual void run(const Chunk& chunk) const = 0;

  size_t first_step = 0, last_step = 0;  // the steps that it does
  int64_t scratch_floats = 0;            // of a worker
  int64_t transformed_floats = 0;        // of an image
};

// Everything that the stages of one plan are built from.
struct StageContext {
  const CpuKernels* kernels;
  const fastalex_step* steps;
  const Tensor* tensors;  // [step]: its input; one more
  bool last_is_features;  // the last tensor is written to Chunk::features
  size_t per_image_steps;
};

// Makes the stage of step `index`, fused with the next step if `pair` is set.
std::unique_ptr<Stage> make_stage(const StageContext& parts, size_t index, const ConvLayer* conv, bool pair);

}  // namespace fastalex
#endif  // FASTALEX_CPU_STAGES_H
