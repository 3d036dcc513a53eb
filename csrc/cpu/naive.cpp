// The definition of every op in code: plain loops over NCHW, all sums and all intermediate values in double.
// Nothing here is tuned. Every other implementation is checked against it, on every board.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <vector>

#include "../error.h"
#include "cpu.h"
#include "step_timer.h"

namespace fastalex {
namespace {

using Values = std::vector<double>;

struct NaiveModel {
  std::vector<std::vector<float>> params;
  std::vector<fastalex_step> steps;
};

struct NaivePlan {
  const NaiveModel* model;
  std::vector<fastalex_step> steps;
};

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

double activate(double v, int activation) {
  if (activation == FASTALEX_ACT_RELU) return v < 0 ? 0 : v;  // a NaN stays
  return activation == FASTALEX_ACT_TANH ? std::tanh(v) : v;
}

void run_step(const NaiveModel& model, const fastalex_step& s, const double* x, double* y) {
  const float* w = s.param < 0 ? nullptr : model.params[s.param].data();
  const float* b = s.param < 0 ? nullptr : model.params[s.param + 1].data();
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
  for (size_t i = 0; i < out_image(s); ++i) y[i] = activate(y[i], s.activation);
}

void run(const NaivePlan& plan, const float* input, float* const* outputs, double* step_seconds) {
  const fastalex_step& first = plan.steps.front();
  for (int n = 0; n < first.n; ++n) {
    const float* image = input + n * in_image(first);
    Values x(image, image + in_image(first));
    for (size_t i = 0; i < plan.steps.size(); ++i) {
      const fastalex_step& step = plan.steps[i];
      const StepTimer timer(step_seconds, i);
      Values y(out_image(step));
      run_step(*plan.model, step, x.data(), y.data());
      x.swap(y);
      if (step.output >= 0) std::copy(x.begin(), x.end(), outputs[step.output] + n * out_image(step));
    }
  }
}

// A fully connected layer has the weights of the net's own image size.
void check_inputs(const NaiveModel& model, const fastalex_step& step) {
  const size_t inputs = model.params[step.param].size() / step.out_c;
  if (in_image(step) != inputs)
    invalid("this image size gives a fully connected layer ", in_image(step), " inputs, it needs ", inputs);
}

std::vector<float> copied(const float* from, size_t count) {  // from any address
  std::vector<float> values(count);
  std::memcpy(values.data(), from, count * sizeof(float));
  return values;
}

const char* api_last_error() { return last_error().c_str(); }

int api_probe() { return FASTALEX_OK; }

int api_model_create(const fastalex_step* steps, size_t count, const float* const* params, size_t param_count,
                     const fastalex_model_options* options, void** model) {
  return guarded([&] {
    if (options->fc_storage != FASTALEX_FP32) invalid("the naive backend keeps all weights in fp32");
    std::unique_ptr<NaiveModel> made(new NaiveModel);
    made->steps.assign(steps, steps + count);
    made->params.resize(param_count);
    for (const fastalex_step& s : made->steps) {
      if (s.param < 0) continue;
      const size_t per_output =
          s.op == FASTALEX_OP_CONV ? static_cast<size_t>(s.in_c / s.groups) * s.kernel * s.kernel : in_image(s);
      made->params[s.param] = copied(params[s.param], per_output * s.out_c);
      made->params[s.param + 1] = copied(params[s.param + 1], s.out_c);
    }
    *model = made.release();
  });
}

void api_model_destroy(void* model) { delete static_cast<NaiveModel*>(model); }

int api_model_param(const void* model, size_t index, float* out) {
  return guarded([&] {
    const std::vector<float>& values = static_cast<const NaiveModel*>(model)->params.at(index);
    std::copy(values.begin(), values.end(), out);
  });
}

size_t api_model_bytes(const void* model) {
  size_t total = 0;
  for (const auto& values : static_cast<const NaiveModel*>(model)->params) total += values.size() * sizeof(float);
  return total;
}

int api_plan_create(const void* model, const fastalex_step* steps, size_t count, void** plan) {
  return guarded([&] {
    const NaiveModel* of = static_cast<const NaiveModel*>(model);
    for (size_t i = 0; i < count; ++i)
      if (steps[i].op == FASTALEX_OP_FULLY_CONNECTED) check_inputs(*of, steps[i]);
    *plan = new NaivePlan{of, std::vector<fastalex_step>(steps, steps + count)};
  });
}

void api_plan_destroy(void* plan) { delete static_cast<NaivePlan*>(plan); }

int api_context_create(const void*, void** context) {
  *context = nullptr;
  return FASTALEX_OK;
}

void api_context_destroy(void*) {}

int api_run(const void* plan, void*, const float* input, float* const* outputs, double* step_seconds) {
  return guarded([&] { run(*static_cast<const NaivePlan*>(plan), input, outputs, step_seconds); });
}

}  // namespace

const fastalex_backend_api* naive_backend() {
  static const fastalex_backend_api api = {
      FASTALEX_BACKEND_ABI,
      sizeof(fastalex_backend_api),
      "naive",
      api_last_error,
      api_probe,
      api_model_create,
      api_model_destroy,
      api_model_param,
      api_model_bytes,
      api_plan_create,
      api_plan_destroy,
      api_context_create,
      api_context_destroy,
      api_run,
  };
  return &api;
}

}  // namespace fastalex
