// Times one step of a plan, from construction to the end of the scope.
#ifndef FASTALEX_BACKEND_STEP_TIMER_H
#define FASTALEX_BACKEND_STEP_TIMER_H

#include <chrono>
#include <cstddef>

namespace fastalex {

class StepTimer {
 public:
  // Adds to seconds[step]; does nothing if `seconds` is null.
  StepTimer(double* seconds, size_t step) : target_(seconds ? seconds + step : nullptr) {
    if (target_) begin_ = Clock::now();
  }
  ~StepTimer() {
    if (target_) *target_ += std::chrono::duration<double>(Clock::now() - begin_).count();
  }
  StepTimer(const StepTimer&) = delete;
  StepTimer& operator=(const StepTimer&) = delete;

 private:
  using Clock = std::chrono::steady_clock;
  double* target_;
  Clock::time_point begin_;
};

}  // namespace fastalex
#endif  // FASTALEX_BACKEND_STEP_TIMER_H
