// The arguments of the kernels: each takes exactly one of these structs by value. Plain data, shared by host and
// device.
//
// A tensor in device memory is NHWC: element (n, y, x, c) at ((n h + y) w + x) pitch + c, pitch = channel_pitch(c)
// values of the tensor's type (float or Half). The channels c .. pitch - 1 are zeros, always: every kernel that writes
// a tensor writes them. A feature vector is a tensor with h = w = 1. Tensors start at multiples of 256 bytes.
#ifndef FASTALEX_CUDA_KERNELS_ARGS_H
#define FASTALEX_CUDA_KERNELS_ARGS_H

#include "cuda/kernels/defs.cuh"

namespace fastalex {
namespace cuda {

// The three colors are padded to four, so that a pixel is one aligned load of 8 (half) or 16 bytes (float).
FASTALEX_HOST_DEVICE constexpr int channel_pitch(int channels) { return channels <= 4 ? 4 : round_up(channels, 8); }

// fastalex_activation of backend/ops.h
enum { kActNone = 0, kActRelu = 1, kActTanh = 2, kActLeakyRelu = 3, kActSigmoid = 4 };

// Convolution as implicit GEMM: pixels M = n out_h out_w, channels N = out_c / groups, products K.
// A product's index runs over (r, s, c), c fastest; an ungrouped layer of
// at most 4 input channels has c = 0 .. 3 (the pitch).
struct ConvArgs {
  const void* in;     // tensor
  const void* w;      // [groups, w_rows, w_pitch]; rows and products past the end are zeros
  const float* bias;  // [groups, w_rows]
  void* out;          // tensor
  float* partial;     // [split, groups, pixels, w_rows] where split > 1, without bias and activation
  int n, in_h, in_w, in_pitch, out_h, out_w, out_pitch;
  int in_c_group, out_c_group;  // channels of one group
  int groups, kernel, stride, pad;
  int w_rows, w_pitch;  // kWeightRows, kWeightProducts (candidates/candidate.h)
  int split;            // K is cut into this many ranges of whole tiles, one grid layer each
  int activation;
};

// Sum of the split's layers, bias, activation.
struct ReduceArgs {
  const float* partial;  // [split, groups, pixels, rows]
  const float* bias;     // [groups, rows]
  void* out;             // tensor [pixels, out_pitch]
  int split, groups, pixels, rows, out_c_group, out_pitch, activation;
};

// FASTALEX_INT4_GROUP of fastalex.h: products that share an int4 scale. Rows of streamed weights are padded to a
// multiple of it.
constexpr int kQuantGroup = 128;

// y[o] = act(b[o] + sum w[o, i] x[i]) for each of n vectors.
struct FullyConnectedArgs {
  const void* in;     // [n, in_pitch]: a tensor read as one vector, in the order y, x, c with the padding
  const void* w;      // [out_pitch, w_pitch] of the storage's type
  const void* scale;  // int8: float [out_pitch]; int4: Half [out_pitch, w_pitch / kQuantGroup]; else null
  const float* bias;  // [out_pitch]
  void* out;          // [n, out_pitch]
  float* partial;     // [split, n, out_pitch] where split > 1
  int n, in_pitch, out_pitch, w_pitch;
  int split, activation;
  int out_c;  // the values out_c .. out_pitch - 1 are the padding
};

// Weights by column: a tile of neighboring outputs has its weights of one input side by side, the column, which fills
// so many bytes; the outputs of the last tile are padded with zeros.
constexpr int kColumnBytes = 512;
FASTALEX_HOST_DEVICE constexpr int column_outputs(int storage) {  // fastalex_storage: fp16, int8 or int4
  return storage == 3 ? 2 * kColumnBytes : storage == 2 ? kColumnBytes : kColumnBytes / 2;
}

// The same y as of FullyConnectedArgs, with the weights by column.
struct ColumnsArgs {
  const void* in;     // [n, in_pitch]
  const void* w;      // [tiles, w_pitch] columns
  const void* scale;  // int8: float [tiles, column_outputs]; int4: Half [tiles, w_pitch / kQuantGroup, column_outputs]
  const float* bias;  // [out_pitch]
  void* out;          // [n, out_pitch]
  float* partial;     // [split, n, out_pitch] where split > 1
  int n, in_pitch, out_pitch, w_pitch, tiles;
  int split, activation;
  int out_c;
  int skip;  // 0: a product with zero must be computed, since a scale is not finite
};

// Normalization across channels and max-pool, either alone or both in either order.
struct NormPoolArgs {
  const void* in;
  void* out;
  int n, c, pitch, in_h, in_w, out_h, out_w;
  int size, groups;  // of the normalization: window in channels, inside each channel group
  float alpha, beta, k;
  int kernel, stride;               // of the pool
  int activation;                   // applied at the end (ReLU and tanh grow, so they may move behind a pool)
  int first_activation;             // of two fused ops: applied between them
  int tile_rows, tile_cols, chunk;  // of two fused ops: pooled pixels and vectors of channels of a block
};

struct SpatialNormArgs {
  const void* in;
  void* out;
  int n, c, pitch, h, w, size;
  float alpha, beta, k;
  int activation;
  int tile_cols, chunk;  // pixels of a row and vectors of channels of a block
};

struct AveragePoolArgs {
  const void* in;
  void* out;
  int n, pitch, in_h, in_w, out_h, out_w;
  int activation;
};

struct ActivationArgs {
  const void* in;
  void* out;
  u64 count;  // values, padding included
  int c, pitch, activation;
  float slope;  // of a leaky ReLU, below zero
};

struct SoftmaxArgs {
  const void* in;  // [n, pitch]
  void* out;       // [n, pitch]
  int n, c, pitch, activation;
};

// The k largest values of each row in descending order; equal values in order of index. NaN counts as largest.
struct TopKArgs {
  const void* in;  // [n, pitch]
  float* values;   // [n, k]
  int* indices;    // [n, k]
  int n, c, pitch, k;
};

// Dense NCHW of float or the tensor's type <-> tensor
struct LayoutArgs {
  const void* in;
  void* out;
  int n, c, h, w, pitch;
};

// A camera frame to the network's input: resize, crop, (v / divisor - mean) / std as v * scale - shift. The tables are
// those of candidates/frame.h: for each row (column) of the output the first and the number of its source rows
// (columns), and their weights, row_taps (column_taps) apart.
struct FrameArgs {
  const u8* pixels;  // [height, width, 3], rows row_bytes apart
  void* out;         // tensor [1, out_h, out_w, 3]
  u64 row_bytes;
  const int* row_spans;       // [out_h, 2]: first, count
  const int* column_spans;    // [out_w, 2]
  const int* row_weights;     // [out_h, row_taps]: bits of floats (linear) or fixed point (antialiased)
  const int* column_weights;  // [out_w, column_taps]
  int row_taps, column_taps;
  int out_h, out_w;
  int swap;                  // 1: the planes are in the reverse order of the pixel's bytes
  int tile_rows, tile_cols;  // of a block of the antialiased filter; tile_cols is a power of two
  float scale[3], shift[3];  // by plane of the network's input
};

}  // namespace cuda
}  // namespace fastalex
#endif  // FASTALEX_CUDA_KERNELS_ARGS_H
