// Fibers: stacks that one host thread runs in turn. A switch costs a dozen instructions.
#ifndef FASTALEX_EMULATOR_FIBER_H
#define FASTALEX_EMULATOR_FIBER_H

#include <cstddef>

#if !defined(__x86_64__) && !defined(__aarch64__) && !defined(FASTALEX_EMULATOR_UCONTEXT)
#define FASTALEX_EMULATOR_UCONTEXT
#endif
#ifdef FASTALEX_EMULATOR_UCONTEXT
#include <ucontext.h>
#endif

namespace fastalex {
namespace emulator {

// The point at which a fiber, or the host thread's own stack, resumes.
struct Context {
#ifdef FASTALEX_EMULATOR_UCONTEXT
  ucontext_t registers;
#else
  void* stack_pointer;
#endif
  char* stack;  // lowest byte; null: the host thread's own
  size_t stack_bytes;
  void* sanitizer_stack;
};

// Makes `context` begin in entry() on the stack that it names, at the next switch to it. entry() must not return.
void start(Context* context, void (*entry)());

// Saves the current point in `from` and resumes `to`. leave_for_good: `from` will start over, if it runs at all.
void switch_context(Context* from, Context* to, bool leave_for_good = false);

// Must be the first call in entry().
void arrived_in_fiber();

// The stacks of `count` fibers, each with an unmapped page below it.
class Stacks {
 public:
  Stacks() = default;
  ~Stacks();
  Stacks(const Stacks&) = delete;
  Stacks& operator=(const Stacks&) = delete;
  void reserve(size_t count);
  size_t count() const { return count_; }
  void assign(Context* context, size_t index) const;
  const char* memory() const { return memory_; }
  static size_t stride();  // from one stack to the next
  bool in_guard_page(const void* address) const;

 private:
  char* memory_ = nullptr;
  size_t count_ = 0;
};

}  // namespace emulator
}  // namespace fastalex
#endif  // FASTALEX_EMULATOR_FIBER_H
