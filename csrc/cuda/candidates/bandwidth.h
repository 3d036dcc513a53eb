// What cost() takes for a device's memory bandwidth where the weights of fully connected layers stream from it.
#ifndef FASTALEX_CUDA_CANDIDATES_BANDWIDTH_H
#define FASTALEX_CUDA_CANDIDATES_BANDWIDTH_H

#include "cuda/candidates/candidate.h"

namespace fastalex {
namespace cuda {

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
