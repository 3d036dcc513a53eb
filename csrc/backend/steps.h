// Helpers for steps and options that all backends share.
#ifndef FASTALEX_BACKEND_STEPS_H
#define FASTALEX_BACKEND_STEPS_H

#include "backend/ops.h"
#include "common/error.h"
#include "fastalex.h"

namespace fastalex {

// Returns whether `step` and `next` are a normalization across channels and a max-pool, in either order, that can be
// fused: the value between them is not an output.
inline bool is_norm_pool_pair(const fastalex_step& step, const fastalex_step& next) {
  return step.output < 0 && ((step.op == FASTALEX_OP_LRN && next.op == FASTALEX_OP_MAXPOOL) ||
                             (step.op == FASTALEX_OP_MAXPOOL && next.op == FASTALEX_OP_LRN));
}

// A fully connected layer's weights are packed for one shape of its input, c x h x w.
inline void check_same_features(const fastalex_step& step, int c, int h, int w) {
  if (step.in_c != c || step.in_h != h || step.in_w != w)
    invalid("this image size gives a fully connected layer a map of ", step.in_h, " x ", step.in_w, ", but it needs ",
            h, " x ", w);
}

// Number of scales of an output's int4 weights, which share them in the order y, x, channel.
inline size_t int4_groups(size_t inputs) { return (inputs + FASTALEX_INT4_GROUP - 1) / FASTALEX_INT4_GROUP; }

// Bytes of an output's quantized values and of its scales, as in fastalex_param. storage: int8 or int4.
inline size_t quantized_bytes(int storage, size_t inputs) {
  return storage == FASTALEX_INT8 ? inputs : (inputs + 1) / 2;
}
inline size_t scale_bytes(int storage, size_t inputs) {
  return storage == FASTALEX_INT8 ? sizeof(float) : int4_groups(inputs) * sizeof(uint16_t);
}

// The names of a fastalex_storage and of a fastalex_precision in rules, cache files and the user interface; null if
// unknown.
inline const char* storage_name(int storage) {
  static const char* const names[] = {"fp32", "fp16", "int8", "int4", "bf16"};
  return storage < FASTALEX_FP32 || storage > FASTALEX_BF16 ? nullptr : names[storage];
}

inline const char* precision_name(int precision) {
  static const char* const names[] = {"fp32", "fp16", "bf16", "int8"};
  return precision < FASTALEX_PRECISION_FP32 || precision > FASTALEX_PRECISION_INT8 ? nullptr : names[precision];
}

}  // namespace fastalex
#endif  // FASTALEX_BACKEND_STEPS_H
