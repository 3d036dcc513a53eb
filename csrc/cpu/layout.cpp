#include "layout.h"

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
  view.numeric = numeric;
  if (numeric != kLevels) return view;
  view.zero = zero();
  view.step = static_cast<float>(step);
  view.inverse = static_cast<float>(1 / step);
  view.low = negative ? -127.0f : 0.0f;
  view.high = negative ? 127.0f : 255.0f;
  return view;
}

Activations Tensor::padded_view(char* workspace) const {
  return view_at(workspace + offset, static_cast<int64_t>(image_bytes() / bytes));
}

Activations Tensor::view(char* workspace) const {
  const size_t first = (static_cast<size_t>(border) * padded_w + border) * c;
  return view_at(workspace + offset + first * bytes, static_cast<int64_t>(image_bytes() / bytes));
}

Tensor plain_tensor(int c, int h, int w) { return {c, h, w, 0, h, w, kFloat32, 4, false, 0, 0}; }

std::vector<int> run_lengths(const fastalex_step& step) {
  const int channels = step.in_c / step.groups;
  if (step.groups == 1) return std::vector<int>(step.kernel, step.kernel * channels);
  return std::vector<int>(step.kernel * step.kernel, channels);
}

void add_runs(int offset, int units, int limit, std::vector<Run>* runs) {
  const int parts = limit ? (units + limit - 1) / limit : 1;
  for (int i = 0, begin = 0; i < parts; ++i) {
    const int end = static_cast<int>(static_cast<int64_t>(units) * (i + 1) / parts);
    runs->push_back(Run{offset + 4 * begin, end - begin});
    begin = end;
  }
}

std::vector<Run> window_runs(const fastalex_step& step, const Tensor& in) {
  std::vector<Run> runs;
  const std::vector<int> lengths = run_lengths(step);
  for (size_t i = 0; i < lengths.size(); ++i) {
    const int index = static_cast<int>(i);
    const int r = step.groups == 1 ? index : index / step.kernel, s = step.groups == 1 ? 0 : index % step.kernel;
    add_runs((r * in.padded_w + s) * in.c * in.bytes, units_of(lengths[i], in.bytes), in.numeric == kLevels ? 0 : kPartUnits, &runs);
  }
  return runs;
}

}  // namespace fastalex
