// Makes locks survive fork(): they are taken before it and released on both sides, so a child never inherits a lock
// that a thread it does not have is holding.
#ifndef FASTALEX_COMMON_FORK_GUARD_H
#define FASTALEX_COMMON_FORK_GUARD_H

namespace fastalex {

class ForkGuarded {
 public:
  virtual void before_fork() = 0;
  virtual void after_fork_in_parent() = 0;
  virtual void after_fork_in_child() = 0;

 protected:
  ~ForkGuarded() = default;
};

// An object is unregistered before it dies. Objects are locked in the order in which they were registered.
void register_fork_guarded(ForkGuarded* object);
void unregister_fork_guarded(ForkGuarded* object);

}  // namespace fastalex
#endif  // FASTALEX_COMMON_FORK_GUARD_H
