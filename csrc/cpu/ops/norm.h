// Response normalisation, across channels (lrn) and within a channel (spatial_norm). A unit is a row of pixels.
#ifndef FASTALEX_CPU_OPS_NORM_H
#define FASTALEX_CPU_OPS_NORM_H

#include "values.h"

namespace {

// x / t^beta. 0.75, which every published network uses, is two square roots; other exponents go through powf.
inline Vec divide_by_power(Vec x, Vec t, float beta) {
  if (beta == 0.75f) {
    const Vec half = root(t);
    return x / (half * root(half));
  }
  for (int i = 0; i < kLanes; ++i) x[i] /= __builtin_powf(t[i], beta);
  return x;
}

// Channels of one group of one pixel: x, y [channels]. The squares are written once, with zeros where the window
// leaves the group, and then added up at `size` offsets.
void lrn_group(const fastalex::NormTask& task, const float* x, float* y, int channels) {
  enum { kChunk = 512 };
  const int half = task.size / 2;
  float square[kChunk + FASTALEX_MAX_WINDOW + fastalex::kSlack];
  for (int begin = 0; begin < channels; begin += kChunk) {
    const int count = channels - begin < kChunk ? channels - begin : kChunk;
    // square[i] belongs to channel begin - half + i; outside the group it is zero.
    const int first = begin < half ? half - begin : 0;
    const int reach = channels - (begin - half);
    const int last = count + 2 * half < reach ? count + 2 * half : reach;
    memset(square, 0, first * sizeof(float));
    memset(square + last, 0, (count + 2 * half - last + fastalex::kSlack) * sizeof(float));
    for (int i = first; i < last; ++i) square[i] = x[begin - half + i] * x[begin - half + i];
    for (int i = 0; i < count; i += kLanes) {
      Vec sum = load(square + i);
      for (int d = 1; d < task.size; ++d) sum += load(square + i + d);
      const Vec value = divide_by_power(load(x + begin + i), splat(task.k) + splat(task.alpha) * sum, task.beta);
      if (i + kLanes <= count) {
        store(y + begin + i, value);
      } else {
        memcpy(y + begin + i, &value, (count - i) * sizeof(float));
      }
    }
  }
}

void lrn_pixel(const fastalex::NormTask& task, const float* x, float* y, int all) {
  const int channels = all / task.groups;
  for (int g = 0; g < task.groups; ++g) lrn_group(task, x + g * channels, y + g * channels, channels);
}

void lrn(const void* erased, int unit, int) {
  const fastalex::NormTask& task = *static_cast<const fastalex::NormTask*>(erased);
  const int image = unit / task.in.h, row = unit % task.in.h;
  for (int col = 0; col < task.in.w; ++col)
    lrn_pixel(task, floats_at(task.in, place_of(task.in, image, row, col)),
              static_cast<float*>(task.out.data) + place_of(task.out, image, row, col), task.in.c);
}

void spatial_norm(const void* erased, int unit, int) {
  const fastalex::NormTask& task = *static_cast<const fastalex::NormTask*>(erased);
  const int image = unit / task.in.h, row = unit % task.in.h;
  const int half = task.size / 2;
  const int top = row - half < 0 ? 0 : row - half;
  const int bottom = row + half >= task.in.h ? task.in.h - 1 : row + half;
  for (int col = 0; col < task.in.w; ++col) {
    const int left = col - half < 0 ? 0 : col - half;
    const int right = col + half >= task.in.w ? task.in.w - 1 : col + half;
    for (int c = 0; c < task.in.c; c += kLanes) {
      Vec sum = Vec{};
      for (int r = top; r <= bottom; ++r)
        for (int s = left; s <= right; ++s) {
          const Vec v = load(floats_at(task.in, place_of(task.in, image, r, s) + c));
          sum += v * v;
        }
      const Vec x = load(floats_at(task.in, place_of(task.in, image, row, col) + c));
      const Vec value = divide_by_power(x, splat(task.k) + splat(task.alpha) * sum, task.beta);
      store_values(task.out, place_of(task.out, image, row, col) + c, value, task.in.c - c);
    }
  }
}

}  // namespace
#endif  // FASTALEX_CPU_OPS_NORM_H
