// Runs the blocks of a launch, one after the other, each thread on a fiber.
#ifndef FASTALEX_EMULATOR_BLOCK_H
#define FASTALEX_EMULATOR_BLOCK_H

#include <string>

#include "cuda/runtime/launch.h"

namespace fastalex {
namespace emulator {

// The properties of the device that instructions need.
struct LaunchDevice {
  int index, sm;
  bool tensor_cores;
};

// Runs block `block` of the launch. Returns the error, empty if there is none.
std::string run_block(const cuda::KernelLaunch& launch, const LaunchDevice& device, const cuda::Grid& block);

bool running();  // this host thread is inside a kernel
const LaunchDevice& current_device();
size_t shared_bytes();
bool in_guard_page(const void* address);  // below a fiber's stack

void begin_copies(unsigned threads);  // instructions.cpp: a new block has no asynchronous copies under way

}  // namespace emulator
}  // namespace fastalex
#endif  // FASTALEX_EMULATOR_BLOCK_H
