#include "loader.h"

#include <dlfcn.h>
#include <unistd.h>

#include <deque>
#include <mutex>

#include "cpu/cpu.h"
#include "error.h"

namespace fastalex {
namespace {

const char* const kOptional[] = {"cuda", "tensorrt"};

std::string own_folder() {
  Dl_info info;
  if (!dladdr(reinterpret_cast<void*>(&own_folder), &info) || !info.dli_fname) return ".";
  std::string path = info.dli_fname;
  size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, slash);
}

// "" if the api can be used here.
std::string refusal(const fastalex_backend_api* api) {
  if (!api) return "its entry function returned nothing";
  std::ostringstream text;
  if (api->abi != FASTALEX_BACKEND_ABI || api->struct_size != sizeof(fastalex_backend_api)) {
    text << "it was built for backend interface " << api->abi << ", this fastalex has " << FASTALEX_BACKEND_ABI
         << ": install matching versions";
    return text.str();
  }
  return api->probe() == FASTALEX_OK ? "" : api->last_error();
}

BackendStatus open_library(const std::string& name, const std::string& path) {
  BackendStatus status{name, nullptr, ""};
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle) {
    const char* why = dlerror();
    status.reason = why ? why : path + " could not be opened";
    return status;
  }
  auto entry = reinterpret_cast<fastalex_backend_entry_fn>(dlsym(handle, FASTALEX_BACKEND_ENTRY));
  const fastalex_backend_api* api = entry ? entry() : nullptr;
  status.reason = entry ? refusal(api) : path + " is not a fastalex backend: it has no " + FASTALEX_BACKEND_ENTRY;
  if (status.reason.empty()) {
    status.api = api;
    if (name.empty()) status.name = api->name;
  } else {
    dlclose(handle);
  }
  return status;  // a backend that is in use stays open for the life of the process
}

struct Registry {
  std::mutex mutex;
  std::deque<BackendStatus> entries;  // a deque: addresses stay valid

  Registry() {
    for (const fastalex_backend_api* api : {cpu_backend(), naive_backend()}) {
      std::string reason = refusal(api);
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
