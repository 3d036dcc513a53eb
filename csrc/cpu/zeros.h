// The rows of fully connected weights that a batch needs: those whose inputs are not zero in all of its images.
#ifndef FASTALEX_CPU_ZEROS_H
#define FASTALEX_CPU_ZEROS_H

#include "cpu/fc_layer.h"
#include "cpu/kernels/kernel_table.h"
#include "cpu/pack.h"
#include "cpu/plan.h"

namespace fastalex {

// Fills FcArgs::active and what depends on it, after the input is prepared. All rows are needed where some weights are
// not finite (zero times infinity is NaN), where zeros are stored as another value, and where only few inputs are zero.
void list_active(const FcLayer& layer, NetworkContext* context, FcArgs* task);

// Entries of FcArgs::active and active_starts together, and of a plane of FcArgs::listed.
size_t list_entries(const FcLayer& layer);
size_t listed_plane(const FcLayer& layer);

}  // namespace fastalex
#endif  // FASTALEX_CPU_ZEROS_H
