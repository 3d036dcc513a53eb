// Predicted times of the kernels built on mma_tile.cuh. Only their order matters.
#ifndef FASTALEX_CUDA_CANDIDATES_MMA_COST_H
#define FASTALEX_CUDA_CANDIDATES_MMA_COST_H

#include <algorithm>

#include "cuda/candidates/candidate.h"

namespace fastalex {
namespace cuda {

// A block's tile, as in the table of instances.
struct MmaShape {
  int m, n, k;  // pixels or vectors, channels, products of a stage
  int warp_m, warp_n;
  int stages, threads;
  int shared_bytes;
};

template <class Tile>
constexpr MmaShape mma_shape() {
  return {Tile::BM, Tile::BN, Tile::BK, Tile::WM, Tile::WN, Tile::STAGES, Tile::THREADS, Tile::SHARED_BYTES};
}

const double kMmaLaunchUs = 3;
const double kMmaLatency = 700;       // clocks from global to shared memory
const double kMmaBlockClocks = 1500;  // addresses, the first stage and the result
const double kMmaL2Bytes = 32;        // that a multiprocessor gets in a clock

// The share of the tensor cores' rate that a warp's tile can reach: each fragment serves warp_m or warp_n products. On
// sm_90, mma.sync is published to reach about 0.6 of the rate; only wgmma reaches all of it.
inline double mma_efficiency(const MmaShape& shape, int sm) {
  const double reuse = 1 / (1 + 8.0 / shape.warp_m + 8.0 / shape.warp_n);
  return reuse * (sm >= 90 && sm < 120 ? 0.6 : 0.95);
}

// Microseconds of `blocks` blocks of `stages` stages each, `extra` clocks of other work in a stage.
inline double mma_cost(const MmaShape& shape, const DeviceFacts& device, double blocks, double stages,
                       double extra = 0) {
  const double clocks_per_us = device.clock_khz * 1e-3;
  const double macs = static_cast<double>(shape.m) * shape.n * shape.k;
  const double compute =
      compute_cost(device, 1, macs, tensor_rate(device), mma_efficiency(shape, device.sm), 1) * clocks_per_us;
  const double stage = std::max(compute, (shape.m + shape.n) * shape.k * 2 / kMmaL2Bytes) + extra;
  const double latency = std::max(stage, kMmaLatency / (shape.stages - 1));
  const int by_shared = static_cast<int>(device.shared_per_sm / (shape.shared_bytes + 1024));
  const int resident = std::max(1, std::min(by_shared, 512 / shape.threads));
  const double rounds = static_cast<double>(static_cast<long long>((blocks + device.sms - 1) / device.sms));
  const double waves = static_cast<double>(static_cast<long long>((rounds + resident - 1) / resident));
  const double clocks = std::max(rounds * stages * stage, waves * stages * latency) + waves * kMmaBlockClocks;
  return kMmaLaunchUs + clocks / clocks_per_us;
}

// DRAM bytes per microsecond and multiprocessor: 9 GB/s on a GeForce, more with HBM.
inline double mma_dram_bytes(const DeviceFacts& device) {
  return device.sm == 80 ? 15e3 : device.sm >= 90 && device.sm < 110 ? 30e3 : 9e3;
}

// Microseconds to read the weights once.
inline double mma_weights_cost(const DeviceFacts& device, double bytes) {
  return kMmaLaunchUs + bytes / (device.sms * mma_dram_bytes(device));
}

// The second launch of a split sum: `values` partial sums are written and read, in L2 if they fit.
inline double mma_reduce_cost(const DeviceFacts& device, double values) {
  const bool small = 4 * values < device.l2_bytes / 2;
  const double bytes_per_us = small ? kMmaL2Bytes / 2 * device.clock_khz * 1e-3 : mma_dram_bytes(device);
  return kMmaLaunchUs + 2 * 4 * values / (device.sms * bytes_per_us);
}

}  // namespace cuda
}  // namespace fastalex
#endif  // FASTALEX_CUDA_CANDIDATES_MMA_COST_H
