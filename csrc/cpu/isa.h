// The kernels and the number of threads for this machine's processors.
#ifndef FASTALEX_CPU_ISA_H
#define FASTALEX_CPU_ISA_H

#include "cpu/kernels/kernel_table.h"

namespace fastalex {

// The kernels of this processor, or of FASTALEX_CPU_ISA. Throws Error(FASTALEX_UNAVAILABLE) if it cannot run them.
const CpuKernels& cpu_kernels();

// Processors this process may run on (its affinity mask), at least 1.
int usable_cpus();

}  // namespace fastalex
#endif  // FASTALEX_CPU_ISA_H
