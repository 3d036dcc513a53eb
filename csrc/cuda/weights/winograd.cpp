#include "cuda/weights/winograd.h"

#include <cmath>
#include <cstring>

#include "common/error.h"
#include "common/half.h"
#include "constants/winograd.h"

namespace fastalex {
namespace cuda {
namespace {

// u = G g G^T; g [kernel, kernel], u [in, in].
void transform(const WinogradTransforms& t, const float* g, double* u) {
  for (int i = 0; i < t.in; ++i) {
    for (int j = 0; j < t.in; ++j) {
      double sum = 0;
      for (int r = 0; r < t.kernel; ++r)
        for (int s = 0; s < t.kernel; ++s) sum += t.g[i * t.kernel + r] * g[r * t.kernel + s] * t.g[j * t.kernel + s];
      u[i * t.in + j] = sum;
    }
  }
}

void store(double value, Dtype dtype, char* to) {
  const float single = static_cast<float>(value);
  if (dtype == kFloat) {
    std::memcpy(to, &single, sizeof single);
    return;
  }
  if (std::fabs(single) > kHalfMax)
    invalid("a transformed weight is ", single, ", too large for fp16 (", kHalfMax, "); use fp32");
  const uint16_t half = to_half(single);
  std::memcpy(to, &half, sizeof half);
}

}  // namespace

WinogradTransforms winograd_transforms(WeightFormat format) {
  switch (format) {
    case kWinograd2x3:
      return fastalex::winograd_transforms(2, 3, FASTALEX_WINOGRAD_2X3_POINTS);
    case kWinograd4x3:
      return fastalex::winograd_transforms(4, 3, FASTALEX_WINOGRAD_4X3_POINTS);
    default:
      FASTALEX_ASSERT(format == kWinograd3x5);
      return fastalex::winograd_transforms(3, 5, FASTALEX_WINOGRAD_3X5_POINTS);
  }
}

std::vector<char> winograd_weights(const fastalex_step& step, WeightFormat format, Dtype dtype, const float* w) {
  const WinogradTransforms t = winograd_transforms(format);
  FASTALEX_ASSERT(step.kernel == t.kernel);
  const int in_group = step.in_c / step.groups, out_group = step.out_c / step.groups;
  const size_t pitch = round_up(in_group, kWeightProducts);
  const size_t matrix = round_up(out_group, kWeightRows) * pitch * step.groups;  // of one position
  std::vector<char> result(t.positions() * matrix * size_of(dtype));
  std::vector<double> u(t.positions());
  for (int o = 0; o < step.out_c; ++o) {
    const size_t row = o / out_group * round_up(out_group, kWeightRows) + o % out_group;
    for (int c = 0; c < in_group; ++c, w += t.kernel * t.kernel) {
      transform(t, w, u.data());
      for (int p = 0; p < t.positions(); ++p)
        store(u[p], dtype, &result[(p * matrix + row * pitch + c) * size_of(dtype)]);
    }
  }
  return result;
}

}  // namespace cuda
}  // namespace fastalex
