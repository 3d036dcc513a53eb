#include "core/backend_registry.h"

#include <unistd.h>

#include <deque>
#include <mutex>

#include "backend/dynamic_library.h"
#include "common/error.h"
#include "cpu/backend.h"
#include "reference/naive.h"

namespace fastalex {
namespace {

// Libraries that may be beside this one, by backend, the first that works: TensorRT has one a major release.
struct Optional {
  const char* name;
  std::vector<const char*> libraries;
};

const std::vector<Optional>& optional_backends() {
  static const std::vector<Optional> list = {
      {"cuda", {"cuda"}},
      {"tensorrt", {"tensorrt11", "tensorrt10", "tensorrt8"}},
  };
  return list;
}

BackendStatus open_library(const std::string& name, const std::string& path) {
  BackendStatus status{name, nullptr, ""};
  status.api = open_backend(path, &status.reason);
  if (status.api && name.empty()) status.name = status.api->name;
  return status;
}

// An optional backend, looked for next to the library this code is in.
BackendStatus find_optional(const Optional& wanted) {
  BackendStatus status{wanted.name, nullptr, ""};
  const std::string folder = own_folder();
  std::string names;
  for (const char* library : wanted.libraries) {
    const std::string file = std::string("libfastalex_") + library + ".so", path = folder + "/" + file;
    names += (names.empty() ? "" : " or ") + file;
    if (access(path.c_str(), F_OK) != 0) continue;
    const BackendStatus found = open_library(wanted.name, path);
    if (found.api) return found;
    if (status.reason.find(found.reason) == std::string::npos)  // without a driver all have the same
      status.reason += (status.reason.empty() ? "" : "; ") + found.reason;
  }
  if (status.reason.empty())
    status.reason = "this build has no " + status.name + " library (there is no " + names + " in " + folder + ")";
  return status;
}

// Opening a library may cost much, so an optional one is opened when it is asked for.
struct Registry {
  struct Entry {
    BackendStatus status;
    const Optional* unopened;
  };
  std::mutex mutex;
  std::deque<Entry> entries;  // a deque: addresses stay valid

  Registry() {
    for (const fastalex_backend_api* api : {cpu_backend(), naive_backend()}) {
      std::string reason = backend_refusal(api);
      entries.push_back({BackendStatus{api->name, reason.empty() ? api : nullptr, reason}, nullptr});
    }
    for (const Optional& each : optional_backends()) entries.push_back({BackendStatus{each.name, nullptr, ""}, &each});
  }

  const BackendStatus& opened(Entry* entry) {  // mutex held
    if (entry->unopened) entry->status = find_optional(*entry->unopened);
    entry->unopened = nullptr;
    return entry->status;
  }
};

Registry& registry() {
  static Registry* instance = new Registry;  // never destroyed: nets may outlive static destructors
  return *instance;
}

}  // namespace

std::vector<const BackendStatus*> backends() {
  Registry& all = registry();
  std::lock_guard<std::mutex> lock(all.mutex);
  std::vector<const BackendStatus*> list;
  for (Registry::Entry& entry : all.entries) list.push_back(&all.opened(&entry));
  return list;
}

const fastalex_backend_api* find_backend(const std::string& name) {
  Registry& all = registry();
  std::lock_guard<std::mutex> lock(all.mutex);
  std::string known;
  for (Registry::Entry& entry : all.entries) {
    if (entry.status.name == name) {
      const BackendStatus& status = all.opened(&entry);
      if (status.api) return status.api;
      throw Error(FASTALEX_UNAVAILABLE, "the " + name + " backend cannot be used: " + status.reason);
    }
    known += (known.empty() ? "" : ", ") + entry.status.name;
  }
  invalid("there is no backend ", name, " (there are: ", known, ")");
}

void load_backend(const std::string& path) {
  Registry& all = registry();
  BackendStatus status = open_library("", path);
  if (!status.api) throw Error(FASTALEX_UNAVAILABLE, status.reason);
  std::lock_guard<std::mutex> lock(all.mutex);
  for (const Registry::Entry& entry : all.entries)
    if (entry.status.name == status.name)
      throw Error(FASTALEX_INVALID, "there is a backend " + status.name + " already");
  all.entries.push_back({status, nullptr});
}

}  // namespace fastalex
