// The kernels that run on this machine's processors.
#ifndef FASTALEX_CPU_ISA_H
#define FASTALEX_CPU_ISA_H

#include "cpu/kernels/kernel_table.h"

namespace fastalex {

// The kernels of this processor, or of FASTALEX_CPU_ISA. Throws Error(FASTALEX_UNAVAILABLE) if it cannot run them.
const CpuKernels& cpu_kernels();

}  // namespace fastalex
#endif  // FASTALEX_CPU_ISA_H
