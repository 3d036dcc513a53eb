// A pool of worker threads that share numbered units of work.
#ifndef FASTALEX_CPU_THREAD_POOL_H
#define FASTALEX_CPU_THREAD_POOL_H

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "common/fork_guard.h"

namespace fastalex {

// Asks the caller of a long call whether it should end early. All work after a yes is left undone.
class Interrupt {
 public:
  Interrupt(int (*function)(void*), void* user) : function_(function), user_(user) {}

  // Whether the call should end; asks on the calling thread only, which is worker 0.
  bool ask(int worker) {
    if (worker == 0 && function_ && !raised() && function_(user_)) raised_.store(true);
    return raised();
  }
  bool raised() const { return raised_.load(std::memory_order_relaxed); }

 private:
  int (*function_)(void*);
  void* user_;
  std::atomic<bool> raised_{false};
};

class ThreadPool final : private ForkGuarded {
 public:
  // worker: 0 to threads - 1, unique among the threads of one call; for scratch memory.
  using Work = void (*)(const void* task, int unit, int worker);

  // The process's pool of `threads` threads, including the caller; nets with the same setting share it.
  static std::shared_ptr<ThreadPool> shared(int threads);

  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  // Lends the workers to one call. A second call in the meantime runs on its own thread alone, which costs less than
  // waiting for its turn; the results are the same.
  class Lease {
   public:
    Lease(ThreadPool* pool, Interrupt* interrupt = nullptr)
        : pool_(pool->busy_.exchange(true) ? nullptr : pool), worker_(0), interrupt_(interrupt) {}
    // For work within a unit that `worker` is doing: everything runs on its own thread.
    static Lease within(int worker, Interrupt* interrupt = nullptr) { return Lease(worker, interrupt); }
    ~Lease() {
      if (pool_) pool_->busy_.store(false);
    }
    Lease(Lease&& other) noexcept : pool_(other.pool_), worker_(other.worker_), interrupt_(other.interrupt_) {
      other.pool_ = nullptr;
    }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;

    int threads() const { return pool_ ? pool_->threads_ : 1; }

    // Calls work(task, unit, worker) once for each unit in [0, units), in no order; returns when all are done, or with
    // some left undone after an interrupt, which is asked for before the first unit and after each `between` of them.
    void run(Work work, const void* task, int units, int between = 16);

   private:
    Lease(int worker, Interrupt* interrupt) : pool_(nullptr), worker_(worker), interrupt_(interrupt) {}
    ThreadPool* pool_;
    int worker_;
    Interrupt* interrupt_;
  };

 private:
  explicit ThreadPool(int threads);
  void start();
  void worker(int index);
  void join_job(int worker);
  void take_units(int worker);
  void run(Work work, const void* task, int units, Interrupt* interrupt, int between);

  void before_fork() override { mutex_.lock(); }
  void after_fork_in_parent() override { mutex_.unlock(); }
  void after_fork_in_child() override;

  const int threads_;
  std::atomic<bool> busy_{false};

  // The current job. It may be read between raising at_work_ and seeing open_, and changed only while open_ is false
  // and at_work_ is zero.
  Work work_ = nullptr;
  const void* task_ = nullptr;
  int units_ = 0;
  Interrupt* interrupt_ = nullptr;
  int between_ = 1;
  std::atomic<int> next_{0};
  std::atomic<int> at_work_{0};
  std::atomic<bool> open_{false};
  std::atomic<unsigned> generation_{0};
  std::atomic<bool> stop_{false};

  std::mutex mutex_;  // guards sleeping workers and the list of threads
  std::condition_variable wake_;
  int asleep_ = 0;
  std::vector<std::thread> workers_;
};

}  // namespace fastalex
#endif  // FASTALEX_CPU_THREAD_POOL_H
