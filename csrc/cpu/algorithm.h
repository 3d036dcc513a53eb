// Picks the algorithm (direct or Winograd) and the data type of each layer for this processor.
#ifndef FASTALEX_CPU_ALGORITHM_H
#define FASTALEX_CPU_ALGORITHM_H

#include <string>
#include <vector>

#include "backend/backend_api.h"
#include "cpu/kernels/kernel_table.h"

namespace fastalex {

struct ConvChoice {
  int dtype;   // DType of the input and the products
  int form;    // index into CpuKernels::winograd, or kIntegerForm; -1: direct
  int block;   // edge of the pixel blocks that are first turned into channels (ImportArgs), leaving a stride of 1
  int kernel;  // edge of the weights after that
};

// Multiply-accumulates of the step for one image, including those of partly filled tiles.
double products_of(const fastalex_step& step, const ConvChoice& choice, const CpuKernels& kernels);

// first: the layer reads the network's input.
ConvChoice choose_conv(const fastalex_step& step, const CpuKernels& kernels, const fastalex_model_options& options,
                       bool first);

// Edge of a tile's outputs in Winograd's algorithm, of floats or of integers.
int tile_edge(const ConvChoice& choice, const CpuKernels& kernels);

// Bytes of a value of `dtype`.
int value_bytes(int dtype, const CpuKernels& kernels);

// Most units of a step of a direct convolution of `dtype`.
int most_step_units(int dtype, const CpuKernels& kernels);

struct FcChoice {
  int form;         // FcForm
  int byte_planes;  // of the input; 0: it stays in floating point
};

FcChoice choose_fc(const fastalex_step& step, const CpuKernels& kernels, const fastalex_model_options& options);

// Whether a fully connected layer has so few weights that they stay in the caches, where reading all of them costs less
// than finding out which are needed.
bool few_weights(const fastalex_step& step);

}  // namespace fastalex
#endif  // FASTALEX_CPU_ALGORITHM_H
