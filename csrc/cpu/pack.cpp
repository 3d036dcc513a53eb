#include "pack.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

#include "../error.h"
#include "half.h"

namespace fastalex {
namespace {

// Row k of a panel, counted in the order of the NHWC input, is at source[k] of the OIHW (or C H W) weights.
std::vector<int> source_order(const fastalex_step& step) {
  const bool conv = step.op == FASTALEX_OP_CONV;
  const int channels = conv ? step.in_c / step.groups : step.in_c;
  const int rows = conv ? step.kernel : step.in_h, columns = conv ? step.kernel : step.in_w;
  std::vector<int> source;
  source.reserve(static_cast<size_t>(channels) * rows * columns);
  for (int r = 0; r < rows; ++r)
    for (int s = 0; s < columns; ++s)
      for (int c = 0; c < channels; ++c) source.push_back((c * rows + r) * columns + s);
  return source;
}

// A caller's array may lie at any address: in some weights files arrays are not aligned.
float at(const float* values, size_t index) {
  float value;
  std::memcpy(&value, reinterpret_cast<const char*>(values) + index * sizeof(float), sizeof value);
  return value;
}

}  // namespace

PackedLayer::PackedLayer(const fastalex_step& step, int panel_, int storage_)
    : panel(panel_),
      storage(storage_),
      groups(step.op == FASTALEX_OP_CONV ? step.groups : 1),
      out_per_group(step.out_c / groups),
      panels_per_group((out_per_group + panel - 1) / panel),
      source(source_order(step)) {
  k = static_cast<int>(source.size());
  const size_t outputs = static_cast<size_t>(groups) * panels_per_group * panel;
  // kSlack: a vector of the last row may be read past a narrow panel's end.
  weights = Buffer(outputs * k * element_size() + kSlack * sizeof(float));
  bias = Buffer(outputs * sizeof(float));
  if (storage == FASTALEX_INT8) scale = Buffer(outputs * sizeof(float));
}

size_t PackedLayer::element_size() const {
  return storage == FASTALEX_FP32 ? sizeof(float) : storage == FASTALEX_FP16 ? sizeof(uint16_t) : sizeof(int8_t);
}

int PackedLayer::first_channel(int index) const {
  return index / panels_per_group * out_per_group + index % panels_per_group * panel;
}

int PackedLayer::width(int index) const { return std::min(panel, out_per_group - index % panels_per_group * panel); }

template <typename Body>
void PackedLayer::for_each_panel(ThreadPool::Lease* workers, const Body& body) const {
  workers->run([](const void* task, int unit) { (*static_cast<const Body*>(task))(unit); }, &body,
               groups * panels_per_group);
}

// "" or what is wrong with a weight of the panel.
const char* PackedLayer::pack_panel(const float* weight, const float* bias_in, int index) {
  const size_t begin = static_cast<size_t>(index) * k * panel;
  for (int j = 0; j < width(index); ++j) {
    const int channel = first_channel(index) + j;
    const size_t from = static_cast<size_t>(channel) * k;
    bias.as()[static_cast<size_t>(index) * panel + j] = at(bias_in, channel);
    if (storage == FASTALEX_FP32) {
      float* to = weights.as() + begin + j;
      for (int i = 0; i < k; ++i) to[static_cast<size_t>(i) * panel] = at(weight, from + source[i]);
      continue;
    }
    float largest = 0;
    for (int i = 0; i < k; ++i) {
      const float value = at(weight, from + i);
      if (!std::isfinite(value)) return "NaN or infinity";
      largest = std::max(largest, std::fabs(value));
    }
    if (storage == FASTALEX_FP16) {
      if (largest > kHalfMax) return "a weight beyond the range of fp16";
      uint16_t* to = weights.as<uint16_t>() + begin + j;
      for (int i = 0; i < k; ++i) to[static_cast<size_t>(i) * panel] = to_half(at(weight, from + source[i]));
    } else {
      // A quotient of the smallest numbers may round to zero; such a channel is all zeros in int8 anyway.
      float step = largest / 127.0f;
      if (!(step > 0)) step = 1.0f;
      scale.as()[static_cast<size_t>(index) * panel + j] = step;
      int8_t* to = weights.as<int8_t>() + begin + j;
      for (int i = 0; i < k; ++i) {
        const float level = std::nearbyint(at(weight, from + source[i]) / step);
        to[static_cast<size_t>(i) * panel] = static_cast<int8_t>(std::max(-127.0f, std::min(127.0f, level)));
      }
    }
  }
  return "";
}

void PackedLayer::pack(const float* weight, const float* bias_in, ThreadPool::Lease* workers) {
  std::atomic<const char*> problem{""};
  for_each_panel(workers, [&](int index) {
    const char* found = pack_panel(weight, bias_in, index);
    if (*found) problem.store(found);
  });
  const char* found = problem.load();
  if (*found) invalid("a fully connected layer holds ", found, "; keep its weights in fp32");
}

void PackedLayer::unpack_weight(float* weight) const {
  for (int index = 0; index < groups * panels_per_group; ++index) {
    const size_t begin = static_cast<size_t>(index) * k * panel;
    for (int j = 0; j < width(index); ++j) {
      float* to = weight + static_cast<size_t>(first_channel(index) + j) * k;
      for (int i = 0; i < k; ++i) {
        const size_t at = begin + static_cast<size_t>(i) * panel + j;
        to[source[i]] = storage == FASTALEX_FP32   ? weights.as()[at]
                        : storage == FASTALEX_FP16 ? from_half(weights.as<uint16_t>()[at])
                                                   : weights.as<int8_t>()[at] * scale.as()[index * panel + j];
      }
    }
  }
}

void PackedLayer::unpack_bias(float* out) const {
  for (int index = 0; index < groups * panels_per_group; ++index)
    for (int j = 0; j < width(index); ++j)
      out[first_channel(index) + j] = bias.as()[static_cast<size_t>(index) * panel + j];
}

}  // namespace fastalex
