#include "core/plan.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <locale>
#include <sstream>

#include "common/error.h"

namespace fastalex {
namespace {

const int kMaxValues = std::numeric_limits<int>::max();  // of one image, and of one layer's weights: ints index them
const long long kMaxBatchValues = 1LL << 40;
const int kMaxSide = 1 << 24;  // of an image, a window or a batch

struct Shape {
  int n, c, h, w;
};

template <typename Number>
Number parse_number(const LayerRow& row, const std::string& key) {
  auto option = row.options.find(key);
  if (option == row.options.end()) invalid("layer ", row.name, ": ", row.op, " needs ", key, "=");
  std::istringstream in(option->second);
  in.imbue(std::locale::classic());
  Number value;
  char rest;
  if (!(in >> value) || in >> rest) invalid("layer ", row.name, ": ", key, "=", option->second, " is not a number");
  return value;
}

int positive(const LayerRow& row, const std::string& key, int least = 1) {
  int value = parse_number<int>(row, key);
  if (value < least || value > kMaxSide) invalid("layer ", row.name, ": ", key, "=", value, " is out of range");
  return value;
}

double finite(const LayerRow& row, const std::string& key) {
  double value = parse_number<double>(row, key);
  if (!std::isfinite(value)) invalid("layer ", row.name, ": ", key, " must be finite");
  return value;
}

bool rounds_up(const LayerRow& row) {
  auto option = row.options.find("rounding");
  if (option != row.options.end() && option->second == "ceil") return true;
  if (option != row.options.end() && option->second == "floor") return false;
  invalid("layer ", row.name, ": ", row.op, " needs rounding=floor or rounding=ceil");
}

int windows(const LayerRow& row, int side, int kernel, int stride, int pad, bool ceil) {
  long long room = side + 2LL * pad - kernel;
  if (room < 0)
    invalid("the image is too small: layer ", row.name, " gets a side of ", side, ", but its window is ", kernel);
  return static_cast<int>(ceil ? (room + stride - 1) / stride : room / stride) + 1;
}

// A pool's last window that would start outside the input has no maximum; PyTorch drops it too.
int pool_windows(const LayerRow& row, int side, int kernel, int stride, bool ceil) {
  int count = windows(row, side, kernel, stride, 0, ceil);
  return 1LL * (count - 1) * stride >= side ? count - 1 : count;
}

int activation_of(const LayerRow& row) {
  if (row.op == "relu") return FASTALEX_ACT_RELU;
  if (row.op == "tanh") return FASTALEX_ACT_TANH;
  if (row.op == "leaky_relu") return FASTALEX_ACT_LEAKY_RELU;
  return row.op == "sigmoid" ? FASTALEX_ACT_SIGMOID : FASTALEX_ACT_NONE;
}

class Builder {
 public:
  Builder(int n, int c, int h, int w, const std::vector<std::string>& taps) : shape_{n, c, h, w}, taps_(taps) {
    check_size("the input");
  }

  void add(const LayerRow& row) {
    if (activation_of(row)) return add_activation(row);
    if (flat_ && row.op != "fc" && row.op != "softmax")
      invalid("layer ", row.name, ": after a fully connected layer only fc, an activation or a softmax may follow");
    fastalex_step step = blank();
    if (row.op == "conv")
      conv(row, &step);
    else if (row.op == "fc")
      fully_connected(row, &step);
    else if (row.op == "lrn")
      lrn(row, &step, FASTALEX_OP_LRN);
    else if (row.op == "spatial_norm")
      lrn(row, &step, FASTALEX_OP_SPATIAL_NORM);
    else if (row.op == "maxpool")
      maxpool(row, &step);
    else if (row.op == "adaptive_avgpool")
      avgpool(row, &step);
    else if (row.op == "softmax")
      softmax(row, &step);
    else
      invalid("layer ", row.name, ": there is no op ", row.op);
    finish(row, step);
  }

  // Adds a row and returns its description.
  fastalex_layer describe(const LayerRow& row) {
    fastalex_layer layer = fastalex_layer();
    layer.signed_input = signed_;
    const size_t before = plan_.param_counts.size();
    add(row);
    const int sides[3] = {shape_.c, shape_.h, shape_.w};
    std::copy(sides, sides + 3, layer.shape);
    if (plan_.param_counts.size() > before) {
      layer.weights = plan_.param_counts[before];
      layer.bias = plan_.param_counts[before + 1];
    }
    return layer;
  }

  // Returns whether every tap has been planned, so that no later row is needed.
  bool done() const { return !taps_.empty() && met_.size() == taps_.size(); }

  // Reduces the output to the k largest values of each image.
  void select(int top_k) {
    fastalex_step& last = plan_.steps.back();
    if (!flat_) invalid("top_k needs a net that ends in a fully connected layer or a softmax");
    if (top_k < 0 || top_k > last.out_c)
      invalid("top_k is ", top_k, "; this net has ", last.out_c, " classes, so it must be from 1 to ", last.out_c);
    last.top_k = top_k;
  }

  Plan take() {
    if (taps_.empty()) plan_.steps.back().output = 0;
    for (const std::string& tap : taps_)
      if (std::find(plan_.names.begin(), plan_.names.end(), tap) == plan_.names.end())
        invalid("the net has no layer ", tap);
    return std::move(plan_);
  }

 private:
  fastalex_step blank() const {
    fastalex_step step = fastalex_step();
    step.n = shape_.n;
    step.in_c = step.out_c = shape_.c;
    step.in_h = step.out_h = shape_.h;
    step.in_w = step.out_w = shape_.w;
    step.groups = 1;
    step.param = step.output = -1;
    step.signed_input = signed_;
    return step;
  }

  void finish(const LayerRow& row, const fastalex_step& step) {
    if (step.param >= 0) signed_ = true;
    shape_ = Shape{step.n, step.out_c, step.out_h, step.out_w};
    check_size(row.name);
    plan_.steps.push_back(step);
    plan_.names.push_back(row.name);
    plan_.steps.back().output = output_of(row.name);
  }

  // Returns which output layer `name` produces, -1 if none; notes the taps it meets.
  int output_of(const std::string& name) {
    auto tap = std::find(taps_.begin(), taps_.end(), name);
    if (tap == taps_.end()) return -1;
    if (std::find(met_.begin(), met_.end(), name) != met_.end())
      invalid("layer ", name, " is asked for, but the table has more than one of that name");
    met_.push_back(name);
    return static_cast<int>(tap - taps_.begin());
  }

  static bool has_epilogue(const fastalex_step& step) {
    return step.op == FASTALEX_OP_CONV || step.op == FASTALEX_OP_FULLY_CONNECTED || step.op == FASTALEX_OP_MAXPOOL;
  }

  static bool is_fusable(int activation) { return activation == FASTALEX_ACT_RELU || activation == FASTALEX_ACT_TANH; }

  void check_size(const std::string& what) const {
    if (shape_.n < 1 || shape_.c < 1 || shape_.h < 1 || shape_.w < 1)
      invalid(what, " must have at least one image, channel, row and column");
    const double image = 1.0 * shape_.c * shape_.h * shape_.w;  // a double does not overflow
    if (shape_.n > kMaxSide || image > kMaxValues || image * shape_.n > kMaxBatchValues) invalid(what, " is too large");
  }

  void add_params(const LayerRow& row, fastalex_step* step, double weights) {
    if (weights > kMaxValues) invalid("layer ", row.name, " has too many weights");
    step->param = static_cast<int>(plan_.param_counts.size());
    plan_.param_counts.push_back(static_cast<size_t>(weights));
    plan_.param_counts.push_back(static_cast<size_t>(step->out_c));
  }

  // Fuses the activation into the step before it if that step has an epilogue, no activation yet, and is not an output
  // itself.
  void add_activation(const LayerRow& row) {
    const int activation = activation_of(row);
    const bool positive = activation == FASTALEX_ACT_RELU || activation == FASTALEX_ACT_SIGMOID;
    if (!plan_.steps.empty()) {
      fastalex_step& before = plan_.steps.back();
      if (is_fusable(activation) && has_epilogue(before) && before.activation == FASTALEX_ACT_NONE &&
          before.output < 0) {
        before.activation = activation;
        before.output = output_of(row.name);
        plan_.names.back() = row.name;
        signed_ = signed_ && !positive;
        return;
      }
    }
    fastalex_step step = blank();
    step.op = FASTALEX_OP_ACTIVATION;
    step.activation = activation;
    if (activation == FASTALEX_ACT_LEAKY_RELU) step.alpha = finite(row, "alpha");
    signed_ = signed_ && !positive;
    finish(row, step);
  }

  static double input_scale(const LayerRow& row) {
    if (!row.options.count("scale")) return 0;
    const double scale = finite(row, "scale");
    if (!(scale > 0)) invalid("layer ", row.name, ": scale must be above 0");
    return scale;
  }

  void conv(const LayerRow& row, fastalex_step* step) {
    step->op = FASTALEX_OP_CONV;
    step->input_scale = input_scale(row);
    step->out_c = positive(row, "out");
    step->kernel = positive(row, "kernel");
    step->stride = positive(row, "stride");
    step->pad = positive(row, "pad", 0);
    if (step->pad >= step->kernel) invalid("layer ", row.name, ": pad must be smaller than kernel");
    step->groups = positive(row, "groups");
    if (shape_.c % step->groups || step->out_c % step->groups)
      invalid("layer ", row.name, ": ", shape_.c, " inputs and ", step->out_c, " outputs cannot be split into ",
              step->groups, " groups");
    bool ceil = rounds_up(row);
    step->out_h = windows(row, shape_.h, step->kernel, step->stride, step->pad, ceil);
    step->out_w = windows(row, shape_.w, step->kernel, step->stride, step->pad, ceil);
    add_params(row, step, 1.0 * step->out_c * (shape_.c / step->groups) * step->kernel * step->kernel);
  }

  void fully_connected(const LayerRow& row, fastalex_step* step) {
    step->op = FASTALEX_OP_FULLY_CONNECTED;
    step->input_scale = input_scale(row);
    flat_ = true;
    step->out_c = positive(row, "out");
    step->out_h = step->out_w = 1;
    add_params(row, step, 1.0 * shape_.c * shape_.h * shape_.w * step->out_c);
  }

  void lrn(const LayerRow& row, fastalex_step* step, int op) {
    step->op = op;
    step->size = positive(row, "size");
    if (step->size % 2 == 0 || step->size > FASTALEX_MAX_WINDOW)
      invalid("layer ", row.name, ": size must be odd and at most ", static_cast<int>(FASTALEX_MAX_WINDOW));
    step->alpha = finite(row, "alpha");
    step->beta = finite(row, "beta");
    step->k = finite(row, "k");
    if (op == FASTALEX_OP_LRN) step->groups = positive(row, "groups");
    if (shape_.c % step->groups)
      invalid("layer ", row.name, ": ", shape_.c, " channels cannot be split into ", step->groups, " groups");
  }

  void maxpool(const LayerRow& row, fastalex_step* step) {
    step->op = FASTALEX_OP_MAXPOOL;
    step->kernel = positive(row, "kernel");
    step->stride = positive(row, "stride");
    bool ceil = rounds_up(row);
    step->out_h = pool_windows(row, shape_.h, step->kernel, step->stride, ceil);
    step->out_w = pool_windows(row, shape_.w, step->kernel, step->stride, ceil);
  }

  void softmax(const LayerRow& row, fastalex_step* step) {
    step->op = FASTALEX_OP_SOFTMAX;
    if (!flat_) invalid("layer ", row.name, ": a softmax must follow a fully connected layer");
  }

  void avgpool(const LayerRow& row, fastalex_step* step) {
    step->op = FASTALEX_OP_ADAPTIVE_AVGPOOL;
    step->out_h = step->out_w = positive(row, "out");
  }

  Shape shape_;
  std::vector<std::string> taps_;
  std::vector<std::string> met_;  // taps that have been planned
  bool flat_ = false;             // a fully connected layer has been seen
  bool signed_ = true;            // the values so far may be negative; pools and normalizations keep their sign
  Plan plan_;
};

}  // namespace

std::vector<LayerRow> parse_table(const std::string& text) {
  std::vector<LayerRow> rows;
  std::istringstream lines(text);
  std::string line;
  for (int number = 1; std::getline(lines, line); ++number) {
    std::istringstream words(line);
    LayerRow row;
    if (!(words >> row.op)) continue;
    std::string word;
    while (words >> word) {
      size_t equals = word.find('=');
      if (equals == std::string::npos) invalid("line ", number, " of the layer table: ", word, " is not key=value");
      row.options[word.substr(0, equals)] = word.substr(equals + 1);
    }
    row.name = row.options.count("name") ? row.options["name"] : row.op;
    for (unsigned char byte : row.name)  // descriptions are JSON
      if (byte < ' ' || byte == '"' || byte == '\\' || byte == 127)
        invalid("line ", number, " of the layer table: a name must not have quotes, backslashes or control characters");
    rows.push_back(row);
  }
  if (rows.empty()) invalid("the layer table is empty");
  return rows;
}

Plan build_plan(const std::vector<LayerRow>& rows, int c, const Request& request) {
  Builder builder(request.n, c, request.h, request.w, request.taps);
  for (const LayerRow& row : rows) {
    builder.add(row);
    if (builder.done()) return builder.take();
  }
  // A net that ends in a softmax or a sigmoid returns probabilities already.
  if (request.softmax && rows.back().op != "softmax" && rows.back().op != "sigmoid") {
    LayerRow row;
    row.op = row.name = "softmax";
    builder.add(row);
  }
  if (request.top_k) builder.select(request.top_k);
  return builder.take();
}

std::vector<fastalex_layer> layers_of(const std::vector<LayerRow>& rows, int c, int h, int w) {
  Builder builder(1, c, h, w, {});
  std::vector<fastalex_layer> layers;
  for (const LayerRow& row : rows) layers.push_back(builder.describe(row));
  return layers;
}

}  // namespace fastalex
