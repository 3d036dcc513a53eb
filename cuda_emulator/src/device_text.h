// The pretended devices, from the environment variable FASTALEX_EMULATED_DEVICE: key=value words with commas between,
// every key optional. devices=N pretends N alike; texts with ; between describe different ones.
#ifndef FASTALEX_EMULATOR_DEVICE_TEXT_H
#define FASTALEX_EMULATOR_DEVICE_TEXT_H

#include <vector>

#include "cuda/runtime/runtime.h"

namespace fastalex {
namespace emulator {

// Read anew at each call. Throws Error(FASTALEX_INVALID) for a word that it does not know.
std::vector<cuda::DeviceFacts> pretended_devices();

}  // namespace emulator
}  // namespace fastalex
#endif  // FASTALEX_EMULATOR_DEVICE_TEXT_H
