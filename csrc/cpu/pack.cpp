#include "cpu/pack.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "common/error.h"
#include "common/half.h"
#include "cpu/integer_winograd.h"
#include "cpu/layout.h"
#include "cpu/pack_panels.h"
#include "weights/quantize.h"
#include "weights/winograd_transforms.h"

namespace fastalex {

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
      step_units(1),
      channels_(step.in_c / step.groups),
      kernel_(step.kernel),
      bytes_(4) {
  pack_bias(bias_in);
  const size_t outputs = static_cast<size_t>(panels.count()) * panels.panel;
  if (choice.dtype == kQuantized) {
    scale = Buffer(outputs * sizeof(float));
    scales_.resize(step.out_c);
    quantized_.resize(products() * step.out_c);
    for_each_panel(panels, workers, [&](int index) { quantize(weight, step.input_scale, index); });
    bool fits = true;
    for (int output = 0; choice.form == kIntegerForm && output < step.out_c; ++output)
      fits = fits && integer_sums_fit(quantized_.data() + output * products(), products(), in_negative);
    if (!fits) choice = {kQuantized, -1, 1, step.kernel};
  }
  const int channels = channels_ * choice.block * choice.block;
  if (choice.form == kIntegerForm) {
    const int pitch = (channels + 2 * kernels.lanes - 1) / (2 * kernels.lanes) * (2 * kernels.lanes);
    weights = Buffer(KernelPieces(choice.kernel).total() * outputs * pitch * sizeof(int16_t) + kSlack * sizeof(float));
    for_each_panel(panels, workers, [&](int index) { pack_integer_winograd(index, pitch); });
    return;
  }
  if (choice.form >= 0) {
    const WinogradTransforms transforms = transforms_of(kernels.winograd[choice.form]);
    original_weight_.resize(products() * step.out_c);
    std::memcpy(original_weight_.data(), weight, original_weight_.size() * sizeof(float));
    weights = Buffer((transforms.positions() * outputs * channels + kSlack) * sizeof(float));
    for_each_panel(panels, workers, [&](int index) { pack_winograd(weight, transforms, index); });
    return;
  }
  prepare_direct(step, kernels);
  weights = Buffer(outputs * units * 4 + kSlack * sizeof(float));
  if (choice.dtype == kQuantized) offset = Buffer(outputs * sizeof(int32_t));
  for_each_panel(panels, workers, [&](int index) {
    if (choice.dtype == kQuantized)
      pack_quantized(index);
    else
      pack_floats(weight, index);
  });
  quantized_ = std::vector<int8_t>();
}

void ConvLayer::prepare_direct(const fastalex_step& step, const CpuKernels& kernels) {
  bytes_ = value_bytes(choice.dtype, kernels);
  lengths_ = run_lengths(step);
  source_ = run_order(step);
  const RunSteps steps(units_of(lengths_[0], bytes_), most_step_units(choice.dtype, kernels));
  step_units = steps.length;
  units = static_cast<int>(lengths_.size()) * steps.packed();
}

size_t ConvLayer::bytes() const {
  return PackedLayer::bytes() + offset.bytes() + original_weight_.size() * sizeof(float) + quantized_.size();
}

template <typename Body>
void ConvLayer::for_each_value(int index, int lane, const Body& body) const {
  char* first = weights.as<char>() + (static_cast<size_t>(index) * units * panels.panel + lane) * 4;
  const size_t pitch = static_cast<size_t>(panels.panel) * 4;
  const int in_unit = 4 / bytes_;
  size_t value = 0;
  const RunSteps steps(units_of(lengths_[0], bytes_), step_units);
  for (int length : lengths_) {
    for (int i = 0; i < length; ++i)
      body(source_[value++], first + steps.place(i / in_unit) * pitch + i % in_unit * bytes_);
    first += steps.packed() * pitch;
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

// One scale an output, quantized weights of -127 .. 127.
void ConvLayer::quantize(const float* weight, double input_scale, int index) {
  for (int lane = 0; lane < panels.width(index); ++lane) {
    const size_t output = panels.first_channel(index) + lane;
    const char* row = reinterpret_cast<const char*>(weight) + output * products() * sizeof(float);
    quantize_int8(reinterpret_cast<const float*>(row), static_cast<int>(products()),
                  quantized_.data() + output * products(), &scales_[output]);
    panel_of<float>(scale, panels.panel, index)[lane] = static_cast<float>(scales_[output] * input_scale);
  }
}

// The input's zero adds zero * (sum of the quantized weights) to every sum of products.
void ConvLayer::pack_quantized(int index) {
  const int zero = in_negative && bytes_ == 1 ? kSignedZero : 0;
  for (int lane = 0; lane < panels.width(index); ++lane) {
    const int8_t* quantized = quantized_.data() + (panels.first_channel(index) + lane) * products();
    int32_t sum = 0;
    for_each_value(index, lane, [&](int place, char* to) {
      const int16_t q = quantized[place];
      std::memcpy(to, &q, bytes_);  // little-endian: the first byte is the value itself
      sum += q;
    });
    panel_of<int32_t>(offset, panels.panel, index)[lane] = -zero * sum;
  }
}

int64_t ConvLayer::place_in_blocks(int channel, int y, int x) const {
  const int block = choice.block, c = channel / (block * block);
  y = y * block + channel / block % block;
  x = x * block + channel % block;
  return y < kernel_ && x < kernel_ ? (static_cast<int64_t>(c) * kernel_ + y) * kernel_ + x : -1;
}

// [position][piece][unit of two channels][panel][2]
void ConvLayer::pack_integer_winograd(int index, int pitch) {
  const KernelPieces pieces(choice.kernel);
  const int channels = channels_ * choice.block * choice.block, panel = panels.panel;
  int16_t* to = weights.as<int16_t>() + static_cast<size_t>(index) * pieces.total() * pitch * panel;
  int8_t g[kPieceEdge * kPieceEdge];
  int16_t u[kIntegerIn * kIntegerIn];
  for (int lane = 0; lane < panels.width(index); ++lane) {
    const int8_t* quantized = quantized_.data() + (panels.first_channel(index) + lane) * products();
    for (int piece = 0; piece < pieces.edge * pieces.edge; ++piece)
      for (int channel = 0; channel < channels; ++channel) {
        const int row = piece / pieces.edge, column = piece % pieces.edge;
        for (int i = 0; i < kPieceEdge * kPieceEdge; ++i) {
          const int y = row * kPieceEdge + i / kPieceEdge, x = column * kPieceEdge + i % kPieceEdge;
          const int64_t place = place_in_blocks(channel, y, x);
          g[i] = place < 0 ? 0 : quantized[place];
        }
        transform_integer_weights(g, u);
        size_t before = 0;  // pieces of the positions before
        for (int p = 0; p < kIntegerIn * kIntegerIn; ++p) {
          const int y = p / kIntegerIn, x = p % kIntegerIn;
          if (row < pieces.along(y) && column < pieces.along(x)) {
            const size_t at = (before + row * pieces.along(x) + column) * pitch + channel;
            to[(at / 2 * panel + lane) * 2 + at % 2] = u[p];
          }
          before += pieces.at(y, x);
        }
      }
  }
}

// [position][channel][panel], summed in double and rounded once.
void ConvLayer::pack_winograd(const float* weight, const WinogradTransforms& t, int index) {
  const int channels = channels_ * choice.block * choice.block, panel = panels.panel;
  float* to = weights.as() + static_cast<size_t>(index) * t.positions() * channels * panel;
  std::vector<double> g(t.kernel * t.kernel), u(t.positions());
  for (int channel = 0; channel < channels; ++channel) {
    for (int lane = 0; lane < panels.width(index); ++lane) {
      const size_t from = (panels.first_channel(index) + lane) * products();
      for (int i = 0; i < t.kernel * t.kernel; ++i) {
        const int64_t place = place_in_blocks(channel, i / t.kernel, i % t.kernel);
        g[i] = place < 0 ? 0 : at(weight, from + place);
      }
      transform_weights(t, g.data(), u.data());
      for (int p = 0; p < t.positions(); ++p)
        to[(static_cast<size_t>(p) * channels + channel) * panel + lane] = static_cast<float>(u[p]);
    }
  }
}

void ConvLayer::unpack_weight(float* weight) const {
  if (choice.form == kIntegerForm) {
    for (size_t i = 0; i < quantized_.size(); ++i) weight[i] = quantized_[i] * scales_[i / products()];
    return;
  }
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

}  // namespace fastalex
