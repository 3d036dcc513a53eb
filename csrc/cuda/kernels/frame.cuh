// Turns a camera frame into the network's input in one pass: resize, crop, order of the planes, normalization. The
// source pixels of an output pixel and their weights come from tables that the host computes (candidates/frame.h).
// Resized values are rounded to 8 bits as every source of a profile rounds them, so that the results are those of
// python/fastalex/images/preprocessing.py up to the rounding of the normalization.
#ifndef FASTALEX_CUDA_KERNELS_FRAME_CUH
#define FASTALEX_CUDA_KERNELS_FRAME_CUH

#include "cuda/kernels/vector.cuh"

namespace fastalex {
namespace cuda {
namespace frame {

constexpr int kThreads = 256;
constexpr int kSharedBytes = 24576;  // of the antialiased filter: a column of a frame of 8192 rows
constexpr int kFractionBits = 22;    // of its weights, as in Pillow

// y = v scale - shift at pixel (y, x) of the output, from one pixel's bytes as numbers.
template <typename T>
FASTALEX_DEVICE void put_pixel(const FrameArgs& a, int y, int x, const float (&bytes)[3]) {
  float v[4] = {0, 0, 0, 0};
#pragma unroll
  for (int c = 0; c < 3; ++c) v[c] = fmaf(a.swap ? bytes[2 - c] : bytes[c], a.scale[c], -a.shift[c]);
  vector::store(static_cast<T*>(a.out) + (static_cast<size_t>(y) * a.out_w + x) * 4, v);
}

FASTALEX_DEVICE const u8* pixel_at(const FrameArgs& a, int y, int x) { return a.pixels + y * a.row_bytes + x * 3; }

// One thread a pixel of the output. Grid: (columns / threads, rows).
template <typename T>
__global__ void __launch_bounds__(kThreads) nearest(const FrameArgs a) {
  const int x = static_cast<int>(blockIdx.x * kThreads + threadIdx.x), y = static_cast<int>(blockIdx.y);
  if (x >= a.out_w) return;
  const u8* from = pixel_at(a, a.row_spans[2 * y], a.column_spans[2 * x]);
  const float bytes[3] = {static_cast<float>(from[0]), static_cast<float>(from[1]), static_cast<float>(from[2])};
  put_pixel<T>(a, y, x, bytes);
}

FASTALEX_DEVICE float between(float a, float weight_a, float b, float weight_b) {
  return add_rounded(multiply_rounded(a, weight_a), multiply_rounded(b, weight_b));
}
// Rounds to nearest, ties to even, for 0 <= v < 2^22: the sum with 1.5 2^23 has no bits for a fraction.
FASTALEX_DEVICE float rounded(float v) { return add_rounded(add_rounded(v, 12582912.0f), -12582912.0f); }

// Two by two neighbors, each operation rounded to float as numpy rounds. Grid: (columns / threads, rows).
template <typename T>
__global__ void __launch_bounds__(kThreads) linear(const FrameArgs a) {
  const int x = static_cast<int>(blockIdx.x * kThreads + threadIdx.x), y = static_cast<int>(blockIdx.y);
  if (x >= a.out_w) return;
  const int top = a.row_spans[2 * y], left = a.column_spans[2 * x];
  const int bottom = top + a.row_spans[2 * y + 1] - 1, right = left + a.column_spans[2 * x + 1] - 1;
  const float down = bits_to_float(static_cast<u32>(a.row_weights[y]));
  const float along = bits_to_float(static_cast<u32>(a.column_weights[x]));
  const float up = add_rounded(1, -down), back = add_rounded(1, -along);
  const u8 *top_left = pixel_at(a, top, left), *top_right = pixel_at(a, top, right);
  const u8 *bottom_left = pixel_at(a, bottom, left), *bottom_right = pixel_at(a, bottom, right);
  float bytes[3];
#pragma unroll
  for (int c = 0; c < 3; ++c) {
    const float upper = between(top_left[c], back, top_right[c], along);
    const float lower = between(bottom_left[c], back, bottom_right[c], along);
    bytes[c] = rounded(between(upper, up, lower, down));
  }
  put_pixel<T>(a, y, x, bytes);
}

// A sum of bytes times fixed-point weights, rounded to 8 bits.
FASTALEX_DEVICE int to_byte(int sum) { return larger(0, smaller(255, sum >> kFractionBits)); }

// Pillow's bilinear filter, which widens as it shrinks: along the rows to 8 bits, then along the columns. A block has
// tile_rows x tile_cols pixels of the output; the part of the frame's rows that it needs passes through shared memory,
// resized to tile_cols columns. Grid: (column tiles, row tiles).
template <typename T>
__global__ void __launch_bounds__(kThreads) antialiased(const FrameArgs a) {
  FASTALEX_SHARED(smem);  // [rows of the frame, tile_cols, 3]
  const int thread = static_cast<int>(threadIdx.x), lane = thread / a.tile_cols, lanes = kThreads / a.tile_cols;
  const int column = thread % a.tile_cols, x = static_cast<int>(blockIdx.x) * a.tile_cols + column;
  const int begin = static_cast<int>(blockIdx.y) * a.tile_rows, end = smaller(begin + a.tile_rows, a.out_h);
  const int top = a.row_spans[2 * begin], rows = a.row_spans[2 * end - 2] + a.row_spans[2 * end - 1] - top;
  constexpr int kRounding = 1 << (kFractionBits - 1);
  if (x < a.out_w) {
    const int left = a.column_spans[2 * x], count = a.column_spans[2 * x + 1];
    const int* weights = a.column_weights + static_cast<size_t>(x) * a.column_taps;
    for (int row = lane; row < rows; row += lanes) {
      const u8* from = pixel_at(a, top + row, left);
      int sum[3] = {kRounding, kRounding, kRounding};
      for (int i = 0; i < count; ++i)
#pragma unroll
        for (int c = 0; c < 3; ++c) sum[c] += from[3 * i + c] * weights[i];
      u8* to = smem + (row * a.tile_cols + column) * 3;
#pragma unroll
      for (int c = 0; c < 3; ++c) to[c] = static_cast<u8>(to_byte(sum[c]));
    }
  }
  __syncthreads();
  if (x >= a.out_w) return;
  for (int y = begin + lane; y < end; y += lanes) {
    const int first = a.row_spans[2 * y] - top, count = a.row_spans[2 * y + 1];
    const int* weights = a.row_weights + static_cast<size_t>(y) * a.row_taps;
    int sum[3] = {kRounding, kRounding, kRounding};
    for (int i = 0; i < count; ++i) {
      const u8* from = smem + ((first + i) * a.tile_cols + column) * 3;
#pragma unroll
      for (int c = 0; c < 3; ++c) sum[c] += from[c] * weights[i];
    }
    const float bytes[3] = {static_cast<float>(to_byte(sum[0])), static_cast<float>(to_byte(sum[1])),
                            static_cast<float>(to_byte(sum[2]))};
    put_pixel<T>(a, y, x, bytes);
  }
}

}  // namespace frame
}  // namespace cuda
}  // namespace fastalex
#endif  // FASTALEX_CUDA_KERNELS_FRAME_CUH
