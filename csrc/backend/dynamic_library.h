// Opening a backend's library (backend_api.h) with dlopen.
#ifndef FASTALEX_BACKEND_DYNAMIC_LIBRARY_H
#define FASTALEX_BACKEND_DYNAMIC_LIBRARY_H

#include <string>

#include "backend/backend_api.h"

namespace fastalex {

// The folder of the library or program that has this code.
std::string own_folder();

// "" if the api can be used here.
std::string backend_refusal(const fastalex_backend_api* api);

// The backend of the library at `path`, which stays open for the life of the process, or null and the reason.
const fastalex_backend_api* open_backend(const std::string& path, std::string* reason);

}  // namespace fastalex
#endif  // FASTALEX_BACKEND_DYNAMIC_LIBRARY_H
