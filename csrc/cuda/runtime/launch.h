// A launch as data: kernel, grid and arguments. Lists of launches are made once for a context and then run in order on
// a stream, or become a graph. The emulator runs the same lists.
#ifndef FASTALEX_CUDA_RUNTIME_LAUNCH_H
#define FASTALEX_CUDA_RUNTIME_LAUNCH_H

#include <cstddef>
#include <cstring>

#include "cuda/kernels/args.h"

namespace fastalex {
namespace cuda {

struct Grid {
  int x, y, z;
};

// The host's description of a compiled kernel.
struct KernelInfo {
  const char* name;                           // as printed in the tables of docs and tuning
  const void* address;                        // the __global__ function
  void (*emulate)(const void*, const void*);  // calls `address` with the argument struct; used by the emulator
  int threads;                                // of a block
  int shared_bytes;                           // dynamic shared memory of a block
  int min_sm, max_sm;                         // architectures it is compiled for, 0: no limit; 75 is sm_75
  bool tensor_cores;
};

template <typename Args>
void call_kernel(const void* address, const void* args) {
  reinterpret_cast<void (*)(Args)>(const_cast<void*>(address))(*static_cast<const Args*>(args));
}

// The entry of a table: kernel_info("name", kernel<...>, threads, shared bytes, ...).
template <typename Args>
KernelInfo kernel_info(const char* name, void (*kernel)(Args), int threads, int shared_bytes, int min_sm = 0,
                       int max_sm = 0, bool tensor_cores = false) {
  return KernelInfo{
      name,        reinterpret_cast<const void*>(kernel), call_kernel<Args>, threads, shared_bytes, min_sm, max_sm,
      tensor_cores};
}

// The first eight entries of a row of an instance list (kernels/*_instances.h) as kernel_info; KERNEL is in
// parentheses.
#define FASTALEX_UNBRACKETED(...) __VA_ARGS__
#define FASTALEX_KERNEL_INFO(NAME, KERNEL, ARGS, THREADS, SHARED, MIN_SM, MAX_SM, TENSOR) \
  kernel_info<ARGS>(NAME, FASTALEX_UNBRACKETED KERNEL, THREADS, SHARED, MIN_SM, MAX_SM, TENSOR)

struct KernelLaunch {
  const KernelInfo* kernel;  // lives as long as the library
  Grid grid;
  alignas(16) unsigned char args[192];

  template <typename Args>
  static KernelLaunch make(const KernelInfo& kernel, Grid grid, const Args& args) {
    static_assert(sizeof(Args) <= sizeof(KernelLaunch::args), "raise the size of KernelLaunch::args");
    KernelLaunch launch;
    launch.kernel = &kernel;
    launch.grid = grid;
    std::memcpy(launch.args, &args, sizeof args);
    return launch;
  }
};

}  // namespace cuda
}  // namespace fastalex
#endif  // FASTALEX_CUDA_RUNTIME_LAUNCH_H
