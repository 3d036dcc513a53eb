#include <algorithm>
#include <cmath>

#include "common/error.h"
#include "common/half.h"
#include "tensorrt/plugins/plugin_op.h"
#include "weights/dequantize.h"

namespace fastalex {
namespace tensorrt {
namespace {

class FullyConnectedW8 final : public StepsOp {
 public:
  explicit FullyConnectedW8(FieldValues fields) : StepsOp(std::move(fields)) {
    const int storage = values().integer("storage");
    if (storage != FASTALEX_INT8 && storage != FASTALEX_INT4)
      invalid("field storage of ", kFullyConnectedW8, " must be 2 (int8) or 3 (int4), not ", storage);
    output_shape(native());
    check_scales();
    if (storage == FASTALEX_INT4) half_scales();
  }

  Shape output_shape(const Shape& in) const override {
    const Shape own = native();
    if (!std::equal(own.d, own.d + 3, in.d))
      invalid(kFullyConnectedW8, " was made for an input of ", own.d[0], " x ", own.d[1], " x ", own.d[2],
              " (its field input), it gets ", in.d[0], " x ", in.d[1], " x ", in.d[2]);
    return StepsOp::output_shape(in);
  }

 protected:
  std::vector<LayerRow> rows() const override {
    LayerRow fc = row("fc");
    set(&fc, "out", static_cast<int>(values().length("bias")));
    std::vector<LayerRow> rows = {fc};
    add_activation("activation", &rows);
    return rows;
  }

  void check(const Plan& plan) const override {
    const fastalex_step& step = plan.steps[0];
    const size_t inputs = static_cast<size_t>(step.in_c) * step.in_h * step.in_w, outputs = step.out_c;
    const bool bytes = values().integer("storage") == FASTALEX_INT8;
    expect("weights", values().length("weights"), outputs * (bytes ? inputs : (inputs + 1) / 2));
    expect("scale", values().length("scale"), outputs * (bytes ? 1 : int4_groups(inputs)));
    if (!bytes && step.in_h * step.in_w > 1 && step.in_c != 4 && step.in_c % 8)
      invalid(kFullyConnectedW8, " keeps int4 weights of maps whose channels are a multiple of 8, not ", step.in_c,
              "; use int8");
  }

  fastalex_param weight() const override {
    const bool bytes = values().integer("storage") == FASTALEX_INT8;
    return fastalex_param{values().data("weights"), bytes ? values().data("scale") : halves_.data(),
                          values().length("bias") * static_cast<size_t>(native().d[0]) * native().d[1] * native().d[2],
                          values().integer("storage"), static_cast<int32_t>(values().length("bias"))};
  }

 private:
  Shape native() const {
    return Shape{1, {values().integer("input", 0), values().integer("input", 1), values().integer("input", 2)}};
  }

  void check_scales() const {
    for (size_t i = 0; i < values().length("scale"); ++i)
      if (!std::isfinite(values().number("scale", static_cast<int>(i))))
        invalid("field scale of ", kFullyConnectedW8, " must be finite");
  }

  void half_scales() {
    for (size_t i = 0; i < values().length("scale"); ++i) {
      const float scale = static_cast<float>(values().number("scale", static_cast<int>(i)));
      halves_.push_back(to_half(scale));
      if (from_half(halves_.back()) != scale)
        invalid("field scale of ", kFullyConnectedW8, " must have values of fp16 where storage is 3 (int4), not ",
                scale);
    }
  }

  std::vector<uint16_t> halves_;  // the scales of int4
};

}  // namespace

std::shared_ptr<PluginOp> make_fully_connected_w8(FieldValues values) {
  return std::shared_ptr<PluginOp>(new FullyConnectedW8(std::move(values)));
}

}  // namespace tensorrt
}  // namespace fastalex
