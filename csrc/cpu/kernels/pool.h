// Overlapping max-pool, alone and together with LRN, and adaptive average pool. A unit is a row of the output, or
// several.
#ifndef FASTALEX_CPU_KERNELS_POOL_H
#define FASTALEX_CPU_KERNELS_POOL_H

#include "cpu/kernels/norm.h"
#include "cpu/kernels/values.h"

namespace {

// The part of a pool's window that lies inside the image.
struct Window {
  int top, bottom, left, right;
};
inline Window window_of(const fastalex::PoolArgs& task, int row, int col) {
  Window window = {row * task.stride, row * task.stride + task.kernel, col * task.stride,
                   col * task.stride + task.kernel};
  if (window.bottom > task.in.h) window.bottom = task.in.h;
  if (window.right > task.in.w) window.right = task.in.w;
  return window;
}

// Maximum of the window for kLanes channels from `c`. rows(r): the values of row r of the image.
template <typename Rows>
inline Vec largest_of(const fastalex::PoolArgs& task, const Window& window, const Rows& rows, int c) {
  Vec best = load(rows(window.top) + static_cast<int64_t>(window.left) * task.in.c + c);
  for (int r = window.top; r < window.bottom; ++r)
    for (int s = window.left; s < window.right; ++s)
      best = larger(load(rows(r) + static_cast<int64_t>(s) * task.in.c + c), best);
  return best;
}

// Pools a row of the output.
template <typename Rows>
inline void pool_row(const fastalex::PoolArgs& task, int image, int row, const Rows& rows) {
  for (int col = 0; col < task.out.w; ++col) {
    const Window window = window_of(task, row, col);
    const int64_t place = place_of(task.out, image, row, col);
    for (int c = 0; c < task.in.c; c += kLanes)
      store_values(task.out, place + c, activate(largest_of(task, window, rows, c), task.activation), task.in.c - c);
  }
}

typedef Quantized ManyQuantized __attribute__((vector_size(kLanes * 4)));
enum { kManyQuantized = sizeof(ManyQuantized) / sizeof(Quantized) };

// Pools a row of the output where input and output have the same quantization.
void pool_quantized(const fastalex::PoolArgs& task, int image, int row) {
  for (int col = 0; col < task.out.w; ++col) {
    const Window window = window_of(task, row, col);
    const Quantized* in =
        static_cast<const Quantized*>(task.in.data) + place_of(task.in, image, window.top, window.left);
    Quantized* out = static_cast<Quantized*>(task.out.data) + place_of(task.out, image, row, col);
    for (int c = 0; c < task.in.c; c += kManyQuantized) {
      const int count = task.in.c - c < kManyQuantized ? task.in.c - c : static_cast<int>(kManyQuantized);
      ManyQuantized best;
      memcpy(&best, in + c, sizeof best);
      for (int r = 0; r < window.bottom - window.top; ++r)
        for (int s = 0; s < window.right - window.left; ++s) {
          ManyQuantized quantized;  // past the last channel: those of the next pixel, or slack
          memcpy(&quantized, in + static_cast<int64_t>(r) * task.in.row + static_cast<int64_t>(s) * task.in.c + c,
                 sizeof quantized);
          best = quantized > best ? quantized : best;
        }
      store_first(out + c, reinterpret_cast<const Quantized*>(&best), count);
    }
  }
}

void maxpool(const void* erased, int unit, int) {
  const fastalex::PoolArgs& task = *static_cast<const fastalex::PoolArgs*>(erased);
  const int image = unit / task.out.h;
  if (task.in.dtype == fastalex::kQuantized) return pool_quantized(task, image, unit % task.out.h);
  pool_row(task, image, unit % task.out.h, [&](int r) { return floats_at(task.in, place_of(task.in, image, r, 0)); });
}

// LRN, then max-pool. Normalized rows are kept in scratch, [row % kernel][w][c], so a unit normalizes each row once.
void lrn_then_pool(const fastalex::NormPoolArgs& task, int image, int first, int last, float* scratch) {
  const fastalex::PoolArgs& pool = task.pool;
  const int64_t line = static_cast<int64_t>(pool.in.w) * pool.in.c;
  const auto rows = [&](int r) { return scratch + r % pool.kernel * line; };
  int done = first * pool.stride;
  for (int row = first; row < last; ++row) {
    const Window reach = window_of(pool, row, 0);
    if (done < reach.top) done = reach.top;
    for (; done < reach.bottom; ++done)
      for (int col = 0; col < pool.in.w; ++col)
        lrn_pixel(task.norm, floats_at(task.norm.in, place_of(task.norm.in, image, done, col)),
                  rows(done) + static_cast<int64_t>(col) * pool.in.c, pool.in.c);
    pool_row(pool, image, row, rows);
  }
}

void pool_then_lrn(const fastalex::NormPoolArgs& task, int image, int first, int last, float* scratch) {
  const fastalex::PoolArgs& pool = task.pool;
  const auto rows = [&](int r) { return floats_at(pool.in, place_of(pool.in, image, r, 0)); };
  float* pooled = scratch;
  float* normalized = scratch + pool.in.c + fastalex::kSlack;
  for (int row = first; row < last; ++row) {
    for (int col = 0; col < pool.out.w; ++col) {
      const Window window = window_of(pool, row, col);
      for (int c = 0; c < pool.in.c; c += kLanes)
        store(pooled + c, activate(largest_of(pool, window, rows, c), pool.activation));
      lrn_pixel(task.norm, pooled, normalized, pool.in.c);
      const int64_t place = place_of(task.norm.out, image, row, col);
      for (int c = 0; c < pool.in.c; c += kLanes)
        store_values(task.norm.out, place + c, load(normalized + c), pool.in.c - c);
    }
  }
}

void norm_pool(const void* erased, int unit, int worker) {
  const fastalex::NormPoolArgs& task = *static_cast<const fastalex::NormPoolArgs*>(erased);
  const int image = unit / task.units_per_image, first = unit % task.units_per_image * task.rows_per_unit;
  const int rows = task.pool.out.h - first < task.rows_per_unit ? task.pool.out.h - first : task.rows_per_unit;
  float* scratch = task.scratch + worker * task.scratch_floats;
  if (task.pool_first)
    pool_then_lrn(task, image, first, first + rows, scratch);
  else
    lrn_then_pool(task, image, first, first + rows, scratch);
}

void adaptive_avgpool(const void* erased, int unit, int) {
  const fastalex::PoolArgs& task = *static_cast<const fastalex::PoolArgs*>(erased);
  const int image = unit / task.out.h, row = unit % task.out.h;
  const int top = static_cast<int>(static_cast<int64_t>(row) * task.in.h / task.out.h);
  const int bottom = static_cast<int>((static_cast<int64_t>(row + 1) * task.in.h + task.out.h - 1) / task.out.h);
  for (int col = 0; col < task.out.w; ++col) {
    const int left = static_cast<int>(static_cast<int64_t>(col) * task.in.w / task.out.w);
    const int right = static_cast<int>((static_cast<int64_t>(col + 1) * task.in.w + task.out.w - 1) / task.out.w);
    const Vec count = splat(static_cast<float>((bottom - top) * (right - left)));
    for (int c = 0; c < task.in.c; c += kLanes) {
      Vec sum = Vec{};
      for (int r = top; r < bottom; ++r)
        for (int s = left; s < right; ++s) sum += load(floats_at(task.in, place_of(task.in, image, r, s) + c));
      store_values(task.out, place_of(task.out, image, row, col) + c, sum / count, task.in.c - c);
    }
  }
}

// Avoids overflow: takes exp only of values that are not above zero.
Vec sigmoid(Vec v) {
  Vec result = v;
  for (int i = 0; i < kLanes; ++i) {
    const float e = __builtin_expf(v[i] < 0 ? v[i] : -v[i]);
    result[i] = (v[i] < 0 ? e : 1.0f) / (1.0f + e);
  }
  return result;
}

// Any activation, including those that are never fused.
Vec activated(const fastalex::ActivationArgs& task, Vec v) {
  if (task.activation == FASTALEX_ACT_LEAKY_RELU) return choose(v < Vec{}, v * splat(task.slope), v);  // a NaN stays
  if (task.activation == FASTALEX_ACT_SIGMOID) return sigmoid(v);
  return activate(v, task.activation);
}

void activation(const void* erased, int unit, int) {
  const fastalex::ActivationArgs& task = *static_cast<const fastalex::ActivationArgs*>(erased);
  const int image = unit / task.out.h, row = unit % task.out.h;
  for (int col = 0; col < task.out.w; ++col)
    for (int c = 0; c < task.in.c; c += kLanes)
      store_values(task.out, place_of(task.out, image, row, col) + c,
                   activated(task, load(floats_at(task.in, place_of(task.in, image, row, col) + c))), task.in.c - c);
}

}  // namespace
#endif  // FASTALEX_CPU_KERNELS_POOL_H
