// The number of CPU threads that a call uses where its caller names none.
#ifndef FASTALEX_CPU_USABLE_CPUS_H
#define FASTALEX_CPU_USABLE_CPUS_H

#include <string>

namespace fastalex {

// The processors that this process may run on, bounded by its CPU quota (cgroup v1 or v2, rounded up) and by
// FASTALEX_NUM_THREADS, or where that is not set by OMP_NUM_THREADS. At least 1. Throws Error(FASTALEX_INVALID) if
// FASTALEX_NUM_THREADS is not a number above 0. `root` is put before /proc and /sys, for tests.
int usable_cpus(const std::string& root = "");

}  // namespace fastalex
#endif  // FASTALEX_CPU_USABLE_CPUS_H
