// Converts a network's input, float32 NCHW, to the layout of the first step.
#ifndef FASTALEX_CPU_KERNELS_IMPORT_H
#define FASTALEX_CPU_KERNELS_IMPORT_H

#include "cpu/kernels/values.h"

namespace {

template <typename T>
void interleave(const T* from, int from_pitch, int channels, int columns, T* to, int to_pitch) {
  if (channels == 3) {
    for (int x = 0; x < columns; ++x, to += to_pitch)
      for (int c = 0; c < 3; ++c) to[c] = from[c * from_pitch + x];
    return;
  }
  for (int x = 0; x < columns; ++x, to += to_pitch)
    for (int c = 0; c < channels; ++c) to[c] = from[static_cast<int64_t>(c) * from_pitch + x];
}

// Imports columns [x, x + columns) of channels [first, first + channels) of row y, rounded.
void import_rounded(const fastalex::ImportArgs& task, int image, int y, int x, int columns, int first, int channels) {
  enum { kPitch = 64 };
  Quantized quantized[4 * kPitch];
  int16_t shorts[4 * kPitch];
  for (int c = 0; c < channels; ++c) {
    const float* from =
        task.from + ((static_cast<int64_t>(image) * task.channels + first + c) * task.h + y) * task.w + x;
    for (int i = 0; i < columns; i += kLanes) {
      const Vec v = columns - i < kLanes ? load_lanes(from + i, 0, columns - i) : load(from + i);
      if (task.to.dtype == fastalex::kBfloat16)
        store_shorts(shorts + c * kPitch + i, to_bf16(v));
      else
        store_quantized(quantized + c * kPitch + i, quantize_values(task.to, v));
    }
  }
  const int64_t place = place_of(task.to, image, y, x) + first;
  if (task.to.dtype == fastalex::kBfloat16)
    interleave(shorts, kPitch, channels, columns, static_cast<int16_t*>(task.to.data) + place, task.to.c);
  else
    interleave(quantized, kPitch, channels, columns, static_cast<Quantized*>(task.to.data) + place, task.to.c);
}

#if defined(FASTALEX_USE_VNNI) && defined(FASTALEX_USE_AVX512)
// Imports row y of three channels as quantized values; a pixel's values share a lane until they are stored.
void import_colors(const fastalex::ImportArgs& task, int image, int y) {
  const int64_t plane = static_cast<int64_t>(task.h) * task.w;
  const float* from = task.from + static_cast<int64_t>(image) * 3 * plane + static_cast<int64_t>(y) * task.w;
  Quantized* to = static_cast<Quantized*>(task.to.data) + place_of(task.to, image, y, 0);
  for (int x = 0; x < task.w; x += kLanes) {
    const int count = task.w - x < kLanes ? task.w - x : static_cast<int>(kLanes);
    IntVec pixels = {};
    for (int c = 2; c >= 0; --c)
      pixels = (pixels << 8) | quantize_values(task.to, load_lanes(from + c * plane + x, 0, count));
    store_triples(to + static_cast<int64_t>(x) * 3, pixels, count);
  }
}
#endif

void import_row(const fastalex::ImportArgs& task, int image, int y) {
#if defined(FASTALEX_USE_VNNI) && defined(FASTALEX_USE_AVX512)
  if (task.to.dtype == fastalex::kQuantized && task.channels == 3) return import_colors(task, image, y);
#endif
  if (task.to.dtype != fastalex::kFloat32) {
    for (int x = 0; x < task.w; x += 64)
      for (int c = 0; c < task.channels; c += 4)
        import_rounded(task, image, y, x, task.w - x < 64 ? task.w - x : 64, c,
                       task.channels - c < 4 ? task.channels - c : 4);
    return;
  }
  const float* from = task.from + (static_cast<int64_t>(image) * task.channels * task.h + y) * task.w;
  interleave(from, task.h * task.w, task.channels, task.w,
             static_cast<float*>(task.to.data) + place_of(task.to, image, y, 0), task.to.c);
}

// Imports row y of the blocks; pixels outside the image keep the zeros that are there.
void import_blocks(const fastalex::ImportArgs& task, int image, int y) {
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

// Imports row y of the blocks as quantized values, of which 0 stands for 0.
void import_quantized_blocks(const fastalex::ImportArgs& task, int image, int y) {
  enum { kColumns = 64 };
  Quantized line[kColumns * fastalex::kMostBlock + kLanes];
  const int block = task.block;
  for (int plane = 0; plane < task.channels * block; ++plane) {
    const int row = y * block + plane % block - task.pad;
    if (row < 0 || row >= task.h) continue;
    const float* from =
        task.from + ((static_cast<int64_t>(image) * task.channels + plane / block) * task.h + row) * task.w;
    for (int first = 0; first < task.to.w; first += kColumns) {
      const int columns = task.to.w - first < kColumns ? task.to.w - first : static_cast<int>(kColumns);
      const int left = first * block - task.pad, right = left + columns * block;
      memset(line, 0, sizeof line);
      for (int x = left < 0 ? 0 : left; x < right && x < task.w; x += kLanes)
        store_quantized(
            line + (x - left),
            quantize_values(task.to, task.w - x < kLanes ? load_lanes(from + x, 0, task.w - x) : load(from + x)));
      Quantized* to = static_cast<Quantized*>(task.to.data) + place_of(task.to, image, y, first) +
                      static_cast<int64_t>(plane) * block;
      for (int x = 0; x < columns; ++x, to += task.to.c) {
        if (block == 4)  // a constant size becomes a move
          memcpy(to, line + 4 * x, 4 * sizeof(Quantized));
        else
          memcpy(to, line + block * x, block * sizeof(Quantized));
      }
    }
  }
}

void import_image(const void* erased, int unit, int) {
  const fastalex::ImportArgs& task = *static_cast<const fastalex::ImportArgs*>(erased);
  const int image = unit / task.to.h, row = unit % task.to.h;
  if (task.block > 1 && task.to.dtype == fastalex::kQuantized)
    import_quantized_blocks(task, image, row);
  else if (task.block > 1)
    import_blocks(task, image, row);
  else
    import_row(task, image, row);
}

}  // namespace
#endif  // FASTALEX_CPU_KERNELS_IMPORT_H
