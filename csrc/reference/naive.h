// The naive backend: the definition of every op, accumulating in double.
#ifndef FASTALEX_REFERENCE_NAIVE_H
#define FASTALEX_REFERENCE_NAIVE_H

#include "backend/backend_api.h"

namespace fastalex {

const fastalex_backend_api* naive_backend();

}  // namespace fastalex
#endif  // FASTALEX_REFERENCE_NAIVE_H
