#include "core/top_k.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

namespace fastalex {

void select_top_k(const float* values, int n, int c, int k, float* largest, int32_t* indices) {
  std::vector<int32_t> order(static_cast<size_t>(c));
  for (int row = 0; row < n; ++row) {
    const float* v = values + static_cast<size_t>(row) * c;
    const auto before = [v](int32_t a, int32_t b) {
      const bool a_nan = std::isnan(v[a]), b_nan = std::isnan(v[b]);
      if (a_nan != b_nan) return a_nan;
      return v[a] > v[b] || (!(v[a] < v[b]) && a < b);
    };
    std::iota(order.begin(), order.end(), 0);
    std::partial_sort(order.begin(), order.begin() + k, order.end(), before);
    for (int i = 0; i < k; ++i) {
      const size_t at = static_cast<size_t>(row) * k + i;
      largest[at] = v[order[i]];
      indices[at] = order[i];
    }
  }
}

}  // namespace fastalex
