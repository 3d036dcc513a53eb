// Where every activation of a plan lives: a plan's steps with their tensors, runs and blocks.
#ifndef FASTALEX_CPU_LAYOUT_H
#define FASTALEX_CPU_LAYOUT_H

#include <vector>

#include "../backend.h"
#include "kernels.h"

namespace fastalex {

// One image of c x h x w, NHWC, `border` zero rows above and columns to the left and as many as the reader needs
// below and to the right.
struct Tensor {
  int c, h, w;
  int border;
  int padded_h, padded_w;
  size_t offset;  // floats, in the workspace of one image

  size_t floats() const { return static_cast<size_t>(padded_h) * padded_w * c; }
  Activations at(float* base) const;
};

// The window of a convolution as contiguous runs of the padded input, cut into blocks of at most `longest` products.
struct WindowRuns {
  std::vector<Run> runs;
  std::vector<Block> blocks;
};
WindowRuns window_runs(const fastalex_step& step, const Tensor& in, int longest);

// Steps up to the first fully connected one work image by image on tensors[i] -> tensors[i + 1]; the later ones on
// the whole batch. The last tensor of the image part is written into the batch part's first buffer, if there is one.
struct Layout {
  std::vector<fastalex_step> steps;
  size_t image_steps;           // number of steps that work image by image
  std::vector<Tensor> tensors;  // image_steps + 1
  size_t image_floats;          // workspace of one image
  size_t feature_floats;        // from one row of the batch part to the next
};
Layout make_layout(const fastalex_step* steps, size_t count, int panel);

}  // namespace fastalex
#endif  // FASTALEX_CPU_LAYOUT_H
