// Weights of convolutions in the layouts of the kernels (kernels/kernel_table.h), and back.
#ifndef FASTALEX_CPU_PACK_H
#define FASTALEX_CPU_PACK_H

#include <vector>

#include "backend/backend_api.h"
#include "cpu/algorithm.h"
#include "cpu/buffer.h"
#include "cpu/kernels/kernel_table.h"
#include "cpu/thread_pool.h"
#include "weights/winograd_transforms.h"

namespace fastalex {

// Largest weights, in bytes, that stay in the caches when they are read repeatedly.
const size_t kSmallWeights = size_t(3) << 20;

// Assigns outputs to panels: panels do not cross groups, and the last one of a group may be partly empty.
struct Panels {
  Panels(int groups, int out_c, int panel);
  int count() const { return groups * per_group; }
  int first_channel(int index) const { return index / per_group * out_per_group + index % per_group * panel; }
  int width(int index) const;

  int panel, groups, out_per_group, per_group;
};

class PackedLayer {
 public:
  virtual ~PackedLayer() = default;
  virtual void unpack_weight(float* weight) const = 0;  // as backend/ops.h has it, dequantized
  void unpack_bias(float* bias) const;
  virtual size_t bytes() const { return weights.bytes() + scale.bytes() + bias.bytes(); }

  Panels panels;
  Buffer weights;  // in the order of the task that reads them
  Buffer bias;     // [panel index][panel], zero in the tail
  Buffer scale;    // of quantized weights, as the task has it

 protected:
  explicit PackedLayer(const Panels& panels);
  void pack_bias(const float* bias);
};

class ConvLayer final : public PackedLayer {
 public:
  // weight: [K, C/G, R, S], bias: [K], at any address.
  // Throws Error(FASTALEX_INVALID) if a value does not fit.
  ConvLayer(const fastalex_step& step, const CpuKernels& kernels, const ConvChoice& choice, const float* weight,
            const float* bias, ThreadPool::Lease* workers);
  void unpack_weight(float* weight) const override;
  size_t bytes() const override;

  ConvChoice choice;
  bool in_negative;  // the input can be below 0
  int units;         // direct: of one output
  int step_units;    // direct: of a step
  Buffer offset;     // kQuantized: ConvArgs::offset

 private:
  void prepare_direct(const fastalex_step& step, const CpuKernels& kernels);
  // Calls body(index among an output's weights, packed value) for all weights of an output.
  template <typename Body>
  void for_each_value(int index, int lane, const Body& body) const;
  void pack_floats(const float* weight, int index);
  void quantize(const float* weight, double input_scale, int index);
  void pack_quantized(int index);
  void pack_winograd(const float* weight, const WinogradTransforms& transforms, int index);
  void pack_integer_winograd(int index, int pitch);
  // Index among an output's weights of the one at (y, x) of channel `channel` of blocks; -1: beyond the kernel.
  int64_t place_in_blocks(int channel, int y, int x) const;
  size_t products() const { return static_cast<size_t>(channels_) * kernel_ * kernel_; }  // of an output

  int channels_, kernel_;          // of a group; edge of the original weights
  int bytes_;                      // of a packed value
  std::vector<int> lengths_;       // direct: of the runs
  std::vector<int> source_;        // direct: index of each value of the runs, r, s, c, among an output's weights
  std::vector<float> scales_;      // kQuantized: of each output's weights
  std::vector<int8_t> quantized_;  // kQuantized, while packing and for Winograd: the weights, in the caller's order
  std::vector<float> original_weight_;  // Winograd: cannot be recovered from the packed weights
};

}  // namespace fastalex
#endif  // FASTALEX_CPU_PACK_H
