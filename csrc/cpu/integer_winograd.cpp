#include "cpu/integer_winograd.h"

namespace fastalex {
namespace {

// G's rows for the points 0, 1, -1, 2, -2 and infinity, without their denominators.
const int kG[kIntegerIn][kPieceEdge] = {{1, 0, 0}, {1, 1, 1}, {1, -1, 1}, {1, 2, 4}, {1, -2, 4}, {0, 0, 1}};

}  // namespace

int KernelPieces::total() const {
  int along_edge = 0;
  for (int i = 0; i < kIntegerIn; ++i) along_edge += along(i);
  return along_edge * along_edge;
}

void transform_integer_weights(const int8_t* g, int16_t* u) {
  int half[kIntegerIn][kPieceEdge] = {};  // G g
  for (int i = 0; i < kIntegerIn; ++i)
    for (int s = 0; s < kPieceEdge; ++s)
      for (int r = 0; r < kPieceEdge; ++r) half[i][s] += kG[i][r] * g[r * kPieceEdge + s];
  for (int i = 0; i < kIntegerIn; ++i)
    for (int j = 0; j < kIntegerIn; ++j) {
      int sum = 0;
      for (int s = 0; s < kPieceEdge; ++s) sum += half[i][s] * kG[j][s];
      u[i * kIntegerIn + j] = static_cast<int16_t>(sum);
    }
}

bool integer_sums_fit(const int8_t* weights, size_t count, bool negative) {
  int64_t above = 0, below = 0;
  for (size_t i = 0; i < count; ++i) (weights[i] > 0 ? above : below) += weights[i];
  const int64_t limit = int64_t(1) << 25;
  if (negative) return 127 * (above - below) < limit;
  return 255 * above < limit && -255 * below < limit;
}

}  // namespace fastalex
