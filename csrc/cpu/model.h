// A net's weights, packed for the algorithms that serve its layers.
#ifndef FASTALEX_CPU_MODEL_H
#define FASTALEX_CPU_MODEL_H

#include <memory>
#include <vector>

#include "backend/backend_api.h"
#include "cpu/fc_layer.h"
#include "cpu/pack.h"
#include "cpu/thread_pool.h"

namespace fastalex {

struct Model {
  // Throws Error(FASTALEX_INVALID) for incompatible options and for weights that do not fit them.
  Model(const fastalex_step* steps, size_t count, const fastalex_param* params, size_t param_count,
        const fastalex_model_options& options);

  const ConvLayer* conv(const fastalex_step& step) const;
  const FcLayer* fc(const fastalex_step& step) const;
  bool quantized() const { return precision == FASTALEX_PRECISION_INT8; }

  const CpuKernels* kernels;
  std::shared_ptr<ThreadPool> pool;
  int threads, precision;
  std::vector<fastalex_step> steps;                  // of the net's own image size
  std::vector<std::unique_ptr<PackedLayer>> layers;  // by param / 2
};

}  // namespace fastalex
#endif  // FASTALEX_CPU_MODEL_H
