#include "common/fork_guard.h"

#include <pthread.h>

#include <algorithm>
#include <mutex>
#include <vector>

namespace fastalex {
namespace {

struct Registry {
  std::mutex mutex;
  std::vector<ForkGuarded*> objects;
};

Registry& registry();

void before() {
  registry().mutex.lock();
  for (ForkGuarded* object : registry().objects) object->before_fork();
}

void in_parent() {
  auto& objects = registry().objects;
  for (auto it = objects.rbegin(); it != objects.rend(); ++it) (*it)->after_fork_in_parent();
  registry().mutex.unlock();
}

void in_child() {
  auto& objects = registry().objects;
  for (auto it = objects.rbegin(); it != objects.rend(); ++it) (*it)->after_fork_in_child();
  registry().mutex.unlock();
}

Registry& registry() {
  static Registry* instance = [] {
    pthread_atfork(before, in_parent, in_child);
    return new Registry;
  }();
  return *instance;
}

}  // namespace

void register_fork_guarded(ForkGuarded* object) {
  std::lock_guard<std::mutex> lock(registry().mutex);
  registry().objects.push_back(object);
}

void unregister_fork_guarded(ForkGuarded* object) {
  std::lock_guard<std::mutex> lock(registry().mutex);
  auto& objects = registry().objects;
  objects.erase(std::remove(objects.begin(), objects.end(), object), objects.end());
}

}  // namespace fastalex
