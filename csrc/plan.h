// From a layer table to fused steps with static shapes.
#ifndef FASTALEX_PLAN_H
#define FASTALEX_PLAN_H

#include <map>
#include <string>
#include <vector>

#include "ops.h"

namespace fastalex {

// One line of the table (grammar: fastalex.h).
struct LayerRow {
  std::string op;
  std::string name;
  std::map<std::string, std::string> options;
};

struct Plan {
  std::vector<fastalex_step> steps;
  std::vector<std::string> names;  // of the layer each step comes from
  std::vector<size_t> param_counts;

  const fastalex_step& front() const { return steps.front(); }
  const fastalex_step& back() const { return steps.back(); }
  size_t output_count() const;
};

// Throws Error(FASTALEX_INVALID) with the line's number for anything that is not in the grammar.
std::vector<LayerRow> parse_table(const std::string& text);

// Shapes every layer for `n` images of c x h x w and fuses each activation into the step before it.
Plan build_plan(const std::vector<LayerRow>& rows, int n, int c, int h, int w, bool softmax);

}  // namespace fastalex
#endif  // FASTALEX_PLAN_H
