// Turns a layer table into fused steps with static shapes.
#ifndef FASTALEX_CORE_PLAN_H
#define FASTALEX_CORE_PLAN_H

#include <map>
#include <string>
#include <vector>

#include "backend/ops.h"
#include "fastalex.h"

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

// The request that a plan is made for: image size and outputs.
struct Request {
  int n, h, w;
  bool softmax;                   // append a softmax
  int top_k;                      // > 0, without taps: output only the k largest values of each image
  std::vector<std::string> taps;  // layers whose results are the outputs, in this order; none: the last layer's

  bool operator==(const Request& other) const {
    return n == other.n && h == other.h && w == other.w && softmax == other.softmax && top_k == other.top_k &&
           taps == other.taps;
  }
};

// Throws Error(FASTALEX_INVALID) with the line's number for anything outside the grammar.
std::vector<LayerRow> parse_table(const std::string& text);

// Computes the shape of every layer for images of c channels and fuses each activation into the step before it, unless
// that step is tapped. Layers after the last tap are not planned.
Plan build_plan(const std::vector<LayerRow>& rows, int c, const Request& request);

// Describes each row of the table for one image of c x h x w.
std::vector<fastalex_layer> layers_of(const std::vector<LayerRow>& rows, int c, int h, int w);

}  // namespace fastalex
#endif  // FASTALEX_CORE_PLAN_H
