// Half arithmetic against exact integers: a half is a multiple of 2^-24 below 2^16, a product of two one of 2^-48.
#include <math.h>
#include <string.h>

#include "check.h"

namespace fastalex {
namespace check {

double half_value(uint32_t half) {
  const int exponent = half >> 10 & 31, fraction = half & 1023;
  const double magnitude = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
  return half & 0x8000 ? -magnitude : magnitude;
}

namespace {

typedef __int128 Exact;  // in units of 2^-48

bool is_nan(uint32_t half) { return (half & 0x7c00) == 0x7c00 && half & 1023; }
bool is_finite(uint32_t half) { return (half & 0x7c00) != 0x7c00; }

int64_t units(uint32_t half) { return static_cast<int64_t>(ldexp(half_value(half), 24)); }

// The half that `x` rounds to; a zero has the sign `negative`.
uint32_t round_exact(Exact x, bool negative) {
  if (x) negative = x < 0;
  const Exact magnitude = x < 0 ? -x : x;
  int shift = 24;  // the quantum is 2^(shift - 48), 2^-24 for subnormals
  while (magnitude >> shift >= 2048) ++shift;
  const Exact rest = magnitude & ((Exact(1) << shift) - 1), middle = Exact(1) << (shift - 1);
  uint32_t quanta = static_cast<uint32_t>(magnitude >> shift);
  if (rest > middle || (rest == middle && quanta & 1)) ++quanta;
  // 1024 quanta of the next exponent are 2048 of this one, and the encoding carries over by itself.
  const uint32_t bits = quanta < 1024 ? quanta : (static_cast<uint32_t>(shift - 24) << 10) + quanta;
  return (negative ? 0x8000u : 0) | (bits > 0x7c00 ? 0x7c00u : bits);
}

std::string hex(const char* what, uint32_t a, uint32_t b, uint32_t c, uint32_t got, uint32_t want) {
  char text[120];
  snprintf(text, sizeof text, "%s of %04x %04x %04x is %04x, not %04x", what, a, b, c, got, want);
  return text;
}

void check_conversions() {
  for (uint32_t half = 0; half < 65536; ++half) {
    const float by_table = cuda::to_float(cuda::Half{static_cast<uint16_t>(half)}),
                by_integers = emulator::half_to_float(half);
    if (is_nan(half)) {
      expect(by_table != by_table && by_integers != by_integers, hex("the float", half, 0, 0, 0, 0));
      continue;
    }
    const double want = is_finite(half) ? half_value(half) : half & 0x8000 ? -INFINITY : INFINITY;
    expect(by_table == want && by_integers == want && std::signbit(by_table) == (half >= 0x8000) &&
               std::signbit(by_integers) == (half >= 0x8000),
           hex("the float", half, 0, 0, 0, 0));
  }
}

void expect_half(float value, uint32_t want) {
  const uint32_t got = cuda::to_half(value).bits, by_integers = emulator::float_to_half(value);
  expect(got == want, hex("to_half", __float_as_uint(value), 0, 0, got, want));
  expect(by_integers == want, hex("float_to_half", __float_as_uint(value), 0, 0, by_integers, want));
  const uint32_t pair = cuda::to_half2(value, 1.0f).bits;
  expect(pair == (0x3c000000u | want), hex("to_half2", __float_as_uint(value), 0, 0, pair, want));
}

// Between neighbors: their midpoint goes to the even one, and its own neighbors to the nearer one.
void check_rounding() {
  for (uint32_t half = 0; half < 0x7c00; ++half) {
    const double above = half + 1 == 0x7c00 ? 65536 : half_value(half + 1);
    const float middle = static_cast<float>((half_value(half) + above) / 2);
    for (uint32_t sign : {0u, 0x8000u}) {
      const float direction = sign ? -1.0f : 1.0f;
      expect_half(direction * static_cast<float>(half_value(half)), sign | half);
      expect_half(direction * middle, sign | (half + (half & 1)));
      expect_half(direction * nextafterf(middle, 0), sign | half);
      expect_half(direction * nextafterf(middle, INFINITY), sign | (half + 1));
    }
  }
  expect_half(INFINITY, 0x7c00);
  expect_half(-INFINITY, 0xfc00);
  expect_half(3e38f, 0x7c00);
  expect_half(1e-40f, 0);
  expect_half(-1e-40f, 0x8000);
  expect_half(NAN, 0x7fff);
  expect_half(-NAN, 0x7fff);
}

cuda::Half2 pair(uint32_t low, uint32_t high) { return cuda::Half2{low | high << 16}; }

// One operation in both halves of the register, the other half busy with something else.
void expect_pair(const char* what, uint32_t a, uint32_t b, uint32_t c, uint32_t want,
                 cuda::Half2 (*op)(cuda::Half2, cuda::Half2, cuda::Half2)) {
  const uint32_t low = op(pair(a, 0x3c00), pair(b, 0x4000), pair(c, 0x7c00)).bits & 0xffff;
  const uint32_t high = op(pair(0x7e00, a), pair(0x4000, b), pair(0x3c00, c)).bits >> 16;
  expect(low == want, hex(what, a, b, c, low, want));
  expect(high == want, hex(what, a, b, c, high, want));
}

cuda::Half2 do_fma(cuda::Half2 a, cuda::Half2 b, cuda::Half2 c) { return cuda::fma(a, b, c); }
cuda::Half2 do_add(cuda::Half2 a, cuda::Half2 b, cuda::Half2) { return cuda::add(a, b); }
cuda::Half2 do_sub(cuda::Half2 a, cuda::Half2 b, cuda::Half2) { return cuda::sub(a, b); }
cuda::Half2 do_mul(cuda::Half2 a, cuda::Half2 b, cuda::Half2) { return cuda::mul(a, b); }

void check_finite(uint32_t a, uint32_t b, uint32_t c) {
  const bool minus_a = a >> 15, minus_b = b >> 15, minus_c = c >> 15;
  const Exact product = Exact(units(a)) * units(b), scale = Exact(1) << 24;
  const Exact sum = product + units(c) * scale;
  const uint32_t fma = round_exact(sum, (minus_a != minus_b) && minus_c);
  expect_pair("fma", a, b, c, fma, do_fma);
  const uint32_t by_integers = emulator::half_fma(a, b, c);
  expect(by_integers == fma, hex("half_fma", a, b, c, by_integers, fma));
  expect_pair("add", a, b, 0, round_exact((Exact(units(a)) + units(b)) * scale, minus_a && minus_b), do_add);
  expect_pair("sub", a, b, 0, round_exact((Exact(units(a)) - units(b)) * scale, minus_a && !minus_b), do_sub);
  expect_pair("mul", a, b, 0, round_exact(product, minus_a != minus_b), do_mul);
}

// An addend within a few quanta of minus the product, or one whose rounding alone depends on the product.
uint32_t telling_addend(uint32_t a, uint32_t b, Random* random) {
  const uint32_t product = round_exact(Exact(units(a)) * units(b), false);
  const uint32_t kind = random->bits() % 3;
  if (kind == 0) return (product ^ 0x8000u) + random->bits() % 5 - 2;
  if (kind == 1) return product + ((random->bits() % 13) << 10);
  return random->bits();
}

void check_arithmetic() {
  Random random;
  const int count = kRaceMode || kAddressMode ? 100000 : 1000000;
  for (int i = 0; i < count; ++i) {
    const uint32_t a = random.bits() & 0xffff, b = random.bits() & 0xffff;
    if (!is_finite(a) || !is_finite(b)) continue;
    const uint32_t c = telling_addend(a, b, &random) & 0xffff;
    if (is_finite(c)) check_finite(a, b, c);
  }
  const uint32_t edges[] = {0, 1, 2, 0x3ff, 0x400, 0x401, 0x3bff, 0x3c00, 0x3c01, 0x7bfe, 0x7bff};
  for (uint32_t a : edges)
    for (uint32_t b : edges)
      for (uint32_t c : edges)
        for (uint32_t signs = 0; signs < 8; ++signs)
          check_finite(a | (signs & 1) << 15, b | (signs & 2) << 14, c | (signs & 4) << 13);
}

void check_special() {
  const uint32_t infinity = 0x7c00, minus = 0x8000, one = 0x3c00, nan = 0x7fff;
  expect_pair("fma", infinity, 0, one, nan, do_fma);
  expect_pair("fma", infinity, one, infinity | minus, nan, do_fma);
  expect_pair("fma", infinity, one, one, infinity, do_fma);
  expect_pair("fma", one, one, infinity | minus, infinity | minus, do_fma);
  expect_pair("fma", 0xfe01, one, one, nan, do_fma);
  expect_pair("add", infinity, infinity | minus, 0, nan, do_add);
  expect_pair("sub", infinity, infinity, 0, nan, do_sub);
  expect_pair("mul", infinity, 0, 0, nan, do_mul);
  expect_pair("mul", 0x7c01, one, 0, nan, do_mul);
  expect_pair("mul", infinity, one | minus, 0, infinity | minus, do_mul);
  const cuda::Half2 h = pair(0x1234, 0x5678);
  expect(cuda::low_low(h).bits == 0x12341234 && cuda::high_high(h).bits == 0x56785678, "low_low, high_high");
  expect(cuda::low(h) == half_value(0x1234) && cuda::high(h) == half_value(0x5678), "low, high");
}

}  // namespace

void check_half() {
  check_conversions();
  check_rounding();
  check_arithmetic();
  check_special();
}

}  // namespace check
}  // namespace fastalex
