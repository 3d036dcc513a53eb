// The memory of the emulated devices: host memory, poisoned, with guard zones on both sides.
#ifndef FASTALEX_EMULATOR_MEMORY_H
#define FASTALEX_EMULATOR_MEMORY_H

#include <cstddef>
#include <string>

namespace fastalex {
namespace emulator {

// Before and after each allocation, and the shared memory of a block.
#if defined(__SANITIZE_ADDRESS__)
const size_t kGuardBytes = 0, kSharedGuardBytes = 0;  // the sanitizer has its own, which begin at the last byte
#elif defined(FASTALEX_EMULATOR_RACE_CHECK)
const size_t kGuardBytes = 65536, kSharedGuardBytes = 16384;
#else
const size_t kGuardBytes = 4096, kSharedGuardBytes = 1024;
#endif

struct Region {
  char* data;
  size_t bytes;
  int device;   // -1: page-locked host memory
  bool mapped;  // host memory that devices may use
};

bool is_poison(const void* p, size_t bytes);

// Throws std::bad_alloc where the host has no more.
void* allocate(size_t bytes, int device, bool mapped);
void release(void* data);
size_t used_bytes(int device);

// Finds the region that `p` lies in, guard zones included; false: none.
bool find_region(const void* p, Region* region);

// Finds the region that contains all of the bytes.
bool find_region(const void* p, size_t bytes, Region* region);

// Repairs the guard zones of the device. Returns which allocation was written just outside of, empty if none.
std::string mend_guards(int device);

}  // namespace emulator
}  // namespace fastalex
#endif  // FASTALEX_EMULATOR_MEMORY_H
