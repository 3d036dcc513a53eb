// What cost() takes for the speed of a device where the weights of fully connected layers stream from its memory.
#ifndef FASTALEX_CUDA_CANDIDATES_BANDWIDTH_H
#define FASTALEX_CUDA_CANDIDATES_BANDWIDTH_H

#include "cuda/candidates/candidate.h"

namespace fastalex {
namespace cuda {

constexpr double kStreamLatency = 0.7;  // microseconds of a read from memory
constexpr double kStreamLaunch = 2;     // microseconds of a launch
constexpr double kStreamIssued = 0.7;   // the part of the issue slots that can be filled
constexpr double kStreamRate = 80e3;    // bytes per microsecond that a multiprocessor takes at most
constexpr double kStreamAgain = 2.5;    // times the bandwidth at which the input comes, which all blocks read

// Memory bandwidth in bytes per microsecond. Few devices report it; these are the lowest values of each generation per
// multiprocessor.
inline double bandwidth(const DeviceFacts& device) {
  const bool large_memory = device.sm == 80 || device.sm == 90 || device.sm == 100;
  const double of_one = device.integrated ? (device.sm < 70 ? 25e3 : 8e3)
                        : large_memory    ? (device.sm == 80 ? 14e3 : 30e3)
                                          : 9e3;
  return device.sms * of_one;
}

}  // namespace cuda
}  // namespace fastalex
#endif  // FASTALEX_CUDA_CANDIDATES_BANDWIDTH_H
