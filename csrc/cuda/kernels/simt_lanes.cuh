// The threads of a block as rows and columns of a tile, and the turns that shared memory takes for what a warp of them
// reads: plain arithmetic, for the host too.
#ifndef FASTALEX_CUDA_KERNELS_SIMT_LANES_CUH
#define FASTALEX_CUDA_KERNELS_SIMT_LANES_CUH

#include "cuda/kernels/defs.cuh"

namespace fastalex {
namespace cuda {
namespace simt {

constexpr int kLanes = 32, kBanks = 32, kBankBytes = 4;

// TY x TX threads in warps of WarpY x 32 / WarpY. Among the 16 lanes of half a warp, a lane has the row of its pair
// neighbor, and the column of the lane two on: 16-byte reads that depend on either then take two turns of the banks
// instead of four.
template <int WarpY, int TY, int TX>
struct Threads {
  static_assert(TY % WarpY == 0 && TX % (kLanes / WarpY) == 0, "whole warps");
  FASTALEX_HOST_DEVICE static constexpr int ty(int thread) {
    return thread / kLanes % (TY / WarpY) * WarpY + thread / 2 % WarpY;
  }
  FASTALEX_HOST_DEVICE static constexpr int tx(int thread) {
    return thread / kLanes / (TY / WarpY) * (kLanes / WarpY) + thread % kLanes / (2 * WarpY) * 2 + thread % 2;
  }
};

// Addresses that the lanes of a warp read.
struct LaneAddresses {
  int of[kLanes];
};

// Turns of the banks for lanes first .. first + count - 1, each of which reads `bytes` at a multiple of them: a bank
// gives one word a turn, to all who ask for it.
FASTALEX_HOST_DEVICE constexpr int turns_at_once(const LaneAddresses& lanes, int first, int count, int bytes) {
  int words[kBanks] = {}, most = 0;
  for (int i = first; i < first + count; ++i) {
    bool again = false;
    for (int j = first; j < i; ++j) again = again || lanes.of[j] == lanes.of[i];
    for (int byte = 0; byte < bytes && !again; byte += kBankBytes)
      most = larger(most, ++words[(lanes.of[i] + byte) / kBankBytes % kBanks]);
  }
  return most;
}

// Whether all lanes of these agree with the lane whose number differs in `bit`.
FASTALEX_HOST_DEVICE constexpr bool agree(const LaneAddresses& lanes, int first, int count, int bit) {
  for (int i = first; i < first + count; ++i)
    if (lanes.of[i] != lanes.of[i ^ bit]) return false;
  return true;
}

// Turns of a warp's read. What 32 lanes of 4 bytes, 16 of 8 or 8 of 16 ask for is served at once; twice as many lanes
// of 8 or 16 bytes where all agree with their pair neighbor, or all with the lane two on (NVIDIA of sm_7x,
// forums.developer.nvidia.com/t/unexpected-shared-memory-bank-conflict/77228; of older ones it is assumed).
FASTALEX_HOST_DEVICE constexpr int read_turns(const LaneAddresses& lanes, int bytes) {
  const int whole = kLanes * kBankBytes / bytes, step = bytes == kBankBytes ? whole : 2 * whole;
  int turns = 0;
  for (int first = 0; first < kLanes; first += step) {
    if (step == whole || agree(lanes, first, step, 1) || agree(lanes, first, step, 2))
      turns += turns_at_once(lanes, first, step, bytes);
    else
      turns += turns_at_once(lanes, first, whole, bytes) + turns_at_once(lanes, first + whole, whole, bytes);
  }
  return turns;
}

// Turns of the reads of one pixel or column of each thread, which lie so many bytes apart from one row or column of
// threads to the next: the most among the block's warps.
template <class S, bool PIXELS>
FASTALEX_HOST_DEVICE constexpr int most_turns(int step, int bytes) {
  int most = 0;
  for (int first = 0; first < S::kThreads; first += kLanes) {
    LaneAddresses lanes = {};
    for (int i = 0; i < kLanes; ++i) lanes.of[i] = (PIXELS ? S::ty(first + i) : S::tx(first + i)) * step;
    most = larger(most, read_turns(lanes, bytes));
  }
  return most;
}
template <class S>
FASTALEX_HOST_DEVICE constexpr int pixel_turns(int step, int bytes) {
  return most_turns<S, true>(step, bytes);
}
template <class S>
FASTALEX_HOST_DEVICE constexpr int column_turns(int step, int bytes) {
  return most_turns<S, false>(step, bytes);
}

}  // namespace simt
}  // namespace cuda
}  // namespace fastalex
#endif  // FASTALEX_CUDA_KERNELS_SIMT_LANES_CUH
