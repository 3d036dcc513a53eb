#include "common/xxhash.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

namespace fastalex {
namespace {

// The specification's PRIME64_1 to PRIME64_5.
const uint64_t kPrime1 = 0x9E3779B185EBCA87u, kPrime2 = 0xC2B2AE3D27D4EB4Fu, kPrime3 = 0x165667B19E3779F9u,
               kPrime4 = 0x85EBCA77C2B2AE63u, kPrime5 = 0x27D4EB2F165667C5u;

uint64_t rotated(uint64_t value, int bits) { return value << bits | value >> (64 - bits); }

uint64_t little_endian(const unsigned char* from, int bytes) {
  uint64_t value = 0;
  for (int i = bytes - 1; i >= 0; --i) value = value << 8 | from[i];
  return value;
}

uint64_t round(uint64_t lane, uint64_t input) { return rotated(lane + input * kPrime2, 31) * kPrime1; }

uint64_t merged(uint64_t hash, uint64_t lane) { return (hash ^ round(0, lane)) * kPrime1 + kPrime4; }

void add_stripe(uint64_t* lanes, const unsigned char* from) {
  for (int i = 0; i < 4; ++i) lanes[i] = round(lanes[i], little_endian(from + 8 * i, 8));
}

}  // namespace

Xxh64::Xxh64() : lanes_{kPrime1 + kPrime2, kPrime2, 0, 0 - kPrime1} {}

Xxh64& Xxh64::add(const void* data, size_t bytes) {
  const unsigned char* from = static_cast<const unsigned char*>(data);
  total_ += bytes;
  if (rest_bytes_) {
    const size_t taken = std::min(bytes, sizeof rest_ - rest_bytes_);
    std::memcpy(rest_ + rest_bytes_, from, taken);
    rest_bytes_ += taken;
    from += taken;
    bytes -= taken;
    if (rest_bytes_ < sizeof rest_) return *this;
    add_stripe(lanes_, rest_);
    rest_bytes_ = 0;
  }
  for (; bytes >= sizeof rest_; bytes -= sizeof rest_, from += sizeof rest_) add_stripe(lanes_, from);
  if (bytes) std::memcpy(rest_, from, bytes);
  rest_bytes_ = bytes;
  return *this;
}

uint64_t Xxh64::value() const {
  uint64_t hash = kPrime5;
  if (total_ >= sizeof rest_) {
    hash = rotated(lanes_[0], 1) + rotated(lanes_[1], 7) + rotated(lanes_[2], 12) + rotated(lanes_[3], 18);
    for (uint64_t lane : lanes_) hash = merged(hash, lane);
  }
  hash += total_;
  const unsigned char* from = rest_;
  size_t left = rest_bytes_;
  for (; left >= 8; left -= 8, from += 8)
    hash = rotated(hash ^ round(0, little_endian(from, 8)), 27) * kPrime1 + kPrime4;
  for (; left >= 4; left -= 4, from += 4)
    hash = rotated(hash ^ little_endian(from, 4) * kPrime1, 23) * kPrime2 + kPrime3;
  for (; left; --left, ++from) hash = rotated(hash ^ *from * kPrime5, 11) * kPrime1;
  hash = (hash ^ hash >> 33) * kPrime2;
  hash = (hash ^ hash >> 29) * kPrime3;
  return hash ^ hash >> 32;
}

std::string Xxh64::hex() const {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(value()));
  return text;
}

}  // namespace fastalex
