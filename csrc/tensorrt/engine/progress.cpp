#include "tensorrt/engine/progress.h"

#include <chrono>
#include <cstdio>
#include <sstream>

namespace fastalex {
namespace tensorrt {

PrintedProgress::PrintedProgress(const std::string& what, Print print, double patience, double interval)
    : what_(what), print_(std::move(print)), patience_(patience), interval_(interval) {
  thread_ = std::thread([this] { wait(); });
}

PrintedProgress::~PrintedProgress() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    done_ = true;
  }
  over_.notify_all();
  thread_.join();
}

void PrintedProgress::phase(const std::string& name, int done, int steps) {
  std::ostringstream text;
  text << name << " " << done << "/" << steps;
  const std::lock_guard<std::mutex> lock(mutex_);
  phase_ = text.str();
}

void PrintedProgress::wait() {
  const auto start = std::chrono::steady_clock::now();
  std::unique_lock<std::mutex> lock(mutex_);
  auto after = [&](double seconds) { return start + std::chrono::duration<double>(seconds); };
  for (double next = patience_; !over_.wait_until(lock, after(next), [this] { return done_; }); next += interval_)
    print_(line(next));
  const double took = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (took < patience_) return;
  std::ostringstream text;
  text.precision(3);
  text << "fastalex: the TensorRT engine took " << took << " s";
  print_(text.str());
}

std::string PrintedProgress::line(double seconds) {
  std::ostringstream text;
  text << "fastalex: building a TensorRT engine (" << what_ << "), which can take minutes: " << seconds << " s";
  if (!phase_.empty()) text << ", " << phase_;
  return text.str();
}

void print_to_stderr(const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); }

}  // namespace tensorrt
}  // namespace fastalex
