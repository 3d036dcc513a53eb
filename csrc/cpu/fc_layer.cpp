#include "cpu/fc_layer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "common/error.h"
#include "common/half.h"
#include "cpu/pack_panels.h"
#include "weights/dequantize.h"
#include "weights/quantize.h"

namespace fastalex {

// One output's weights in the order y, x, channel: floats, or quantized values with their scales.
struct FcLayer::Row {
  const float* floats;
  const int8_t* bytes;
  const uint8_t* nibbles;  // two in a byte, the first in its low half, q + 8
  float scale;
  const uint16_t* scales;
};

namespace {

const int kStripsPerThread = 2;

int outputs_of_panel(int form, int panel) {
  return form == kFcByteRows4 ? kBytePanel4 : form == kFcByteRows ? kBytePanel : panel;
}

// Inputs whose weights are in a row.
int products_of(int form) { return form == kFcBytePlanes4 ? 8 : form == kFcBytePlanes ? 4 : form == kFcBf16 ? 2 : 1; }

// Bytes of a panel's part of a row of weights.
int panel_bytes_of(int form, int storage, int panel) {
  if (form == kFcNibbles || form == kFcByteRows4) return panel / 2;
  if (products_of(form) > 1) return panel * 4;
  return panel * (storage == FASTALEX_FP32 ? 4 : storage == FASTALEX_INT8 ? 1 : 2);
}

// Panels of a strip: rows of kRowBytes, as long as every thread has a few strips.
int strip_panels_of(int form, int panel_bytes, int panels, int threads) {
  if (form == kFcBytePlanes || form == kFcBytePlanes4) return 1;
  return std::max(1, std::min<int>(kRowBytes / panel_bytes, panels / (kStripsPerThread * threads)));
}

// The byte of an output of int8 in a panel's part of a row, for the interleaving of kernels/fc_byte_rows.h.
int interleaved_byte(int lane) { return lane / 4 % 4 * 16 + lane / 16 * 4 + lane % 4; }

}  // namespace

FcLayer::FcLayer(const fastalex_step& step, const CpuKernels& kernels, const fastalex_model_options& options,
                 const fastalex_param& weight, const float* bias_in, ThreadPool::Lease* workers)
    : PackedLayer(Panels(1, step.out_c, outputs_of_panel(choose_fc(step, kernels, options).form, kernels.panel))),
      choice(choose_fc(step, kernels, options)),
      storage(options.fc_storage),
      in_negative(step.signed_input != 0),
      input_scale(step.input_scale),
      k(step.in_c * step.in_h * step.in_w),
      products(products_of(choice.form)),
      rows((k + products - 1) / products),
      panel_bytes(panel_bytes_of(choice.form, storage, panels.panel)),
      strip_panels(strip_panels_of(choice.form, panel_bytes, panels.count(), options.threads)),
      in_c(step.in_c),
      in_h(step.in_h),
      in_w(step.in_w),
      skips_rows(!few_weights(step) && choice.form != kFcBytePlanes && choice.form != kFcBytePlanes4) {
  const size_t outputs = static_cast<size_t>(panels.count()) * panels.panel;
  // Sums of products of byte planes and weights must fit 32 bits.
  if (choice.byte_planes && k > std::numeric_limits<int32_t>::max() / (255 * 127))
    invalid("a fully connected layer of ", k, " inputs is too long for sums of 8-bit products; use fp32");
  source_.reserve(k);
  for (int pixel = 0; pixel < in_h * in_w; ++pixel)
    for (int c = 0; c < in_c; ++c) source_.push_back(c * in_h * in_w + pixel);
  pack_bias(bias_in);
  // A sum of products that left out zeros may be -0 where the whole one is +0; no bias of -0 lets that be seen.
  for (size_t i = 0; i < bias.bytes() / sizeof(float); ++i) bias.as()[i] += 0.0f;
  weights = Buffer(static_cast<size_t>(panels.count()) * rows * panel_bytes + kSlack * sizeof(float));
  if (storage == FASTALEX_INT8) scale = Buffer(outputs * sizeof(float));
  if (storage == FASTALEX_INT4) scale = Buffer(outputs * int4_groups(k) * sizeof(float));
  if (storage == FASTALEX_INT8 && choice.byte_planes) sums = Buffer(outputs * sizeof(int32_t));
  std::atomic<bool> all_finite{true};
  for_each_panel(panels, workers, [&](int index) { pack_panel(weight, index, &all_finite); });
  skips_rows = skips_rows && all_finite;
}

bool FcLayer::byte_rows() const { return choice.form == kFcByteRows || choice.form == kFcByteRows4; }

char* FcLayer::row_at(int index, int row) const {
  const int first = index / strip_panels * strip_panels, width = std::min(strip_panels, panels.count() - first);
  return weights.as<char>() +
         (static_cast<size_t>(first) * rows + static_cast<size_t>(row) * width + (index - first)) * panel_bytes;
}

void FcLayer::pack_panel(const fastalex_param& weight, int index, std::atomic<bool>* all_finite) {
  const bool packed_as_given = weight.storage == storage && weight.storage != FASTALEX_FP32;
  std::vector<float> floats(k);
  std::vector<int8_t> bytes(storage == FASTALEX_INT8 ? k : 0);
  std::vector<uint8_t> nibbles(storage == FASTALEX_INT4 ? (k + 1) / 2 : 0);
  std::vector<uint16_t> scales(storage == FASTALEX_INT4 ? int4_groups(k) : 0);
  // The panel's part of all rows, close together while its outputs are filled in one after the other.
  std::vector<char> packed(static_cast<size_t>(rows) * panel_bytes);
  for (int lane = 0; lane < panels.width(index); ++lane) {
    const size_t output = panels.first_channel(index) + lane;
    Row row = {floats.data(), bytes.data(), nibbles.data(), 0, scales.data()};
    if (packed_as_given) {
      const char* data = static_cast<const char*>(weight.data);
      const char* scale_data = static_cast<const char*>(weight.scale);
      if (storage == FASTALEX_INT8) {
        row.bytes = reinterpret_cast<const int8_t*>(data + output * k);
        std::memcpy(&row.scale, scale_data + output * sizeof(float), sizeof(float));
      } else {
        row.nibbles = reinterpret_cast<const uint8_t*>(data + output * ((k + 1) / 2));
        std::memcpy(scales.data(), scale_data + output * scales.size() * 2, scales.size() * 2);
      }
    } else {
      const float* from = static_cast<const float*>(weight.data);
      for (int i = 0; i < k; ++i) floats[i] = at(from, output * k + source_[i]);
      if (storage == FASTALEX_INT8) quantize_int8(floats.data(), k, bytes.data(), &row.scale);
      if (storage == FASTALEX_INT4) quantize_int4(floats.data(), k, nibbles.data(), scales.data());
      const float largest = largest_magnitude(floats.data(), k);
      if (!std::isfinite(largest)) *all_finite = false;
      if (storage == FASTALEX_FP16 || storage == FASTALEX_BF16) {
        if (!std::isfinite(largest)) refuse_weights("NaN or infinity");
        if (storage == FASTALEX_FP16 && largest > kHalfMax) refuse_weights("a weight beyond the range of fp16");
      }
    }
    pack_row(row, index, lane, packed.data());
  }
  for (int row = 0; row < rows; ++row)
    std::memcpy(row_at(index, row), packed.data() + static_cast<size_t>(row) * panel_bytes, panel_bytes);
}

void FcLayer::pack_row(const Row& row, int index, int lane, char* packed) {
  const size_t pitch = panel_bytes;
  if (storage == FASTALEX_INT4) return pack_int4(row, index, lane, packed);
  if (storage == FASTALEX_FP32)
    for (int i = 0; i < k; ++i) std::memcpy(packed + i * pitch + 4 * lane, row.floats + i, 4);
  if (storage == FASTALEX_FP16 || storage == FASTALEX_BF16)
    for (int i = 0; i < k; ++i) {
      const uint16_t half = storage == FASTALEX_FP16 ? to_half(row.floats[i]) : to_bf16(row.floats[i]);
      std::memcpy(packed + i / products * pitch + 2 * (lane * products + i % products), &half, 2);
    }
  if (storage != FASTALEX_INT8) return;
  int32_t sum = 0;
  for (int i = 0; i < k; ++i) sum += row.bytes[i];
  if (products == 4)
    for (int i = 0; i < k; i += 4) std::memcpy(packed + i / 4 * pitch + 4 * lane, row.bytes + i, std::min(4, k - i));
  else
    for (int i = 0, byte = int8_byte(0, lane); i < k; ++i) packed[i * pitch + byte] = static_cast<char>(row.bytes[i]);
  panel_of<float>(scale, panels.panel, index)[lane] = row.scale;
  if (sums.bytes()) panel_of<int32_t>(sums, panels.panel, index)[lane] = sum;
}

void FcLayer::pack_int4(const Row& row, int index, int lane, char* packed) {
  const size_t groups = int4_groups(k), pitch = panel_bytes;
  for (size_t group = 0; group < groups; ++group)
    scale.as()[(index * groups + group) * panels.panel + lane] = from_half(row.scales[group]);
  // Values past the last one are 0, stored as 8.
  const auto nibble = [&](int i) { return i < k ? row.nibbles[i / 2] >> i % 2 * 4 & 15 : 8; };
  if (products == 1) {
    const NibblePlace place = nibble_place(0, lane);
    for (int i = 0; i < k; ++i) packed[i * pitch + place.byte] |= static_cast<char>(nibble(i) << place.shift);
    return;
  }
  for (int unit = 0; unit < rows; ++unit)
    for (int b = 0; b < 4; ++b)
      packed[unit * pitch + 4 * lane + b] = static_cast<char>(nibble(unit * 8 + b) | nibble(unit * 8 + 4 + b) << 4);
}

int FcLayer::int8_byte(int i, int lane) const {
  return byte_rows() ? interleaved_byte(lane) : lane * products + i % products;
}

FcLayer::NibblePlace FcLayer::nibble_place(int i, int lane) const {
  if (choice.form == kFcBytePlanes4) return {lane * 4 + i % 4, i % products / 4 * 4};
  const int half = panels.panel / 2, within = lane % half;
  return {byte_rows() ? interleaved_byte(within) : within, lane / half * 4};
}

float FcLayer::value_at(int index, int lane, int i) const {
  const char* row = row_at(index, i / products);
  if (storage == FASTALEX_FP32) return at(reinterpret_cast<const float*>(row), lane);
  if (storage == FASTALEX_FP16 || storage == FASTALEX_BF16) {
    uint16_t half;
    std::memcpy(&half, row + 2 * (lane * products + i % products), 2);
    return storage == FASTALEX_FP16 ? from_half(half) : from_bf16(half);
  }
  return quantized_at(index, lane, i) * scale_at(index, lane, i);
}

int FcLayer::quantized_at(int index, int lane, int i) const {
  const char* row = row_at(index, i / products);
  if (storage == FASTALEX_INT8) return static_cast<signed char>(row[int8_byte(i, lane)]);
  const NibblePlace place = nibble_place(i, lane);
  return (static_cast<unsigned char>(row[place.byte]) >> place.shift & 15) - 8;
}

float FcLayer::scale_at(int index, int lane, int i) const {
  const size_t group = storage == FASTALEX_INT8 ? index : index * int4_groups(k) + i / FASTALEX_INT4_GROUP;
  return scale.as()[group * panels.panel + lane];
}

void FcLayer::unpack_weight(float* weight) const {
  for (int index = 0; index < panels.count(); ++index)
    for (int lane = 0; lane < panels.width(index); ++lane) {
      float* to = weight + static_cast<size_t>(panels.first_channel(index) + lane) * k;
      for (int i = 0; i < k; ++i) to[source_[i]] = value_at(index, lane, i);
    }
}

void FcLayer::unpack_quantized(unsigned char* values, char* scales) const {
  const size_t value_pitch = quantized_bytes(storage, k), scale_pitch = scale_bytes(storage, k);
  for (int index = 0; index < panels.count(); ++index)
    for (int lane = 0; lane < panels.width(index); ++lane) {
      const size_t output = panels.first_channel(index) + lane;
      unsigned char* to = values + output * value_pitch;
      char* scale_to = scales + output * scale_pitch;
      if (storage == FASTALEX_INT8) {
        for (int i = 0; i < k; ++i) to[i] = static_cast<unsigned char>(quantized_at(index, lane, i));
        const float value = scale_at(index, lane, 0);
        std::memcpy(scale_to, &value, sizeof value);
        continue;
      }
      for (int i = 0; i < k; i += 2) {
        const int high = i + 1 < k ? quantized_at(index, lane, i + 1) : 0;
        to[i / 2] = static_cast<unsigned char>((quantized_at(index, lane, i) + 8) | (high + 8) << 4);
      }
      for (int i = 0; i < k; i += FASTALEX_INT4_GROUP, scale_to += sizeof(uint16_t)) {
        const uint16_t half = to_half(scale_at(index, lane, i));
        std::memcpy(scale_to, &half, sizeof half);
      }
    }
}

}  // namespace fastalex
