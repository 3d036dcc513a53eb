#include "cpu/layout.h"

#include <algorithm>

namespace fastalex {

Activations Tensor::view_at(void* data, int64_t image) const {
  Activations view = {};
  view.data = data;
  view.image = image;
  view.c = c;
  view.row = padded_w * c;
  view.h = h;
  view.w = w;
  view.dtype = dtype;
  if (dtype != kQuantized) return view;
  view.zero = zero();
  view.scale = static_cast<float>(scale);
  view.inverse = static_cast<float>(1 / scale);
  view.low = negative ? -127.0f : 0.0f;
  view.high = negative ? 127.0f : 255.0f;
  return view;
}

Activations Tensor::padded_view(char* workspace, int first) const {
  const size_t skipped = images > 1 ? first * image_bytes() : 0;
  return view_at(workspace + offset + skipped, static_cast<int64_t>(image_bytes() / bytes));
}

Activations Tensor::view(char* workspace, int first) const {
  Activations view = padded_view(workspace, first);
  view.data = static_cast<char*>(view.data) + (static_cast<size_t>(border) * padded_w + border) * c * bytes;
  return view;
}

Tensor plain_tensor(int c, int h, int w) { return {c, h, w, 0, h, w, kFloat32, 4, false, 0, 1, 0}; }

std::vector<int> run_lengths(const fastalex_step& step) {
  const int channels = step.in_c / step.groups;
  if (step.groups == 1) return std::vector<int>(step.kernel, step.kernel * channels);
  return std::vector<int>(step.kernel * step.kernel, channels);
}

RunSteps::RunSteps(int units_, int most)
    : units(units_), count((units_ + most - 1) / most), length((units_ + count - 1) / count) {}

int RunSteps::place(int unit) const {
  const int step = unit / length;
  return step * length + unit - first(step);
}

std::vector<int32_t> window_offsets(const fastalex_step& step, const Tensor& in, int most) {
  std::vector<int32_t> offsets;
  const std::vector<int> lengths = run_lengths(step);
  for (size_t i = 0; i < lengths.size(); ++i) {
    const int index = static_cast<int>(i);
    const int r = step.groups == 1 ? index : index / step.kernel, s = step.groups == 1 ? 0 : index % step.kernel;
    const int32_t first = (r * in.padded_w + s) * in.c * in.bytes;
    const RunSteps steps(units_of(lengths[i], in.bytes), most);
    for (int j = 0; j < steps.count; ++j) offsets.push_back(first + 4 * steps.first(j));
  }
  return offsets;
}

}  // namespace fastalex
