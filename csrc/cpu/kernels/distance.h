// The two halves of a learned perceptual distance: channels of unit length at each position, and the weighted squared
// difference of two maps. Lanes are positions, so a sum over channels stays in its lane.
#ifndef FASTALEX_CPU_KERNELS_DISTANCE_H
#define FASTALEX_CPU_KERNELS_DISTANCE_H

#include "cpu/kernels/simd.h"
#include "cpu/kernels/values.h"
#include "fastalex.h"

namespace {

// Positions that are summed at a time: enough sums to hide the latency of additions.
enum { kStripVectors = 4, kStrip = kStripVectors * kLanes };

// Channels of a partial sum: sums over channels are sums of such parts, as with kPartUnits.
enum { kPartChannels = 32 };

// Loads a strip of one channel, `count` positions of it; a whole strip is the fast case.
template <bool WHOLE>
inline Vec strip_at(const float* p, int j, int count) {
  return WHOLE ? load(p + j * kLanes) : load_lanes(p + j * kLanes, 0, count - j * kLanes);
}

template <bool WHOLE>
inline void store_strip(float* p, int j, int count, Vec v) {
  if (WHOLE) {
    store(p + j * kLanes, v);
  } else if (count > j * kLanes) {
    float some[kLanes];
    store(some, v);
    store_first(p + j * kLanes, some, count - j * kLanes < kLanes ? count - j * kLanes : +kLanes);
  }
}

// sum[j] = sum over the channels of term(channel, j).
template <typename Term>
inline void sum_channels(int channels, Vec* sum, const Term& term) {
  for (int j = 0; j < kStripVectors; ++j) sum[j] = Vec{};
  for (int first = 0; first < channels; first += kPartChannels) {
    const int last = channels - first < kPartChannels ? channels : first + kPartChannels;
    Vec part[kStripVectors];
    for (int j = 0; j < kStripVectors; ++j) part[j] = Vec{};
    for (int c = first; c < last; ++c)
#pragma GCC unroll 4
      for (int j = 0; j < kStripVectors; ++j) part[j] += term(c, j);
    for (int j = 0; j < kStripVectors; ++j) sum[j] += part[j];
  }
}

template <bool WHOLE>
void normalize_strip(const fastalex::UnitNormArgs& task, float* x, int count) {
  const int64_t pitch = task.positions;
  Vec sum[kStripVectors], inverse[kStripVectors];
  sum_channels(task.channels, sum, [&](int c, int j) {
    const Vec v = strip_at<WHOLE>(x + c * pitch, j, count);
    return v * v;
  });
  const Vec one = splat(1.0f), eps = splat(task.eps);
  for (int j = 0; j < kStripVectors; ++j)
    inverse[j] = one / (task.eps_inside ? root(sum[j] + eps) : root(sum[j]) + eps);
  for (int c = 0; c < task.channels; ++c) {
    float* to = x + c * pitch;
    for (int j = 0; j < kStripVectors; ++j) {
      const Vec v = strip_at<WHOLE>(to, j, count) * inverse[j];
      store_strip<WHOLE>(to, j, count, v);
    }
  }
}

void unit_norm(const void* erased, int unit, int) {
  const fastalex::UnitNormArgs& task = *static_cast<const fastalex::UnitNormArgs*>(erased);
  const int image = unit / task.units_per_image, first = unit % task.units_per_image * task.positions_per_unit;
  const int last = task.positions - first < task.positions_per_unit ? task.positions : first + task.positions_per_unit;
  float* maps = task.maps + static_cast<int64_t>(image) * task.channels * task.positions;
  for (int p = first; p < last; p += kStrip) {
    if (last - p >= kStrip)
      normalize_strip<true>(task, maps + p, kStrip);
    else
      normalize_strip<false>(task, maps + p, last - p);
  }
}

// Computes the distances at `count` positions from `first`; adds them to `lanes` and writes them to `map` unless it is
// null.
template <bool WHOLE>
inline void distance_strip(const fastalex::MapDistanceArgs& task, const float* a, const float* b, int first, int count,
                           double* lanes, float* map) {
  const int64_t pitch = task.positions;
  Vec sum[kStripVectors];
  sum_channels(task.channels, sum, [&](int c, int j) {
    const Vec d = strip_at<WHOLE>(a + c * pitch + first, j, count) - strip_at<WHOLE>(b + c * pitch + first, j, count);
    return d * splat(task.weights[c]) * d;
  });
  for (int j = 0; j < kStripVectors; ++j) {
    for (int i = 0; i < kLanes; ++i) lanes[i] += sum[j][i];
    if (map) store_strip<WHOLE>(map + first, j, count, sum[j]);
  }
}

void map_distance(const void* erased, int unit, int) {
  const fastalex::MapDistanceArgs& task = *static_cast<const fastalex::MapDistanceArgs*>(erased);
  const int tile = unit / task.units_per_tile, part = unit % task.units_per_tile;
  const int first = part * task.positions_per_unit;
  const int last = task.positions - first < task.positions_per_unit ? task.positions : first + task.positions_per_unit;
  const int top = tile / task.tiles_across * task.tile, left = tile % task.tiles_across * task.tile;
  const int bottom = task.rows - top < task.tile ? task.rows : top + task.tile;
  const int right = task.columns - left < task.tile ? task.columns : left + task.tile;
  for (int p = first; p < last; p += kStrip) {
    for (int i = top; i < bottom; ++i) {
      for (int j = left; j < right; ++j) {
        const int64_t pair = static_cast<int64_t>(i) * task.columns + j;
        double* partial = task.partial + pair * task.units_per_tile + part;
        if (p == first) *partial = 0;
        if (task.pairing == FASTALEX_TRIANGLE && j <= i) continue;
        const float* b = task.b[task.pairing == FASTALEX_ZIPPED ? i : j];
        float* map = task.maps ? task.maps + pair * task.positions : nullptr;
        double lanes[kLanes] = {};
        if (last - p >= kStrip)
          distance_strip<true>(task, task.a[i], b, p, kStrip, lanes, map);
        else
          distance_strip<false>(task, task.a[i], b, p, last - p, lanes, map);
        for (int lane = 0; lane < kLanes; ++lane) *partial += lanes[lane];
      }
    }
  }
}

}  // namespace
#endif  // FASTALEX_CPU_KERNELS_DISTANCE_H
