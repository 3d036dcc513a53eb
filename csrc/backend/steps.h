// What the backends read from steps and options in the same way.
#ifndef FASTALEX_BACKEND_STEPS_H
#define FASTALEX_BACKEND_STEPS_H

#include "backend/ops.h"
#include "common/error.h"
#include "fastalex.h"

namespace fastalex {

// Whether `step` and the one after it are a normalisation across channels and a max-pool, in either order, that may be
// done in one go: nobody asks for what is between them.
inline bool is_norm_pool_pair(const fastalex_step& step, const fastalex_step& next) {
  return step.output < 0 && ((step.op == FASTALEX_OP_LRN && next.op == FASTALEX_OP_MAXPOOL) ||
                             (step.op == FASTALEX_OP_MAXPOOL && next.op == FASTALEX_OP_LRN));
}

// A fully connected layer's weights are packed for one shape of its input, c x h x w.
inline void check_same_features(const fastalex_step& step, int c, int h, int w) {
  if (step.in_c != c || step.in_h != h || step.in_w != w)
    invalid("this image size gives a fully connected layer a map of ", step.in_h, " x ", step.in_w, ", it needs ", h,
            " x ", w);
}

// A fastalex_storage as rules, cache files and users call it; python/fastalex/runtime/precisions.py has the same names.
inline const char* storage_name(int storage) {
  static const char* const names[] = {"fp32", "fp16", "int8", "int4", "bf16"};
  return names[storage];
}

}  // namespace fastalex
#endif  // FASTALEX_BACKEND_STEPS_H
