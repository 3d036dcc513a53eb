#include "cpu/pack.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>

#include "common/error.h"
#include "common/half.h"
#include "cpu/layout.h"
#include "weights/dequantize.h"
#include "weights/quantize.h"
#include "weights/winograd_transforms.h"

namespace fastalex {
namespace {

// A caller's array may lie at any address: in some weights files arrays are not aligned.
float at(const float* values, size_t index) {
  float value;
  std::memcpy(&value, reinterpret_cast<const char*>(values) + index * sizeof(float), sizeof value);
  return value;
}

// Calls body(index) for each panel on all threads and rethrows the first exception.
template <typename Body>
void for_each_panel(const Panels& panels, ThreadPool::Lease* workers, const Body& body) {
  struct Task {
    const Body& body;
    std::atomic<bool> failed;
    std::exception_ptr error;
  } task = {body, {false}, nullptr};
  workers->run(
      [](const void* erased, int unit, int) {
        Task& task = *static_cast<Task*>(const_cast<void*>(erased));
        try {
          task.body(unit);
        } catch (...) {
          if (!task.failed.exchange(true)) task.error = std::current_exception();
        }
      },
      &task, panels.count());
  if (task.error) std::rethrow_exception(task.error);
}

template <typename T>
T* panel_of(const Buffer& buffer, int panel, int index) {
  return buffer.as<T>() + static_cast<size_t>(index) * panel;
}

uint16_t to_bf16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  if (value != value) return 0x7fc0;
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

float from_bf16(uint16_t half) {
  const uint32_t bits = static_cast<uint32_t>(half) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

}  // namespace

// Panels ----------------------------------------------------------------------------------------------------------

Panels::Panels(int groups_, int out_c, int panel_)
    : panel(panel_),
      groups(groups_),
      out_per_group(out_c / groups_),
      per_group((out_per_group + panel_ - 1) / panel_) {}

int Panels::width(int index) const { return std::min(panel, out_per_group - index % per_group * panel); }

PackedLayer::PackedLayer(const Panels& panels_)
    : panels(panels_), bias(static_cast<size_t>(panels_.count()) * panels_.panel * sizeof(float)) {}

void PackedLayer::pack_bias(const float* from) {
  for (int index = 0; index < panels.count(); ++index)
    for (int j = 0; j < panels.width(index); ++j)
      panel_of<float>(bias, panels.panel, index)[j] = at(from, panels.first_channel(index) + j);
}

void PackedLayer::unpack_bias(float* to) const {
  for (int index = 0; index < panels.count(); ++index)
    std::copy_n(panel_of<float>(bias, panels.panel, index), panels.width(index), to + panels.first_channel(index));
}

// Convolutions ----------------------------------------------------------------------------------------------------

namespace {

std::vector<int> run_order(const fastalex_step& step) {
  const int channels = step.in_c / step.groups;
  std::vector<int> source;
  for (int r = 0; r < step.kernel; ++r)
    for (int s = 0; s < step.kernel; ++s)
      for (int c = 0; c < channels; ++c) source.push_back((c * step.kernel + r) * step.kernel + s);
  return source;
}

// The form's matrices in double, checked against those that the kernels were compiled with.
WinogradTransforms transforms_of(const WinogradForm& form) {
  const std::vector<double> points(form.points, form.points + form.out + form.kernel - 2);
  const WinogradTransforms transforms = winograd_transforms(form.out, form.kernel, points);
  for (size_t i = 0; i < transforms.bt.size(); ++i) FASTALEX_ASSERT(static_cast<float>(transforms.bt[i]) == form.bt[i]);
  for (size_t i = 0; i < transforms.at.size(); ++i) FASTALEX_ASSERT(static_cast<float>(transforms.at[i]) == form.at[i]);
  return transforms;
}

// u = G g G^T; g [kernel, kernel], u [in, in], both in rows.
void transform_weights(const WinogradTransforms& t, const double* g, double* u) {
  double half[64];  // G g
  FASTALEX_ASSERT(t.in * t.kernel <= 64);
  for (int i = 0; i < t.in; ++i)
    for (int s = 0; s < t.kernel; ++s) {
      double sum = 0;
      for (int r = 0; r < t.kernel; ++r) sum += t.g[i * t.kernel + r] * g[r * t.kernel + s];
      half[i * t.kernel + s] = sum;
    }
  for (int i = 0; i < t.in; ++i)
    for (int j = 0; j < t.in; ++j) {
      double sum = 0;
      for (int s = 0; s < t.kernel; ++s) sum += half[i * t.kernel + s] * t.g[j * t.kernel + s];
      u[i * t.in + j] = sum;
    }
}

}  // namespace

ConvLayer::ConvLayer(const fastalex_step& step, const CpuKernels& kernels, const ConvChoice& choice_,
                     const float* weight, const float* bias_in, ThreadPool::Lease* workers)
    : PackedLayer(Panels(step.groups, step.out_c, kernels.panel)),
      choice(choice_),
      in_negative(step.signed_input != 0),
      units(0),
      channels_(step.in_c / step.groups),
      kernel_(step.kernel),
      bytes_(4) {
  pack_bias(bias_in);
  const size_t outputs = static_cast<size_t>(panels.count()) * panels.panel;
  if (choice.form >= 0) {
    const WinogradTransforms transforms = transforms_of(kernels.winograd[choice.form]);
    original_weight_.resize(products() * step.out_c);
    std::memcpy(original_weight_.data(), weight, original_weight_.size() * sizeof(float));
    const size_t channels = static_cast<size_t>(channels_) * choice.block * choice.block;
    weights = Buffer((transforms.positions() * outputs * channels + kSlack) * sizeof(float));
    for_each_panel(panels, workers, [&](int index) { pack_winograd(weight, transforms, index); });
    return;
  }
  prepare_direct(step, kernels);
  weights = Buffer(outputs * units * 4 + kSlack * sizeof(float));
  if (choice.dtype == kQuantized) {
    scale = Buffer(outputs * sizeof(float));
    offset = Buffer(outputs * sizeof(int32_t));
    scales_.resize(step.out_c);
  }
  for_each_panel(panels, workers, [&](int index) {
    if (choice.dtype == kQuantized)
      pack_quantized(weight, step.input_scale, index);
    else
      pack_floats(weight, index);
  });
}

void ConvLayer::prepare_direct(const fastalex_step& step, const CpuKernels& kernels) {
  bytes_ = value_bytes(choice.dtype, kernels);
  lengths_ = run_lengths(step);
  source_ = run_order(step);
  for (int length : lengths_) units += units_of(length, bytes_);
}

size_t ConvLayer::bytes() const {
  return PackedLayer::bytes() + offset.bytes() + original_weight_.size() * sizeof(float);
}

template <typename Body>
void ConvLayer::for_each_value(int index, int lane, const Body& body) const {
  char* first = weights.as<char>() + (static_cast<size_t>(index) * units * panels.panel + lane) * 4;
  const size_t pitch = static_cast<size_t>(panels.panel) * 4;
  const int in_unit = 4 / bytes_;
  size_t value = 0;
  for (int length : lengths_) {
    for (int i = 0; i < length; ++i) body(source_[value++], first + i / in_unit * pitch + i % in_unit * bytes_);
    first += units_of(length, bytes_) * pitch;
  }
}

void ConvLayer::pack_floats(const float* weight, int index) {
  for (int lane = 0; lane < panels.width(index); ++lane) {
    const size_t from = (panels.first_channel(index) + lane) * products();
    for_each_value(index, lane, [&](int place, char* to) {
      const float value = at(weight, from + place);
      const uint16_t rounded = to_bf16(value);
      std::memcpy(to, bytes_ == 4 ? static_cast<const void*>(&value) : &rounded, bytes_);
    });
  }
}

// One scale an output, quantized weights of -127 .. 127. The input's zero adds zero * (sum of the quantized weights) to
// every sum of products.
void ConvLayer::pack_quantized(const float* weight, double input_scale, int index) {
  std::vector<int8_t> quantized(products());
  const int zero = in_negative && bytes_ == 1 ? kSignedZero : 0;
  for (int lane = 0; lane < panels.width(index); ++lane) {
    const size_t output = panels.first_channel(index) + lane;
    const char* row = reinterpret_cast<const char*>(weight) + output * products() * sizeof(float);
    quantize_int8(reinterpret_cast<const float*>(row), static_cast<int>(products()), quantized.data(),
                  &scales_[output]);
    int32_t sum = 0;
    for_each_value(index, lane, [&](int place, char* to) {
      const int16_t q = quantized[place];
      std::memcpy(to, &q, bytes_);  // little-endian: the first byte is the value itself
      sum += q;
    });
    panel_of<float>(scale, panels.panel, index)[lane] = static_cast<float>(scales_[output] * input_scale);
    panel_of<int32_t>(offset, panels.panel, index)[lane] = -zero * sum;
  }
}

// [position][channel][panel], summed in double and rounded once.
void ConvLayer::pack_winograd(const float* weight, const WinogradTransforms& t, int index) {
  const int block = choice.block, channels = channels_ * block * block, panel = panels.panel;
  float* to = weights.as() + static_cast<size_t>(index) * t.positions() * channels * panel;
  std::vector<double> g(t.kernel * t.kernel), u(t.positions());
  for (int channel = 0; channel < channels; ++channel) {
    const int c = channel / (block * block), dy = channel / block % block, dx = channel % block;
    for (int lane = 0; lane < panels.width(index); ++lane) {
      const size_t from =
          (panels.first_channel(index) + lane) * products() + static_cast<size_t>(c) * kernel_ * kernel_;
      for (int i = 0; i < t.kernel * t.kernel; ++i) {
        const int y = i / t.kernel * block + dy, x = i % t.kernel * block + dx;
        g[i] = y < kernel_ && x < kernel_ ? at(weight, from + y * kernel_ + x) : 0;
      }
      transform_weights(t, g.data(), u.data());
      for (int p = 0; p < t.positions(); ++p)
        to[(static_cast<size_t>(p) * channels + channel) * panel + lane] = static_cast<float>(u[p]);
    }
  }
}

void ConvLayer::unpack_weight(float* weight) const {
  if (choice.form >= 0) {
    std::copy(original_weight_.begin(), original_weight_.end(), weight);
    return;
  }
  for (int index = 0; index < panels.count(); ++index)
    for (int lane = 0; lane < panels.width(index); ++lane) {
      const size_t output = panels.first_channel(index) + lane;
      for_each_value(index, lane, [&](int place, const char* packed) {
        float* to = weight + output * products() + place;
        uint16_t half;
        if (choice.dtype == kQuantized) {
          *to = static_cast<signed char>(*packed) * scales_[output];
        } else if (choice.dtype == kBfloat16) {
          std::memcpy(&half, packed, sizeof half);
          *to = from_bf16(half);
        } else {
          std::memcpy(to, packed, sizeof *to);
        }
      });
    }
}

// Fully connected layers ------------------------------------------------------------------------------------------

// One output's weights in the order y, x, channel: floats, or quantized values with their scales.
struct FcLayer::Row {
  const float* floats;
  const int8_t* bytes;
  const uint8_t* nibbles;  // two in a byte, the first in its low half, q + 8
  float scale;
  const uint16_t* scales;
};

namespace {

int unit_bytes_of(int form, int storage) {
  if (form != kFcFloats) return 4;
  return storage == FASTALEX_FP16 ? 2 : storage == FASTALEX_INT8 ? 1 : 4;
}

int unit_products_of(int form, int storage) {
  if (form == kFcNibbles || form == kFcBytePlanes4) return 8;
  if (form == kFcBytePlanes) return 4;
  return storage == FASTALEX_BF16 ? 2 : 1;
}

}  // namespace

FcLayer::FcLayer(const fastalex_step& step, const CpuKernels& kernels, const fastalex_model_options& options,
                 const fastalex_param& weight, const float* bias_in, ThreadPool::Lease* workers)
    : PackedLayer(Panels(1, step.out_c, kernels.panel)),
      choice(choose_fc(kernels, options)),
      storage(options.fc_storage),
      in_negative(step.signed_input != 0),
      input_scale(step.input_scale),
      k(step.in_c * step.in_h * step.in_w),
      units(0),
      products(unit_products_of(choice.form, storage)),
      in_c(step.in_c),
      in_h(step.in_h),
      in_w(step.in_w),
      unit_bytes_(unit_bytes_of(choice.form, storage)) {
  units = (k + products - 1) / products;
  const size_t outputs = static_cast<size_t>(panels.count()) * panels.panel;
  // Sums of products of byte planes and weights must fit 32 bits.
  if (choice.byte_planes && k > std::numeric_limits<int32_t>::max() / (255 * 127))
    invalid("a fully connected layer of ", k, " inputs is too long for sums of 8-bit products; use fp32");
  source_.reserve(k);
  for (int pixel = 0; pixel < in_h * in_w; ++pixel)
    for (int c = 0; c < in_c; ++c) source_.push_back(c * in_h * in_w + pixel);
  pack_bias(bias_in);
  weights = Buffer(outputs * units * unit_bytes_ + kSlack * sizeof(float));
  if (storage == FASTALEX_INT8) scale = Buffer(outputs * sizeof(float));
  if (storage == FASTALEX_INT4) scale = Buffer(outputs * int4_groups(k) * sizeof(float));
  if (choice.form == kFcBytePlanes) sums = Buffer(outputs * sizeof(int32_t));
  for_each_panel(panels, workers, [&](int index) { pack_panel(weight, index); });
}

size_t FcLayer::unit_at(int index, int lane, int i) const {
  return ((static_cast<size_t>(index) * units + i / products) * panels.panel + lane) * unit_bytes_;
}

void FcLayer::pack_panel(const fastalex_param& weight, int index) {
  const bool packed_as_given = weight.storage == storage && weight.storage != FASTALEX_FP32;
  std::vector<float> floats(k);
  std::vector<int8_t> bytes(storage == FASTALEX_INT8 ? k : 0);
  std::vector<uint8_t> nibbles(storage == FASTALEX_INT4 ? (k + 1) / 2 : 0);
  std::vector<uint16_t> scales(storage == FASTALEX_INT4 ? int4_groups(k) : 0);
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
      if (storage == FASTALEX_FP16 || storage == FASTALEX_BF16) {
        const float largest = largest_magnitude(floats.data(), k);
        if (!std::isfinite(largest)) refuse_weights("NaN or infinity");
        if (storage == FASTALEX_FP16 && largest > kHalfMax) refuse_weights("a weight beyond the range of fp16");
      }
    }
    pack_row(row, index, lane);
  }
}

void FcLayer::pack_row(const Row& row, int index, int lane) {
  char* to = weights.as<char>() + unit_at(index, lane, 0);
  const size_t pitch = static_cast<size_t>(panels.panel) * unit_bytes_;
  if (storage == FASTALEX_FP32) {
    for (int i = 0; i < k; ++i) std::memcpy(to + i * pitch, row.floats + i, 4);
  } else if (storage == FASTALEX_FP16) {
    for (int i = 0; i < k; ++i) {
      const uint16_t half = to_half(row.floats[i]);
      std::memcpy(to + i * pitch, &half, 2);
    }
  } else if (storage == FASTALEX_BF16) {
    for (int i = 0; i < k; ++i) {
      const uint16_t half = to_bf16(row.floats[i]);
      std::memcpy(to + i / 2 * pitch + i % 2 * 2, &half, 2);
    }
  } else if (storage == FASTALEX_INT8) {
    int32_t sum = 0;
    for (int i = 0; i < k; ++i) sum += row.bytes[i];
    if (products == 4)
      for (int i = 0; i < k; i += 4) std::memcpy(to + i / 4 * pitch, row.bytes + i, std::min(4, k - i));
    else
      for (int i = 0; i < k; ++i) to[i * pitch] = static_cast<char>(row.bytes[i]);
    panel_of<float>(scale, panels.panel, index)[lane] = row.scale;
    if (choice.form == kFcBytePlanes) panel_of<int32_t>(sums, panels.panel, index)[lane] = sum;
  } else {
    const size_t groups = int4_groups(k);
    for (size_t group = 0; group < groups; ++group)
      scale.as()[(index * groups + group) * panels.panel + lane] = from_half(row.scales[group]);
    // Values past the last one are 0, stored as 8.
    const auto nibble = [&](int i) { return i < k ? row.nibbles[i / 2] >> i % 2 * 4 & 15 : 8; };
    for (int unit = 0; unit < units; ++unit) {
      unsigned char word[4];
      for (int b = 0; b < 4; ++b)
        word[b] = static_cast<unsigned char>(nibble(unit * 8 + b) | nibble(unit * 8 + 4 + b) << 4);
      std::memcpy(to + unit * pitch, word, 4);
    }
  }
}

float FcLayer::value_at(int index, int lane, int i) const {
  const char* unit = weights.as<char>() + unit_at(index, lane, i);
  const int within = i % products;
  if (storage == FASTALEX_FP32) return at(reinterpret_cast<const float*>(unit), 0);
  if (storage == FASTALEX_FP16 || storage == FASTALEX_BF16) {
    uint16_t half;
    std::memcpy(&half, unit + within * 2, 2);
    return storage == FASTALEX_FP16 ? from_half(half) : from_bf16(half);
  }
  if (storage == FASTALEX_INT8)
    return static_cast<signed char>(unit[within]) * panel_of<float>(scale, panels.panel, index)[lane];
  const int q = (static_cast<unsigned char>(unit[within % 4]) >> within / 4 * 4 & 15) - 8;
  return q * scale.as()[(index * int4_groups(k) + i / FASTALEX_INT4_GROUP) * panels.panel + lane];
}

void FcLayer::unpack_weight(float* weight) const {
  for (int index = 0; index < panels.count(); ++index)
    for (int lane = 0; lane < panels.width(index); ++lane) {
      float* to = weight + static_cast<size_t>(panels.first_channel(index) + lane) * k;
      for (int i = 0; i < k; ++i) to[source_[i]] = value_at(index, lane, i);
    }
}

}  // namespace fastalex
