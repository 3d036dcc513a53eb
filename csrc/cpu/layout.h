// Location and data type of every activation of a plan.
#ifndef FASTALEX_CPU_LAYOUT_H
#define FASTALEX_CPU_LAYOUT_H

#include <vector>

#include "backend/backend_api.h"
#include "cpu/kernels/kernel_table.h"

namespace fastalex {

// The quantized value of 0 where quantized values are bytes and inputs may be negative.
enum { kSignedZero = 128 };

// One image of c x h x w, NHWC, `border` rows of zeros above and columns to the left and as many as the reader needs
// below and to the right.
struct Tensor {
  int c, h, w;
  int border;
  int padded_h, padded_w;
  int dtype;
  int bytes;      // of a value
  bool negative;  // kQuantized: values may be below 0
  double scale;   // kQuantized
  int images;     // of a chunk that it holds at a time: all, or one
  size_t offset;  // of its first image in the workspace, in bytes

  void take_values_of(const Tensor& other) {
    dtype = other.dtype;
    bytes = other.bytes;
    negative = other.negative;
    scale = other.scale;
  }
  // The quantized value of 0.
  int zero() const { return dtype == kQuantized && negative && bytes == 1 ? kSignedZero : 0; }

  size_t values() const { return static_cast<size_t>(padded_h) * padded_w * c; }
  size_t image_bytes() const { return (values() * bytes + 63) / 64 * 64; }
  // The images proper from the chunk's image `first` on, and with their borders.
  Activations view(char* workspace, int first) const;
  Activations padded_view(char* workspace, int first) const;
  // A tensor whose images lie elsewhere, `image` values apart.
  Activations view_at(void* data, int64_t image) const;
};

// A dense float32 tensor without a border.
Tensor plain_tensor(int c, int h, int w);

// How the units of a run of a window are divided into steps of at most `most` units (kernels/kernel_table.h).
struct RunSteps {
  RunSteps(int units, int most);
  // The first unit of a step.
  int first(int step) const { return step + 1 < count ? step * length : units - length; }
  // Units of weights, and the place of one of the run's units among them.
  int packed() const { return count * length; }
  int place(int unit) const;

  int units, count, length;  // of the run; steps; units of a step
};

// The window of a convolution in steps of at most `most` units: bytes from its start (ConvArgs::offsets).
std::vector<int32_t> window_offsets(const fastalex_step& step, const Tensor& in, int most);

// Lengths, in values, all alike, of the contiguous runs of a window in the input, in the order r, s, c. The last unit
// of each may be partly empty.
std::vector<int> run_lengths(const fastalex_step& step);

// Number of units for `values` values of `bytes` bytes each.
inline int units_of(int values, int bytes) { return (values + 4 / bytes - 1) / (4 / bytes); }

}  // namespace fastalex
#endif  // FASTALEX_CPU_LAYOUT_H
