#include "fiber.h"

#include <stdint.h>
#include <sys/mman.h>

#include <new>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define FASTALEX_EMULATOR_ASAN 1
#else
#define FASTALEX_EMULATOR_ASAN 0
#endif

namespace fastalex {
namespace emulator {
namespace {

const size_t kGuard = 65536;  // a multiple of every page size in use
const size_t kStack = FASTALEX_EMULATOR_ASAN ? 512 * 1024 : 128 * 1024;

}  // namespace

#ifdef FASTALEX_EMULATOR_UCONTEXT

void start(Context* context, void (*entry)()) {
  getcontext(&context->registers);
  context->registers.uc_stack.ss_sp = context->stack;
  context->registers.uc_stack.ss_size = context->stack_bytes;
  context->registers.uc_link = nullptr;
  makecontext(&context->registers, entry, 0);
}

static void swap(Context* from, Context* to) { swapcontext(&from->registers, &to->registers); }

#else

// Saves the registers that a called function must keep, and the stack pointer, in *from; then the reverse of `to`.
extern "C" void fastalex_emulator_swap(void** from, void* to);

#if defined(__x86_64__)
asm(R"(
.pushsection .text
.type fastalex_emulator_swap, @function
fastalex_emulator_swap:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  popq %rdx
  jmp *%rdx
.size fastalex_emulator_swap, . - fastalex_emulator_swap
.popsection
)");
const size_t kSaved = 6;   // words below the return address
const size_t kReturn = 6;  // the word that holds it
const size_t kAbove = 2;   // as after a call: the stack pointer is 8 bytes off a multiple of 16
#else
asm(R"(
.pushsection .text
.type fastalex_emulator_swap, %function
fastalex_emulator_swap:
  sub sp, sp, #160
  stp x19, x20, [sp]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
.size fastalex_emulator_swap, . - fastalex_emulator_swap
.popsection
)");
const size_t kSaved = 20;
const size_t kReturn = 11;
const size_t kAbove = 0;
#endif

void start(Context* context, void (*entry)()) {
  const uintptr_t end = reinterpret_cast<uintptr_t>(context->stack + context->stack_bytes) & ~uintptr_t{15};
  void** words = reinterpret_cast<void**>(end) - kAbove - kSaved;
  for (size_t i = 0; i < kSaved + kAbove; ++i) words[i] = nullptr;
  words[kReturn] = reinterpret_cast<void*>(entry);
  context->stack_pointer = words;
}

static void swap(Context* from, Context* to) { fastalex_emulator_swap(&from->stack_pointer, to->stack_pointer); }

#endif

#if FASTALEX_EMULATOR_ASAN

static __thread Context* coming_from;  // of the switch under way, to learn the host thread's own stack

static void finish_switch(void* sanitizer_stack) {
  const void* bottom;
  size_t bytes;
  __sanitizer_finish_switch_fiber(sanitizer_stack, &bottom, &bytes);
  if (coming_from->stack) return;
  coming_from->stack = static_cast<char*>(const_cast<void*>(bottom));
  coming_from->stack_bytes = bytes;
}

void switch_context(Context* from, Context* to, bool leave_for_good) {
  coming_from = from;
  __sanitizer_start_switch_fiber(leave_for_good ? nullptr : &from->sanitizer_stack, to->stack, to->stack_bytes);
  swap(from, to);
  finish_switch(from->sanitizer_stack);
}

void arrived_in_fiber() { finish_switch(nullptr); }

#else

void switch_context(Context* from, Context* to, bool) { swap(from, to); }

void arrived_in_fiber() {}

#endif

Stacks::~Stacks() {
  if (memory_) munmap(memory_, count_ * (kGuard + kStack));
}

void Stacks::reserve(size_t count) {
  if (count <= count_) return;
  if (memory_) munmap(memory_, count_ * (kGuard + kStack));
  count_ = 0;
  void* memory = mmap(nullptr, count * (kGuard + kStack), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  memory_ = static_cast<char*>(memory);
  count_ = count;
#if FASTALEX_EMULATOR_ASAN
  ASAN_UNPOISON_MEMORY_REGION(memory_, count_ * (kGuard + kStack));  // marks left by an earlier pool at this address
#endif
  for (size_t i = 0; i < count; ++i) mprotect(memory_ + i * (kGuard + kStack), kGuard, PROT_NONE);
}

// Tops of stacks at one distance from each other would share a few sets of the processor's cache, so they are
// staggered.
void Stacks::assign(Context* context, size_t index) const {
  context->stack = memory_ + index * (kGuard + kStack) + kGuard;
  context->stack_bytes = kStack - index % 61 * 320;
#if FASTALEX_EMULATOR_ASAN
  ASAN_UNPOISON_MEMORY_REGION(context->stack, kStack);
#endif
}

size_t Stacks::stride() { return kGuard + kStack; }

bool Stacks::in_guard_page(const void* address) const {
  const char* p = static_cast<const char*>(address);
  if (!memory_ || p < memory_ || p >= memory_ + count_ * (kGuard + kStack)) return false;
  return static_cast<size_t>(p - memory_) % (kGuard + kStack) < kGuard;
}

}  // namespace emulator
}  // namespace fastalex
