// Kernels with one deliberate fault each must be detected, and their correct twins must pass.
#include <string.h>

#include "check.h"

namespace fastalex {
namespace check {
namespace {

const int kThreads = 64;

// Clears shared memory, so that a race is the only fault of the kernel.
void clear(unsigned char* smem) {
  reinterpret_cast<cuda::Bits128*>(smem)[threadIdx.x] = cuda::Bits128{0, 0, 0, 0};
  __syncthreads();
}

// Passes each thread's word to its neighbor through shared memory; out [threads].
template <bool Barrier>
void exchange_kernel(const Buffers a) {
  FASTALEX_SHARED(smem);
  clear(smem);
  uint32_t* words = reinterpret_cast<uint32_t*>(smem);
  words[threadIdx.x] = a.in[threadIdx.x];
  if (Barrier) __syncthreads();
  a.out[threadIdx.x] = words[(threadIdx.x + 33) % blockDim.x];
}

// The same inside a warp, n rounds; without the second barrier a round overwrites what the round before still reads.
template <bool First, bool Second>
void warp_exchange_kernel(const Buffers a) {
  FASTALEX_SHARED(smem);
  clear(smem);
  uint32_t* words = reinterpret_cast<uint32_t*>(smem);
  uint32_t sum = 0;
  for (int i = 0; i < a.n; ++i) {
    words[threadIdx.x] = a.in[threadIdx.x];
    if (First) __syncwarp();
    sum += words[threadIdx.x ^ 1];
    if (Second) __syncwarp();
  }
  a.out[threadIdx.x] = sum;
}

template <bool Second>
void two_rounds_kernel(const Buffers a) {
  FASTALEX_SHARED(smem);
  clear(smem);
  uint32_t* words = reinterpret_cast<uint32_t*>(smem);
  uint32_t sum = 0;
  for (int i = 0; i < 2; ++i) {
    words[threadIdx.x] = a.in[threadIdx.x];
    __syncthreads();
    sum += words[(threadIdx.x + 33) % blockDim.x];
    if (Second) __syncthreads();
  }
  a.out[threadIdx.x] = sum;
}

// A shuffle brings the lanes together, but orders no memory.
void shuffle_as_barrier_kernel(const Buffers a) {
  FASTALEX_SHARED(smem);
  clear(smem);
  uint32_t* words = reinterpret_cast<uint32_t*>(smem);
  words[threadIdx.x] = a.in[threadIdx.x];
  const uint32_t other = __shfl_xor_sync(0xffffffffu, threadIdx.x, 1);
  a.out[threadIdx.x] = words[other];
}

void same_word_kernel(const Buffers) {
  FASTALEX_SHARED(smem);
  reinterpret_cast<uint32_t*>(smem)[0] = 7;
}

// Neighbors write parts of one word, then everybody reads everything in other sizes.
void small_parts_kernel(const Buffers a) {
  FASTALEX_SHARED(smem);
  const unsigned t = threadIdx.x;
  smem[t] = static_cast<unsigned char>(t);
  reinterpret_cast<uint16_t*>(smem + kThreads)[t] = static_cast<uint16_t>(t);
  __syncthreads();
  uint32_t sum = 0;
  for (int i = 0; i < 3 * kThreads; i += 4) sum += *reinterpret_cast<const uint32_t*>(smem + i);
  for (int i = 0; i < 3 * kThreads; i += 16) sum += reinterpret_cast<const cuda::Bits128*>(smem + i)->w;
  __syncthreads();
  cuda::Bits128* vectors = reinterpret_cast<cuda::Bits128*>(smem);
  if (t < 3 * kThreads / 16) vectors[t] = cuda::Bits128{sum, t, 0, 1};
  __syncthreads();
  a.out[t] = smem[t] + sum;
}

template <typename T>
void one_part_twice_kernel(const Buffers) {  // threads 0 and 1 both write the last part of a word
  FASTALEX_SHARED(smem);
  T* parts = reinterpret_cast<T*>(smem);
  if (threadIdx.x < 2) parts[threadIdx.x ? 1 : 3] = 1;
  if (threadIdx.x == 1) *reinterpret_cast<T*>(smem + 3 * sizeof(T)) = 2;
}

void unwritten_kernel(const Buffers a) {
  FASTALEX_SHARED(smem);
  uint32_t* words = reinterpret_cast<uint32_t*>(smem);
  if (threadIdx.x) words[threadIdx.x] = 1;
  __syncthreads();
  a.out[threadIdx.x] = words[threadIdx.x];
}

void write_shared_kernel(const Buffers a) {  // at byte n
  FASTALEX_SHARED(smem);
  if (threadIdx.x == 5) *reinterpret_cast<uint32_t*>(smem + a.n) = 1;
}
void read_shared_kernel(const Buffers a) {
  FASTALEX_SHARED(smem);
  if (threadIdx.x == 5) a.out[0] = *reinterpret_cast<const uint32_t*>(smem + a.n);
}
void write_device_kernel(const Buffers a) {  // at word n
  if (threadIdx.x == 5) a.out[a.n] = 1;
}
void read_device_kernel(const Buffers a) {
  if (threadIdx.x == 5) a.out[0] = a.in[a.n];
}

// Other memory that kernels may use: tables, arrays on the stack, arguments.
const uint32_t kTable[8] = {3, 1, 4, 1, 5, 9, 2, 6};
void surroundings_kernel(const Buffers a) {
  uint32_t local[8];
  for (int i = 0; i < 8; ++i) local[i] = kTable[(i + a.n) % 8] + threadIdx.x;
  const uint32_t* volatile escaped = local;
  a.out[threadIdx.x] = escaped[threadIdx.x % 8] + kTable[threadIdx.x / 8];
}

template <int Kind>
void divergent_kernel(const Buffers a) {
  if (threadIdx.x < 40) {
    if (Kind == 2) __shfl_xor_sync(0xffffffffu, 1, 1);
    if (Kind == 3) __syncwarp();
    if (Kind < 2) __syncthreads();
  } else if (Kind == 1) {
    __syncthreads();
  } else if (Kind == 3) {
    __syncwarp();
  }
  if (Kind == 4 && threadIdx.x == 3) a.out[0] = static_cast<uint32_t>(1000 / a.n);
}

template <int Depth>
void deep_kernel(const Buffers a) {
  volatile char frame[Depth];
  for (int i = Depth - 1; i > 0; i -= 1024) frame[i] = 1;  // from the top down, as calls would use it
  a.out[threadIdx.x] = static_cast<uint32_t>(frame[Depth - 1]);
}

// Asynchronous copies: thread t copies in [threads, 4]; out: what it or its neighbor then reads. Two groups of half a
// vector each.
enum CopyFault { kNone, kNoWait, kWaitForOne, kNoCommit, kNoBarrier };
template <CopyFault Fault>
void copy_kernel(const Buffers a) {
  FASTALEX_SHARED(smem);
  clear(smem);
  const unsigned t = threadIdx.x;
  uint32_t* own = reinterpret_cast<uint32_t*>(smem) + 4 * t;
  cuda::copy_async_8(own, a.in + 4 * t, true);
  cuda::copy_async_commit();
  cuda::copy_async_8(own + 2, a.in + 4 * t + 2, true);
  if (Fault != kNoCommit) cuda::copy_async_commit();
  if (Fault == kWaitForOne) cuda::copy_async_wait<1>();
  if (Fault != kWaitForOne && Fault != kNoWait) cuda::copy_async_wait<0>();
  if (Fault != kNoBarrier) __syncthreads();
  const uint32_t* seen = Fault == kNoBarrier ? reinterpret_cast<uint32_t*>(smem) + 4 * (t ^ 1) : own;
  for (int i = 0; i < 4; ++i) a.out[4 * t + i] = seen[i];
}

// Zeros where the copy is not valid, and `from` is not touched.
void invalid_copy_kernel(const Buffers a) {
  FASTALEX_SHARED(smem);
  uint32_t* own = reinterpret_cast<uint32_t*>(smem) + 4 * threadIdx.x;
  cuda::copy_async_16(own, threadIdx.x % 2 ? nullptr : a.in + 4 * threadIdx.x, threadIdx.x % 2 == 0);
  cuda::copy_async_commit();
  cuda::copy_async_wait<0>();
  for (int i = 0; i < 4; ++i) a.out[4 * threadIdx.x + i] = own[i];
}

void odd_copy_kernel(const Buffers a) {
  FASTALEX_SHARED(smem);
  cuda::copy_async_16(smem + 8, a.in, true);
}

// A wrong kernel: an error in the race mode, in others nothing or, where `poison` counts words, that many of them.
void expect_race(const char* what, void (*kernel)(Buffers), const Buffers& args,
                 const std::vector<std::string>& words) {
  if (kRaceMode) {
    expect_error(what, words, [&] { run(kernel, kThreads, 16 * kThreads, args); });
  } else {
    run(kernel, kThreads, 16 * kThreads, args);
  }
}

// An access outside of any memory. `words`: those of the error in the plain mode; empty if that mode cannot detect it.
void expect_outside(const char* what, void (*kernel)(Buffers), const Buffers& args, const std::string& in_race_mode,
                    const std::string& in_plain_mode, const char* by_sanitizer = "heap-buffer-overflow") {
  auto body = [&] { run(kernel, kThreads, 16 * kThreads, args); };
  if (kAddressMode)
    expect_death(what, by_sanitizer, body);
  else if (kRaceMode)
    expect_error(what, {"kernel test, block (0, 0, 0), thread 5", in_race_mode}, body);
  else if (!in_plain_mode.empty())
    expect_error(what, {in_plain_mode}, body);
  else
    body();
}

void check_races(const Buffers& args) {
  expect_race("no barrier", exchange_kernel<false>, args, {"kernel test, block (0, 0, 0), thread", "race: "});
  expect_race("no first __syncwarp", warp_exchange_kernel<false, true>, args, {"race: "});
  expect_race("no second __syncwarp", warp_exchange_kernel<true, false>, args, {"race: "});
  expect_race("no second barrier", two_rounds_kernel<false>, args, {"race: "});
  expect_race("shuffle as a barrier", shuffle_as_barrier_kernel, args, {"race: "});
  expect_race("all write one word", same_word_kernel, args, {"race: thread 0 wrote there"});
  expect_race("two write one half", one_part_twice_kernel<uint16_t>, args, {"race: thread 0 wrote there"});
  expect_race("two write one byte", one_part_twice_kernel<uint8_t>, args, {"race: thread 0 wrote there"});
  expect_race("unwritten shared memory", unwritten_kernel, args, {"no thread of the block has written"});
  run(exchange_kernel<true>, kThreads, 16 * kThreads, args);
  run(warp_exchange_kernel<true, true>, kThreads, 16 * kThreads, args);
  run(two_rounds_kernel<true>, kThreads, 16 * kThreads, args);
  run(small_parts_kernel, kThreads, 3 * kThreads, args);
  run(surroundings_kernel, kThreads, 0, args);
}

void check_bounds(Words* in, Words* out) {
  const int shared = 16 * kThreads;
  Buffers args = {in->data(), out->data(), shared};
  expect_outside("write past shared memory", write_shared_kernel, args, "shared memory, which has 1024", "outside");
  expect_outside("read past shared memory", read_shared_kernel, args, "shared memory, which has 1024", "");
  args.n = -4;
  expect_outside("write before shared memory", write_shared_kernel, args, "shared memory, which has 1024", "outside");
  args.n = 4 * kThreads;
  expect_outside("write past device memory", write_device_kernel, args, "memory of 1024 bytes", "after the end");
  expect_outside("read past device memory", read_device_kernel, args, "memory of 1024 bytes", "");
  args.n = -1;
  expect_outside("write before device memory", write_device_kernel, args, "memory of 1024 bytes", "before the start");
  const Buffers nowhere = {nullptr, out->data(), 0};
  expect_outside("null pointer", read_device_kernel, nowhere, "no memory of the device", "invalid address",
                 "null pointer");
  const std::vector<uint32_t> host(8);
  const Buffers of_host = {host.data(), out->data(), 0};
  if (kRaceMode) expect_outside("host memory", read_device_kernel, of_host, "no memory of the device", "");
  Words freed(16);
  const Buffers dangling = {freed.data(), out->data(), 0};
  freed = Words(16);
  if (!kAddressMode && !kRaceMode) return;
  expect_outside("freed memory", read_device_kernel, dangling, "no memory of the device", "", "heap-use-after-free");
}

void check_divergence(const Buffers& args) {
  auto expect_stop = [&](const char* what, void (*kernel)(Buffers), const std::vector<std::string>& words) {
    expect_error(what, words, [&] { run(kernel, kThreads, 0, args, {2, 1, 1}); });
    run(exchange_kernel<true>, kThreads, 16 * kThreads, args);  // the next launch is not affected
  };
  expect_stop(
      "some threads miss a barrier", divergent_kernel<0>,
      {"kernel test, block (0, 0, 0)", "deadlock: thread 0 waits at __syncthreads (check_faults.cpp:", "returned"});
  expect_stop("two barriers", divergent_kernel<1>,
              {"thread 40 is at __syncthreads", "another at that of check_faults"});
  expect_stop("some lanes miss a shuffle", divergent_kernel<2>,
              {"deadlock: thread 32 waits at __shfl_xor_sync", "thread 40 has returned"});
  expect_stop("two __syncwarp", divergent_kernel<3>, {"thread 40 is at __syncwarp", "another of its warp"});
  expect_error("a warp of 16", {"__syncwarp in a warp of less than 32 threads"},
               [&] { run(warp_exchange_kernel<true, true>, 48, 16 * kThreads, args); });
  if (kAddressMode) return;  // there these end the process
  Buffers zero = args;
  zero.n = 0;
  expect_stop("stack", deep_kernel<160 << 10>, {"thread 0: its stack is too small"});
#if defined(__x86_64__)
  expect_error("division", {"thread 3: integer division by zero"},
               [&] { run(divergent_kernel<4>, kThreads, 0, zero); });
#endif
}

void check_copies(Words* in, Words* out) {
  const Buffers args = {in->data(), out->data(), 0};
  auto poisoned = [&](const char* what, void (*kernel)(Buffers), size_t words) {
    expect_race(what, kernel, args, {"reads bytes", "an asynchronous copy of thread"});
    if (kRaceMode) return;
    for (size_t i = 0; i < 4 * kThreads; ++i)
      expect((*out)[i] == (i % 4 >= 4 - words ? 0xffffffffu : (*in)[i]), std::string(what) + ": poison");
  };
  poisoned("no wait", copy_kernel<kNoWait>, 4);
  poisoned("wait for the first group", copy_kernel<kWaitForOne>, 2);
  poisoned("second group not committed", copy_kernel<kNoCommit>, 2);
  if (kRaceMode) {
    expect_error("no barrier after the wait", {"race: thread"},
                 [&] { run(copy_kernel<kNoBarrier>, kThreads, 16 * kThreads, args); });
  }
  run(copy_kernel<kNone>, kThreads, 16 * kThreads, args);
  expect(!memcmp(out->data(), in->data(), 16 * kThreads), "asynchronous copies");
  run(invalid_copy_kernel, kThreads, 16 * kThreads, args);
  for (size_t i = 0; i < 4 * kThreads; ++i)
    expect((*out)[i] == (i / 4 % 2 ? 0 : (*in)[i]), "copies that are not valid");
  expect_error("copy to an odd place", {"byte 8 of shared memory, which is not 16-byte aligned"},
               [&] { run(odd_copy_kernel, kThreads, 16 * kThreads, args); });
}

}  // namespace

void check_faults() {
  Words in(4 * kThreads), out(4 * kThreads);
  for (size_t i = 0; i < 4 * kThreads; ++i) in[i] = static_cast<uint32_t>(i);
  const Buffers args = {in.data(), out.data(), 2};
  check_races(args);
  check_bounds(&in, &out);
  check_divergence(args);
  check_copies(&in, &out);
}

}  // namespace check
}  // namespace fastalex
