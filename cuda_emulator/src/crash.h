// While an object of this class lives, a signal that a kernel raises (a wild pointer, a division by zero) ends its
// launch.
#ifndef FASTALEX_EMULATOR_CRASH_H
#define FASTALEX_EMULATOR_CRASH_H

namespace fastalex {
namespace emulator {

class CrashGuard {
 public:
  CrashGuard();
  ~CrashGuard();
  CrashGuard(const CrashGuard&) = delete;
  CrashGuard& operator=(const CrashGuard&) = delete;
};

}  // namespace emulator
}  // namespace fastalex
#endif  // FASTALEX_EMULATOR_CRASH_H
