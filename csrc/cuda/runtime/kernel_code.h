// Checks that a library's code for a kernel is complete. Plain host code: both the CUDA runtime and the emulated one
// use it.
#ifndef FASTALEX_CUDA_RUNTIME_KERNEL_CODE_H
#define FASTALEX_CUDA_RUNTIME_KERNEL_CODE_H

#include <sstream>
#include <string>

#include "cuda/runtime/launch.h"

namespace fastalex {
namespace cuda {

// The reason why a kernel whose code was compiled for the virtual architecture `ptx_version`
// (cudaFuncAttributes::ptxVersion, 75 is compute_75) must not run on the device of that name; empty if it may. The
// driver runs older code on newer devices, compiling its PTX if necessary, but code compiled for less than min_sm is
// empty: it would return at once, and the result would be whatever was in memory.
inline std::string code_problem(const KernelInfo& kernel, int ptx_version, const std::string& device) {
  if (ptx_version >= kernel.min_sm) return "";
  std::ostringstream text;
  text << "this CUDA library has code of sm_" << ptx_version << " for " << device << ", but kernel " << kernel.name
       << " needs that of sm_" << kernel.min_sm << " or newer; build fastalex for this GPU: python -m fastalex prints "
       << "the command";
  return text.str();
}

}  // namespace cuda
}  // namespace fastalex
#endif  // FASTALEX_CUDA_RUNTIME_KERNEL_CODE_H
