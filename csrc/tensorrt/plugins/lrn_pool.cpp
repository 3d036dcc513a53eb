#include <algorithm>
#include <cstdio>

#include "common/error.h"
#include "tensorrt/plugins/plugin_op.h"

namespace fastalex {
namespace tensorrt {
namespace {

std::string number_text(double value) {
  char text[40];
  std::snprintf(text, sizeof text, "%.17g", value);
  for (char& c : text)
    if (c == ',') c = '.';  // a locale's decimal point
  return text;
}

class LRNPool final : public StepsOp {
 public:
  explicit LRNPool(FieldValues fields) : StepsOp(std::move(fields)) {
    const int order = values().integer("order"), divide = values().integer("divide_alpha");
    const int groups = values().integer("groups");
    if (order < kLrnThenPool || order > kLrnOnly)
      invalid("field order of ", kLRNPool, " must be 0 (normalize, pool), 1 (pool, normalize) or 2 (normalize), not ",
              order);
    if (divide != 0 && divide != 1) invalid("field divide_alpha of ", kLRNPool, " must be 0 or 1, not ", divide);
    if (order == kLrnOnly && values().integer("between"))
      invalid("field between of ", kLRNPool, " does not apply if order is 2; use activation");
    if (groups < 1) invalid("field groups of ", kLRNPool, " must be at least 1, not ", groups);
    const int side = std::max(1, std::min(values().integer("kernel"), 1024));
    output_shape(Shape{1, {groups, side, side}});  // checks what does not depend on the input
  }

 protected:
  std::vector<LayerRow> rows() const override {
    const int order = values().integer("order");
    std::vector<LayerRow> rows = {order == kPoolThenLrn ? pool() : lrn()};
    if (order != kLrnOnly) {
      add_activation("between", &rows);
      rows.push_back(order == kPoolThenLrn ? lrn() : pool());
    }
    add_activation("activation", &rows);
    return rows;
  }

  void check(const Plan&) const override {}

 private:
  LayerRow lrn() const {
    LayerRow lrn = row("lrn");
    const int size = values().integer("size");
    double alpha = values().number("alpha");
    if (values().integer("divide_alpha")) alpha /= size;
    set(&lrn, "size", size);
    set(&lrn, "groups", values().integer("groups"));
    lrn.options["alpha"] = number_text(alpha);
    for (const char* name : {"beta", "k"}) lrn.options[name] = number_text(values().number(name));
    return lrn;
  }

  LayerRow pool() const {
    LayerRow pool = row("maxpool");
    for (const char* name : {"kernel", "stride"}) set(&pool, name, values().integer(name));
    set_rounding(&pool);
    return pool;
  }
};

}  // namespace

std::shared_ptr<PluginOp> make_lrn_pool(FieldValues values) {
  return std::shared_ptr<PluginOp>(new LRNPool(std::move(values)));
}

}  // namespace tensorrt
}  // namespace fastalex
