#include "core/backend_registry.h"

#include <unistd.h>

#include "backend/dynamic_library.h"
#include "common/error.h"

namespace fastalex {

// An optional backend and the libraries that may contain it, in order of preference: TensorRT has one a major release.
struct OptionalBackend {
  const char* name;
  std::vector<const char*> libraries;
};

namespace {

const std::vector<OptionalBackend>& optional_backends() {
  static const std::vector<OptionalBackend> list = {
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

// Looks for an optional backend next to the library that contains this code.
BackendStatus find_optional(const OptionalBackend& backend) {
  BackendStatus status{backend.name, nullptr, ""};
  const std::string folder = own_folder();
  std::string names;
  for (const char* library : backend.libraries) {
    const std::string file = std::string("libfastalex_") + library + ".so", path = folder + "/" + file;
    names += (names.empty() ? "" : " or ") + file;
    if (access(path.c_str(), F_OK) != 0) continue;
    const BackendStatus candidate = open_library(backend.name, path);
    if (candidate.api) return candidate;
    if (status.reason.find(candidate.reason) == std::string::npos)  // without a driver they all give the same reason
      status.reason += (status.reason.empty() ? "" : "; ") + candidate.reason;
  }
  if (status.reason.empty())
    status.reason = "this build has no " + status.name + " library (there is no " + names + " in " + folder + ")";
  return status;
}

}  // namespace

BackendRegistry::BackendRegistry(std::initializer_list<const fastalex_backend_api*> built_in) {
  for (const fastalex_backend_api* api : built_in) {
    std::string reason = backend_refusal(api);
    entries_.push_back({BackendStatus{api->name, reason.empty() ? api : nullptr, reason}, nullptr});
  }
  for (const OptionalBackend& each : optional_backends())
    entries_.push_back({BackendStatus{each.name, nullptr, ""}, &each});
}

// Opening a library can be slow, so an optional one is opened on first use.
const BackendStatus& BackendRegistry::opened(Entry* entry) {
  if (entry->unopened) entry->status = find_optional(*entry->unopened);
  entry->unopened = nullptr;
  return entry->status;
}

std::vector<const BackendStatus*> BackendRegistry::all() {
  std::lock_guard<std::mutex> lock(mutex_);
  std::vector<const BackendStatus*> list;
  for (Entry& entry : entries_) list.push_back(&opened(&entry));
  return list;
}

const fastalex_backend_api* BackendRegistry::find(const std::string& name) {
  std::lock_guard<std::mutex> lock(mutex_);
  std::string known;
  for (Entry& entry : entries_) {
    if (entry.status.name == name) {
      const BackendStatus& status = opened(&entry);
      if (status.api) return status.api;
      throw Error(FASTALEX_UNAVAILABLE, "the " + name + " backend cannot be used: " + status.reason);
    }
    known += (known.empty() ? "" : ", ") + entry.status.name;
  }
  invalid("there is no backend ", name, " (there are: ", known, ")");
}

void BackendRegistry::load(const std::string& path) {
  BackendStatus status = open_library("", path);
  if (!status.api) throw Error(FASTALEX_UNAVAILABLE, status.reason);
  std::lock_guard<std::mutex> lock(mutex_);
  for (const Entry& entry : entries_)
    if (entry.status.name == status.name)
      throw Error(FASTALEX_INVALID, "there is a backend " + status.name + " already");
  entries_.push_back({status, nullptr});
}

}  // namespace fastalex
