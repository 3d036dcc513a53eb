// Local response normalization, max-pool, both in one pass in either order; normalization within a channel; average
// pool. One thread works on V neighboring channels: 16 bytes, or 8 for four halves.
//
// Normalization across channels: y[c] = x[c] (k + alpha sum_{|d| <= size/2} x[c + d]^2)^-beta, c + d in c's group.
// Squares and their sums are floats. With u = 2^-24, for size 5 and beta 3/4: the sum has an error of at most 4 u (a
// square, three additions), the base 6 u (alpha, one fused multiply-add), of which the power takes 3/4; the power
// itself has 6.2 u (power_three_quarters), the last product u. Together 11.7 u = 7.0e-7; the rounding to half
// is 4.9e-4.
#ifndef FASTALEX_CUDA_KERNELS_NORM_POOL_CUH
#define FASTALEX_CUDA_KERNELS_NORM_POOL_CUH

#include "cuda/kernels/vector.cuh"

namespace fastalex {
namespace cuda {
namespace norm_pool {

constexpr int kThreads = 256;
constexpr int kBlocks = 4;          // of a multiprocessor at least: without this bound ptxas spills to fit more
constexpr int kTileVectors = 1024;  // of a block's tile in shared memory: 16 KiB, so that an SM holds four blocks

// x^(-3/4) from two approximations: of 2^-22.9 (rsqrt) and 2^-23 (sqrt) by PTX's manual, so that the result's error is
// at most 1.5 2^-22.9 + 2^-23 + 2^-24 = 6.2 u. Infinity gives 0, 0 gives infinity.
FASTALEX_DEVICE float power_three_quarters(float x) {
  const float root = rsqrt_approximate(x);
  return root * sqrt_approximate(root);
}

// Sums of squares of the windows of five channels around c0 .. c0 + V - 1. Groups are whole vectors.
template <typename T, int V>
FASTALEX_DEVICE void sums_of_five(const T* x,  // channel c0 of a pixel, whose other channels are readable as well
                                  int c0, const NormPoolArgs& a, const float (&center)[V], float (&sum)[V]) {
  const int group = a.c / a.groups, in_group = a.groups == 1 ? c0 : c0 % group;
  float before[2] = {0, 0}, after[2] = {0, 0};
  if (in_group > 0) vector::load(x - 2, before);
  if (in_group + V < group) vector::load(x + V, after);
  float square[V + 4];
#pragma unroll
  for (int i = 0; i < 2; ++i) square[i] = before[i] * before[i], square[V + 2 + i] = after[i] * after[i];
#pragma unroll
  for (int i = 0; i < V; ++i) square[2 + i] = center[i] * center[i];
#pragma unroll
  for (int i = 0; i < V; ++i) sum[i] = (square[i] + square[i + 1]) + (square[i + 2] + square[i + 3]) + square[i + 4];
}

// The same for any size and group: the vectors that the windows touch, each value added where it belongs.
template <typename T, int V>
FASTALEX_DEVICE void sums_of_any(const T* x, int c0, const NormPoolArgs& a, float (&sum)[V]) {
  const int group = a.c / a.groups, reach = a.size / 2;
  int first[V], last[V];
#pragma unroll
  for (int i = 0; i < V; ++i) {
    const int begin = (c0 + i) / group * group;
    first[i] = larger(c0 + i - reach, begin);
    last[i] = smaller(smaller(c0 + i + reach, begin + group - 1), a.c - 1);
    sum[i] = 0;
  }
  for (int c = first[0] / V * V; c <= last[V - 1]; c += V) {
    float v[V];
    vector::load(x + (c - c0), v);
#pragma unroll
    for (int j = 0; j < V; ++j) {
#pragma unroll
      for (int i = 0; i < V; ++i)
        if (c + j >= first[i] && c + j <= last[i]) sum[i] = fmaf(v[j], v[j], sum[i]);
    }
  }
}

// y = the normalized channels c0 .. c0 + V - 1; zeros past the last channel.
template <typename T, int V, bool kFive>
FASTALEX_DEVICE void normalize(const T* x, int c0, const NormPoolArgs& a, float (&y)[V]) {
  float sum[V];
  vector::load(x, y);
  if (kFive)
    sums_of_five<T, V>(x, c0, a, y, sum);
  else
    sums_of_any<T, V>(x, c0, a, sum);
#pragma unroll
  for (int i = 0; i < V; ++i) {
    const float base = fmaf(a.alpha, sum[i], a.k);
    y[i] *= kFive || a.beta == 0.75f ? power_three_quarters(base) : powf(base, -a.beta);
  }
  if (c0 + V <= a.c) return;
#pragma unroll
  for (int i = 0; i < V; ++i)
    if (c0 + i >= a.c) y[i] = 0;  // would be NaN for k = 0
}

// Bits of values without a sign compare as integers, with NaN above infinity. A half's best keeps the other half of
// its word below it, which decides nothing.
FASTALEX_DEVICE void keep_largest(u32 word, int (&best)[1]) { best[0] = larger(best[0], static_cast<int>(word)); }
FASTALEX_DEVICE void keep_largest(u32 word, int (&best)[2]) {
  best[0] = larger(best[0], static_cast<int>(word << 16));
  best[1] = larger(best[1], static_cast<int>(word));
}
FASTALEX_DEVICE u32 word_of(const int (&best)[1]) { return static_cast<u32>(best[0]); }
FASTALEX_DEVICE u32 word_of(const int (&best)[2]) {
  return (static_cast<u32>(best[0]) >> 16) | (static_cast<u32>(best[1]) & 0xffff0000u);
}

// The largest over rows x cols pixels, or NaN if there is one. Pooled values have mostly passed a ReLU: values without
// a sign take one integer instruction each; a window with any other value is scanned again.
template <typename T, int V>
FASTALEX_DEVICE void largest(const T* x,  // first pixel of the window
                             int row_pitch, int pixel_pitch, int rows, int cols, float (&y)[V]) {
  constexpr int kWords = V / vector::Word<T>::kValues;
  int best[kWords][vector::Word<T>::kValues] = {};
  u32 signs = 0;
#pragma unroll 1
  for (int r = 0; r < rows; ++r) {
#pragma unroll 3
    for (int q = 0; q < cols; ++q) {
      u32 words[kWords];
      vector::load_words(x + r * row_pitch + q * pixel_pitch, words);
#pragma unroll
      for (int i = 0; i < kWords; ++i) {
        signs |= words[i];
        keep_largest(words[i], best[i]);
      }
    }
  }
#pragma unroll
  for (int i = 0; i < kWords; ++i) vector::Word<T>::unpack(word_of(best[i]), y + i * vector::Word<T>::kValues);
  if ((signs & vector::Word<T>::kSigns) == 0) return;
  vector::load(x, y);
#pragma unroll 1
  for (int r = 0; r < rows; ++r) {
#pragma unroll 1
    for (int q = 0; q < cols; ++q) {
      float v[V];
      vector::load(x + r * row_pitch + q * pixel_pitch, v);
#pragma unroll
      for (int i = 0; i < V; ++i)
        if (v[i] > y[i] || v[i] != v[i]) y[i] = v[i];
    }
  }
}

// A thread keeps its channels and goes over the pixels of a rectangle, `lanes` pixels at a time.
struct Walk {
  int y, x, cols, down, along;
  FASTALEX_DEVICE Walk(int lane, int lanes, int cols_)
      : y(lane / cols_), x(lane % cols_), cols(cols_), down(lanes / cols_), along(lanes % cols_) {}
  FASTALEX_DEVICE void next() {
    x += along;
    y += down;
    if (x >= cols) {
      x -= cols;
      ++y;
    }
  }
};

// The work of a block of the fused kernels: tile_rows x tile_cols pooled pixels of one image, `chunk` vectors each.
// Grid: (images x row tiles, column tiles, channel chunks).
struct Tile {
  int image, out_y, out_x, out_rows, out_cols;
  int in_y, in_x, in_rows, in_cols;  // the part of the image that their windows cover
  int vectors, lane, lanes;          // vectors of this chunk; threads share them out as `lanes` pixels at a time
  int c0;                            // this thread's first channel

  FASTALEX_DEVICE Tile(const NormPoolArgs& a, int width) {
    const int row_tiles = ceil_div(a.out_h, a.tile_rows), block = static_cast<int>(blockIdx.x);
    const int thread = static_cast<int>(threadIdx.x), first = static_cast<int>(blockIdx.z) * a.chunk;
    image = block / row_tiles;
    out_y = block % row_tiles * a.tile_rows;
    out_x = static_cast<int>(blockIdx.y) * a.tile_cols;
    out_rows = smaller(a.tile_rows, a.out_h - out_y);
    out_cols = smaller(a.tile_cols, a.out_w - out_x);
    in_y = out_y * a.stride;
    in_x = out_x * a.stride;
    in_rows = smaller((out_rows - 1) * a.stride + a.kernel, a.in_h - in_y);
    in_cols = smaller((out_cols - 1) * a.stride + a.kernel, a.in_w - in_x);
    vectors = smaller(a.chunk, a.pitch / width - first);
    lane = thread / vectors;
    lanes = kThreads / vectors;
    c0 = (first + thread % vectors) * width;
  }
  FASTALEX_DEVICE bool idle() const { return lane >= lanes; }  // threads that are left over
};

// Channel c of a pixel.
template <typename T>
FASTALEX_DEVICE const T* input_at(const NormPoolArgs& a, int image, int y, int x, int c) {
  return static_cast<const T*>(a.in) + ((static_cast<size_t>(image) * a.in_h + y) * a.in_w + x) * a.pitch + c;
}
template <typename T>
FASTALEX_DEVICE T* output_at(const NormPoolArgs& a, int image, int y, int x, int c) {
  return static_cast<T*>(a.out) + ((static_cast<size_t>(image) * a.out_h + y) * a.out_w + x) * a.pitch + c;
}

// y = act(lrn(x)). One thread a vector. Grid: (vectors of the tensor / threads).
template <typename T, int V, bool kFive>
__global__ void __launch_bounds__(kThreads) lrn(const NormPoolArgs a) {
  const u32 vectors = static_cast<u32>(a.pitch / V), index = blockIdx.x * kThreads + threadIdx.x;
  const size_t pixels = static_cast<size_t>(a.n) * a.in_h * a.in_w;
  if (index >= pixels * vectors) return;
  const size_t at = static_cast<size_t>(index) * V;
  float y[V];
  normalize<T, V, kFive>(static_cast<const T*>(a.in) + at, static_cast<int>(index % vectors) * V, a, y);
  vector::activate(y, a.activation);
  vector::store(static_cast<T*>(a.out) + at, y);
}

// y = act(maxpool(x)). One thread a vector of the output. Grid: (images x output rows, vectors of a row / threads).
template <typename T, int V>
__global__ void __launch_bounds__(kThreads, kBlocks) max_pool(const NormPoolArgs a) {
  const int vectors = a.pitch / V, index = static_cast<int>(blockIdx.y * kThreads + threadIdx.x);
  const int image = static_cast<int>(blockIdx.x) / a.out_h, row = static_cast<int>(blockIdx.x) % a.out_h;
  const int col = index / vectors, c0 = index % vectors * V;
  if (col >= a.out_w) return;
  const int y = row * a.stride, x = col * a.stride;
  float best[V];
  largest(input_at<T>(a, image, y, x, c0), a.in_w * a.pitch, a.pitch, smaller(a.kernel, a.in_h - y),
          smaller(a.kernel, a.in_w - x), best);
  vector::activate(best, a.activation);
  vector::store(output_at<T>(a, image, row, col, c0), best);
}

// y = act(maxpool(first_act(lrn(x)))). A block normalizes the pixels of its tile once, into shared memory, and pools
// from there. They are kept in the tensor's type: rounding keeps their order, so it may come before the maximum.
template <typename T, int V, bool kFive>
__global__ void __launch_bounds__(kThreads, kBlocks) lrn_pool(const NormPoolArgs a) {
  FASTALEX_SHARED(smem);
  const Tile tile(a, V);
  const int pixel = tile.vectors * V, row = tile.in_cols * pixel;
  T* mine = reinterpret_cast<T*>(smem) + static_cast<int>(threadIdx.x) % tile.vectors * V;  // [in_rows, in_cols, pixel]
  const T* in = input_at<T>(a, tile.image, tile.in_y, tile.in_x, tile.c0);
  T* out = output_at<T>(a, tile.image, tile.out_y, tile.out_x, tile.c0);
  if (!tile.idle()) {
    for (Walk p(tile.lane, tile.lanes, tile.in_cols); p.y < tile.in_rows; p.next()) {
      float y[V];
      normalize<T, V, kFive>(in + (p.y * a.in_w + p.x) * a.pitch, tile.c0, a, y);
      vector::activate(y, a.first_activation);
      vector::store(mine + p.y * row + p.x * pixel, y);
    }
  }
  __syncthreads();
  if (tile.idle()) return;
  for (Walk p(tile.lane, tile.lanes, tile.out_cols); p.y < tile.out_rows; p.next()) {
    const int y = p.y * a.stride, x = p.x * a.stride;
    float best[V];
    largest(mine + y * row + x * pixel, row, pixel, smaller(a.kernel, tile.in_rows - y),
            smaller(a.kernel, tile.in_cols - x), best);
    vector::activate(best, a.activation);
    vector::store(out + (p.y * a.out_w + p.x) * a.pitch, best);
  }
}

// y = act(lrn(first_act(maxpool(x)))). A block pools the pixels of its tile, all channels, into shared memory, and
// normalizes from there. The only chunk has the whole pitch.
template <typename T, int V, bool kFive>
__global__ void __launch_bounds__(kThreads, kBlocks) pool_lrn(const NormPoolArgs a) {
  FASTALEX_SHARED(smem);
  const Tile tile(a, V);
  T* mine = reinterpret_cast<T*>(smem) + tile.c0;  // [out_rows, out_cols, pitch]
  const T* in = input_at<T>(a, tile.image, tile.in_y, tile.in_x, tile.c0);
  T* out = output_at<T>(a, tile.image, tile.out_y, tile.out_x, tile.c0);
  if (!tile.idle()) {
    for (Walk p(tile.lane, tile.lanes, tile.out_cols); p.y < tile.out_rows; p.next()) {
      const int y = p.y * a.stride, x = p.x * a.stride;
      float best[V];
      largest(in + (y * a.in_w + x) * a.pitch, a.in_w * a.pitch, a.pitch, smaller(a.kernel, tile.in_rows - y),
              smaller(a.kernel, tile.in_cols - x), best);
      vector::activate(best, a.first_activation);
      vector::store(mine + (p.y * tile.out_cols + p.x) * a.pitch, best);
    }
  }
  __syncthreads();
  if (tile.idle()) return;
  for (Walk p(tile.lane, tile.lanes, tile.out_cols); p.y < tile.out_rows; p.next()) {
    float y[V];
    normalize<T, V, kFive>(mine + (p.y * tile.out_cols + p.x) * a.pitch, tile.c0, a, y);
    vector::activate(y, a.activation);
    vector::store(out + (p.y * a.out_w + p.x) * a.pitch, y);
  }
}

// y[i,j] = act(x[i,j] (k + alpha sum_{|d|,|e| <= size/2} x[i+d,j+e]^2)^-beta) within one channel. A block has tile_cols
// pixels of a row, `chunk` vectors each: it sums the squares of each column into shared memory, then along the row.
// Grid: (images x rows, column tiles, channel chunks).
template <typename T>
__global__ void __launch_bounds__(kThreads, kBlocks) spatial_norm(const SpatialNormArgs a) {
  FASTALEX_SHARED(smem);
  constexpr int V = 4;
  const int first = static_cast<int>(blockIdx.z) * a.chunk, vectors = smaller(a.chunk, a.pitch / V - first);
  const int thread = static_cast<int>(threadIdx.x), reach = a.size / 2;
  const int row = static_cast<int>(blockIdx.x) % a.h, c0 = (first + thread % vectors) * V;
  const size_t image = static_cast<size_t>(blockIdx.x / static_cast<u32>(a.h)) * a.h * a.w * a.pitch + c0;
  const T* in = static_cast<const T*>(a.in) + image;  // [h, w, pitch] from c0
  const int begin = static_cast<int>(blockIdx.y) * a.tile_cols, end = smaller(begin + a.tile_cols, a.w);
  const int left = larger(begin - reach, 0), right = smaller(end + reach, a.w);
  float* mine = reinterpret_cast<float*>(smem) + thread % vectors * V;  // [right - left, vectors V]
  const int lane = thread / vectors, lanes = kThreads / vectors;
  for (int col = left + lane; col < right && lane < lanes; col += lanes) {
    float sum[V] = {};
    for (int y = larger(row - reach, 0); y <= smaller(row + reach, a.h - 1); ++y) {
      float v[V];
      vector::load(in + (static_cast<size_t>(y) * a.w + col) * a.pitch, v);
#pragma unroll
      for (int i = 0; i < V; ++i) sum[i] = fmaf(v[i], v[i], sum[i]);
    }
    vector::store(mine + (col - left) * vectors * V, sum);
  }
  __syncthreads();
  for (int col = begin + lane; col < end && lane < lanes; col += lanes) {
    float sum[V] = {}, y[V];
    for (int x = larger(col - reach, 0); x <= smaller(col + reach, a.w - 1); ++x) {
      float v[V];
      vector::load(mine + (x - left) * vectors * V, v);
#pragma unroll
      for (int i = 0; i < V; ++i) sum[i] += v[i];
    }
    const size_t at = (static_cast<size_t>(row) * a.w + col) * a.pitch;
    vector::load(in + at, y);
#pragma unroll
    for (int i = 0; i < V; ++i) y[i] = c0 + i < a.c ? y[i] * powf(fmaf(a.alpha, sum[i], a.k), -a.beta) : 0;
    vector::activate(y, a.activation);
    vector::store(static_cast<T*>(a.out) + image + at, y);
  }
}

// y[i,j] = act(mean of x over rows floor(i in_h / out_h) .. ceil((i + 1) in_h / out_h) - 1, columns alike). One thread
// a vector of the output. Grid: (images x output rows, vectors of a row / threads).
template <typename T>
__global__ void __launch_bounds__(kThreads, kBlocks) average_pool(const AveragePoolArgs a) {
  constexpr int V = 4;
  const int vectors = a.pitch / V, index = static_cast<int>(blockIdx.y * kThreads + threadIdx.x);
  const u32 image = blockIdx.x / static_cast<u32>(a.out_h), row = blockIdx.x % static_cast<u32>(a.out_h);
  const int col = index / vectors, c0 = index % vectors * V;
  if (col >= a.out_w) return;
  const u64 in_h = a.in_h, in_w = a.in_w;
  const int top = static_cast<int>(row * in_h / a.out_h),
            bottom = static_cast<int>(ceil_div((row + 1) * in_h, a.out_h));
  const int left = static_cast<int>(col * in_w / a.out_w),
            right = static_cast<int>(ceil_div((col + 1) * in_w, a.out_w));
  const T* in = static_cast<const T*>(a.in) + image * in_h * in_w * a.pitch + c0;  // [in_h, in_w, pitch] from c0
  float sum[V] = {};
  for (int y = top; y < bottom; ++y) {
    for (int x = left; x < right; ++x) {
      float v[V];
      vector::load(in + (y * in_w + x) * a.pitch, v);
#pragma unroll
      for (int i = 0; i < V; ++i) sum[i] += v[i];
    }
  }
  const float count = static_cast<float>((bottom - top) * (right - left));
#pragma unroll
  for (int i = 0; i < V; ++i) sum[i] /= count;
  vector::activate(sum, a.activation);
  vector::store(static_cast<T*>(a.out) + ((static_cast<size_t>(blockIdx.x)) * a.out_w + col) * a.pitch + c0, sum);
}

}  // namespace norm_pool
}  // namespace cuda
}  // namespace fastalex
#endif  // FASTALEX_CUDA_KERNELS_NORM_POOL_CUH
