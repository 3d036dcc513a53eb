// The backends of this process: those linked in, and shared libraries opened on demand.
#ifndef FASTALEX_CORE_BACKEND_REGISTRY_H
#define FASTALEX_CORE_BACKEND_REGISTRY_H

#include <string>
#include <vector>

#include "backend/backend.h"

namespace fastalex {

struct BackendStatus {
  std::string name;
  const fastalex_backend_api* api;  // null if it cannot be had
  std::string reason;               // why, where it cannot
};

// All backends; optional ones are looked for, next to the library this code is in, when they are first asked for.
// Entries are never removed and never move.
std::vector<const BackendStatus*> backends();

// The backend called `name`; throws Error(FASTALEX_UNAVAILABLE) with the stored reason.
const fastalex_backend_api* find_backend(const std::string& name);

// Opens the library at `path` and registers it under its own name; throws Error(FASTALEX_UNAVAILABLE).
void load_backend(const std::string& path);

}  // namespace fastalex
#endif  // FASTALEX_CORE_BACKEND_REGISTRY_H
