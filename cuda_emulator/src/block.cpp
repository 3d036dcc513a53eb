#include "block.h"

#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <memory>
#include <vector>

#include "cuda_emulator.h"
#include "fiber.h"
#include "memory.h"
#include "race_check.h"

namespace fastalex {
namespace emulator {

__thread Indices indices __attribute__((tls_model("initial-exec")));

namespace {

const unsigned kMaxThreads = 1024;

enum State { kRunnable, kAtBarrier, kInWarpOp, kReturned };

struct Thread {
  Context context;
  State state;
  const char* waits_for;
  Place place;
};

struct Warp {
  unsigned ready;    // lanes that can go on and are not running
  unsigned arrived;  // lanes at the collective instruction
  const char* op;    // of the first lane that arrived
  Place place;
  int turn;              // a lane can be at the next instruction while others still read the results of this one
  Exchange exchange[2];  // by turn
};

// The block that a host thread runs, and the fibers that it reuses for the next one.
class Block {
 public:
  std::string run(const cuda::KernelLaunch& launch, const LaunchDevice& device, const cuda::Grid& block);
  void barrier(Place place);
  Exchange& begin(const char* name);
  void meet(const char* name, Place place, void (*compute)(Exchange&), bool orders_memory);
  void note(const std::string& error) { error_ = error; }
  [[noreturn]] void leave();
  [[noreturn]] void thread_main();
  bool in_guard_page(const void* address) const { return stacks_.in_guard_page(address); }

  bool running = false;
  LaunchDevice device;
  size_t shared_bytes = 0;

 private:
  void prepare(unsigned threads);
  void begin_checks(const unsigned char* shared);
  void release_all();
  void go_on();
  unsigned next_ready() const;
  std::string stuck() const;
  std::string where(unsigned thread) const;

  const cuda::KernelLaunch* launch_ = nullptr;
  unsigned threads_ = 0, waiting_ = 0, returned_ = 0;
  Place barrier_place_;
  std::string error_;
  bool fresh_ = false;  // every fiber waits at the start of a thread
  unsigned prepared_ = 0;
  Context main_;
  Thread thread_[kMaxThreads];
  Warp warp_[kMaxThreads / 32];
  Stacks stacks_;
};

__thread Block* the_block __attribute__((tls_model("initial-exec")));

struct Owner {
  std::unique_ptr<Block> block;
  ~Owner() { the_block = nullptr; }
};
thread_local Owner owner_of_block;

void enter_fiber() {
  arrived_in_fiber();
  the_block->thread_main();
}

unsigned lanes_from(unsigned count) { return count >= 32 ? 0xffffffffu : (1u << count) - 1; }

std::string text_of(Place place) {
  const char* slash = strrchr(place.file, '/');
  return std::string(slash ? slash + 1 : place.file) + ":" + std::to_string(place.line);
}

bool same(Place a, Place b) { return a.line == b.line && (a.file == b.file || !strcmp(a.file, b.file)); }

struct Free {
  void operator()(void* p) const { free(p); }
};

}  // namespace

// Fibers outlive a block: each waits at the start of thread_main's loop for the next one.
void Block::prepare(unsigned threads) {
  if (!fresh_ || stacks_.count() < threads) prepared_ = 0;
  stacks_.reserve(threads);
  for (; prepared_ < threads; ++prepared_) {
    Context& context = thread_[prepared_].context;
    stacks_.assign(&context, prepared_);
    start(&context, enter_fiber);
  }
  fresh_ = false;
  threads_ = threads;
  waiting_ = returned_ = 0;
  for (unsigned w = 0; w < kMaxThreads / 32; ++w) {
    warp_[w].ready = w * 32 < threads ? lanes_from(threads - w * 32) : 0;
    warp_[w].arrived = 0;
    warp_[w].turn = 0;
  }
  for (unsigned i = 0; i < threads; ++i) thread_[i].state = kRunnable;
}

std::string Block::run(const cuda::KernelLaunch& launch, const LaunchDevice& on, const cuda::Grid& block) {
  const size_t bytes = static_cast<size_t>(launch.kernel->shared_bytes);
  void* shared = nullptr;
  if (posix_memalign(&shared, 16, bytes + 2 * kSharedGuardBytes)) return "no host memory for the shared memory";
  const std::unique_ptr<void, Free> owner(shared);
  memset(shared, 0xff, bytes + 2 * kSharedGuardBytes);

  prepare(static_cast<unsigned>(launch.kernel->threads));
  launch_ = &launch;
  device = on;
  error_.clear();
  indices.block = {unsigned(block.x), unsigned(block.y), unsigned(block.z)};
  indices.block_size = {threads_, 1, 1};
  indices.grid = {unsigned(launch.grid.x), unsigned(launch.grid.y), unsigned(launch.grid.z)};
  indices.thread = {0, 0, 0};
  indices.shared = static_cast<unsigned char*>(shared) + kSharedGuardBytes;
  shared_bytes = bytes;
  begin_copies(threads_);
  begin_checks(indices.shared);
  running = true;
  warp_[0].ready &= ~1u;
  main_.stack = nullptr;
  switch_context(&main_, &thread_[0].context);
  running = false;
  race_block_ends();
  fresh_ = error_.empty();
  if (fresh_ && !(is_poison(shared, kSharedGuardBytes) && is_poison(indices.shared + bytes, kSharedGuardBytes)))
    error_ = "something was written outside of its " + std::to_string(bytes) + " bytes of shared memory";
  indices.shared = nullptr;
  return error_;
}

#ifdef FASTALEX_EMULATOR_RACE_CHECK
void Block::begin_checks(const unsigned char* shared) {
  Surroundings around;
  around.stacks = stacks_.memory();
  around.stack_bytes = Stacks::stride();
  around.args = reinterpret_cast<const char*>(launch_->args);
  around.args_bytes = sizeof launch_->args;
  around.runner = reinterpret_cast<const char*>(this);
  around.runner_bytes = sizeof *this;
  around.device = device.index;
  race_block_begins(shared, shared_bytes, around);
}
#else
void Block::begin_checks(const unsigned char*) {}
#endif

void Block::thread_main() {
  for (;;) {
    launch_->kernel->emulate(launch_->kernel->address, launch_->args);
    Thread& thread = thread_[indices.thread.x];
    thread.state = kReturned;
    ++returned_;
    go_on();
  }
}

// Finds the next thread that can go on lane by lane, first in the same warp, so that a warp's collective instructions
// pass from lane to lane.
unsigned Block::next_ready() const {
  const unsigned own = indices.thread.x, warps = (threads_ + 31) / 32;
  const unsigned mask = warp_[own / 32].ready, later = own % 32 == 31 ? 0 : mask & ~lanes_from(own % 32 + 1);
  if (mask) return own / 32 * 32 + static_cast<unsigned>(__builtin_ctz(later ? later : mask));
  for (unsigned i = 1; i < warps; ++i) {
    const unsigned w = (own / 32 + i) % warps;
    if (warp_[w].ready) return w * 32 + static_cast<unsigned>(__builtin_ctz(warp_[w].ready));
  }
  return kMaxThreads;
}

// Switches from the running thread, which waits for something or has returned, to one that can go on.
void Block::go_on() {
  const unsigned own = indices.thread.x, next = next_ready();
  if (next == kMaxThreads) {
    if (returned_ != threads_) {
      error_ = stuck();
      leave();
    }
    switch_context(&thread_[own].context, &main_);
    return;
  }
  warp_[next / 32].ready &= ~(1u << next % 32);
  indices.thread.x = next;
  switch_context(&thread_[own].context, &thread_[next].context);
}

// Ends the block with error_. The fibers are left as they are, so their frames must own nothing.
void Block::leave() {
  Context abandoned = {};
  switch_context(&abandoned, &main_, true);
  abort();  // never reached
}

std::string Block::where(unsigned thread) const {
  const std::string name = "thread " + std::to_string(thread);
  if (thread_[thread].state == kReturned) return name + " has returned";
  return name + " waits at " + thread_[thread].waits_for + " (" + text_of(thread_[thread].place) + ")";
}

// Describes a deadlock: names a waiting thread, and one that does something else.
std::string Block::stuck() const {
  unsigned first = 0;
  while (thread_[first].state == kReturned) ++first;
  // A warp that waits for some of its lanes says more than a barrier that waits for a warp.
  for (unsigned i = 0; i < threads_; ++i)
    if (thread_[i].state == kInWarpOp) {
      first = i;
      break;
    }
  const unsigned begin = thread_[first].state == kInWarpOp ? first / 32 * 32 : 0;
  const unsigned end = thread_[first].state == kInWarpOp ? std::min(begin + 32, threads_) : threads_;
  for (unsigned i = begin; i < end; ++i)
    if (thread_[i].state != thread_[first].state) return "deadlock: " + where(first) + ", " + where(i);
  return "deadlock: " + where(first) + ", whose warp has only " + std::to_string(end - begin) + " threads";
}

void Block::barrier(Place place) {
  const unsigned own = indices.thread.x;
  if (waiting_ && !same(barrier_place_, place)) {
    error_ = "thread " + std::to_string(own) + " is at __syncthreads (" + text_of(place) + "), another at that of " +
             text_of(barrier_place_);
    leave();
  }
  barrier_place_ = place;
  if (++waiting_ == threads_) {
    waiting_ = 0;
    for (unsigned i = 0; i < threads_; ++i) thread_[i].state = kRunnable;
    for (unsigned w = 0; w * 32 < threads_; ++w) warp_[w].ready = lanes_from(threads_ - w * 32);
    warp_[own / 32].ready &= ~(1u << own % 32);
    race_block_barrier();
    return;
  }
  Thread& thread = thread_[own];
  thread.state = kAtBarrier;
  thread.waits_for = "__syncthreads";
  thread.place = place;
  go_on();
}

Exchange& Block::begin(const char* name) {
  const unsigned own = indices.thread.x;
  if ((own | 31) >= threads_) {
    error_ = std::string(name) + " in a warp of less than 32 threads";
    leave();
  }
  return warp_[own / 32].exchange[warp_[own / 32].turn];
}

void Block::meet(const char* name, Place place, void (*compute)(Exchange&), bool orders_memory) {
  const unsigned own = indices.thread.x, bit = 1u << own % 32;
  Warp& warp = warp_[own / 32];
  Thread& thread = thread_[own];
  thread.waits_for = name;
  thread.place = place;
  if (!warp.arrived) {
    warp.op = name;
    warp.place = place;
  } else if (strcmp(warp.op, name) || !same(warp.place, place)) {
    error_ = "thread " + std::to_string(own) + " is at " + name + " (" + text_of(place) + "), another of its warp at " +
             warp.op + " (" + text_of(warp.place) + ")";
    leave();
  }
  warp.arrived |= bit;
  if (warp.arrived != 0xffffffffu) {
    thread.state = kInWarpOp;
    go_on();
    return;
  }
  if (compute) compute(warp.exchange[warp.turn]);
  warp.arrived = 0;
  warp.turn ^= 1;
  warp.ready = ~bit;
  for (unsigned i = own & ~31u; i <= (own | 31); ++i) thread_[i].state = kRunnable;
  if (orders_memory) race_warp_barrier(own / 32);
}

std::string run_block(const cuda::KernelLaunch& launch, const LaunchDevice& device, const cuda::Grid& block) {
  if (!the_block) {
    owner_of_block.block.reset(new Block);
    the_block = owner_of_block.block.get();
  }
  return the_block->run(launch, device, block);
}

bool running() { return the_block && the_block->running; }

const LaunchDevice& current_device() { return the_block->device; }

size_t shared_bytes() { return the_block->shared_bytes; }

bool in_guard_page(const void* address) { return the_block->in_guard_page(address); }

void block_barrier(Place place) { the_block->barrier(place); }

Exchange& begin_warp_op(const char* name) { return the_block->begin(name); }

void meet_warp(const char* name, Place place, void (*compute)(Exchange&)) {
  the_block->meet(name, place, compute, false);
}

void warp_barrier(Place place) {
  the_block->begin("__syncwarp");
  the_block->meet("__syncwarp", place, nullptr, true);
}

void fail(const char* format, ...) {
  char text[512];
  va_list values;
  va_start(values, format);
  vsnprintf(text, sizeof text, format, values);
  va_end(values);
  the_block->note("thread " + std::to_string(indices.thread.x) + ": " + text);
  the_block->leave();
}

}  // namespace emulator
}  // namespace fastalex
