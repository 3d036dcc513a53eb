// The backends that a net can run on: those built in, and shared libraries opened on demand.
#ifndef FASTALEX_CORE_BACKEND_REGISTRY_H
#define FASTALEX_CORE_BACKEND_REGISTRY_H

#include <deque>
#include <initializer_list>
#include <mutex>
#include <string>
#include <vector>

#include "backend/backend_api.h"

namespace fastalex {

struct OptionalBackend;

struct BackendStatus {
  std::string name;
  const fastalex_backend_api* api;  // null if unavailable
  std::string reason;               // why it is unavailable
};

// Thread-safe. Entries are never removed and never move.
class BackendRegistry {
 public:
  explicit BackendRegistry(std::initializer_list<const fastalex_backend_api*> built_in);
  BackendRegistry(const BackendRegistry&) = delete;
  BackendRegistry& operator=(const BackendRegistry&) = delete;

  // All backends; the first call looks for optional ones next to the library that contains this code.
  std::vector<const BackendStatus*> all();

  // The backend called `name`; throws Error(FASTALEX_UNAVAILABLE) with the stored reason.
  const fastalex_backend_api* find(const std::string& name);

  // Opens the library at `path` and registers it under its own name; throws Error(FASTALEX_UNAVAILABLE).
  void load(const std::string& path);

 private:
  struct Entry {
    BackendStatus status;
    const OptionalBackend* unopened;
  };

  const BackendStatus& opened(Entry* entry);  // mutex_ held

  std::mutex mutex_;
  std::deque<Entry> entries_;  // a deque: addresses stay valid
};

}  // namespace fastalex
#endif  // FASTALEX_CORE_BACKEND_REGISTRY_H
