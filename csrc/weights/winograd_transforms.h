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

// A polynomial product of degree n - 1 is known from its values at n points p_j, the last of them infinity. With
// N_j = prod_{k != j} (p_j - p_k) over the finite points
//   A^T[i][j] = p_j^i                     and 1 for i = m - 1 at infinity (i < m)
//   G[j][i]   = p_j^i / N_j               and 1 for i = r - 1 at infinity (i < r)
//   B^T[j][i] = coefficient of x^i in prod_{k != j} (x - p_k), all finite k at infinity
// points: the out + kernel - 2 finite ones.
WinogradTransforms cook_toom(int out, int kernel, const std::vector<double>& points);

}  // namespace fastalex
#endif  // FASTALEX_WEIGHTS_WINOGRAD_TRANSFORMS_H
