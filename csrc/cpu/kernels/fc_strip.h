// A strip of a fully connected layer's weights, which lie row by row (FcArgs).
#ifndef FASTALEX_CPU_KERNELS_FC_STRIP_H
#define FASTALEX_CPU_KERNELS_FC_STRIP_H

#include "cpu/kernels/kernel_table.h"

namespace {

struct FcStrip {
  const char* weights;
  int64_t pitch;  // bytes from a row to the next
  int first_panel, panels;
};

inline FcStrip strip_of(const fastalex::FcArgs& task, int index) {
  FcStrip strip = {};
  strip.first_panel = index * task.strip_panels;
  strip.panels =
      task.panels - strip.first_panel < task.strip_panels ? task.panels - strip.first_panel : task.strip_panels;
  strip.pitch = static_cast<int64_t>(strip.panels) * task.panel_bytes;
  strip.weights =
      static_cast<const char*>(task.weights) + static_cast<int64_t>(strip.first_panel) * task.rows * task.panel_bytes;
  return strip;
}

}  // namespace
#endif  // FASTALEX_CPU_KERNELS_FC_STRIP_H
