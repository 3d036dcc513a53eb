#include "weights/winograd_transforms.h"

#include <cmath>

#include "common/error.h"

namespace fastalex {
namespace {

// Coefficients, lowest first, of the product of (x - points[k]) over all k except `without`.
std::vector<double> polynomial(const std::vector<double>& points, size_t without) {
  std::vector<double> result = {1};
  for (size_t k = 0; k < points.size(); ++k) {
    if (k == without) continue;
    result.push_back(0);
    for (size_t i = result.size() - 1; i > 0; --i) result[i] = result[i - 1] - points[k] * result[i];
    result[0] *= -points[k];
  }
  return result;
}

}  // namespace

WinogradTransforms winograd_transforms(int out, int kernel, const std::vector<double>& points) {
  const int in = out + kernel - 1, last = in - 1;  // the last point is infinity
  FASTALEX_ASSERT(static_cast<int>(points.size()) == last);
  WinogradTransforms t = {out, kernel, in, {}, {}, {}};
  t.at.assign(out * in, 0);
  t.g.assign(in * kernel, 0);
  t.bt.assign(in * in, 0);
  for (int j = 0; j < in; ++j) {
    const std::vector<double> row = polynomial(points, j);
    for (size_t i = 0; i < row.size(); ++i) t.bt[j * in + i] = row[i];
    if (j == last) continue;
    double scale = 1;
    for (int k = 0; k < last; ++k)
      if (k != j) scale *= points[j] - points[k];
    for (int i = 0; i < out; ++i) t.at[i * in + j] = std::pow(points[j], i);
    for (int i = 0; i < kernel; ++i) t.g[j * kernel + i] = std::pow(points[j], i) / scale;
  }
  t.at[(out - 1) * in + last] = 1;
  t.g[last * kernel + kernel - 1] = 1;
  return t;
}

}  // namespace fastalex
