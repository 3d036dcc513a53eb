// Compiled once per ISA with -DFASTALEX_ISA_<level> and that level's flags. Everything but the table at the end has
// internal linkage and nothing of the C++ library is included: a function that the linker merges with another
// object's copy would run this ISA's instructions on an older processor.
#include "backend/ops.h"
#include "cpu/kernels/conv.h"
#include "cpu/kernels/conv_tiles.h"
#include "cpu/kernels/distance.h"
#include "cpu/kernels/fully_connected.h"
#include "cpu/kernels/import.h"
#include "cpu/kernels/kernel_table.h"
#include "cpu/kernels/norm.h"
#include "cpu/kernels/pool.h"
#include "cpu/kernels/winograd.h"
#include "cpu/kernels/winograd_integer.h"
#include "fastalex.h"

#define FASTALEX_TEXT_(x) #x
#define FASTALEX_TEXT(x) FASTALEX_TEXT_(x)
#define FASTALEX_PASTE_(x) fastalex_cpu_kernels_##x
#define FASTALEX_PASTE(x) FASTALEX_PASTE_(x)

#if defined(FASTALEX_USE_VNNI)
#define FASTALEX_BYTE_PLANES fastalex::kMaxBytePlanes
#elif defined(FASTALEX_USE_BYTES)
#define FASTALEX_BYTE_PLANES 1
#else
#define FASTALEX_BYTE_PLANES 0
#endif
#if defined(FASTALEX_USE_BF16) || defined(FASTALEX_USE_TILES)
#define FASTALEX_HAS_BF16 1
#else
#define FASTALEX_HAS_BF16 0
#endif
#if defined(FASTALEX_USE_TILES)
#define FASTALEX_STEP_UNITS fastalex::kStepUnits
#define FASTALEX_ROUNDED_CONV conv_tiles
#else
#define FASTALEX_STEP_UNITS 1
#define FASTALEX_ROUNDED_CONV conv
#endif

extern "C" const fastalex::CpuKernels FASTALEX_PASTE(FASTALEX_ISA) = {
    FASTALEX_TEXT(FASTALEX_ISA),
    kPanel,
    kLanes,
    kRows,
    sizeof(Quantized),
    FASTALEX_BYTE_PLANES,
    FASTALEX_HAS_BF16,
    FASTALEX_STEP_UNITS,
    {winograd_form<Winograd4x3>(), winograd_form<Winograd3x5>()},
    import_image,
    {conv<fastalex::kFloat32>, FASTALEX_ROUNDED_CONV<fastalex::kBfloat16>, FASTALEX_ROUNDED_CONV<fastalex::kQuantized>},
    winograd_input,
    winograd_output,
    fc_prepare,
    fully_connected,
    lrn,
    spatial_norm,
    maxpool,
    norm_pool,
    adaptive_avgpool,
    activation,
    unit_norm,
    map_distance,
};
