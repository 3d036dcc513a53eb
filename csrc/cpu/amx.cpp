// The permission to use AMX tiles. It belongs to the process, forked ones inherit it, and a new program starts without
// it; a child's first tile is as empty as a new thread's (Linux, Documentation/arch/x86/xstate.rst). Kernels keep no
// tile from one unit of work to the next, so that there is none to be lost by a fork.
#include "cpu/amx.h"

#if defined(__x86_64__)

#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace fastalex {
namespace {

const int kTileConfig = 17, kTileData = 18;  // components of the processor's state, and bits of XCR0
const int kRequestPermission = 0x1023;       // ARCH_REQ_XCOMP_PERM, which older headers lack

}  // namespace

uint64_t saved_states() {
  uint32_t low, high;  // the intrinsic needs a flag of the compiler
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return static_cast<uint64_t>(high) << 32 | low;
}

std::string request_tiles(uint64_t saved_states) {
  const uint64_t needed = uint64_t(1) << kTileConfig | uint64_t(1) << kTileData;
  if ((saved_states & needed) != needed)
    return "the operating system does not save the state of AMX, as Linux does since 5.16";
  if (syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0) return "";
  return std::string("the operating system does not let this process use AMX (arch_prctl: ") + std::strerror(errno) +
         ")";
}

}  // namespace fastalex

#endif
