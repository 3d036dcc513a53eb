// XXH64, the 64-bit hash of the xxHash specification (github.com/Cyan4973/xxHash, doc/xxhash_spec.md), seed 0. Fast and
// not cryptographic: used only as a cache key for data that nobody has a reason to forge.
#ifndef FASTALEX_COMMON_XXHASH_H
#define FASTALEX_COMMON_XXHASH_H

#include <cstddef>
#include <cstdint>
#include <string>

namespace fastalex {

class Xxh64 {
 public:
  Xxh64();
  Xxh64& add(const void* data, size_t bytes);
  Xxh64& add(const std::string& text) { return add(text.data(), text.size()); }
  uint64_t value() const;
  std::string hex() const;  // 16 digits

 private:
  uint64_t lanes_[4];
  unsigned char rest_[32];
  size_t rest_bytes_ = 0;
  uint64_t total_ = 0;
};

}  // namespace fastalex
#endif  // FASTALEX_COMMON_XXHASH_H
