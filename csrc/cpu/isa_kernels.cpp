// Compiled once per ISA with -DFASTALEX_ISA_<level> and that level's flags. Everything but the table at the end has
// internal linkage and nothing of the C++ library is included: a function that the linker merges with another
// object's copy would run this ISA's instructions on an older processor.
#include "../include/fastalex.h"
#include "../ops.h"
#include "kernels.h"
#include "ops/conv.h"
#include "ops/fully_connected.h"
#include "ops/norm.h"
#include "ops/pool.h"

#define FASTALEX_TEXT_(x) #x
#define FASTALEX_TEXT(x) FASTALEX_TEXT_(x)
#define FASTALEX_PASTE_(x) fastalex_cpu_kernels_##x
#define FASTALEX_PASTE(x) FASTALEX_PASTE_(x)

extern "C" const fastalex::CpuKernels FASTALEX_PASTE(FASTALEX_ISA) = {
    FASTALEX_TEXT(FASTALEX_ISA),
    kPanel,
    kRows,
    conv,
    fully_connected,
    lrn,
    spatial_norm,
    maxpool,
    adaptive_avgpool,
    activation,
};
