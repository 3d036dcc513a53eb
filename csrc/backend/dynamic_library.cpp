#include "backend/dynamic_library.h"

#include <dlfcn.h>

#include <sstream>

namespace fastalex {

std::string own_folder() {
  Dl_info info;
  if (!dladdr(reinterpret_cast<void*>(&own_folder), &info) || !info.dli_fname) return ".";
  std::string path = info.dli_fname;
  size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, slash);
}

std::string backend_refusal(const fastalex_backend_api* api) {
  if (!api) return "its entry function returned nothing";
  std::ostringstream text;
  if (api->abi != FASTALEX_BACKEND_ABI || api->struct_size != sizeof(fastalex_backend_api)) {
    text << "it was built for backend interface " << api->abi << ", this fastalex has " << FASTALEX_BACKEND_ABI
         << ": install matching versions";
    return text.str();
  }
  return api->probe() == FASTALEX_OK ? "" : api->last_error();
}

const fastalex_backend_api* open_backend(const std::string& path, std::string* reason) {
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle) {
    const char* why = dlerror();
    *reason = why ? why : path + " could not be opened";
    return nullptr;
  }
  auto entry = reinterpret_cast<fastalex_backend_entry_fn>(dlsym(handle, FASTALEX_BACKEND_ENTRY));
  const fastalex_backend_api* api = entry ? entry() : nullptr;
  *reason = entry ? backend_refusal(api) : path + " is not a fastalex backend: it has no " + FASTALEX_BACKEND_ENTRY;
  if (reason->empty()) return api;
  dlclose(handle);
  return nullptr;
}

}  // namespace fastalex
