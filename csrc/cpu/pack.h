// Weights in the layout of the kernels (kernels.h), and back.
#ifndef FASTALEX_CPU_PACK_H
#define FASTALEX_CPU_PACK_H

#include <vector>

#include "../backend.h"
#include "buffer.h"
#include "kernels.h"
#include "thread_pool.h"

namespace fastalex {

struct PackedLayer {
  PackedLayer(const fastalex_step& step, int panel, int storage);

  // weight: [K, C/G, R, S] or [K, C H W]; bias [K]. Throws Error(FASTALEX_INVALID) if a value does not fit.
  void pack(const float* weight, const float* bias, ThreadPool::Lease* workers);
  void unpack_weight(float* weight) const;
  void unpack_bias(float* bias) const;
  size_t bytes() const { return weights.bytes() + scale.bytes() + bias.bytes(); }

  int panel, storage;
  int groups, out_per_group, panels_per_group, k;
  std::vector<int> source;  // source[k]: place of row k of a panel within an output channel's weights
  Buffer weights, scale, bias;

 private:
  size_t element_size() const;
  int first_channel(int index) const;
  int width(int index) const;
  template <typename Body>
  void for_each_panel(ThreadPool::Lease* workers, const Body& body) const;
  const char* pack_panel(const float* weight, const float* bias_in, int index);
};

}  // namespace fastalex
#endif  // FASTALEX_CPU_PACK_H
