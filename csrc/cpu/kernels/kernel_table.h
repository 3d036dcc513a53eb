// The interface between the CPU backend and its per-ISA objects: plain structs and functions over units of work.
//
// This header is included by code compiled for newer processors than the one that runs it, so it holds no inline
// function and includes nothing of the C++ library.
//
// Layout of activations: one image is NHWC with a zero border ("padded"), [ph][pw][c], the images of a chunk one after
// the other. Every buffer has room for kSlack more floats at its end, so that a vector may read past the last channel.
// Layout of weights: panels of `panel` output channels. Products are computed in units of 4 bytes: one float, two bf16,
// or quantized values, four or two depending on `quantized_bytes`. A panel is [unit of k][panel][values of a unit].
// Processors with products of tiles take up to kStepUnits units in a step (CpuKernels::step_units): then the units of a
// run of a convolution's window are divided into steps of equal length, of which the last one ends with the run. Units
// that the one before has too are multiplied by zeros there. Rows of fully connected weights of two or four products
// (kFcBf16, kFcBytePlanes) are filled up with zeros to whole steps.
// A unit of work computes outputs that no other unit computes, always in the same order: results depend neither on the
// number of threads nor on an image's place in a batch.
#ifndef FASTALEX_CPU_KERNELS_KERNEL_TABLE_H
#define FASTALEX_CPU_KERNELS_KERNEL_TABLE_H

#include <stddef.h>
#include <stdint.h>

namespace fastalex {

enum { kSlack = 64 };

// Units of a partial sum. Rounded products are summed in parts that are then added up: the rounding error grows with
// the length of a part plus their number instead of their product.
enum { kPartUnits = 64 };

// Most units of a step of products by tiles.
enum { kStepUnits = 16 };

// Data type of values in memory.
enum DType {
  kFloat32 = 0,
  kBfloat16 = 1,
  kQuantized = 2,  // int8 precision: x = (q - zero) * scale, q a uint8_t or an int16_t by `quantized_bytes`
  kDTypes = 3
};

struct Activations {
  void* data;            // position (0, 0), channel 0, of the first image proper
  int64_t image;         // values from one image to the next
  int32_t c, row;        // values from one column, and from one row, to the next
  int32_t h, w;          // of the image proper
  int32_t dtype;         // DType
  int32_t zero;          // kQuantized: the quantized value of 0
  float scale, inverse;  // kQuantized: of the quantization, and its reciprocal
  float low, high;       // kQuantized: the range of quantized values, before `zero` is added
};

struct ConvArgs {
  Activations in;  // data: top left of the padded input
  Activations out;
  int32_t stride;
  const void* weights;    // [group][panel index][unit][panel], the units step by step
  const float* bias;      // [group][panel index][panel], zero in the tail
  const float* scale;     // likewise, kQuantized: of a product of quantized values
  const int32_t* offset;  // likewise, kQuantized: minus the input zero's contribution to the sum of products
  int32_t groups, units, in_per_group, out_per_group, panels_per_group;
  int32_t step_units;      // of a step; 1: without tiles
  const int32_t* offsets;  // [units / step_units]: bytes from the window's start to each step, kernel row by kernel row
  int32_t kernel, pad;     // rows of the window that lie in the border are left out
  int32_t rows_per_unit, units_per_panel;
  int32_t activation;
};

// Winograd's algorithm of stride 1, in fp32 (winograd.h) or in integers (winograd_integer.h): a strip of a chunk's
// tiles. `in` begins at the padded input's top left and has every value that a tile reads, past the bottom and right
// too.
struct WinogradArgs {
  Activations in, out;
  int32_t form;            // index into CpuKernels::winograd, or kIntegerForm
  int32_t tiles, tiles_x;  // of an image; of a row of an image
  int32_t first_tile, strip_tiles;
  void* transformed;    // [position][group][tile of the strip][pitch]
  int64_t position;     // fp32: floats from one position to the next
  int32_t pitch;        // of a group's channels, a multiple of the vectors' length
  const void* weights;  // [group][panel index][position][channel of the group][panel]
  const float* bias;    // [group][panel index][panel]
  // kIntegerForm: both are of 16 bits. They have [piece][pitch] channels at a position, where all pieces meet but the
  // last rows and columns of them at the last position if partial_pieces is 1; weights lie in units of two channels.
  int32_t pieces, partial_pieces;  // along an edge of the kernel
  const float* scale;              // [group][panel index][panel]
  int32_t groups, in_per_group, out_per_group, panels_per_group;
  float* scratch;  // [worker][scratch_floats]
  int64_t scratch_floats;
  int64_t scratch_position;  // of a worker: [position][tile of the block][panel], floats from one to the next
  int32_t block_tiles;       // tiles of one unit of the products
  int32_t activation;
};

// Storage and arithmetic of fully connected weights. By form, an output's place in a row of weights holds:
enum FcForm {
  kFcFloats = 0,       // one weight of fp32, fp16, bf16 or int8 (`storage`), times fp32
  kFcNibbles = 1,      // one of int4, times fp32
  kFcBf16 = 2,         // two of bf16, times bf16
  kFcBytePlanes = 3,   // four of int8, times the input's byte planes
  kFcBytePlanes4 = 4,  // eight of int4, times the input's byte planes
  kFcByteRows = 5,     // one of int8, times the input's byte planes
  kFcByteRows4 = 6,    // one of int4, times the input's byte planes
};
// int4 is stored as q + 8. A unit of kFcBytePlanes4 has products 0 to 3 in the low halves of its bytes, 4 to 7 in the
// high halves; in the other forms a byte has two outputs, the one of a panel's first half in its low half. A high half
// of kFcNibbles is q alone, of four bits: the byte is 16 h + l + 8.

// Outputs of a panel of kFcByteRows and kFcByteRows4; the other forms have CpuKernels::panel.
enum { kBytePanel = 64, kBytePanel4 = 128 };

// Bytes of a row of a strip, at most: enough to be read at full speed though the rows beside it are skipped.
enum { kRowBytes = 1024 };

// Rows of weights that kFcByteRows reads at once, to which parts of the list of rows are padded.
enum { kListedRows = 8 };

// Rows of weights that are interleaved at once for products of bytes with several images.
enum { kBytePartRows = 512 };

// Largest number of byte planes of a row of features, x = scale * sum_d plane[d] * 256^d: unsigned bytes, with `zero`
// to be subtracted from the top plane. Three keep all bits of the row's largest fp32 value; one is the quantized value
// of int8 precision.
enum { kMaxBytePlanes = 3 };

struct FcArgs {
  float* in;   // [n][in_stride], with room for a vector past the last input
  float* out;  // [n][out_stride], with room for whole panels
  int32_t n, in_stride, out_stride, k, activation;
  int32_t form, storage;  // FcForm, fastalex_storage
  const void* weights;    // [strip][row][panel of the strip][panel]; the last strip may have fewer panels
  int32_t rows;           // of weights, each those of one input, or of the products of a unit
  int32_t panels, strip_panels, panel_bytes;  // panel_bytes: of a panel's part of a row
  const int32_t* active;                      // rows that an image of the batch needs, in order; null: all
  const int32_t* active_starts;               // [part]: index of its first one in `active`; one more
  int32_t active_count;
  // Parts have kPartUnits rows. For kFcByteRows they are int4's groups, `active` is never null, and each part's rows
  // are padded to a multiple of kListedRows by rows that are read for nothing. kFcBytePlanes has no lists.
  const uint8_t* listed;  // [n][byte_planes][listed_plane]: the byte planes in the order of `active`, 0 for padding
  int64_t listed_plane;
  int32_t* totals;  // kFcByteRows: [n][byte_planes][out_stride], the sums so far
  // [worker][scratch_bytes], for more than one image: kBytePartRows kBytePanel bytes of a panel's weights; without
  // products of bytes twice as many, in 16 bits, and 2 kBytePartRows of each image's inputs.
  char* scratch;
  int64_t scratch_bytes;
  // [panel index][panel] for int8; [panel index][group][panel] for int4, a sixteenth for the second half of the panels
  // of kFcNibbles
  const float* scale;
  const int32_t* sums;  // int8 by byte planes: [panel index][panel], the sum of an output's quantized weights
  const float* bias;    // [panel index][panel]
  int32_t byte_planes;  // of the input, at most kMaxBytePlanes; 0: it stays in floating point
  float fixed_scale;    // byte_planes == 1: scale and zero of every row
  int32_t fixed_zero;
  uint8_t* prepared;    // [n][byte_planes][plane], the top plane last; kFcBf16: [n][plane]
  int64_t plane;        // bytes
  float* row_scale;     // [n]; NaN where a value of the row is not finite
  int32_t* row_zero;    // [n]
  int32_t* plane_sums;  // int4 by byte planes: [n][group][byte_planes]
};

struct NormArgs {
  Activations in, out;
  int32_t groups, size;
  float alpha, beta, k;
};

struct PoolArgs {
  Activations in, out;
  int32_t kernel, stride, activation;
};

// LRN fused with max-pool, in either order. A unit is `rows_per_unit` rows of the output of one image.
struct NormPoolArgs {
  NormArgs norm;
  PoolArgs pool;
  int32_t pool_first;
  int32_t rows_per_unit, units_per_image;
  float* scratch;  // [worker][scratch_floats]: normalized rows for the pool, or one pooled pixel
  int64_t scratch_floats;
};

struct ActivationArgs {
  Activations in, out;
  int32_t activation;
  float slope;  // of a leaky ReLU, below zero
};

// A unit is a row of one image. A network's input becomes [h][w][c] of `to`. If `block` > 1, its pixels are first
// turned into channels: channel c block^2 + dy block + dx of (y, x) is channel c of (y block + dy - pad, x block + dx -
// pad), so that a convolution of stride `block` becomes one of stride 1.
enum { kMostBlock = 8 };  // for quantized values
struct ImportArgs {
  const float* from;  // [image][channels][h][w]
  int32_t channels, h, w;
  int32_t block, pad;
  Activations to;
};

// Maps of features, [image][channels][positions]. A unit is `positions_per_unit` positions of one image.
struct UnitNormArgs {
  float* maps;
  int32_t channels, positions;
  int32_t positions_per_unit, units_per_image;
  float eps;
  int32_t eps_inside;  // 1: x / sqrt(sum x^2 + eps); 0: x / (sqrt(sum x^2) + eps)
};

// Distances between maps of features. A unit is `positions_per_unit` positions of a square of up to `tile` x `tile`
// pairs, of which each image's positions are read once from memory.
struct MapDistanceArgs {
  const float* const* a;  // [rows]: [channels][positions]
  const float* const* b;  // [columns]: likewise
  const float* weights;   // [channels]
  int32_t channels, positions;
  int32_t rows, columns;
  int32_t pairing;  // fastalex_pairing; the zipped pair i is row i, column 0
  int32_t tile, tiles_across;
  int32_t positions_per_unit, units_per_tile;
  double* partial;  // [row][column][unit of the tile]
  float* maps;      // [row][column][positions]; null: not wanted
};

struct WinogradForm {
  int32_t out, kernel;  // edges of a tile's outputs and of the weights
  const float* points;  // out + kernel - 2 of them, the last one is infinity
  const float* bt;      // [in][in], in = out + kernel - 1
  const float* at;      // [out][in]
};
enum { kWinogradForms = 2 };
// Winograd's algorithm in integers, where quantized values have 16 bits; edges of a tile's outputs and inputs.
enum { kIntegerForm = kWinogradForms, kIntegerOut = 4, kIntegerIn = 6 };

typedef void (*UnitFn)(const void* task, int unit, int worker);

struct CpuKernels {
  const char* isa;
  int32_t panel;            // output channels of a weight panel
  int32_t lanes;            // floats of a vector
  int32_t rows;             // output positions a tile computes at once
  int32_t quantized_bytes;  // of an activation in int8 precision: 1 or 2
  int32_t byte_planes;      // most that the forms of byte planes take
  int32_t bf16;             // two bf16 products take the time of one of fp32, or less
  int32_t step_units;       // most units of a step of int8 or bf16 products; 1: without tiles
  WinogradForm winograd[kWinogradForms];
  UnitFn import_image;
  UnitFn conv[kDTypes];    // unit = (image * panels + panel) * units_per_panel + stretch of rows
  UnitFn winograd_input;   // unit = tile of the strip
  UnitFn winograd_output;  // unit = block of tiles * panels + panel
  UnitFn fc_prepare;       // unit = row
  UnitFn fully_connected;  // unit = strip
  UnitFn lrn;              // unit = row of the output, counted over the images, here and below
  UnitFn spatial_norm;
  UnitFn maxpool;
  UnitFn norm_pool;
  UnitFn adaptive_avgpool;
  UnitFn activation;
  UnitFn unit_norm;
  UnitFn map_distance;
};

}  // namespace fastalex

// One per ISA, each the only exported symbol of its object.
extern "C" {
extern const fastalex::CpuKernels fastalex_cpu_kernels_v2;
extern const fastalex::CpuKernels fastalex_cpu_kernels_v3;
extern const fastalex::CpuKernels fastalex_cpu_kernels_v3vnni;
extern const fastalex::CpuKernels fastalex_cpu_kernels_v4;
extern const fastalex::CpuKernels fastalex_cpu_kernels_v4vnni;
extern const fastalex::CpuKernels fastalex_cpu_kernels_v4bf16;
extern const fastalex::CpuKernels fastalex_cpu_kernels_v4amx;
extern const fastalex::CpuKernels fastalex_cpu_kernels_wide;     // for tests: 16 lanes on a v3 processor
extern const fastalex::CpuKernels fastalex_cpu_kernels_v3twin;   // for tests: v3vnni on a v3 processor
extern const fastalex::CpuKernels fastalex_cpu_kernels_amxtwin;  // for tests: v4amx on a v3 processor
extern const fastalex::CpuKernels fastalex_cpu_kernels_neon;
}

#endif  // FASTALEX_CPU_KERNELS_KERNEL_TABLE_H
