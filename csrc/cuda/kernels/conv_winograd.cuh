// Winograd convolution of stride 1 with bias and activation: Y = A^T [ sum_c (G g G^T) . (B^T d B) ] A for each tile of
// m x m outputs and r x r weights, F(m x m, r x r) in the terms of Lavin & Gray (arXiv 1509.09308): n^2 = (m + r - 1)^2
// products instead of m^2 r^2. Three kernels: input transform, n^2 matrix products along c, output transform. The
// weights G g G^T come transformed from the host (weights/winograd.h). Tensors are of type T, transformed inputs and
// products of type Real.
//
// A NaN or an infinity in the input spoils all outputs of the tiles that read it, not only those whose window does.
#ifndef FASTALEX_CUDA_KERNELS_CONV_WINOGRAD_CUH
#define FASTALEX_CUDA_KERNELS_CONV_WINOGRAD_CUH

#include "cuda/kernels/winograd_algorithms.cuh"
#include "cuda/kernels/winograd_gemm.cuh"

namespace fastalex {
namespace cuda {

// V[i, j] = (B^T d B)[i, j] for each tile, group and channel, d = 0 outside the image.
// A thread transforms kChannels channels of one tile; threads run over (tile, channel), channel fastest.
// Grid: (tiles v_pitch / kChannels / 128, groups).
template <class F, typename T, typename Real>
__global__ void __launch_bounds__(kWinogradTransformThreads) winograd_input(const WinogradArgs a) {
  typedef WinogradType<T, Real> Type;
  constexpr int C = Type::kChannels, N = F::kIn;
  const u32 vectors = a.v_pitch / C, index = blockIdx.x * kWinogradTransformThreads + threadIdx.x;
  const int tile = index / vectors, c = index % vectors * C, group = blockIdx.y;
  if (tile >= a.tiles) return;
  const WinogradTile at = winograd_tile(a, tile, F::kOut);
  const int y = at.y - a.pad, x = at.x - a.pad;
  const T* column = static_cast<const T*>(a.in) + group * a.in_c_group + c +
                    ((static_cast<long long>(at.image) * a.in_h + y) * a.in_w + x) * a.in_pitch;
  const long long line = static_cast<long long>(a.in_w) * a.in_pitch;

  float partly[N][N][C];  // B^T d
#pragma unroll
  for (int j = 0; j < N; ++j, column += a.in_pitch) {
    const bool inside = x + j >= 0 && x + j < a.in_w && c < a.in_c_group;
    const T* in = column;
    float d[N][C];
#pragma unroll
    for (int i = 0; i < N; ++i, in += line) {
#pragma unroll
      for (int e = 0; e < C; ++e) d[i][e] = 0;
      if (inside && y + i >= 0 && y + i < a.in_h) vector::load(in, d[i]);
    }
#pragma unroll
    for (int i = 0; i < N; ++i) {
#pragma unroll
      for (int e = 0; e < C; ++e) {
        bool first = true;
#pragma unroll
        for (int k = 0; k < N; ++k) winograd_add(F::bt(i, k), d[k][e], first, partly[i][j][e]);
      }
    }
  }

  const u64 step = static_cast<u64>(a.groups) * a.tiles * a.v_pitch;  // from one position to the next
  Real* out = static_cast<Real*>(a.transformed) + (static_cast<u64>(group) * a.tiles + tile) * a.v_pitch + c;
#pragma unroll
  for (int i = 0; i < N; ++i) {
#pragma unroll
    for (int j = 0; j < N; ++j, out += step) {
      float v[C];
#pragma unroll
      for (int e = 0; e < C; ++e) {
        bool first = true;
#pragma unroll
        for (int k = 0; k < N; ++k) winograd_add(F::bt(j, k) * Type::kScale, partly[i][k][e], first, v[e]);
      }
      vector::store(out, v);
    }
  }
}

// Y = act(A^T m A + bias) for each tile and output channel, and zeros in the padding channels.
// A thread computes kOutputChannels channels of one tile, all of one group; threads run over (tile, channel), channel
// fastest. Grid: (tiles out_pitch / kOutputChannels / 128).
template <class F, typename T, typename Real>
__global__ void __launch_bounds__(kWinogradTransformThreads) winograd_output(const WinogradArgs a) {
  typedef WinogradType<T, Real> Type;
  constexpr int C = Type::kOutputChannels, N = F::kIn, M = F::kOut;
  const u32 vectors = a.out_pitch / C, index = blockIdx.x * kWinogradTransformThreads + threadIdx.x;
  const int tile = index / vectors, channel = index % vectors * C;
  if (tile >= a.tiles) return;
  const int left = a.groups * a.out_c_group - channel;  // channels from the thread's first on

  float partly[M][N][C];  // A^T m
  float bias[C] = {};
  if (left > 0) {
    const int group = static_cast<u32>(channel) / a.out_c_group, row = channel - group * a.out_c_group;
#pragma unroll
    for (int e = 0; e < C; ++e) bias[e] = a.bias[group * a.w_rows + row + e];
    const u64 step = static_cast<u64>(a.groups) * a.tiles * a.w_rows;  // from one position to the next
    const Real* column =
        static_cast<const Real*>(a.products) + (static_cast<u64>(group) * a.tiles + tile) * a.w_rows + row;
#pragma unroll
    for (int j = 0; j < N; ++j, column += step) {
      const Real* in = column;
      float m[N][C];
#pragma unroll
      for (int i = 0; i < N; ++i, in += N * step) vector::load(in, m[i]);
#pragma unroll
      for (int i = 0; i < M; ++i) {
#pragma unroll
        for (int e = 0; e < C; ++e) {
          bool first = true;
#pragma unroll
          for (int k = 0; k < N; ++k) winograd_add(F::at(i, k), m[k][e], first, partly[i][j][e]);
        }
      }
    }
  } else {
#pragma unroll
    for (int i = 0; i < M; ++i)
#pragma unroll
      for (int j = 0; j < N; ++j)
#pragma unroll
        for (int e = 0; e < C; ++e) partly[i][j][e] = 0;
  }

  const WinogradTile at = winograd_tile(a, tile, M);
  T* line =
      static_cast<T*>(a.out) + channel + ((static_cast<u64>(at.image) * a.out_h + at.y) * a.out_w + at.x) * a.out_pitch;
#pragma unroll
  for (int i = 0; i < M; ++i, line += static_cast<u64>(a.out_w) * a.out_pitch) {
    T* out = line;
#pragma unroll
    for (int j = 0; j < M; ++j, out += a.out_pitch) {
      float y[C];
#pragma unroll
      for (int e = 0; e < C; ++e) {
        bool first = true;
        float sum;
#pragma unroll
        for (int k = 0; k < N; ++k) winograd_add(F::at(j, k), partly[i][k][e], first, sum);
        y[e] = fmaf(sum, 1 / Type::kScale, bias[e]);
      }
      vector::activate(y, a.activation);
#pragma unroll
      for (int e = 0; e < C; ++e) y[e] = e < left ? y[e] : 0;  // where the input is infinite, padding is not a number
      if (at.y + i < a.out_h && at.x + j < a.out_w) vector::store(out, y);
    }
  }
}

}  // namespace cuda
}  // namespace fastalex
#endif  // FASTALEX_CUDA_KERNELS_CONV_WINOGRAD_CUH
