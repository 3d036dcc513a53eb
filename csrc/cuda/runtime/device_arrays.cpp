#include "cuda/runtime/device_arrays.h"

#include <sstream>

namespace fastalex {
namespace cuda {

void* DeviceArrays::allocate(size_t bytes) const {
  const DeviceScope scope(index_);
  return DeviceMemory(bytes).release();
}

void DeviceArrays::release(void* memory) const {
  try {
    const DeviceScope scope(index_);
    DeviceMemory::adopt(memory);
  } catch (const std::exception&) {
    // Without the device there is nothing to free.
  }
}

void DeviceArrays::copy(void* to, const void* from, size_t bytes, bool to_host) const {
  const DeviceScope scope(index_);
  const Stream stream;
  synchronize_device();  // any stream may still be writing to the memory
  if (to_host)
    copy_to_host(to, from, bytes, stream.handle());
  else
    copy_to_device(to, from, bytes, stream.handle());
  synchronize(stream.handle());
}

std::string device_json(const DeviceFacts& facts) {
  std::ostringstream text;
  text << "{\"index\": " << facts.index << ", \"name\": \"" << facts.name << "\", \"sm\": " << facts.sm
       << ", \"sms\": " << facts.sms << ", \"clock_khz\": " << facts.clock_khz << ", \"l2_bytes\": " << facts.l2_bytes
       << ", \"memory_bytes\": " << facts.memory_bytes << ", \"integrated\": " << (facts.integrated ? "true" : "false")
       << ", \"tensor_cores\": " << (facts.tensor_cores ? "true" : "false") << ", \"driver\": " << facts.driver_version
       << ", \"runtime\": " << facts.runtime_version << "}";
  return text.str();
}

}  // namespace cuda
}  // namespace fastalex
