// Hooks by which the block runner and the instructions report to the race check (race_check.cpp). Empty in other
// builds.
#ifndef FASTALEX_EMULATOR_RACE_CHECK_H
#define FASTALEX_EMULATOR_RACE_CHECK_H

#include <cstddef>

namespace fastalex {
namespace emulator {

#ifdef FASTALEX_EMULATOR_RACE_CHECK

// Memory that a kernel may touch besides allocations: stacks and arguments of the block's threads, and the runner's own
// data.
struct Surroundings {
  const char *stacks, *args, *runner;
  size_t stack_bytes, args_bytes, runner_bytes;  // of one stack with its guard
  int device;
};

void race_block_begins(const unsigned char* shared, size_t bytes, const Surroundings& surroundings);
void race_block_ends();
void race_block_barrier();
void race_warp_barrier(unsigned warp);
void check_read(const void* p, size_t bytes);
void check_prefetch(const void* p, size_t bytes);     // a read that may be for nothing
void race_copy_issued(const void* to, size_t bytes);  // asynchronous: a write from here on ...
void race_copy_landed(const void* to, size_t bytes);  // ... to here

#else

inline void race_block_ends() {}
inline void race_block_barrier() {}
inline void race_warp_barrier(unsigned) {}
inline void check_read(const void*, size_t) {}
inline void check_prefetch(const void*, size_t) {}
inline void race_copy_issued(const void*, size_t) {}
inline void race_copy_landed(const void*, size_t) {}

#endif

}  // namespace emulator
}  // namespace fastalex
#endif  // FASTALEX_EMULATOR_RACE_CHECK_H
