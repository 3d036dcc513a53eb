// Reports on standard error that an engine is being built, once that takes longer than a few seconds.
#ifndef FASTALEX_TENSORRT_ENGINE_PROGRESS_H
#define FASTALEX_TENSORRT_ENGINE_PROGRESS_H

#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "tensorrt/engine/runtime.h"

namespace fastalex {
namespace tensorrt {

class PrintedProgress final : public BuildProgress {
 public:
  typedef std::function<void(const std::string&)> Print;

  // what: "batches 1 to 4, fp16". The first line comes after `patience` seconds, the next ones `interval` apart.
  PrintedProgress(const std::string& what, Print print, double patience = 3, double interval = 15);
  ~PrintedProgress() override;  // prints the last line if there was a first

  void phase(const std::string& name, int done, int steps) override;

 private:
  void wait();
  std::string line(double seconds);

  const std::string what_;
  const Print print_;
  const double patience_, interval_;
  std::mutex mutex_;
  std::condition_variable over_;
  bool done_ = false;
  std::string phase_;
  std::thread thread_;
};

void print_to_stderr(const std::string& line);

}  // namespace tensorrt
}  // namespace fastalex
#endif  // FASTALEX_TENSORRT_ENGINE_PROGRESS_H
