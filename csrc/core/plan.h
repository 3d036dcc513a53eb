// From a layer table to fused steps with static shapes.
#ifndef FASTALEX_CORE_PLAN_H
#define FASTALEX_CORE_PLAN_H

#include <map>
#include <string>
#include <vector>

#include "backend/ops.h"

namespace fastalex {

// One line of the table (grammar: fastalex.h).
struct LayerRow {
  std::string op;
  std::string name;
  std::map<std::string, std::string> options;
};

struct Plan {
  std::vector<fastalex_step> steps;
  std::vector<std::string> names;  // of the last layer in each step
  std::vector<size_t> param_counts;
};

// What is asked of a net besides its input's shape.
struct Wish {
  bool softmax;                   // append a softmax
  std::vector<std::string> taps;  // layers whose results are the outputs, in this order; none: the last layer's
  int top_k;                      // > 0, without taps: of the last layer's values only the k largest of each image

  bool operator==(const Wish& other) const {
    return softmax == other.softmax && taps == other.taps && top_k == other.top_k;
  }
};

// Throws Error(FASTALEX_INVALID) with the line's number for anything that is not in the grammar.
std::vector<LayerRow> parse_table(const std::string& text);

// Shapes every layer for `n` images of c x h x w and fuses each activation into the step before it, unless that step is
// tapped. Nothing after the last tap is planned.
Plan build_plan(const std::vector<LayerRow>& rows, int n, int c, int h, int w, const Wish& wish);

}  // namespace fastalex
#endif  // FASTALEX_CORE_PLAN_H
