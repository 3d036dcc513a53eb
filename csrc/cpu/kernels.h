// The interface between the CPU backend and its per-ISA objects: plain structs and functions over units of work.
//
// This header is included by code compiled for newer processors than the one that runs it, so it holds no inline
// function and includes nothing of the C++ library.
//
// Layout of activations: one image is NHWC with a zero border ("padded"), [ph][pw][c]. Every buffer has room for
// kSlack more floats at its end, so that a vector may read past the last channel.
// Layout of weights: panels of `panel` output channels, [group][panel index][k][panel], k in the order r, s, c.
// A unit computes outputs that no other unit touches, always in the same order: results do not depend on the
// number of threads.
#ifndef FASTALEX_CPU_KERNELS_H
#define FASTALEX_CPU_KERNELS_H

#include <stddef.h>
#include <stdint.h>

namespace fastalex {

enum { kSlack = 64 };

// Floats of one K block of a weight panel: 24 KiB, which leaves a quarter of a 32 KiB L1 to the activations.
enum { kBlockFloats = 6144 };

// A stretch of the reduction that is contiguous in the input: `length` floats at `offset` from the window's start.
struct Run {
  int32_t offset, length;
};

// Runs [first, last) of the list, whose weights start at row k of the panel.
struct Block {
  int32_t first, last, k;
};

struct Activations {
  float* data;   // position (0, 0), channel 0, of the image proper
  int32_t c;     // floats from one column to the next
  int32_t row;   // floats from one row to the next
  int32_t h, w;  // of the image proper
};

struct ConvTask {
  const float* in;  // top left of the padded input
  int32_t in_c, in_row, stride;
  Activations out;
  const float* weights;
  const float* bias;  // [group][panel index][panel], zero in the tail
  int32_t groups, k, in_per_group, out_per_group, panels_per_group;
  const Run* runs;
  const Block* blocks;
  int32_t block_count;
  int32_t pixels_per_unit, units_per_panel;
  int32_t activation;
};

struct FcTask {
  const float* in;  // [n][in_stride]
  float* out;       // [n][out_stride], with room for whole panels
  int32_t n, in_stride, out_stride, k, activation;
  const void* weights;  // [panel index][k][panel] in `storage`
  const float* scale;   // [panel index][panel], int8 only
  const float* bias;    // [panel index][panel]
  int32_t storage;      // fastalex_storage
};

struct NormTask {
  Activations in, out;
  int32_t groups, size;
  float alpha, beta, k;
};

struct PoolTask {
  Activations in, out;
  int32_t kernel, stride, activation;
};

struct ActivationTask {
  Activations in, out;
  int32_t activation;
};

struct CpuKernels {
  const char* isa;
  int32_t panel;                                        // output channels of a weight panel
  int32_t rows;                                         // output positions a tile computes at once
  void (*conv)(const void* task, int unit);             // unit = panel * units_per_panel + stretch of positions
  void (*fully_connected)(const void* task, int unit);  // unit = panel
  void (*lrn)(const void* task, int unit);              // unit = row of the output, here and below
  void (*spatial_norm)(const void* task, int unit);
  void (*maxpool)(const void* task, int unit);
  void (*adaptive_avgpool)(const void* task, int unit);
  void (*activation)(const void* task, int unit);
};

}  // namespace fastalex

// One per ISA, each the only exported symbol of its object.
extern "C" {
extern const fastalex::CpuKernels fastalex_cpu_kernels_v2;
extern const fastalex::CpuKernels fastalex_cpu_kernels_v3;
extern const fastalex::CpuKernels fastalex_cpu_kernels_v4;
extern const fastalex::CpuKernels fastalex_cpu_kernels_wide;  // tests only: 16 lanes on a v3 processor
extern const fastalex::CpuKernels fastalex_cpu_kernels_neon;
}

#endif  // FASTALEX_CPU_KERNELS_H
