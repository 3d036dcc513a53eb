#include "common/error.h"
#include "tensorrt/plugins/plugin_op.h"

namespace fastalex {
namespace tensorrt {
namespace {

class ConvReLU final : public StepsOp {
 public:
  explicit ConvReLU(FieldValues fields) : StepsOp(std::move(fields)) {
    // Checks everything that does not depend on the input: a plan for as many channels as the weights have.
    const int kernel = values().integer("kernel"), groups = values().integer("groups");
    const size_t outputs = values().length("bias"), weights = values().length("weights");
    if (kernel < 1 || kernel > 1024) invalid("field kernel of ", kConvReLU, " must be from 1 to 1024, not ", kernel);
    if (groups < 1) invalid("field groups of ", kConvReLU, " must be at least 1, not ", groups);
    const size_t row = outputs * kernel * kernel;
    if (!row || !weights || weights % row)
      invalid("field weights of ", kConvReLU, " has ", weights, " values, which is no multiple of its ", outputs,
              " biases times ", kernel, " x ", kernel);
    const int channels = static_cast<int>(weights / row) * groups;
    output_shape(Shape{1, {channels, kernel, kernel}});
  }

 protected:
  std::vector<LayerRow> rows() const override {
    LayerRow conv = row("conv");
    set(&conv, "out", static_cast<int>(values().length("bias")));
    for (const char* name : {"kernel", "stride", "pad", "groups"}) set(&conv, name, values().integer(name));
    set_rounding(&conv);
    std::vector<LayerRow> rows = {conv};
    add_activation("activation", &rows);
    return rows;
  }

  void check(const Plan& plan) const override { expect("weights", values().length("weights"), plan.param_counts[0]); }

  fastalex_param weight() const override {
    return fastalex_param{values().data("weights"), nullptr, values().length("weights"), FASTALEX_FP32, 0};
  }
};

}  // namespace

std::shared_ptr<PluginOp> make_conv_relu(FieldValues values) {
  return std::shared_ptr<PluginOp>(new ConvReLU(std::move(values)));
}

}  // namespace tensorrt
}  // namespace fastalex
