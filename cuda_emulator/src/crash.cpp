#include "crash.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <memory>
#include <mutex>

#include "block.h"
#include "cuda_emulator.h"

namespace fastalex {
namespace emulator {

#if defined(__SANITIZE_ADDRESS__)

CrashGuard::CrashGuard() {}  // the sanitizer reports more
CrashGuard::~CrashGuard() {}

#else

namespace {

const int kSignals[] = {SIGSEGV, SIGBUS, SIGFPE};
const size_t kStackBytes = 64 * 1024;

std::mutex mutex;
int living = 0;              // guards the next
struct sigaction before[3];  // the process's own handlers of the signals

// A fiber that has used up its stack has none left for the handler.
class SignalStack {
 public:
  SignalStack() : memory_(new char[kStackBytes]) {
    stack_t stack = {};
    if (sigaltstack(nullptr, &stack) || !(stack.ss_flags & SS_DISABLE)) return;  // the thread has one
    stack.ss_sp = memory_.get();
    stack.ss_size = kStackBytes;
    stack.ss_flags = 0;
    mine_ = !sigaltstack(&stack, nullptr);
  }
  ~SignalStack() {
    stack_t none = {};
    none.ss_flags = SS_DISABLE;
    if (mine_) sigaltstack(&none, nullptr);
  }

 private:
  std::unique_ptr<char[]> memory_;
  bool mine_ = false;
};

// The kernel's thread is abandoned where it is, and with it the signal's frame. Kernels hold no lock and own nothing.
void handle(int signal, siginfo_t* info, void*) {
  if (running()) {
    sigset_t own;
    sigemptyset(&own);
    sigaddset(&own, signal);
    pthread_sigmask(SIG_UNBLOCK, &own, nullptr);
    if (signal == SIGFPE) fail("integer division by zero");
    if (in_guard_page(info->si_addr)) fail("its stack is too small");
    fail("invalid address %p", info->si_addr);
  }
  for (int i = 0; i < 3; ++i)  // from another thread: repeats the instruction with the previous handler
    if (kSignals[i] == signal) sigaction(signal, &before[i], nullptr);
}

}  // namespace

CrashGuard::CrashGuard() {
  static thread_local SignalStack stack;
  (void)stack;
  const std::lock_guard<std::mutex> lock(mutex);
  if (living++) return;
  struct sigaction action = {};
  action.sa_sigaction = handle;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  for (int i = 0; i < 3; ++i) sigaction(kSignals[i], &action, &before[i]);
}

CrashGuard::~CrashGuard() {
  const std::lock_guard<std::mutex> lock(mutex);
  if (--living) return;
  for (int i = 0; i < 3; ++i) sigaction(kSignals[i], &before[i], nullptr);
}

#endif

}  // namespace emulator
}  // namespace fastalex
