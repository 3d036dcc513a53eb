// Learned perceptual distances between maps of features (fastalex.h), distributed over threads.
#ifndef FASTALEX_CPU_DISTANCE_H
#define FASTALEX_CPU_DISTANCE_H

#include "fastalex.h"

namespace fastalex {

// Throw Error(FASTALEX_INVALID) for sizes out of range. threads > 0.
void unit_normalize(float* maps, size_t images, size_t channels, size_t positions, float eps, bool eps_inside,
                    int threads);
void map_distances(const fastalex_distances& distances, int threads);

}  // namespace fastalex
#endif  // FASTALEX_CPU_DISTANCE_H
