// Weights of a fully connected layer in the layouts of the kernels (kernels/kernel_table.h), and back.
#ifndef FASTALEX_CPU_FC_LAYER_H
#define FASTALEX_CPU_FC_LAYER_H

#include <atomic>
#include <vector>

#include "cpu/pack.h"

namespace fastalex {

class FcLayer final : public PackedLayer {
 public:
  // weight: fp32 [K, C H W], or quantized (fastalex.h).
  FcLayer(const fastalex_step& step, const CpuKernels& kernels, const fastalex_model_options& options,
          const fastalex_param& weight, const float* bias, ThreadPool::Lease* workers);
  void unpack_weight(float* weight) const override;
  // The quantized values and scales, as in fastalex_param. storage is int8 or int4.
  void unpack_quantized(unsigned char* values, char* scales) const;
  size_t bytes() const override { return PackedLayer::bytes() + sums.bytes(); }
  // Bytes of a prepared row of the input, FcArgs::plane, in whole cache lines: two a value of bf16, one of a byte
  // plane.
  size_t plane() const { return (static_cast<size_t>(rows) * products * (choice.byte_planes ? 1 : 2) + 63) / 64 * 64; }
  bool byte_rows() const;  // kFcByteRows or kFcByteRows4
  int strips() const { return (panels.count() + strip_panels - 1) / strip_panels; }

  const FcChoice choice;
  int storage;
  bool in_negative;
  double input_scale;
  int k, products, rows;          // inputs; inputs of a row of weights; rows
  int panel_bytes, strip_panels;  // FcArgs
  int in_c, in_h, in_w;
  bool skips_rows;  // rows may be left out: by the form, as all weights are finite, and they are not few (algorithm.h)
  Buffer sums;      // FcArgs::sums

 private:
  struct Row;
  // The byte in a panel's part of a row of product i of output `lane`, and for int4 the position of its bits.
  int int8_byte(int i, int lane) const;
  struct NibblePlace {
    int byte, shift;
  };
  NibblePlace nibble_place(int i, int lane) const;
  void pack_panel(const fastalex_param& weight, int index, std::atomic<bool>* all_finite);
  void pack_row(const Row& row, int index, int lane, char* packed);
  void pack_int4(const Row& row, int index, int lane, char* packed);
  float value_at(int index, int lane, int i) const;
  int quantized_at(int index, int lane, int i) const;
  float scale_at(int index, int lane, int i) const;
  char* row_at(int index, int row) const;  // a panel's part of a row of weights

  std::vector<int> source_;  // source_[i]: index within C H W of product i, in the order y, x, channel
};

}  // namespace fastalex
#endif  // FASTALEX_CPU_FC_LAYER_H
