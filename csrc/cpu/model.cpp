#include "cpu/model.h"

#include "common/error.h"
#include "cpu/isa.h"
#include "weights/dequantize.h"

namespace fastalex {
namespace {

void check_options(const fastalex_model_options& options) {
  const int precision = options.precision, storage = options.fc_storage;
  if (precision == FASTALEX_PRECISION_FP16) invalid("the cpu backend does not compute in fp16; use fp32, bf16 or int8");
  if (precision == FASTALEX_PRECISION_BF16 && storage == FASTALEX_FP32)
    invalid("with bf16 activations fully connected weights are kept in bf16, fp16, int8 or int4, not in fp32");
  if (precision == FASTALEX_PRECISION_INT8 && storage != FASTALEX_INT8 && storage != FASTALEX_INT4)
    invalid("with int8 activations fully connected weights are kept in int8 or int4");
}

void check_step(const fastalex_step& step) {
  if (!(step.input_scale > 0))
    invalid("precision int8 needs the scale of every conv and fc input, but there is none for a ",
            step.op == FASTALEX_OP_CONV ? "conv" : "fc", " of ", step.out_c, " outputs; calibrate the net");
}

}  // namespace

Model::Model(const fastalex_step* steps_, size_t count, const fastalex_param* params, size_t param_count,
             const fastalex_model_options& options)
    : kernels(&cpu_kernels()),
      pool(ThreadPool::shared(options.threads)),
      threads(options.threads),
      precision(options.precision),
      steps(steps_, steps_ + count) {
  check_options(options);
  ThreadPool::Lease workers(pool.get());
  for (size_t i = 0; i < count; ++i) {
    const fastalex_step& step = steps[i];
    if (step.param < 0) continue;
    FASTALEX_ASSERT(step.param == static_cast<int>(2 * layers.size()));
    if (quantized()) check_step(step);
    const float* bias = static_cast<const float*>(params[step.param + 1].data);
    if (step.op == FASTALEX_OP_CONV) {
      layers.emplace_back(new ConvLayer(step, *kernels, choose_conv(step, *kernels, options, i == 0),
                                        static_cast<const float*>(params[step.param].data), bias, &workers));
      continue;
    }
    fastalex_param weight = params[step.param];
    const bool as_given = weight.storage == FASTALEX_FP32 || weight.storage == options.fc_storage;
    const FloatParams floats(&step, as_given ? 0 : 1, params, param_count);
    if (!as_given) weight = fastalex_param{floats[step.param], nullptr, weight.count, FASTALEX_FP32, 0};
    layers.emplace_back(new FcLayer(step, *kernels, options, weight, bias, &workers));
  }
  FASTALEX_ASSERT(param_count == 2 * layers.size());
}

const ConvLayer* Model::conv(const fastalex_step& step) const {
  return step.op == FASTALEX_OP_CONV ? static_cast<const ConvLayer*>(layers[step.param / 2].get()) : nullptr;
}

const FcLayer* Model::fc(const fastalex_step& step) const {
  return step.op == FASTALEX_OP_FULLY_CONNECTED ? static_cast<const FcLayer*>(layers[step.param / 2].get()) : nullptr;
}

}  // namespace fastalex
