// The contract of every op: what it computes, its parameters and shapes. reference/naive.cpp is its definition in
// code.
//
// All shapes are NCHW; a feature vector is [N, C, 1, 1]. One step may carry an activation that is applied to the
// result (y = act(op(x))). Sums run over positions inside the input; a position outside counts as zero in a
// convolution and is left out of a pool or a window.
//
//   conv              y[n,o,i,j] = b[o] + sum w[o,c,r,s] x[n, g C/G + c, i stride - pad + r, j stride - pad + s]
//                     with G groups, g = o / (K/G); w [K, C/G, R, R], b [K]. Windows may overhang at right and bottom.
//   fully_connected   y[n,o] = b[o] + sum_i w[o,i] x[n,i], x flattened in the order C, H, W; w [K, C H W], b [K]
//   lrn               y[c] = x[c] / (k + alpha sum_{|d| <= size/2} x[c+d]^2)^beta, c+d in the channel group of c
//   spatial_norm      y[i,j] = x[i,j] / (k + alpha sum_{|d|,|e| <= size/2} x[i+d,j+e]^2)^beta within one channel
//   maxpool           y[i,j] = max x[i stride + r, j stride + s], r, s < kernel
//   adaptive_avgpool  y[i,j] = mean of x over rows floor(i H / out) .. ceil((i+1) H / out) - 1, columns alike
//   activation        y = act(x) where it could not be fused; a sigmoid and a leaky ReLU never are
//   softmax           y[c] = exp(x[c] - max x) / sum exp(x - max x) over the channels
//
// alpha is the factor in front of the sum (already divided by the window where the variant says so); for a leaky ReLU,
// the slope below zero.
// NaN: maxpool and the activations keep a NaN, as PyTorch does.
#ifndef FASTALEX_BACKEND_OPS_H
#define FASTALEX_BACKEND_OPS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum fastalex_op {
  FASTALEX_OP_CONV = 0,
  FASTALEX_OP_FULLY_CONNECTED = 1,
  FASTALEX_OP_LRN = 2,
  FASTALEX_OP_SPATIAL_NORM = 3,
  FASTALEX_OP_MAXPOOL = 4,
  FASTALEX_OP_ADAPTIVE_AVGPOOL = 5,
  FASTALEX_OP_ACTIVATION = 6,
  FASTALEX_OP_SOFTMAX = 7
} fastalex_op;

typedef enum fastalex_activation {
  FASTALEX_ACT_NONE = 0,
  FASTALEX_ACT_RELU = 1,
  FASTALEX_ACT_TANH = 2,
  // Never fused, so the kernels of the standard networks need not support them:
  FASTALEX_ACT_LEAKY_RELU = 3,  // x < 0 ? alpha x : x
  FASTALEX_ACT_SIGMOID = 4      // 1 / (1 + exp(-x))
} fastalex_activation;

// One fused step of a plan. Fields that an op does not use are zero.
typedef struct fastalex_step {
  int32_t op;          // fastalex_op
  int32_t activation;  // fastalex_activation, applied to the op's result
  int32_t n;           // batch
  int32_t in_c, in_h, in_w;
  int32_t out_c, out_h, out_w;
  int32_t kernel, stride, pad, groups;
  int32_t size;          // window of lrn and spatial_norm, odd
  int32_t param;         // index of the weight among the net's parameters, its bias follows; -1: none
  int32_t output;        // index among the outputs of the plan; -1: not an output
  int32_t top_k;         // > 0: output the k largest values of this feature vector, with their channels
  int32_t signed_input;  // 0: the input is never negative
  double alpha, beta, k;
  double input_scale;  // scale of a conv's or fc's quantized input in precision int8; 0: not set
} fastalex_step;

// Largest window of lrn and spatial_norm. TensorRT's ILRNLayer supports at most 15.
enum { FASTALEX_MAX_WINDOW = 63 };

#ifdef __cplusplus
}
#endif
#endif  // FASTALEX_BACKEND_OPS_H
