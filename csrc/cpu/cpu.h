// What the CPU folder offers to the rest of the core.
#ifndef FASTALEX_CPU_CPU_H
#define FASTALEX_CPU_CPU_H

#include "../backend.h"
#include "kernels.h"

namespace fastalex {

const fastalex_backend_api* cpu_backend();    // tuned, per ISA
const fastalex_backend_api* naive_backend();  // the definition of every op, accumulating in double

// The kernels of this processor, or of FASTALEX_CPU_ISA. Throws Error(FASTALEX_UNAVAILABLE) if it cannot run them.
const CpuKernels& cpu_kernels();

// Processors this process may run on (its affinity mask), at least 1.
int usable_cpus();

}  // namespace fastalex
#endif  // FASTALEX_CPU_CPU_H
