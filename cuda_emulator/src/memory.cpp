#include "memory.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <map>
#include <mutex>
#include <new>

namespace fastalex {
namespace emulator {
namespace {

const size_t kAlignment = 256;  // that of cudaMalloc

std::mutex mutex;
std::map<uintptr_t, Region> regions;  // by address of the first guard zone

}  // namespace

bool is_poison(const void* p, size_t bytes) {
  const unsigned char* first = static_cast<const unsigned char*>(p);
  return !bytes || (*first == 0xff && !memcmp(first, first + 1, bytes - 1));
}

void* allocate(size_t bytes, int device, bool mapped) {
  void* memory = nullptr;
  if (bytes > SIZE_MAX / 2 || posix_memalign(&memory, kAlignment, bytes + 2 * kGuardBytes)) throw std::bad_alloc();
  memset(memory, 0xff, bytes + 2 * kGuardBytes);
  char* data = static_cast<char*>(memory) + kGuardBytes;
  const std::lock_guard<std::mutex> lock(mutex);
  regions[reinterpret_cast<uintptr_t>(memory)] = Region{data, bytes, device, mapped};
  return data;
}

void release(void* data) {
  char* memory = static_cast<char*>(data) - kGuardBytes;
  {
    const std::lock_guard<std::mutex> lock(mutex);
    regions.erase(reinterpret_cast<uintptr_t>(memory));
  }
  free(memory);
}

size_t used_bytes(int device) {
  const std::lock_guard<std::mutex> lock(mutex);
  size_t total = 0;
  for (const auto& each : regions)
    if (each.second.device == device) total += each.second.bytes;
  return total;
}

bool find_region(const void* p, Region* region) {
  const uintptr_t address = reinterpret_cast<uintptr_t>(p);
  const std::lock_guard<std::mutex> lock(mutex);
  auto after = regions.upper_bound(address);
  if (after == regions.begin()) return false;
  const auto& entry = *--after;
  if (address - entry.first >= entry.second.bytes + 2 * kGuardBytes) return false;
  *region = entry.second;
  return true;
}

bool find_region(const void* p, size_t bytes, Region* region) {
  if (!find_region(p, region)) return false;
  const char* from = static_cast<const char*>(p);
  return from >= region->data && bytes <= region->bytes &&
         static_cast<size_t>(from - region->data) <= region->bytes - bytes;
}

std::string mend_guards(int device) {
  std::string damage;
  const std::lock_guard<std::mutex> lock(mutex);
  for (const auto& each : regions) {
    const Region& region = each.second;
    if (region.device != device && !region.mapped) continue;
    for (char* zone : {region.data - kGuardBytes, region.data + region.bytes}) {
      if (is_poison(zone, kGuardBytes)) continue;
      memset(zone, 0xff, kGuardBytes);
      damage = std::string("something was written ") + (zone < region.data ? "before the start" : "after the end") +
               " of device memory of " + std::to_string(region.bytes) + " bytes";
    }
  }
  return damage;
}

}  // namespace emulator
}  // namespace fastalex
