// A candidate is one way of computing a step, or two fused steps: what it can serve, what it needs, what it launches.
// The tables of all ops have the same type, so choosing, tuning and describing are independent of the op.
#ifndef FASTALEX_CUDA_CANDIDATES_CANDIDATE_H
#define FASTALEX_CUDA_CANDIDATES_CANDIDATE_H

#include <cstddef>
#include <vector>

#include "backend/ops.h"
#include "cuda/runtime/launch.h"
#include "cuda/runtime/runtime.h"

namespace fastalex {
namespace cuda {

enum Dtype { kFloat = 0, kHalf = 1 };  // of tensors
inline size_t size_of(Dtype dtype) { return dtype == kFloat ? 4 : 2; }

// Layout of weights in device memory. A layer has several if candidates for different batches need different ones.
enum WeightFormat {
  kNoWeights = 0,
  kDirect,       // ConvArgs::w, of the tensors' type
  kWinograd2x3,  // F(2x2, 3x3): [16, groups, w_rows, w_pitch of c], see weights/winograd.h
  kWinograd4x3,  // F(4x4, 3x3): [36, ...]
  kWinograd3x5,  // F(3x3, 5x5): [49, ...]
  kStreamed,     // FullyConnectedArgs::w in the storage's type
  kColumns       // ColumnsArgs::w, the same weights by column
};

// The type of transformed weights, transformed inputs and products where tensors are of type `tensors`. The roundings
// of halves grow little in F(2x2, 3x3) alone.
inline Dtype winograd_dtype(WeightFormat format, Dtype tensors) { return format == kWinograd2x3 ? tensors : kFloat; }

// The number of rows of convolution weights, and the products of each row, are padded to multiples of these.
constexpr int kWeightRows = 32;
constexpr int kWeightProducts = 32;

// The computation that a candidate serves.
struct Problem {
  fastalex_step step;
  fastalex_step second;  // the later op of a fused normalization and pool; op -1: none
  Dtype dtype;
  int storage;      // fastalex_storage of a fully connected layer's weights
  bool rows_alone;  // a fully connected layer's weights lie by row and are not to be had by column
};

// Weights of one layer in one format.
struct DeviceWeights {
  const void* values;
  const void* scale;
  const float* bias;
  bool skip_zeros;  // products with zeros may be left out, since no weight is infinite or NaN
};

struct Buffers {
  const void* in;
  void* out;
  DeviceWeights weights;
  void* workspace;  // workspace() bytes
};

struct Candidate {
  const char* name;  // unique among all candidates
  int op;            // fastalex_op; for a fused pair the first's
  bool fused_pair;   // serves Problem::second as well
  Dtype dtype;
  WeightFormat format;
  bool general;                     // takes shapes at run time: the fallback, which must not serve a standard layer
  int half_sum;                     // products summed in half before the sum moves to float; 0: all sums in float
  std::vector<KernelInfo> kernels;  // every kernel that it may launch, the main one first
  const void* detail;               // the op's own table row

  bool (*serves)(const Candidate&, const Problem&);
  // The largest useful split of the sum over blocks; 1 where the candidate cannot split.
  int (*max_split)(const Candidate&, const Problem&);
  // Predicted microseconds on a device; only their order matters. For problems that no tuning rule names.
  double (*cost)(const Candidate&, const Problem&, const DeviceFacts&, int split);
  size_t (*workspace)(const Candidate&, const Problem&, int split);  // bytes; null: none
  void (*launches)(const Candidate&, const Problem&, const DeviceFacts&, int split, const Buffers&,
                   std::vector<KernelLaunch>*);
};

// For cost(): microseconds of `blocks` blocks of `macs` multiply-accumulates each, where a multiprocessor does at most
// `rate` of them per clock and reaches `efficiency` of that with `resident` blocks at a time.
inline double compute_cost(const DeviceFacts& device, double blocks, double macs, double rate, double efficiency,
                           int resident) {
  const double slots = static_cast<double>(device.sms) * resident;
  const double waves = static_cast<double>(static_cast<long long>((blocks + slots - 1) / slots));
  return waves * resident * macs / (rate * efficiency) / (device.clock_khz * 1e-3);
}

// Multiply-accumulates per clock of a multiprocessor: CUDA programming guide, arithmetic instructions (64 fp32 lanes in
// 7.x and 8.0, else 128; half2 doubles them, in 8.0 it has four times as many); for tensor cores with float sums,
// NVIDIA's architecture papers (devices/*.toml name them).
inline double simt_rate(const DeviceFacts& device, Dtype dtype) {
  const bool volta_or_turing = device.sm >= 70 && device.sm <= 75;
  if (dtype == kHalf) return volta_or_turing ? 128 : 256;
  return volta_or_turing || device.sm == 80 ? 64 : 128;
}
inline double tensor_rate(const DeviceFacts& device) {
  if (device.sm >= 100) return 512;
  if (device.sm >= 90) return 2048;
  return device.sm == 80 ? 1024 : device.sm == 87 ? 512 : 256;
}

// One table per family of ops, defined next to its kernels.
const std::vector<Candidate>& conv_simt_candidates();
const std::vector<Candidate>& conv_mma_candidates();
const std::vector<Candidate>& conv_winograd_candidates();
const std::vector<Candidate>& fully_connected_candidates();
const std::vector<Candidate>& fully_connected_columns_candidates();
const std::vector<Candidate>& norm_pool_candidates();    // lrn, maxpool, and both fused; spatial_norm, adaptive_avgpool
const std::vector<Candidate>& elementwise_candidates();  // activation
const std::vector<Candidate>& softmax_candidates();
const KernelInfo& topk_kernel(Dtype dtype);          // TopKArgs, one block a row
const std::vector<Candidate>& gemm_fc_candidates();  // fully connected with many vectors

}  // namespace cuda
}  // namespace fastalex
#endif  // FASTALEX_CUDA_CANDIDATES_CANDIDATE_H
