// Helpers of the code that packs weights: the caller's values, panels on all threads, bf16.
#ifndef FASTALEX_CPU_PACK_PANELS_H
#define FASTALEX_CPU_PACK_PANELS_H

#include <atomic>
#include <cstring>
#include <exception>

#include "cpu/pack.h"

namespace fastalex {

// A caller's array may lie at any address: in some weights files arrays are not aligned.
inline float at(const float* values, size_t index) {
  float value;
  std::memcpy(&value, reinterpret_cast<const char*>(values) + index * sizeof(float), sizeof value);
  return value;
}

// Calls body(index) for each panel on all threads and rethrows the first exception.
template <typename Body>
void for_each_panel(const Panels& panels, ThreadPool::Lease* workers, const Body& body) {
  struct Task {
    const Body& body;
    std::atomic<bool> failed;
    std::exception_ptr error;
  } task = {body, {false}, nullptr};
  workers->run(
      [](const void* erased, int unit, int) {
        Task& task = *static_cast<Task*>(const_cast<void*>(erased));
        try {
          task.body(unit);
        } catch (...) {
          if (!task.failed.exchange(true)) task.error = std::current_exception();
        }
      },
      &task, panels.count());
  if (task.error) std::rethrow_exception(task.error);
}

template <typename T>
T* panel_of(const Buffer& buffer, int panel, int index) {
  return buffer.as<T>() + static_cast<size_t>(index) * panel;
}

inline uint16_t to_bf16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  if (value != value) return 0x7fc0;
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

inline float from_bf16(uint16_t half) {
  const uint32_t bits = static_cast<uint32_t>(half) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

}  // namespace fastalex
#endif  // FASTALEX_CPU_PACK_PANELS_H
