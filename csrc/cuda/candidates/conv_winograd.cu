// Candidates for convolutions of stride 1 with Winograd's algorithms.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "common/error.h"
#include "cuda/candidates/candidate_table.h"
#include "cuda/kernels/conv_winograd.cuh"
#include "cuda/kernels/conv_winograd_instances.h"

namespace fastalex {
namespace cuda {
namespace {

const std::vector<KernelInfo>& all_kernels() {
  static const std::vector<KernelInfo> table = {
#define FASTALEX_ROW(NAME, KERNEL, ARGS, THREADS, SHARED, MIN_SM, MAX_SM, TENSOR) \
  FASTALEX_KERNEL_INFO(NAME, KERNEL, ARGS, THREADS, SHARED, MIN_SM, MAX_SM, TENSOR),
      FASTALEX_CONV_WINOGRAD_INSTANCES(FASTALEX_ROW)
#undef FASTALEX_ROW
  };
  return table;
}

const KernelInfo& kernel_named(const char* name) {
  for (const KernelInfo& kernel : all_kernels())
    if (!std::strcmp(kernel.name, name)) return kernel;
  FASTALEX_ASSERT(!"a kernel of that name");
  return all_kernels().front();
}

struct Gemm {
  const char* kernel;
  int tiles, columns, threads, shared_bytes;  // of a block
  int resident;                               // blocks that the registers of a multiprocessor have room for
  double share;                               // of multiply-adds among the loop's instructions on sm_53
};
template <class Shape>
Gemm gemm(const char* kernel, double share) {
  return {kernel, Shape::kTiles, Shape::kColumns, Shape::kThreads, Shape::kSharedBytes, Shape::kBlocks, share};
}

struct Row {
  const char* name;
  WeightFormat format;
  Dtype dtype;
  int out, kernel;          // F(out x out, kernel x kernel)
  std::vector<Gemm> gemms;  // the one that wastes least is launched
  const char *input, *output;
  int in() const { return out + kernel - 1; }
  Dtype products() const { return winograd_dtype(format, dtype); }  // and transformed inputs
};

typedef CandidateTable<Row> Table;

const Table& table() {
  static const std::vector<Gemm> ffma = {gemm<Winograd56x64>("winograd_gemm_56x64_ffma", 0.89),
                                         gemm<Winograd84x64>("winograd_gemm_84x64_ffma", 0.89),
                                         gemm<Winograd16x128>("winograd_gemm_16x128_ffma", 0.84)};
  static const std::vector<Gemm> hfma2 = {gemm<Winograd56x64>("winograd_gemm_56x64_hfma2", 0.80)};
  static const Table table(
      {{"wino2x3_ffma", kWinograd2x3, kFloat, 2, 3, ffma, "winograd_input_2x3_float", "winograd_output_2x3_float"},
       {"wino4x3_ffma", kWinograd4x3, kFloat, 4, 3, ffma, "winograd_input_4x3_float", "winograd_output_4x3_float"},
       {"wino3x5_ffma", kWinograd3x5, kFloat, 3, 5, ffma, "winograd_input_3x5_float", "winograd_output_3x5_float"},
       {"wino2x3_hfma2", kWinograd2x3, kHalf, 2, 3, hfma2, "winograd_input_2x3_half", "winograd_output_2x3_half"},
       {"wino3x5_ffma_half", kWinograd3x5, kHalf, 3, 5, ffma, "winograd_input_3x5_mixed",
        "winograd_output_3x5_mixed"}});
  return table;
}

// Channels that a thread of the transforms computes.
struct Channels {
  int input, output;
};
template <class Type>
Channels channels_of_type() {
  return {Type::kChannels, Type::kOutputChannels};
}
Channels channels_of(const Row& row) {
  return row.dtype == kFloat        ? channels_of_type<WinogradType<float, float>>()
         : row.products() == kFloat ? channels_of_type<WinogradType<Half, float>>()
                                    : channels_of_type<WinogradType<Half, Half>>();
}

// Sizes of a problem.
struct Sizes {
  int positions, in_group, out_group, tiles_y, tiles_x, v_pitch, w_rows, w_pitch;
  long long tiles;
  size_t v_bytes, product_bytes, w_bytes;  // each rounded up to 256, where the next array may start
};

Sizes sizes_of(const Row& row, const fastalex_step& s) {
  Sizes z;
  z.positions = row.in() * row.in();
  z.in_group = s.in_c / s.groups;
  z.out_group = s.out_c / s.groups;
  z.tiles_y = ceil_div(s.out_h, row.out);
  z.tiles_x = ceil_div(s.out_w, row.out);
  z.tiles = static_cast<long long>(s.n) * z.tiles_y * z.tiles_x;
  z.v_pitch =
      round_up(z.in_group, row.products() == kFloat ? simt::stage_products<float>() : simt::stage_products<Half>());
  z.w_rows = round_up(z.out_group, kWeightRows);
  z.w_pitch = round_up(z.in_group, kWeightProducts);
  const size_t matrices = static_cast<size_t>(z.positions) * s.groups;
  z.v_bytes = round_up(matrices * z.tiles * z.v_pitch * size_of(row.products()), size_t(256));
  z.product_bytes = round_up(matrices * z.tiles * z.w_rows * size_of(row.products()), size_t(256));
  z.w_bytes = round_up(matrices * z.w_rows * z.w_pitch * size_of(row.products()), size_t(256));
  return z;
}

bool serves(const Candidate& candidate, const Problem& problem) {
  const Row& row = Table::row_of(candidate);
  const fastalex_step& s = problem.step;
  if (s.kernel != row.kernel || s.stride != 1 || s.pad >= s.kernel || s.in_c / s.groups % 8) return false;
  if (s.groups > 1 && s.out_c / s.groups % channels_of(row).output)
    return false;  // a thread's channels are of one group
  const Sizes z = sizes_of(row, s);
  const long long widest = std::max(z.v_pitch, channel_pitch(s.out_c));
  return z.tiles * widest <= (1LL << 31) - kWinogradTransformThreads && z.positions * s.groups <= 65535 &&
         z.w_rows <= 65535 * 64;
}

Grid grid_of(const Gemm& gemm, const Sizes& z, int groups) {
  return {static_cast<int>(ceil_div(z.tiles, static_cast<long long>(gemm.tiles))), ceil_div(z.w_rows, gemm.columns),
          z.positions * groups};
}

// Index of the matrix product kernel with the fewest instructions for this problem, including waste.
size_t best_gemm(const Row& row, const Sizes& z) {
  size_t best = 0;
  double least = 0;
  for (size_t i = 0; i < row.gemms.size(); ++i) {
    const Gemm& gemm = row.gemms[i];
    const Grid grid = grid_of(gemm, z, 1);
    const double work = static_cast<double>(grid.x) * gemm.tiles * grid.y * gemm.columns / gemm.share;
    if (i == 0 || work < least) {
      least = work;
      best = i;
    }
  }
  return best;
}

// Multiply-adds per clock of a multiprocessor. Half precision is slow on sm_61 (CUDA programming guide).
double rate(const Row& row, const DeviceFacts& device) {
  return row.products() == kHalf && device.sm == 61 ? 2 : simt_rate(device, row.products());
}

// The products overlap with their loads; the transforms are bound by memory.
double cost(const Candidate& candidate, const Problem& problem, const DeviceFacts& device, int) {
  const double kBytesPerUs = 25e3, kBytesPerUsAndSm = 9e3;  // 25 GB/s of an integrated GPU's SM, 9 GB/s of another's
  const double kLaunchUs = 3;
  const Row& row = Table::row_of(candidate);
  const fastalex_step& s = problem.step;
  const Sizes z = sizes_of(row, s);
  const Gemm& gemm = row.gemms[best_gemm(row, z)];
  const Grid grid = grid_of(gemm, z, s.groups);
  const double blocks = static_cast<double>(grid.x) * grid.y * grid.z;
  const double macs = static_cast<double>(gemm.tiles) * gemm.columns * z.v_pitch;
  const int most = std::max(1, std::min({gemm.resident, device.threads_per_sm / gemm.threads,
                                         static_cast<int>(device.shared_per_sm / gemm.shared_bytes)}));
  const int resident = static_cast<int>(std::min<double>(most, std::max(1.0, std::ceil(blocks / device.sms))));
  const double warps = resident * gemm.threads / 32.0;  // eight keep the four schedulers busy; fewer do in part
  const double efficiency = gemm.share * std::min(1.0, (warps + 2) / 10);
  const double compute = compute_cost(device, blocks, macs, rate(row, device), efficiency, resident);

  const double bandwidth = device.sms * (device.integrated ? kBytesPerUs : kBytesPerUsAndSm);
  const double work = static_cast<double>(z.v_bytes) + z.product_bytes;
  const double images =
      static_cast<double>(s.in_c) * s.in_h * s.in_w + static_cast<double>(s.out_c) * s.out_h * s.out_w;
  return std::max(compute, (work + z.w_bytes) / bandwidth) + (work + s.n * images * size_of(row.dtype)) / bandwidth +
         (device.integrated ? 0 : 2 * kLaunchUs);
}

size_t workspace(const Candidate& candidate, const Problem& problem, int) {
  const Sizes z = sizes_of(Table::row_of(candidate), problem.step);
  return z.v_bytes + z.product_bytes;
}

WinogradArgs args_of(const Sizes& z, const fastalex_step& s, const Buffers& buffers) {
  WinogradArgs a;
  a.in = buffers.in;
  a.w = buffers.weights.values;
  a.bias = buffers.weights.bias;
  a.out = buffers.out;
  a.transformed = buffers.workspace;
  a.products = static_cast<char*>(buffers.workspace) + z.v_bytes;
  a.in_h = s.in_h;
  a.in_w = s.in_w;
  a.in_pitch = channel_pitch(s.in_c);
  a.out_h = s.out_h;
  a.out_w = s.out_w;
  a.out_pitch = channel_pitch(s.out_c);
  a.in_c_group = z.in_group;
  a.out_c_group = z.out_group;
  a.groups = s.groups;
  a.pad = s.pad;
  a.w_rows = z.w_rows;
  a.w_pitch = z.w_pitch;
  a.v_pitch = z.v_pitch;
  a.tiles = static_cast<int>(z.tiles);
  a.tiles_y = z.tiles_y;
  a.tiles_x = z.tiles_x;
  a.activation = s.activation;
  return a;
}

void launches(const Candidate& candidate, const Problem& problem, const DeviceFacts&, int, const Buffers& buffers,
              std::vector<KernelLaunch>* out) {
  const Row& row = Table::row_of(candidate);
  const fastalex_step& s = problem.step;
  const Sizes z = sizes_of(row, s);
  const WinogradArgs a = args_of(z, s, buffers);
  const size_t gemm = best_gemm(row, z), input = row.gemms.size(), output = input + 1;
  const int inputs = ceil_div(a.tiles * (a.v_pitch / channels_of(row).input), kWinogradTransformThreads);
  const int outputs = ceil_div(a.tiles * (a.out_pitch / channels_of(row).output), kWinogradTransformThreads);
  const std::vector<KernelInfo>& kernels = candidate.kernels;
  out->push_back(KernelLaunch::make(kernels[input], {inputs, s.groups, 1}, a));
  out->push_back(KernelLaunch::make(kernels[gemm], grid_of(row.gemms[gemm], z, s.groups), a));
  out->push_back(KernelLaunch::make(kernels[output], {outputs, 1, 1}, a));
}

Candidate candidate_of(const Row& row) {
  std::vector<KernelInfo> kernels;
  for (const Gemm& gemm : row.gemms) kernels.push_back(kernel_named(gemm.kernel));
  kernels.push_back(kernel_named(row.input));
  kernels.push_back(kernel_named(row.output));
  return {row.name,
          FASTALEX_OP_CONV,
          false,
          row.dtype,
          row.format,
          false,
          row.products() == kHalf ? kWinogradHalfSum : 0,
          kernels,
          &row,
          serves,
          nullptr,
          cost,
          workspace,
          launches};
}

}  // namespace

const std::vector<Candidate>& conv_winograd_candidates() {
  static const std::vector<Candidate> list = [] {
    std::vector<Candidate> all;
    for (const Row& row : table().rows()) all.push_back(candidate_of(row));
    return all;
  }();
  return list;
}

}  // namespace cuda
}  // namespace fastalex
