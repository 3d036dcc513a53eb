#include <cmath>

#include "common/error.h"
#include "tensorrt/plugins/plugin_op.h"

namespace fastalex {
namespace tensorrt {
namespace {

class Preprocess final : public PluginOp {
 public:
  explicit Preprocess(FieldValues fields) : PluginOp(std::move(fields)) {
    const auto positive = [&](const char* name, int least) {
      for (int i = 0; i < 2; ++i)
        if (values().integer(name, i) < least || values().integer(name, i) > 1 << 24)
          invalid("field ", name, " of ", kPreprocess, " must be from ", least, " to ", 1 << 24, ", not ",
                  values().integer(name, i));
    };
    const auto choice = [&](const char* name, int most) {
      if (values().integer(name) < 0 || values().integer(name) > most)
        invalid("field ", name, " of ", kPreprocess, " must be from 0 to ", most, ", not ", values().integer(name));
    };
    positive("resized", 1);
    positive("output", 1);
    positive("crop", 0);
    choice("filter", FASTALEX_ANTIALIAS);
    choice("swap", 1);
    choice("precision", FASTALEX_PRECISION_FP16);
    for (const char* name : {"scale", "shift"})
      for (int i = 0; i < 3; ++i)
        if (!std::isfinite(values().number(name, i))) invalid("field ", name, " of ", kPreprocess, " must be finite");
    for (int i = 0; i < 2; ++i)
      if (values().integer("crop", i) > values().integer("resized", i) - values().integer("output", i))
        invalid("fields crop and output of ", kPreprocess, " reach beyond its field resized");
  }

  Shape output_shape(const Shape& in) const override {
    if (in.d[2] != 3 || in.d[0] < 1 || in.d[1] < 1)
      invalid(kPreprocess, " takes frames [n, height, width, 3], not [n, ", in.d[0], ", ", in.d[1], ", ", in.d[2], "]");
    return Shape{in.n, {3, values().integer("output", 0), values().integer("output", 1)}};
  }

  TensorType output_type(TensorType) const override {
    return values().integer("precision") == FASTALEX_PRECISION_FP16 ? TensorType::kHALF : TensorType::kFLOAT;
  }

  bool takes(const Tensor& in) const override {
    return (in.type == TensorType::kUINT8 || in.type == TensorType::kINT8) && in.format == TensorFormat::kLINEAR;
  }

  bool gives(const Tensor& in, const Tensor& out) const override {
    return out.type == output_type(in.type) && out.format == TensorFormat::kLINEAR;
  }

 protected:
  void* make_layer(const Shape& in, TensorType) const override {
    fastalex_frame frame = fastalex_frame();
    frame.height = in.d[0];
    frame.width = in.d[1];
    frame.row_bytes = 3LL * in.d[1];
    frame.filter = values().integer("filter");
    frame.resized_h = values().integer("resized", 0);
    frame.resized_w = values().integer("resized", 1);
    frame.crop_y = values().integer("crop", 0);
    frame.crop_x = values().integer("crop", 1);
    frame.swap = values().integer("swap");
    for (int i = 0; i < 3; ++i) {
      frame.scale[i] = static_cast<float>(values().number("scale", i));
      frame.shift[i] = static_cast<float>(values().number("shift", i));
    }
    void* layer = nullptr;
    const fastalex_backend_api& api = kernels();
    const int status = api.layers->create_frame(&frame, values().integer("output", 0), values().integer("output", 1),
                                                values().integer("precision"), &layer);
    if (status != FASTALEX_OK) throw Error(status, api.last_error());
    return layer;
  }
};

}  // namespace

std::shared_ptr<PluginOp> make_preprocess(FieldValues values) {
  return std::shared_ptr<PluginOp>(new Preprocess(std::move(values)));
}

}  // namespace tensorrt
}  // namespace fastalex
