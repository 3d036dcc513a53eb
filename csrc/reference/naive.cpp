// The definition of every op in code: plain loops over NCHW, all sums and all intermediate values in double.
// Nothing here is tuned. Every other implementation is checked against it, on every board.
#include "reference/naive.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <vector>

#include "backend/backend_impl.h"
#include "backend/step_timer.h"
#include "common/error.h"
#include "weights/dequantize.h"

namespace fastalex {
namespace {

using Values = std::vector<double>;

using Params = std::vector<std::vector<float>>;

size_t in_image(const fastalex_step& s) { return static_cast<size_t>(s.in_c) * s.in_h * s.in_w; }
size_t out_image(const fastalex_step& s) { return static_cast<size_t>(s.out_c) * s.out_h * s.out_w; }

void conv(const fastalex_step& s, const float* w, const float* b, const double* x, double* y) {
  const int in_group = s.in_c / s.groups, out_group = s.out_c / s.groups;
  for (int o = 0; o < s.out_c; ++o) {
    double* plane = y + static_cast<size_t>(o) * s.out_h * s.out_w;
    std::fill(plane, plane + static_cast<size_t>(s.out_h) * s.out_w, static_cast<double>(b[o]));
    for (int c = 0; c < in_group; ++c) {
      const double* image = x + static_cast<size_t>(o / out_group * in_group + c) * s.in_h * s.in_w;
      for (int r = 0; r < s.kernel; ++r) {
        for (int q = 0; q < s.kernel; ++q) {
          const double weight = w[((static_cast<size_t>(o) * in_group + c) * s.kernel + r) * s.kernel + q];
          for (int i = 0; i < s.out_h; ++i) {
            const int row = i * s.stride - s.pad + r;
            if (row < 0 || row >= s.in_h) continue;
            for (int j = 0; j < s.out_w; ++j) {
              const int col = j * s.stride - s.pad + q;
              if (col >= 0 && col < s.in_w) plane[i * s.out_w + j] += weight * image[row * s.in_w + col];
            }
          }
        }
      }
    }
  }
}

void fully_connected(const fastalex_step& s, const float* w, const float* b, const double* x, double* y) {
  const size_t count = in_image(s);
  for (int o = 0; o < s.out_c; ++o) {
    double sum = b[o];
    for (size_t i = 0; i < count; ++i) sum += w[o * count + i] * x[i];
    y[o] = sum;
  }
}

void lrn(const fastalex_step& s, const double* x, double* y) {
  const int plane = s.in_h * s.in_w, group = s.in_c / s.groups;
  for (int c = 0; c < s.in_c; ++c) {
    const int first = std::max(c - s.size / 2, c / group * group);
    const int last = std::min(c + s.size / 2, c / group * group + group - 1);
    for (int p = 0; p < plane; ++p) {
      double sum = 0;
      for (int d = first; d <= last; ++d) sum += x[d * plane + p] * x[d * plane + p];
      y[c * plane + p] = x[c * plane + p] / std::pow(s.k + s.alpha * sum, s.beta);
    }
  }
}

void spatial_norm(const fastalex_step& s, const double* x, double* y) {
  const int half = s.size / 2;
  for (int c = 0; c < s.in_c; ++c, x += s.in_h * s.in_w, y += s.in_h * s.in_w) {
    for (int i = 0; i < s.in_h; ++i) {
      for (int j = 0; j < s.in_w; ++j) {
        double sum = 0;
        for (int r = std::max(0, i - half); r <= std::min(s.in_h - 1, i + half); ++r)
          for (int q = std::max(0, j - half); q <= std::min(s.in_w - 1, j + half); ++q)
            sum += x[r * s.in_w + q] * x[r * s.in_w + q];
        y[i * s.in_w + j] = x[i * s.in_w + j] / std::pow(s.k + s.alpha * sum, s.beta);
      }
    }
  }
}

void maxpool(const fastalex_step& s, const double* x, double* y) {
  for (int c = 0; c < s.in_c; ++c, x += s.in_h * s.in_w) {
    for (int i = 0; i < s.out_h; ++i) {
      for (int j = 0; j < s.out_w; ++j) {
        double best = x[i * s.stride * s.in_w + j * s.stride];
        for (int r = i * s.stride; r < std::min(s.in_h, i * s.stride + s.kernel); ++r) {
          for (int q = j * s.stride; q < std::min(s.in_w, j * s.stride + s.kernel); ++q) {
            const double value = x[r * s.in_w + q];
            if (value > best || std::isnan(value)) best = value;
          }
        }
        *y++ = best;
      }
    }
  }
}

void adaptive_avgpool(const fastalex_step& s, const double* x, double* y) {
  auto begin = [](int i, int in, int out) { return static_cast<int>(1LL * i * in / out); };
  auto end = [](int i, int in, int out) { return static_cast<int>((1LL * (i + 1) * in + out - 1) / out); };
  for (int c = 0; c < s.in_c; ++c, x += s.in_h * s.in_w) {
    for (int i = 0; i < s.out_h; ++i) {
      for (int j = 0; j < s.out_w; ++j) {
        double sum = 0;
        int count = 0;
        for (int r = begin(i, s.in_h, s.out_h); r < end(i, s.in_h, s.out_h); ++r)
          for (int q = begin(j, s.in_w, s.out_w); q < end(j, s.in_w, s.out_w); ++q, ++count) sum += x[r * s.in_w + q];
        *y++ = sum / count;
      }
    }
  }
}

void softmax(const fastalex_step& s, const double* x, double* y) {
  const double largest = *std::max_element(x, x + s.in_c);
  double sum = 0;
  for (int c = 0; c < s.in_c; ++c) sum += y[c] = std::exp(x[c] - largest);
  for (int c = 0; c < s.in_c; ++c) y[c] /= sum;
}

double activate(const fastalex_step& s, double v) {
  switch (s.activation) {
    case FASTALEX_ACT_RELU:
      return v < 0 ? 0 : v;  // a NaN stays
    case FASTALEX_ACT_TANH:
      return std::tanh(v);
    case FASTALEX_ACT_LEAKY_RELU:
      return v < 0 ? s.alpha * v : v;
    case FASTALEX_ACT_SIGMOID:
      return 1 / (1 + std::exp(-v));
    default:
      return v;
  }
}

void run_step(const Params& params, const fastalex_step& s, const double* x, double* y) {
  const float* w = s.param < 0 ? nullptr : params[s.param].data();
  const float* b = s.param < 0 ? nullptr : params[s.param + 1].data();
  switch (s.op) {
    case FASTALEX_OP_CONV:
      conv(s, w, b, x, y);
      break;
    case FASTALEX_OP_FULLY_CONNECTED:
      fully_connected(s, w, b, x, y);
      break;
    case FASTALEX_OP_LRN:
      lrn(s, x, y);
      break;
    case FASTALEX_OP_SPATIAL_NORM:
      spatial_norm(s, x, y);
      break;
    case FASTALEX_OP_MAXPOOL:
      maxpool(s, x, y);
      break;
    case FASTALEX_OP_ADAPTIVE_AVGPOOL:
      adaptive_avgpool(s, x, y);
      break;
    case FASTALEX_OP_SOFTMAX:
      softmax(s, x, y);
      break;
    default:
      FASTALEX_ASSERT(s.op == FASTALEX_OP_ACTIVATION);
      std::copy(x, x + out_image(s), y);
  }
  for (size_t i = 0; i < out_image(s); ++i) y[i] = activate(s, y[i]);
}

// A fully connected layer has the weights of the net's own image size.
void check_inputs(const Params& params, const fastalex_step& step) {
  const size_t inputs = params[step.param].size() / step.out_c;
  if (in_image(step) != inputs)
    invalid("this image size gives a fully connected layer ", in_image(step), " inputs, but it needs ", inputs);
}

std::vector<float> copied(const float* from, size_t count) {  // from any address
  std::vector<float> values(count);
  std::memcpy(values.data(), from, count * sizeof(float));
  return values;
}

class NaivePlan final : public BackendPlan {
 public:
  NaivePlan(const Params* params, const fastalex_step* steps, size_t count)
      : params_(params), steps_(steps, steps + count) {}

  std::unique_ptr<BackendContext> make_context() const override {
    return std::unique_ptr<BackendContext>(new BackendContext);
  }

  std::string describe(const char* const* names) const override { return describe_all("naive", names, steps_.size()); }

  void run(BackendContext*, const fastalex_backend_call& call) const override {
    check_host_call(call);
    const fastalex_step& first = steps_.front();
    for (int n = 0; n < first.n; ++n) {
      const float* image = call.input + n * in_image(first);
      Values x(image, image + in_image(first));
      for (size_t i = 0; i < steps_.size(); ++i) {
        const fastalex_step& step = steps_[i];
        const StepTimer timer(call.step_seconds, i);
        Values y(out_image(step));
        run_step(*params_, step, x.data(), y.data());
        x.swap(y);
        if (step.output >= 0) std::copy(x.begin(), x.end(), call.outputs[step.output] + n * out_image(step));
      }
    }
  }

 private:
  const Params* params_;
  std::vector<fastalex_step> steps_;
};

class NaiveModel final : public BackendModel {
 public:
  NaiveModel(const fastalex_step* steps, size_t count, const fastalex_param* params_in, size_t param_count)
      : params_(param_count) {
    const FloatParams params(steps, count, params_in, param_count);
    for (const fastalex_step* s = steps; s < steps + count; ++s) {
      if (s->param < 0) continue;
      const size_t per_output =
          s->op == FASTALEX_OP_CONV ? static_cast<size_t>(s->in_c / s->groups) * s->kernel * s->kernel : in_image(*s);
      params_[s->param] = copied(params[s->param], per_output * s->out_c);
      params_[s->param + 1] = copied(params[s->param + 1], s->out_c);
    }
  }

  void param(size_t index, float* out) const override {
    const std::vector<float>& values = params_.at(index);
    std::copy(values.begin(), values.end(), out);
  }

  size_t bytes() const override {
    size_t total = 0;
    for (const auto& values : params_) total += values.size() * sizeof(float);
    return total;
  }

  std::unique_ptr<BackendPlan> make_plan(const fastalex_step* steps, size_t count) const override {
    for (size_t i = 0; i < count; ++i)
      if (steps[i].op == FASTALEX_OP_FULLY_CONNECTED) check_inputs(params_, steps[i]);
    return std::unique_ptr<BackendPlan>(new NaivePlan(&params_, steps, count));
  }

 private:
  Params params_;
};

std::unique_ptr<BackendModel> make_model(const fastalex_step* steps, size_t count, const fastalex_param* params,
                                         size_t param_count, const fastalex_model_options& options) {
  if (options.precision != FASTALEX_PRECISION_FP32) invalid("the naive backend computes in double only; use fp32");
  if (options.fc_storage != FASTALEX_FP32) invalid("the naive backend keeps all weights in fp32");
  return std::unique_ptr<BackendModel>(new NaiveModel(steps, count, params, param_count));
}

struct Naive {
  static const BackendVTable& parts() {
    static const BackendVTable parts = {"naive", [] {}, no_device_info, make_model};
    return parts;
  }
};

}  // namespace

const fastalex_backend_api* naive_backend() { return BackendApi<Naive>::get(); }

}  // namespace fastalex
