// Callers' arrays in device memory, and the description of a device, for every backend on CUDA devices.
#ifndef FASTALEX_CUDA_RUNTIME_DEVICE_ARRAYS_H
#define FASTALEX_CUDA_RUNTIME_DEVICE_ARRAYS_H

#include <string>

#include "backend/backend_impl.h"
#include "cuda/runtime/runtime.h"

namespace fastalex {
namespace cuda {

// A model whose arrays may be in the memory of device `index`.
class DeviceArrays : public BackendModel {
 public:
  explicit DeviceArrays(int index) : index_(index) {}

  void* allocate(size_t bytes) const override;
  void release(void* memory) const override;
  void copy(void* to, const void* from, size_t bytes, bool to_host) const override;

 private:
  int index_;
};

std::string device_json(const DeviceFacts& facts);  // of fastalex_device_info

}  // namespace cuda
}  // namespace fastalex
#endif  // FASTALEX_CUDA_RUNTIME_DEVICE_ARRAYS_H
