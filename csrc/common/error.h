// Errors inside the library are exceptions that carry a status; at every C boundary `guarded` turns them into a
// status and a message of the calling thread.
#ifndef FASTALEX_COMMON_ERROR_H
#define FASTALEX_COMMON_ERROR_H

#include <new>
#include <sstream>
#include <stdexcept>
#include <string>

#include "fastalex.h"

namespace fastalex {

struct Error : std::runtime_error {
  Error(int status_, const std::string& message) : std::runtime_error(message), status(status_) {}
  int status;
};

// Reports a usage error: one sentence that says what to do.
template <typename... Parts>
[[noreturn]] void invalid(const Parts&... parts) {
  std::ostringstream text;
  int expand[] = {0, ((text << parts), 0)...};
  (void)expand;
  throw Error(FASTALEX_INVALID, text.str());
}

// Internal invariant: a failure is a bug in fastalex.
#define FASTALEX_ASSERT(condition)                                         \
  do {                                                                     \
    if (!(condition)) {                                                    \
      std::ostringstream text_;                                            \
      text_ << __FILE__ << ":" << __LINE__ << ": expected " << #condition; \
      throw ::fastalex::Error(FASTALEX_INTERNAL, text_.str());             \
    }                                                                      \
  } while (0)

// The last message of this thread, in the library (core or backend) that includes it.
inline std::string& last_error() {
  static thread_local std::string message;
  return message;
}

template <typename Body>
int guarded(Body&& body) noexcept {
  try {
    body();
    return FASTALEX_OK;
  } catch (const Error& error) {
    last_error() = error.what();
    return error.status;
  } catch (const std::bad_alloc&) {
    last_error() = "out of memory";
    return FASTALEX_OUT_OF_MEMORY;
  } catch (const std::length_error&) {  // of a container: more than any memory holds
    last_error() = "out of memory";
    return FASTALEX_OUT_OF_MEMORY;
  } catch (const std::exception& error) {
    last_error() = error.what();
    return FASTALEX_INTERNAL;
  }
}

}  // namespace fastalex
#endif  // FASTALEX_COMMON_ERROR_H
