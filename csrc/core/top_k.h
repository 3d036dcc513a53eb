// Selects the k largest values of each row on the host, for backends that return all of them.
#ifndef FASTALEX_CORE_TOP_K_H
#define FASTALEX_CORE_TOP_K_H

#include <stdint.h>

namespace fastalex {

// In descending order; equal values in order of index. A NaN counts as larger than any number.
void select_top_k(const float* values,  // [n, c]
                  int n, int c, int k,  // k <= c
                  float* largest,       // [n, k]
                  int32_t* indices);    // [n, k]

}  // namespace fastalex
#endif  // FASTALEX_CORE_TOP_K_H
