// Helpers for the parts of check_emulator.
#ifndef FASTALEX_EMULATOR_CHECK_H
#define FASTALEX_EMULATOR_CHECK_H

#include <stdint.h>

#include <functional>
#include <string>
#include <vector>

#include "cuda/kernels/ptx.h"
#include "cuda/runtime/runtime.h"

namespace fastalex {
namespace check {

#if defined(FASTALEX_EMULATOR_RACE_CHECK)
const bool kRaceMode = true, kAddressMode = false;
#elif defined(__SANITIZE_ADDRESS__)
const bool kRaceMode = false, kAddressMode = true;
#else
const bool kRaceMode = false, kAddressMode = false;
#endif

// Records a failure and continues.
void expect(bool condition, const std::string& what);

// Expects `body` to throw an Error whose text contains all of the words.
void expect_error(const std::string& what, const std::vector<std::string>& words, const std::function<void()>& body);

// Expects `body` to end the process with a sanitizer's report that contains `word`.
void expect_death(const std::string& what, const std::string& word, const std::function<void()>& body);

struct Buffers {  // the arguments of most test kernels
  const uint32_t* in;
  uint32_t* out;
  int n;
};

template <typename Args>
void run(void (*kernel)(Args), int threads, int shared_bytes, const Args& args, cuda::Grid grid = {1, 1, 1}) {
  const cuda::KernelInfo info = cuda::kernel_info("test", kernel, threads, shared_bytes);
  cuda::prepare_kernel(info);
  cuda::launch(cuda::KernelLaunch::make(info, grid, args), nullptr);
}

// `count` words of device memory, poisoned.
class Words {
 public:
  explicit Words(size_t count) : memory_(4 * count) {}
  uint32_t* data() { return reinterpret_cast<uint32_t*>(memory_.data()); }
  uint32_t& operator[](size_t i) { return data()[i]; }

 private:
  cuda::DeviceMemory memory_;
};

class Random {
 public:
  uint64_t next() {  // splitmix64
    uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
  }
  uint32_t bits() { return static_cast<uint32_t>(next() >> 32); }

 private:
  uint64_t state_ = 1;
};

// The value of a finite half, from the definition of binary16.
double half_value(uint32_t half);

void check_half();
void check_instructions();
void check_faults();
void check_runtime();

}  // namespace check
}  // namespace fastalex
#endif  // FASTALEX_EMULATOR_CHECK_H
