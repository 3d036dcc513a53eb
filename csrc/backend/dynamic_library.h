// Opens backend libraries (backend_api.h) with dlopen.
#ifndef FASTALEX_BACKEND_DYNAMIC_LIBRARY_H
#define FASTALEX_BACKEND_DYNAMIC_LIBRARY_H

#include <string>

#include "backend/backend_api.h"

namespace fastalex {

// The folder of the library or program that contains this code.
std::string own_folder();

// The reason why `api` cannot be used here; "" if it can.
std::string backend_refusal(const fastalex_backend_api* api);

// The backend in the library at `path`, which stays open for the life of the process; null on failure, with the reason.
const fastalex_backend_api* open_backend(const std::string& path, std::string* reason);

}  // namespace fastalex
#endif  // FASTALEX_BACKEND_DYNAMIC_LIBRARY_H
