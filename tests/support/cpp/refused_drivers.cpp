// What csrc/cuda/runtime/runtime.cpp says of a driver that cannot run the library, with a CUDA runtime that answers as
// the arguments say:   refused_drivers DRIVER ERROR_OF_THE_COUNT ERROR_OF_A_KERNEL
// The rest of the runtime is left out of the link: nothing here calls it.
#include <cuda_runtime_api.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "common/error.h"
#include "cuda/runtime/runtime.h"

namespace {
int driver;
cudaError_t of_count, of_kernel;
}  // namespace

extern "C" {
cudaError_t cudaDriverGetVersion(int* version) {
  *version = driver;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceCount(int* count) {
  *count = of_count == cudaSuccess;
  return of_count;
}
cudaError_t cudaGetLastError() { return cudaSuccess; }
const char* cudaGetErrorString(cudaError_t) { return "an error"; }
cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) {
  *value = 1;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  std::memset(properties, 0, sizeof *properties);
  std::strcpy(properties->name, "the GPU");
  return cudaSuccess;
}
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void*) {
  std::memset(attributes, 0, sizeof *attributes);
  return of_kernel;
}
}

int main(int, char** arguments) {
  driver = std::atoi(arguments[1]);
  of_count = static_cast<cudaError_t>(std::atoi(arguments[2]));
  of_kernel = static_cast<cudaError_t>(std::atoi(arguments[3]));
  try {
    fastalex::cuda::KernelInfo kernel = {};
    kernel.name = "a kernel";
    fastalex::cuda::device_count();
    fastalex::cuda::prepare_kernel(kernel);
  } catch (const fastalex::Error& error) {
    std::puts(error.what());
    return error.status == FASTALEX_UNAVAILABLE ? 3 : 1;
  }
  return 0;
}
