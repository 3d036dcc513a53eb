// A net's parameters on the host, as engines are built from them: convolutions in float32, fully connected weights as
// given by fc_storage.
#ifndef FASTALEX_TENSORRT_ENGINE_WEIGHTS_H
#define FASTALEX_TENSORRT_ENGINE_WEIGHTS_H

#include <string>
#include <vector>

#include "backend/ops.h"
#include "fastalex.h"

namespace fastalex {
namespace tensorrt {

class EngineWeights {
 public:
  // params: of model_create (backend/backend_api.h).
  EngineWeights(const fastalex_step* steps, size_t step_count, const fastalex_param* params, size_t param_count,
                int fc_storage);

  // For a convolution's weight or any bias.
  const float* floats(int param) const;
  // For any parameter: fp32; fully connected weights also fp16 [k, c h w], int8 and int4 as laid out in fastalex.h.
  fastalex_param get(int param) const;
  void unpack(size_t param, float* out) const;  // dense float32
  // Of a fully connected weight in int8 or int4, as laid out in fastalex.h.
  void quantized(size_t param, void* values, void* scale) const;
  size_t bytes() const;
  const std::string& hash() const { return hash_; }

 private:
  struct Stored {
    fastalex_step step;
    int storage;
    size_t count;
    std::vector<char> values, scale;
  };

  std::vector<Stored> stored_;
  std::string hash_;
};

}  // namespace tensorrt
}  // namespace fastalex
#endif  // FASTALEX_TENSORRT_ENGINE_WEIGHTS_H
