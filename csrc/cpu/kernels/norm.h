// Response normalization, across channels (lrn) and within a channel (spatial_norm). A unit is a row of pixels.
#ifndef FASTALEX_CPU_KERNELS_NORM_H
#define FASTALEX_CPU_KERNELS_NORM_H

#include "cpu/kernels/values.h"

namespace {

// x / t^beta
inline Vec divide_by_power(Vec x, Vec t, float beta) {
  if (beta == 0.75f) return x * inverse_three_quarters(t);
  for (int i = 0; i < kLanes; ++i) x[i] /= __builtin_powf(t[i], beta);
  return x;
}

// Sums of the squares of channels c + d, d from -half to half, for kLanes values of c, within the group of `channels`
// at x. HALF: half, or -1 if it is not known at compile time.
template <int HALF>
inline Vec sum_of_squares(const float* x, int c, int channels, int any_half) {
  const int half = HALF < 0 ? any_half : HALF;
  const bool inside = c >= half && c + kLanes + half <= channels;
  Vec sum = Vec{};
#pragma GCC unroll 5
  for (int d = -half; d <= half; ++d) {
    const Vec v = inside ? load(x + c + d) : load_lanes(x + c + d, -(c + d), channels - (c + d));
    sum += v * v;
  }
  return sum;
}

// Normalizes the channels of one group of one pixel: x, y [channels].
template <int HALF>
inline void lrn_group(const fastalex::NormArgs& task, const float* x, float* y, int channels) {
  for (int c = 0; c < channels; c += kLanes) {
    const Vec t = splat(task.k) + splat(task.alpha) * sum_of_squares<HALF>(x, c, channels, task.size / 2);
    if (c + kLanes <= channels) {
      store(y + c, divide_by_power(load(x + c), t, task.beta));
    } else {
      float values[kLanes];
      store(values, divide_by_power(load_lanes(x + c, 0, channels - c), t, task.beta));
      store_first(y + c, values, channels - c);
    }
  }
}

void lrn_pixel(const fastalex::NormArgs& task, const float* x, float* y, int all) {
  const int channels = all / task.groups;
  for (int g = 0; g < task.groups; ++g, x += channels, y += channels) {
    if (task.size == 5)  // of every published network
      lrn_group<2>(task, x, y, channels);
    else
      lrn_group<-1>(task, x, y, channels);
  }
}

void lrn(const void* erased, int unit, int) {
  const fastalex::NormArgs& task = *static_cast<const fastalex::NormArgs*>(erased);
  const int image = unit / task.in.h, row = unit % task.in.h;
  for (int col = 0; col < task.in.w; ++col)
    lrn_pixel(task, floats_at(task.in, place_of(task.in, image, row, col)),
              static_cast<float*>(task.out.data) + place_of(task.out, image, row, col), task.in.c);
}

void spatial_norm(const void* erased, int unit, int) {
  const fastalex::NormArgs& task = *static_cast<const fastalex::NormArgs*>(erased);
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
#endif  // FASTALEX_CPU_KERNELS_NORM_H
