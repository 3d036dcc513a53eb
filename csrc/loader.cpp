#include "loader.h"

#include <unistd.h>

#include <deque>
#include <mutex>

#include "backend_library.h"
#include "cpu/cpu.h"
#include "error.h"

namespace fastalex {
namespace {

const char* const kOptional[] = {"cuda", "tensorrt"};

BackendStatus open_library(const std::string& name, const std::string& path) {
  BackendStatus status{name, nullptr, ""};
  status.api = open_backend(path, &status.reason);
  if (status.api && name.empty()) status.name = status.api->name;
  return status;
}

struct Registry {
  std::mutex mutex;
  std::deque<BackendStatus> entries;  // a deque: addresses stay valid

  Registry() {
    for (const fastalex_backend_api* api : {cpu_backend(), naive_backend()}) {
      std::string reason = backend_refusal(api);
      entries.push_back(BackendStatus{api->name, reason.empty() ? api : nullptr, reason});
    }
    for (const char* name : kOptional) entries.push_back(find_optional(name));
  }

  static BackendStatus find_optional(const std::string& name) {
    std::string path = own_folder() + "/libfastalex_" + name + ".so";
    if (access(path.c_str(), F_OK) != 0)
      return BackendStatus{name, nullptr, "this build has no " + name + " library (there is no " + path + ")"};
    return open_library(name, path);
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
  for (const BackendStatus& entry : all.entries) list.push_back(&entry);
  return list;
}

const fastalex_backend_api* find_backend(const std::string& name) {
  std::string known;
  for (const BackendStatus* entry : backends()) {
    if (entry->name == name) {
      if (entry->api) return entry->api;
      throw Error(FASTALEX_UNAVAILABLE, "the " + name + " backend cannot be used: " + entry->reason);
    }
    known += (known.empty() ? "" : ", ") + entry->name;
  }
  invalid("there is no backend ", name, " (there are: ", known, ")");
}

void load_backend(const std::string& path) {
  Registry& all = registry();
  BackendStatus status = open_library("", path);
  if (!status.api) throw Error(FASTALEX_UNAVAILABLE, status.reason);
  std::lock_guard<std::mutex> lock(all.mutex);
  for (const BackendStatus& entry : all.entries)
    if (entry.name == status.name) throw Error(FASTALEX_INVALID, "there is a backend " + status.name + " already");
  all.entries.push_back(status);
}

}  // namespace fastalex
