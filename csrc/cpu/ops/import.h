// A network's input, float32 NCHW, into the layout of the first step.
#ifndef FASTALEX_CPU_OPS_IMPORT_H
#define FASTALEX_CPU_OPS_IMPORT_H

#include "values.h"

namespace {

// One pixel's channels, `count` floats.
inline void store_pixel(const fastalex::Activations& to, int64_t place, const float* pixel, int count) {
  for (int c = 0; c < count; c += kLanes) store_values(to, place + c, load(pixel + c), count - c);
}

void import_row(const fastalex::ImportTask& task, int image, int y) {
  const float* from = task.from + (static_cast<int64_t>(image) * task.channels * task.h + y) * task.w;
  const int64_t plane = static_cast<int64_t>(task.h) * task.w;
  if (task.to.numeric == fastalex::kFloat32) {
    float* to = static_cast<float*>(task.to.data) + place_of(task.to, image, y, 0);
    for (int c = 0; c < task.channels; ++c)
      for (int x = 0; x < task.w; ++x) to[static_cast<int64_t>(x) * task.to.c + c] = from[c * plane + x];
    return;
  }
  enum { kStretch = 64 };  // columns at a time: a row that is rounded in whole vectors
  for (int c = 0; c < task.channels; ++c) {
    for (int x = 0; x < task.w; x += kStretch) {
      const int count = task.w - x < kStretch ? task.w - x : kStretch;
      float some[kStretch + kLanes];
      memcpy(some, from + c * plane + x, count * sizeof(float));
      memset(some + count, 0, kLanes * sizeof(float));
      union {
        float floats[kStretch + kLanes];
        Level levels[kStretch + kLanes];
        int16_t shorts[kStretch + kLanes];
      } rounded;
      fastalex::Activations line = task.to;
      line.data = &rounded;
      store_pixel(line, 0, some, count);
      const int64_t place = place_of(task.to, image, y, x) + c;
      if (task.to.numeric == fastalex::kLevels)
        for (int i = 0; i < count; ++i)
          static_cast<Level*>(task.to.data)[place + static_cast<int64_t>(i) * task.to.c] = rounded.levels[i];
      else
        for (int i = 0; i < count; ++i)
          static_cast<int16_t*>(task.to.data)[place + static_cast<int64_t>(i) * task.to.c] = rounded.shorts[i];
    }
  }
}

// Row y of the blocks; pixels outside the image keep the zeros that are there.
void import_blocks(const fastalex::ImportTask& task, int image, int y) {
  float* to = static_cast<float*>(task.to.data) + place_of(task.to, image, y, 0);
  for (int c = 0; c < task.channels; ++c) {
    for (int dy = 0; dy < task.block; ++dy) {
      const int row = y * task.block + dy - task.pad;
      if (row < 0 || row >= task.h) continue;
      const float* from = task.from + ((static_cast<int64_t>(image) * task.channels + c) * task.h + row) * task.w;
      const int channel = (c * task.block + dy) * task.block;
      for (int x = 0; x < task.to.w; ++x) {
        const int left = x * task.block - task.pad;
        float* pixel = to + static_cast<int64_t>(x) * task.to.c + channel;
        if (left >= 0 && left + task.block <= task.w) {
          if (task.block == 4) {  // a constant size becomes a move
            memcpy(pixel, from + left, 4 * sizeof(float));
          } else {
            memcpy(pixel, from + left, task.block * sizeof(float));
          }
        } else {
          for (int dx = 0; dx < task.block; ++dx)
            if (left + dx >= 0 && left + dx < task.w) pixel[dx] = from[left + dx];
        }
      }
    }
  }
}

void import_image(const void* erased, int unit, int) {
  const fastalex::ImportTask& task = *static_cast<const fastalex::ImportTask*>(erased);
  const int image = unit / task.to.h, row = unit % task.to.h;
  if (task.block > 1)
    import_blocks(task, image, row);
  else
    import_row(task, image, row);
}

}  // namespace
#endif  // FASTALEX_CPU_OPS_IMPORT_H
