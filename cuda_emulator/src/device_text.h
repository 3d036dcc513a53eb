// The emulated devices, described by the environment variable FASTALEX_EMULATED_DEVICE: comma-separated key=value
// words, all optional. devices=N stands for N identical devices; semicolons separate different ones.
#ifndef FASTALEX_EMULATOR_DEVICE_TEXT_H
#define FASTALEX_EMULATOR_DEVICE_TEXT_H

#include <vector>

#include "cuda/runtime/runtime.h"

namespace fastalex {
namespace emulator {

// Reads the variable at each call. Throws Error(FASTALEX_INVALID) for an unknown word.
std::vector<cuda::DeviceFacts> pretended_devices();

}  // namespace emulator
}  // namespace fastalex
#endif  // FASTALEX_EMULATOR_DEVICE_TEXT_H
