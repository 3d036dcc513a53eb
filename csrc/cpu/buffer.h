// Aligned memory for weights and activations.
#ifndef FASTALEX_CPU_BUFFER_H
#define FASTALEX_CPU_BUFFER_H

#include <stdlib.h>
#include <sys/mman.h>

#include <cstring>
#include <new>
#include <utility>

namespace fastalex {

// Zeroed, 64-byte aligned memory. Large buffers use huge pages where the system offers them, since one pass over the
// weights of a fully connected layer otherwise misses the TLB every 4 KiB.
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(size_t bytes) : bytes_(bytes) {
    const size_t huge_page = size_t(2) << 20;
    const bool large = bytes >= huge_page;
    if (posix_memalign(&data_, large ? huge_page : 64, bytes ? bytes : 1) != 0) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
    if (large) madvise(data_, bytes & ~(huge_page - 1), MADV_HUGEPAGE);  // advice: a failure changes nothing
#endif
    std::memset(data_, 0, bytes);
  }
  ~Buffer() { free(data_); }
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    swap(other);
    return *this;
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  template <typename T = float>
  T* as() const {
    return static_cast<T*>(data_);
  }
  size_t bytes() const { return bytes_; }

 private:
  void swap(Buffer& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
  }
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace fastalex
#endif  // FASTALEX_CPU_BUFFER_H
