// The end of a convolution whose sum was split over blocks: out = act(bias + sum over the parts), and zeros in the
// padding channels. The parts are added in their order.
//
// A thread makes 4 neighboring channels of one pixel; channels run fastest. Grid: (pixels out_pitch / 4 / 128).
#ifndef FASTALEX_CUDA_KERNELS_SPLIT_REDUCE_CUH
#define FASTALEX_CUDA_KERNELS_SPLIT_REDUCE_CUH

#include "cuda/kernels/args.h"
#include "cuda/kernels/ptx.h"
#include "cuda/kernels/vector.cuh"

namespace fastalex {
namespace cuda {

constexpr int kReduceThreads = 128, kReduceChannels = 4;

template <typename T>
__global__ void __launch_bounds__(kReduceThreads) split_reduce(const ReduceArgs a) {
  constexpr int V = kReduceChannels;
  const u64 index = static_cast<u64>(blockIdx.x) * kReduceThreads + threadIdx.x;
  const int vectors = a.out_pitch / V, channel = static_cast<int>(index % vectors) * V;
  const u64 pixel = index / vectors;
  if (pixel >= static_cast<u64>(a.pixels)) return;
  const u64 step = static_cast<u64>(a.groups) * a.pixels * a.rows;  // from one part to the next

  float v[V] = {0, 0, 0, 0};
  const int group = channel / a.out_c_group, row = channel % a.out_c_group;
  if (a.out_c_group % V == 0 && group < a.groups) {
    const float* from = a.partial + (static_cast<u64>(group) * a.pixels + pixel) * a.rows + row;
    vector::load(a.bias + group * a.rows + row, v);
    for (int part = 0; part < a.split; ++part, from += step) {
      float sum[V];
      vector::load(from, sum);
#pragma unroll
      for (int i = 0; i < V; ++i) v[i] += sum[i];
    }
  } else {
#pragma unroll
    for (int i = 0; i < V; ++i) {
      const int own_group = (channel + i) / a.out_c_group, own_row = (channel + i) % a.out_c_group;
      if (own_group >= a.groups) continue;
      const float* from = a.partial + (static_cast<u64>(own_group) * a.pixels + pixel) * a.rows + own_row;
      v[i] = a.bias[own_group * a.rows + own_row];
      for (int part = 0; part < a.split; ++part) v[i] += from[part * step];
    }
  }
  vector::activate(v, a.activation);
  vector::store(static_cast<T*>(a.out) + pixel * a.out_pitch + channel, v);
}

}  // namespace cuda
}  // namespace fastalex
#endif  // FASTALEX_CUDA_KERNELS_SPLIT_REDUCE_CUH
