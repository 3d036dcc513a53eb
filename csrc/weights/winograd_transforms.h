// The matrices of Winograd's algorithm F(m x m, r x r), Y = A^T [(G g G^T) . (B^T d B)] A, from their points.
#ifndef FASTALEX_WEIGHTS_WINOGRAD_TRANSFORMS_H
#define FASTALEX_WEIGHTS_WINOGRAD_TRANSFORMS_H

#include <vector>

namespace fastalex {

struct WinogradTransforms {
  int out, kernel, in;     // edges of a tile's outputs, weights and inputs; in = out + kernel - 1
  std::vector<double> at;  // [out, in]
  std::vector<double> g;   // [in, kernel]
  std::vector<double> bt;  // [in, in]
  int positions() const { return in * in; }
};

// Computes the matrices by the formulas of constants/winograd.h, in double.
// points: the out + kernel - 2 finite ones.
WinogradTransforms winograd_transforms(int out, int kernel, const std::vector<double>& points);

}  // namespace fastalex
#endif  // FASTALEX_WEIGHTS_WINOGRAD_TRANSFORMS_H
