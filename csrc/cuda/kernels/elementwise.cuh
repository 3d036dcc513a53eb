// Activations that are not fused, and conversions between dense NCHW arrays and tensors.
#ifndef FASTALEX_CUDA_KERNELS_ELEMENTWISE_CUH
#define FASTALEX_CUDA_KERNELS_ELEMENTWISE_CUH

#include "cuda/kernels/vector.cuh"

namespace fastalex {
namespace cuda {
namespace elementwise {

constexpr int kThreads = 256;
constexpr int kSide = 32;                              // of the square of pixels and channels that a block transposes
constexpr int kSquareBytes = kSide * (kSide + 1) * 4;  // a column more, so that columns lie in different banks

FASTALEX_DEVICE void put(float* p, float v) { *p = v; }
FASTALEX_DEVICE void put(Half* p, float v) { *p = to_half(v); }
FASTALEX_DEVICE float get(const float* p) { return *p; }
FASTALEX_DEVICE float get(const Half* p) { return to_float(*p); }

// Avoids overflow: takes exp only of values that are not above zero.
FASTALEX_DEVICE float sigmoid(float v) {
  const float e = expf(v < 0 ? v : -v);
  return (v < 0 ? e : 1.0f) / (1.0f + e);
}

// y = act(x), four values of one pixel a thread. Grid: (values / 4 / threads).
template <typename T>
__global__ void __launch_bounds__(kThreads) activation(const ActivationArgs a) {
  const u64 at = (static_cast<u64>(blockIdx.x) * kThreads + threadIdx.x) * 4;
  if (at >= a.count) return;
  float v[4];
  vector::load(static_cast<const T*>(a.in) + at, v);
  if (a.activation == kActLeakyRelu) {
#pragma unroll
    for (int i = 0; i < 4; ++i) v[i] = v[i] < 0 ? a.slope * v[i] : v[i];
  } else if (a.activation == kActSigmoid) {
    const int first = static_cast<int>(at % a.pitch);
#pragma unroll
    for (int i = 0; i < 4; ++i) v[i] = first + i < a.c ? sigmoid(v[i]) : 0.0f;  // the channel padding stays zero
  } else {
    vector::activate(v, a.activation);
  }
  vector::store(static_cast<T*>(a.out) + at, v);
}

// Dense [n, c, h, w] of D, at most four channels, to a tensor of T and pitch 4, one thread a pixel.
// Grid: (pixels / threads).
template <typename T, typename D>
__global__ void __launch_bounds__(kThreads) pixels_to_tensor(const LayoutArgs a) {
  const size_t plane = static_cast<size_t>(a.h) * a.w, pixel = static_cast<size_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (pixel >= plane * a.n) return;
  const D* in = static_cast<const D*>(a.in) + pixel / plane * a.c * plane + pixel % plane;
  float v[4];
#pragma unroll
  for (int c = 0; c < 4; ++c) v[c] = c < a.c ? get(in + c * plane) : 0;
  vector::store(static_cast<T*>(a.out) + pixel * 4, v);
}

// The square of pixels and channels that a block transposes. Grid: (images x pixels / kSide, pitch / kSide).
struct Square {
  size_t plane, image, pixel;  // pixels of an image; which image; the first pixel in it
  int channel;                 // the first channel
  int across, down;            // of this thread, which has rows down, down + 8, ... of the square

  FASTALEX_DEVICE explicit Square(const LayoutArgs& a) {
    plane = static_cast<size_t>(a.h) * a.w;
    const size_t squares = ceil_div(plane, static_cast<size_t>(kSide));
    image = blockIdx.x / squares;
    pixel = blockIdx.x % squares * kSide;
    channel = static_cast<int>(blockIdx.y) * kSide;
    across = static_cast<int>(threadIdx.x) % kSide;
    down = static_cast<int>(threadIdx.x) / kSide;
  }
};

// Dense [n, c, h, w] to a tensor, through shared memory, so that reads run along pixels and writes along channels.
template <typename T, typename D>
__global__ void __launch_bounds__(kThreads) to_tensor(const LayoutArgs a) {
  FASTALEX_SHARED(smem);
  float* square = reinterpret_cast<float*>(smem);  // [channels, pixels]
  const Square s(a);
  const D* in = static_cast<const D*>(a.in) + (s.image * a.c + s.channel) * s.plane + s.pixel;
#pragma unroll
  for (int row = s.down; row < kSide; row += kThreads / kSide) {
    const bool inside = s.channel + row < a.c && s.pixel + s.across < s.plane;
    square[row * (kSide + 1) + s.across] = inside ? get(in + row * s.plane + s.across) : 0;
  }
  __syncthreads();
  T* out = static_cast<T*>(a.out) + (s.image * s.plane + s.pixel) * a.pitch + s.channel;
#pragma unroll
  for (int row = s.down; row < kSide; row += kThreads / kSide)
    if (s.channel + s.across < a.pitch && s.pixel + row < s.plane)
      put(out + static_cast<size_t>(row) * a.pitch + s.across, square[s.across * (kSide + 1) + row]);
}

// The reverse: a tensor to dense [n, c, h, w].
template <typename T, typename D>
__global__ void __launch_bounds__(kThreads) from_tensor(const LayoutArgs a) {
  FASTALEX_SHARED(smem);
  float* square = reinterpret_cast<float*>(smem);  // [pixels, channels]
  const Square s(a);
  const T* in = static_cast<const T*>(a.in) + (s.image * s.plane + s.pixel) * a.pitch + s.channel;
#pragma unroll
  for (int row = s.down; row < kSide; row += kThreads / kSide)
    if (s.channel + s.across < a.c && s.pixel + row < s.plane)
      square[row * (kSide + 1) + s.across] = get(in + static_cast<size_t>(row) * a.pitch + s.across);
  __syncthreads();
  D* out = static_cast<D*>(a.out) + (s.image * a.c + s.channel) * s.plane + s.pixel;
#pragma unroll
  for (int row = s.down; row < kSide; row += kThreads / kSide)
    if (s.channel + row < a.c && s.pixel + s.across < s.plane)
      put(out + row * s.plane + s.across, square[s.across * (kSide + 1) + row]);
}

// Feature vectors, h = w = 1: rows of c values to rows of `pitch`, and back. Grid: (n, row / threads).
template <typename T, typename D>
__global__ void __launch_bounds__(kThreads) to_vectors(const LayoutArgs a) {
  const int c = static_cast<int>(blockIdx.y * kThreads + threadIdx.x);
  if (c >= a.pitch) return;
  const size_t row = blockIdx.x;
  put(static_cast<T*>(a.out) + row * a.pitch + c, c < a.c ? get(static_cast<const D*>(a.in) + row * a.c + c) : 0);
}
template <typename T, typename D>
__global__ void __launch_bounds__(kThreads) from_vectors(const LayoutArgs a) {
  const int c = static_cast<int>(blockIdx.y * kThreads + threadIdx.x);
  if (c >= a.c) return;
  const size_t row = blockIdx.x;
  put(static_cast<D*>(a.out) + row * a.c + c, get(static_cast<const T*>(a.in) + row * a.pitch + c));
}

}  // namespace elementwise
}  // namespace cuda
}  // namespace fastalex
#endif  // FASTALEX_CUDA_KERNELS_ELEMENTWISE_CUH
