#include "layout.h"

#include <algorithm>
#include <limits>

#include "../error.h"

namespace fastalex {
namespace {

Tensor tensor_for(int c, int h, int w, const fastalex_step* reader) {
  Tensor tensor = {c, h, w, 0, h, w, 0};
  if (reader && reader->op == FASTALEX_OP_CONV) {
    tensor.border = reader->pad;
    tensor.padded_h = std::max(h + reader->pad, (reader->out_h - 1) * reader->stride + reader->kernel);
    tensor.padded_w = std::max(w + reader->pad, (reader->out_w - 1) * reader->stride + reader->kernel);
  }
  return tensor;
}

bool works_on_batch(const fastalex_step& step) {
  return step.op == FASTALEX_OP_FULLY_CONNECTED || step.op == FASTALEX_OP_SOFTMAX;
}

}  // namespace

Activations Tensor::at(float* base) const {
  Activations view;
  view.c = c;
  view.row = padded_w * c;
  view.data = base + (static_cast<size_t>(border) * padded_w + border) * c;
  view.h = h;
  view.w = w;
  return view;
}

WindowRuns window_runs(const fastalex_step& step, const Tensor& in, int longest) {
  const int channels = step.in_c / step.groups, row = in.padded_w * in.c;
  std::vector<Run> whole;
  for (int r = 0; r < step.kernel; ++r) {
    if (step.groups == 1) {
      whole.push_back(Run{r * row, step.kernel * channels});
    } else {
      for (int s = 0; s < step.kernel; ++s) whole.push_back(Run{r * row + s * in.c, channels});
    }
  }
  const int k = channels * step.kernel * step.kernel;
  const int block_count = (k + longest - 1) / longest;
  const int block_length = (k + block_count - 1) / block_count;

  WindowRuns result;
  int done = 0;
  for (Run run : whole) {
    while (run.length > 0) {
      if (done % block_length == 0) {
        const int first = static_cast<int>(result.runs.size());
        result.blocks.push_back(Block{first, first, done});
      }
      const int take = std::min(run.length, block_length - done % block_length);
      result.runs.push_back(Run{run.offset, take});
      result.blocks.back().last = static_cast<int>(result.runs.size());
      run.offset += take;
      run.length -= take;
      done += take;
    }
  }
  return result;
}

Layout make_layout(const fastalex_step* steps, size_t count, int panel) {
  Layout layout;
  layout.steps.assign(steps, steps + count);
  layout.image_steps = std::find_if(steps, steps + count, works_on_batch) - steps;
  layout.image_floats = layout.feature_floats = 0;
  for (size_t i = 0; i <= layout.image_steps; ++i) {
    const bool input = i == 0;
    const fastalex_step& at = steps[input ? 0 : i - 1];
    const fastalex_step* reader = i < layout.image_steps ? &steps[i] : nullptr;
    Tensor tensor =
        input ? tensor_for(at.in_c, at.in_h, at.in_w, reader) : tensor_for(at.out_c, at.out_h, at.out_w, reader);
    // Offsets within an image are 32-bit.
    if (1.0 * tensor.padded_h * tensor.padded_w * tensor.c > std::numeric_limits<int32_t>::max())
      invalid("an image of ", tensor.c, " x ", tensor.h, " x ", tensor.w, " is too large with its border");
    tensor.offset = layout.image_floats;
    layout.image_floats += (tensor.floats() + 15) / 16 * 16;
    layout.tensors.push_back(tensor);
  }
  for (size_t i = layout.image_steps; i < count; ++i) {
    const size_t in = static_cast<size_t>(steps[i].in_c) * steps[i].in_h * steps[i].in_w;
    const size_t widest = std::max(in, static_cast<size_t>(steps[i].out_c));
    // A cache line more than the panels need: rows 4 KiB apart would fall into the same few sets of the L1.
    layout.feature_floats = std::max(layout.feature_floats, (widest + panel - 1) / panel * panel + 16);
  }
  return layout;
}

}  // namespace fastalex
