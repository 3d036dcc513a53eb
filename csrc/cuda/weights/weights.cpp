#include "cuda/weights/weights.h"

#include <cmath>
#include <cstring>

#include "common/error.h"
#include "common/half.h"
#include "cuda/weights/quantized.h"
#include "cuda/weights/winograd.h"

namespace fastalex {
namespace cuda {
namespace {

float at(const float* values, size_t index) {  // a caller's array may lie at any address
  float value;
  std::memcpy(&value, reinterpret_cast<const char*>(values) + index * sizeof(float), sizeof value);
  return value;
}

static_assert(kQuantGroup == FASTALEX_INT4_GROUP, "the kernels and the packing must agree");

struct ConvLayout {
  explicit ConvLayout(const fastalex_step& step)
      : groups(step.groups),
        rows(step.out_c / step.groups),
        row_pitch(round_up(rows, kWeightRows)),
        channels(step.in_c / step.groups),
        channel_pitch(conv_products(step) / (step.kernel * step.kernel)),
        window(step.kernel * step.kernel),
        product_pitch(round_up(conv_products(step), kWeightProducts)) {}

  size_t values() const { return static_cast<size_t>(groups) * row_pitch * product_pitch; }

  // Calls visit(index in the packed array, index in the dense [K, C/g, R, S] one).
  template <typename Visit>
  void for_each(const Visit& visit) const {
    for (int k = 0; k < groups * rows; ++k) {
      const size_t packed = (static_cast<size_t>(k / rows) * row_pitch + k % rows) * product_pitch;
      const size_t dense = static_cast<size_t>(k) * channels * window;
      for (int c = 0; c < channels; ++c)
        for (int rs = 0; rs < window; ++rs)
          visit(packed + static_cast<size_t>(rs) * channel_pitch + c, dense + static_cast<size_t>(c) * window + rs);
    }
  }

  int groups, rows, row_pitch, channels, channel_pitch, window, product_pitch;
};

DeviceMemory upload(const void* from, size_t bytes) {
  DeviceMemory memory(bytes);
  if (!bytes) return memory;
  const Stream stream;
  copy_to_device(memory.data(), from, bytes, stream.handle());
  synchronize(stream.handle());
  return memory;
}

template <typename T>
DeviceMemory upload(const std::vector<T>& from) {
  return upload(from.data(), from.size() * sizeof(T));
}

std::vector<char> download(const DeviceMemory& from) {
  std::vector<char> values(from.size());
  if (values.empty()) return values;
  const Stream stream;
  copy_to_host(values.data(), from.data(), values.size(), stream.handle());
  synchronize(stream.handle());
  return values;
}

// Of the scales of quantized weights; weights of other storages are refused unless they are finite.
bool all_finite(const StreamedLayout& layout, const std::vector<char>& scale) {
  const bool halves = layout.storage == FASTALEX_INT4;
  for (size_t at = 0; at < scale.size(); at += halves ? sizeof(uint16_t) : sizeof(float)) {
    uint16_t half = 0;
    float value = 0;
    if (halves)
      std::memcpy(&half, scale.data() + at, sizeof half);
    else
      std::memcpy(&value, scale.data() + at, sizeof value);
    if (!std::isfinite(halves ? from_half(half) : value)) return false;
  }
  return true;
}

uint16_t checked_half(float value) {
  if (std::isfinite(value) && std::fabs(value) > kHalfMax)
    invalid("a convolution holds a weight beyond the range of fp16; use fp32 precision");
  return to_half(value);
}

}  // namespace

int conv_products(const fastalex_step& step) {
  const int channels = step.groups == 1 && step.in_c <= 4 ? 4 : step.in_c / step.groups;
  return step.kernel * step.kernel * channels;
}

LayerWeights::LayerWeights(const fastalex_step& step, Dtype dtype, int storage, const float* weight, const float* bias)
    : step_(step), dtype_(dtype), storage_(storage) {
  if (step.op == FASTALEX_OP_CONV)
    pack_conv(weight, bias);
  else
    upload_streamed(pack_streamed(streamed(), weight, bias));
}

LayerWeights::LayerWeights(const fastalex_step& step, Dtype dtype, const fastalex_param& weight, const float* bias)
    : step_(step), dtype_(dtype), storage_(weight.storage) {
  upload_streamed(pack_quantized(streamed(), weight, bias));
}

void LayerWeights::pack_conv(const float* weight, const float* bias) {
  const ConvLayout layout(step_);
  if (dtype_ == kHalf) {
    std::vector<uint16_t> packed(layout.values());
    layout.for_each([&](size_t to, size_t from) { packed[to] = checked_half(at(weight, from)); });
    values_ = upload(packed);
  } else {
    std::vector<float> packed(layout.values());
    layout.for_each([&](size_t to, size_t from) { packed[to] = at(weight, from); });
    values_ = upload(packed);
  }
  std::vector<float> biases(static_cast<size_t>(layout.groups) * layout.row_pitch);
  for (int k = 0; k < step_.out_c; ++k)
    biases[static_cast<size_t>(k / layout.rows) * layout.row_pitch + k % layout.rows] = at(bias, k);
  bias_ = upload(biases);
}

void LayerWeights::upload_streamed(const StreamedWeights& packed) {
  values_ = upload(packed.values);
  scale_ = upload(packed.scale);
  bias_ = upload(packed.bias);
  skip_zeros_ = all_finite(streamed(), packed.scale);
}

StreamedLayout LayerWeights::streamed() const {
  return streamed_layout(step_, storage_, channel_pitch(step_.in_c), channel_pitch(step_.out_c));
}

DeviceWeights LayerWeights::get(WeightFormat format, bool both) {
  std::lock_guard<std::mutex> lock(mutex_);
  DeviceWeights weights = format == kDirect     ? DeviceWeights{values_.data(), nullptr, nullptr, true}
                          : format == kStreamed ? streamed_form(both)
                          : format == kColumns  ? column_form()
                                                : winograd_form(format);
  weights.bias = reinterpret_cast<const float*>(bias_.data());
  return weights;
}

DeviceWeights LayerWeights::streamed_form(bool both) {
  if (!values_.data()) {
    const PackedValues packed = rows();
    DeviceMemory values = upload(packed.values);
    scale_ = upload(packed.scale);
    values_ = std::move(values);
    if (!both && column_values_.data()) {
      synchronize_device();  // queued calls may still read the columns
      column_values_ = DeviceMemory();
      column_scale_ = DeviceMemory();
    }
  }
  streamed_used_ = true;
  return DeviceWeights{values_.data(), scale_.data(), nullptr, skip_zeros_};
}

DeviceWeights LayerWeights::column_form() {
  if (!column_values_.data()) {
    const PackedValues packed = to_columns(streamed(), rows());
    DeviceMemory values = upload(packed.values);
    column_scale_ = upload(packed.scale);
    column_values_ = std::move(values);
    if (!streamed_used_) values_ = DeviceMemory(), scale_ = DeviceMemory();
  }
  return DeviceWeights{column_values_.data(), column_scale_.data(), nullptr, skip_zeros_};
}

DeviceWeights LayerWeights::winograd_form(WeightFormat format) {
  auto entry = others_.find(format);
  if (entry == others_.end()) {
    std::vector<float> dense(static_cast<size_t>(step_.out_c) * (step_.in_c / step_.groups) * step_.kernel *
                             step_.kernel);
    unpack_conv(dense.data());
    const std::vector<char> packed = winograd_weights(step_, format, winograd_dtype(format, dtype_), dense.data());
    entry = others_.emplace(format, upload(packed)).first;
  }
  return DeviceWeights{entry->second.data(), nullptr, nullptr, true};
}

PackedValues LayerWeights::rows() const {
  if (values_.data()) return PackedValues{download(values_), download(scale_)};
  return to_rows(streamed(), PackedValues{download(column_values_), download(column_scale_)});
}

void LayerWeights::unpack_conv(float* out) const {
  const std::vector<char> values = download(values_);
  const ConvLayout layout(step_);
  const uint16_t* halves = reinterpret_cast<const uint16_t*>(values.data());
  const float* floats = reinterpret_cast<const float*>(values.data());
  layout.for_each([&](size_t from, size_t to) { out[to] = dtype_ == kHalf ? from_half(halves[from]) : floats[from]; });
}

void LayerWeights::unpack_weight(float* out) const {
  std::lock_guard<std::mutex> lock(mutex_);
  if (step_.op == FASTALEX_OP_CONV) return unpack_conv(out);
  const PackedValues packed = rows();
  unpack_streamed(streamed(), packed.values.data(), packed.scale.data(), out);
}

void LayerWeights::unpack_bias(float* out) const {
  const std::vector<char> values = download(bias_);
  const float* biases = reinterpret_cast<const float*>(values.data());
  const int rows = step_.op == FASTALEX_OP_CONV ? step_.out_c / step_.groups : step_.out_c;
  const int pitch = step_.op == FASTALEX_OP_CONV ? round_up(rows, kWeightRows) : rows;
  for (int k = 0; k < step_.out_c; ++k) out[k] = biases[static_cast<size_t>(k / rows) * pitch + k % rows];
}

void LayerWeights::unpack_quantized(void* values, void* scale) const {
  std::lock_guard<std::mutex> lock(mutex_);
  const PackedValues packed = rows();
  fastalex::unpack_quantized(streamed(), packed.values.data(), packed.scale.data(), static_cast<char*>(values),
                             static_cast<char*>(scale));
}

size_t LayerWeights::bytes() const {
  std::lock_guard<std::mutex> lock(mutex_);
  size_t total = values_.size() + scale_.size() + column_values_.size() + column_scale_.size() + bias_.size();
  for (const auto& other : others_) total += other.second.size();
  return total;
}

}  // namespace cuda
}  // namespace fastalex
