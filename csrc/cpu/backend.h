// The cpu backend: tuned, with kernels for each ISA.
#ifndef FASTALEX_CPU_BACKEND_H
#define FASTALEX_CPU_BACKEND_H

#include "backend/backend_api.h"

namespace fastalex {

const fastalex_backend_api* cpu_backend();

}  // namespace fastalex
#endif  // FASTALEX_CPU_BACKEND_H
