#include "cpu/thread_pool.h"

#include <map>
#include <new>
#include <system_error>

namespace fastalex {
namespace {

// Polls of an idle worker before it sleeps: about the longest gap between two steps of one call.
const int kSpins = 20000;

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield" ::: "memory");
#endif
}

struct SharedPools final : ForkGuarded {
  std::mutex mutex;
  std::map<int, std::weak_ptr<ThreadPool>> pools;
  SharedPools() { register_fork_guarded(this); }
  void before_fork() override { mutex.lock(); }
  void after_fork_in_parent() override { mutex.unlock(); }
  void after_fork_in_child() override { mutex.unlock(); }
};

SharedPools& shared_pools() {
  static SharedPools* instance = new SharedPools;
  return *instance;
}

}  // namespace

std::shared_ptr<ThreadPool> ThreadPool::shared(int threads) {
  SharedPools& all = shared_pools();
  {
    std::lock_guard<std::mutex> lock(all.mutex);
    std::shared_ptr<ThreadPool> pool = all.pools[threads].lock();
    if (pool) return pool;
  }
  // Constructed outside the lock: the constructor registers the pool for fork, which takes the locks in the other
  // order.
  std::shared_ptr<ThreadPool> made(new ThreadPool(threads));
  std::lock_guard<std::mutex> lock(all.mutex);
  std::weak_ptr<ThreadPool>& slot = all.pools[threads];
  std::shared_ptr<ThreadPool> other = slot.lock();
  if (other) return other;
  slot = made;
  return made;
}

ThreadPool::ThreadPool(int threads) : threads_(threads) { register_fork_guarded(this); }

ThreadPool::~ThreadPool() {
  unregister_fork_guarded(this);
  stop_.store(true);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    wake_.notify_all();
  }
  for (std::thread& thread : workers_) thread.join();
}

void ThreadPool::start() {
  std::lock_guard<std::mutex> lock(mutex_);
  try {
    while (static_cast<int>(workers_.size()) < threads_ - 1) {
      const int index = static_cast<int>(workers_.size()) + 1;  // the caller is 0
      workers_.emplace_back([this, index] { worker(index); });
    }
  } catch (const std::system_error&) {
    // The system is out of threads: the existing ones do the work.
  }
}

void ThreadPool::worker(int index) {
  unsigned seen = 0;
  for (;;) {
    for (int spin = 0; spin < kSpins && generation_.load(std::memory_order_acquire) == seen; ++spin) {
      if (stop_.load(std::memory_order_relaxed)) return;
      pause();
    }
    if (generation_.load() == seen) {
      std::unique_lock<std::mutex> lock(mutex_);
      ++asleep_;
      wake_.wait(lock, [&] { return generation_.load() != seen || stop_.load(); });
      --asleep_;
    }
    if (stop_.load()) return;
    seen = generation_.load();
    join_job(index);
  }
}

void ThreadPool::join_job(int worker) {
  // Either this thread sees that the job is closed, or run() sees that this thread is at work and waits for it.
  at_work_.fetch_add(1);
  if (open_.load()) take_units(worker);
  at_work_.fetch_sub(1);
}

void ThreadPool::take_units(int worker) {
  int done = 0;
  for (int unit = next_.fetch_add(1); unit < units_; unit = next_.fetch_add(1)) {
    work_(task_, unit, worker);
    if (worker == 0 && interrupt_ && ++done % between_ == 0 && interrupt_->ask(worker)) next_.store(units_);
  }
}

void ThreadPool::Lease::run(Work work, const void* task, int units, int between) {
  if (interrupt_ && interrupt_->ask(worker_)) return;
  if (pool_ && pool_->threads_ > 1 && units > 1) return pool_->run(work, task, units, interrupt_, between);
  for (int unit = 0; unit < units; ++unit) {
    work(task, unit, worker_);
    if (interrupt_ && (unit + 1) % between == 0 && interrupt_->ask(worker_)) return;
  }
}

void ThreadPool::run(Work work, const void* task, int units, Interrupt* interrupt, int between) {
  if (workers_.empty()) start();
  work_ = work;
  task_ = task;
  units_ = units;
  interrupt_ = interrupt;
  between_ = between;
  next_.store(0);
  open_.store(true);
  generation_.fetch_add(1);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (asleep_) wake_.notify_all();
  }
  take_units(0);
  open_.store(false);
  for (int spin = 0; at_work_.load() != 0; ++spin) {
    if (spin < kSpins)
      pause();
    else
      std::this_thread::yield();  // the worker's processor is busy with something else
  }
}

void ThreadPool::after_fork_in_child() {
  // The workers exist in the parent only: forget them without joining, and start new ones when needed.
  new (&workers_) std::vector<std::thread>();
  new (&wake_) std::condition_variable();
  asleep_ = 0;
  at_work_.store(0);
  open_.store(false);
  busy_.store(false);
  mutex_.unlock();
}

}  // namespace fastalex
