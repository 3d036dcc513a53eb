// Overlapping max-pool and adaptive average pool. A unit is a row of the output.
#ifndef FASTALEX_CPU_OPS_POOL_H
#define FASTALEX_CPU_OPS_POOL_H

#include "simd.h"

namespace {

inline void store_some(float* p, Vec v, int count) {
  if (count >= kLanes)
    store(p, v);
  else
    memcpy(p, &v, count * sizeof(float));
}

inline const float* pixel_of(const fastalex::Activations& image, int row, int col) {
  return image.data + static_cast<int64_t>(row) * image.row + static_cast<int64_t>(col) * image.c;
}

void maxpool(const void* erased, int row) {
  const fastalex::PoolTask& task = *static_cast<const fastalex::PoolTask*>(erased);
  const int top = row * task.stride;
  const int bottom = top + task.kernel < task.in.h ? top + task.kernel : task.in.h;
  for (int col = 0; col < task.out.w; ++col) {
    const int left = col * task.stride;
    const int right = left + task.kernel < task.in.w ? left + task.kernel : task.in.w;
    float* y = task.out.data + static_cast<int64_t>(row) * task.out.row + static_cast<int64_t>(col) * task.out.c;
    for (int c = 0; c < task.in.c; c += kLanes) {
      Vec best = load(pixel_of(task.in, top, left) + c);
      for (int r = top; r < bottom; ++r)
        for (int s = left; s < right; ++s) best = larger(load(pixel_of(task.in, r, s) + c), best);
      store_some(y + c, activate(best, task.activation), task.in.c - c);
    }
  }
}

void adaptive_avgpool(const void* erased, int row) {
  const fastalex::PoolTask& task = *static_cast<const fastalex::PoolTask*>(erased);
  const int top = static_cast<int>(static_cast<int64_t>(row) * task.in.h / task.out.h);
  const int bottom = static_cast<int>((static_cast<int64_t>(row + 1) * task.in.h + task.out.h - 1) / task.out.h);
  for (int col = 0; col < task.out.w; ++col) {
    const int left = static_cast<int>(static_cast<int64_t>(col) * task.in.w / task.out.w);
    const int right = static_cast<int>((static_cast<int64_t>(col + 1) * task.in.w + task.out.w - 1) / task.out.w);
    const Vec count = splat(static_cast<float>((bottom - top) * (right - left)));
    float* y = task.out.data + static_cast<int64_t>(row) * task.out.row + static_cast<int64_t>(col) * task.out.c;
    for (int c = 0; c < task.in.c; c += kLanes) {
      Vec sum = Vec{};
      for (int r = top; r < bottom; ++r)
        for (int s = left; s < right; ++s) sum += load(pixel_of(task.in, r, s) + c);
      store_some(y + c, sum / count, task.in.c - c);
    }
  }
}

void activation(const void* erased, int row) {
  const fastalex::ActivationTask& task = *static_cast<const fastalex::ActivationTask*>(erased);
  for (int col = 0; col < task.out.w; ++col) {
    const float* x = pixel_of(task.in, row, col);
    float* y = task.out.data + static_cast<int64_t>(row) * task.out.row + static_cast<int64_t>(col) * task.out.c;
    for (int c = 0; c < task.in.c; c += kLanes)
      store_some(y + c, activate(load(x + c), task.activation), task.in.c - c);
  }
}

}  // namespace
#endif  // FASTALEX_CPU_OPS_POOL_H
