#include "cpu/algorithm.h"

#include <algorithm>

#include "common/error.h"
#include "cpu/integer_winograd.h"

namespace fastalex {
namespace {

// Kernel rows that lie in the border are left out (kernels/conv.h).
double direct_products(const fastalex_step& s) {
  double rows = 0;
  for (int y = 0; y < s.out_h; ++y) {
    const int top = y * s.stride - s.pad;
    rows += std::min(s.in_h, top + s.kernel) - std::max(0, top);
  }
  return rows * s.out_w * s.out_c * (s.in_c / s.groups) * s.kernel;
}

int tiles_of(int side, int edge) { return (side + edge - 1) / edge; }

double winograd_products(const fastalex_step& s, const WinogradForm& form, int block) {
  const int in = form.out + form.kernel - 1;
  return 1.0 * in * in * tiles_of(s.out_h, form.out) * tiles_of(s.out_w, form.out) * (s.in_c / s.groups) * block *
         block * s.out_c;
}

// Cost of both transforms, in products: about this many multiply-adds for each value of a tile, as fast as those of the
// products.
double transform_cost(const fastalex_step& s, int out, int in, int block, int pieces) {
  const int tiles = tiles_of(s.out_h, out) * tiles_of(s.out_w, out);
  return 1.0 * tiles * in * in * (2.0 * in * s.in_c * block * block * pieces + 1.5 * in * s.out_c);
}

int kernel_of_blocks(const fastalex_step& s, int block) { return (s.kernel + block - 1) / block; }

double integer_products(const fastalex_step& s, int block) {
  return 1.0 * KernelPieces(kernel_of_blocks(s, block)).total() * tiles_of(s.out_h, kIntegerOut) *
         tiles_of(s.out_w, kIntegerOut) * (s.in_c / s.groups) * block * block * s.out_c;
}

// Winograd's algorithm in integers, or the direct one.
ConvChoice choose_quantized(const fastalex_step& step, const CpuKernels& kernels, const ConvChoice& direct) {
  const int block = step.stride, kernel = kernel_of_blocks(step, block), pieces = KernelPieces(kernel).edge;
  if (kernels.quantized_bytes != 2 || pieces > 2 || block > kMostBlock) return direct;
  const double cost =
      integer_products(step, block) + transform_cost(step, kIntegerOut, kIntegerIn, block, pieces * pieces);
  return cost < direct_products(step) ? ConvChoice{kQuantized, kIntegerForm, block, kernel} : direct;
}

// bf16 products cost half as much as float ones where the processor has them, a sixteenth by tiles (16 x 16 x 32 of
// them in 16 cycles, where two vector units do 16 x 32 of fp32), otherwise a little more.
double cost_of_product(int dtype, const CpuKernels& kernels) {
  if (dtype == kFloat32) return 1;
  if (kernels.step_units > 1) return 0.0625;
  return kernels.bf16 ? 0.5 : 1.25;
}

int dtype_of(int precision) {
  return precision == FASTALEX_PRECISION_INT8   ? kQuantized
         : precision == FASTALEX_PRECISION_BF16 ? kBfloat16
                                                : kFloat32;
}

}  // namespace

ConvChoice choose_conv(const fastalex_step& step, const CpuKernels& kernels, const fastalex_model_options& options,
                       bool first) {
  const int dtype = dtype_of(options.precision);
  ConvChoice best = {dtype, -1, 1, step.kernel};
  const int block = step.stride;
  if (block > 1 && (!first || step.groups > 1)) return best;
  if (dtype == kQuantized) return choose_quantized(step, kernels, best);
  if (options.exact) return best;
  double least = direct_products(step) * cost_of_product(dtype, kernels);
  for (int form = 0; form < kWinogradForms; ++form) {
    const WinogradForm& winograd = kernels.winograd[form];
    const int kernel = kernel_of_blocks(step, block);
    if (winograd.kernel != kernel) continue;
    const double cost = winograd_products(step, winograd, block) +
                        transform_cost(step, winograd.out, winograd.out + winograd.kernel - 1, block, 1);
    if (cost >= least) continue;
    least = cost;
    best = {kFloat32, form, block, kernel};
  }
  return best;
}

double products_of(const fastalex_step& step, const ConvChoice& choice, const CpuKernels& kernels) {
  if (choice.form < 0) return direct_products(step);
  if (choice.form == kIntegerForm) return integer_products(step, choice.block);
  return winograd_products(step, kernels.winograd[choice.form], choice.block);
}

int tile_edge(const ConvChoice& choice, const CpuKernels& kernels) {
  return choice.form == kIntegerForm ? static_cast<int>(kIntegerOut) : kernels.winograd[choice.form].out;
}

int value_bytes(int dtype, const CpuKernels& kernels) {
  return dtype == kFloat32 ? 4 : dtype == kBfloat16 ? 2 : kernels.quantized_bytes;
}

int most_step_units(int dtype, const CpuKernels& kernels) { return dtype == kFloat32 ? 1 : kernels.step_units; }

bool few_weights(const fastalex_step& step) {
  const int64_t most = 1 << 18;
  return static_cast<int64_t>(step.in_c) * step.in_h * step.in_w * step.out_c <= most;
}

FcChoice choose_fc(const fastalex_step& step, const CpuKernels& kernels, const fastalex_model_options& options) {
  // Byte planes: one for int8 precision, two to cover bf16, the maximum to match fp32.
  const int byte_planes = options.precision == FASTALEX_PRECISION_INT8   ? 1
                          : options.precision == FASTALEX_PRECISION_BF16 ? 2
                                                                         : static_cast<int>(kMaxBytePlanes);
  const int fixed = byte_planes == 1 ? 1 : 0;  // int8 precision rounds the input on every processor
  const bool in_planes = byte_planes <= kernels.byte_planes;
  // Without products of bytes, the other layout has no use: its units would have to be taken apart again.
  const bool latency = options.fc_layout == FASTALEX_FC_LATENCY || kernels.byte_planes < kMaxBytePlanes;
  const bool in_rows = latency && !few_weights(step);
  switch (options.fc_storage) {
    case FASTALEX_INT8:
      return in_planes ? FcChoice{in_rows ? kFcByteRows : kFcBytePlanes, byte_planes} : FcChoice{kFcFloats, fixed};
    case FASTALEX_INT4:
      return in_planes ? FcChoice{in_rows ? kFcByteRows4 : kFcBytePlanes4, byte_planes} : FcChoice{kFcNibbles, fixed};
    case FASTALEX_BF16:
      return {options.precision == FASTALEX_PRECISION_BF16 && kernels.bf16 ? kFcBf16 : kFcFloats, fixed};
    default:
      return {kFcFloats, fixed};
  }
}

}  // namespace fastalex
