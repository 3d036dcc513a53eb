// What the pretended devices' memory consists of. Host memory, poisoned, with guard zones on both sides.
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

// The region that `p` lies in or whose guard zone it lies in; false: none.
bool find_region(const void* p, Region* region);

// The region that has all of the bytes.
bool find_region(const void* p, size_t bytes, Region* region);

// Empty, or which memory of the device something was written just outside of. Mends it.
std::string mend_guards(int device);

}  // namespace emulator
}  // namespace fastalex
#endif  // FASTALEX_EMULATOR_MEMORY_H
