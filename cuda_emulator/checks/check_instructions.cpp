// Bit operations, shuffles, ldmatrix and mma against their definitions.
#include <math.h>
#include <string.h>

#include "check.h"

namespace fastalex {
namespace check {
namespace {

// PTX manual, prmt: byte i of the result is byte (selector nibble & 7) of {high, low}, or eight copies of its top bit
// where bit 3 of the nibble is set.
void check_bits() {
  Random random;
  for (int i = 0; i < 20000; ++i) {
    const uint32_t low = random.bits(), high = random.bits(), selector = random.bits();
    uint8_t bytes[8], want[4];
    memcpy(bytes, &low, 4);
    memcpy(bytes + 4, &high, 4);
    for (int k = 0; k < 4; ++k) {
      const int nibble = static_cast<int>(selector >> (4 * k)) & 15;
      want[k] = bytes[nibble % 8];
      if (nibble >= 8) want[k] = want[k] >= 128 ? 255 : 0;
    }
    const uint32_t got = cuda::byte_permute(low, high, selector);
    expect(!memcmp(&got, want, 4), "byte_permute");

    const uint32_t c = random.bits(), combined = cuda::and_or(low, high, c);
    for (int bit = 0; bit < 32; ++bit) {  // lop3: the inputs' bits are an index into the table
      const uint32_t index = (low >> bit & 1) << 2 | (high >> bit & 1) << 1 | (c >> bit & 1);
      expect((combined >> bit & 1) == (0xeau >> index & 1), "and_or");
    }
  }
  expect(cuda::byte_permute(0x33221100, 0x77665544, 0x7531) == 0x77553311, "byte_permute of even numbers");
  expect(cuda::bits_to_float(0x3fc00000) == 1.5f && cuda::float_to_bits(-2.0f) == 0xc0000000, "bits of floats");
}

// out [10, 64]
void shuffle_kernel(const Buffers a) {
  const uint32_t mask = 0xffffffffu, t = threadIdx.x;
  uint32_t* out = a.out + t;
  out[0] = __shfl_sync(mask, t, 5);
  out[64] = __shfl_sync(mask, t, static_cast<int>(t) + 3);
  out[128] = __shfl_sync(mask, t, 1, 8);
  out[192] = __shfl_xor_sync(mask, t, 16);
  out[256] = __shfl_xor_sync(mask, t, 3, 4);
  out[320] = __shfl_down_sync(mask, t, 7);
  out[384] = __shfl_down_sync(mask, t, 2, 4);
  out[448] = __float_as_uint(__shfl_xor_sync(mask, static_cast<float>(t), 1));
  out[512] = static_cast<uint32_t>(__shfl_up_sync(mask, static_cast<int>(t), 4));
  out[576] = __ballot_sync(mask, t % 3 == 0 || t > 60);
}

void check_shuffles() {
  Words out(10 * 64);
  run(shuffle_kernel, 64, 0, Buffers{nullptr, out.data(), 0});
  for (uint32_t t = 0; t < 64; ++t) {
    const uint32_t warp = t & 32, lane = t % 32;
    uint32_t ballot = 0;
    for (uint32_t i = 0; i < 32; ++i) ballot |= static_cast<uint32_t>((warp + i) % 3 == 0 || warp + i > 60) << i;
    const uint32_t want[10] = {warp + 5,
                               warp + (lane + 3) % 32,
                               t / 8 * 8 + 1,
                               warp + (lane + 16) % 32,
                               t / 4 * 4 + 3 - t % 4,
                               lane + 7 < 32 ? t + 7 : t,
                               t % 4 < 2 ? t + 2 : t,
                               __float_as_uint(static_cast<float>(t % 2 ? t - 1 : t + 1)),
                               lane < 4 ? t : t - 4,
                               ballot};
    for (size_t i = 0; i < 10; ++i) expect(out[64 * i + t] == want[i], "shuffle " + std::to_string(i));
  }
}

// in: [32 rows of 16 bytes]; out [6, 32]: what ldmatrix .x4 and .x2 bring. Rows lie in shared memory in another order.
void load_matrix_kernel(const Buffers a) {
  FASTALEX_SHARED(smem);
  const int t = static_cast<int>(threadIdx.x), place = t * 11 % 32;
  cuda::Bits128* rows = reinterpret_cast<cuda::Bits128*>(smem);
  rows[place] = reinterpret_cast<const cuda::Bits128*>(a.in)[t];
  __syncthreads();
  uint32_t four[4], two[2];
  cuda::load_matrix_x4(four, &rows[place]);
  cuda::load_matrix_x2(two, t < 16 ? &rows[place] : rows);
  for (int i = 0; i < 4; ++i) a.out[32 * i + t] = four[i];
  for (int i = 0; i < 2; ++i) a.out[128 + 32 * i + t] = two[i];
}

// The published map: NVIDIA/cutlass, include/cute/atom/copy_traits_sm75.hpp, SM75_U32x4_LDSM_N and SM75_U32x2_LDSM_N.
// In the 128-bit rows laid end to end in the order of the lanes that name them, bit b of register i of lane t is bit
// 1024 i + 32 t + b.
void check_load_matrix() {
  Words in(128), out(192);
  Random random;
  for (size_t i = 0; i < 128; ++i) in[i] = random.bits();
  run(load_matrix_kernel, 32, 512, Buffers{in.data(), out.data(), 0});
  for (size_t i = 0; i < 4; ++i)
    for (size_t t = 0; t < 32; ++t) expect(out[32 * i + t] == in[(1024 * i + 32 * t) / 32], "ldmatrix.x4");
  for (size_t i = 0; i < 2; ++i)
    for (size_t t = 0; t < 32; ++t) expect(out[128 + 32 * i + t] == in[(1024 * i + 32 * t) / 32], "ldmatrix.x2");
  // The manual's words: lane l holds elements 2 (l % 4) and the next of row l / 4 of each matrix.
  const uint16_t* halves = reinterpret_cast<const uint16_t*>(in.data());
  for (size_t l = 0; l < 32; ++l) {
    const size_t element = 8 * (l / 4) + 2 * (l % 4);
    expect(out[l] == (halves[element] | static_cast<uint32_t>(halves[element + 1]) << 16), "ldmatrix by rows");
  }
}

// in: a [32, K / 4], b [32, K / 8], d [32, 4] registers of each lane; out [32, 4]
template <int K>
void mma_kernel(const Buffers args) {
  const int t = static_cast<int>(threadIdx.x);
  uint32_t a[4], b[2];
  float d[4];
  for (int i = 0; i < K / 4; ++i) a[i] = args.in[t * (K / 4) + i];
  for (int i = 0; i < K / 8; ++i) b[i] = args.in[32 * (K / 4) + t * (K / 8) + i];
  for (int i = 0; i < 4; ++i) d[i] = __uint_as_float(args.in[32 * (K / 4 + K / 8) + 4 * t + i]);
  if (K == 16) {
    cuda::mma_m16n8k16(d, a, b);
  } else {
    const uint32_t two[2] = {a[0], a[1]};
    cuda::mma_m16n8k8(d, two, b[0]);
  }
  for (int i = 0; i < 4; ++i) args.out[4 * t + i] = __float_as_uint(d[i]);
}

// The published maps: NVIDIA/cutlass, include/cute/atom/mma_traits_sm80.hpp, SM80_16x8x8_F32F16F16F32_TN and
// SM80_16x8x16_F32F16F16F32_TN. There a (lane, value) becomes an index into a column-major [rows, columns] matrix, a
// sum of digits times strides: the lane's digits by (4, 8), the value's by (2, 2, 2).
struct Map {
  size_t lane_strides[2], value_strides[3], rows;
  size_t index(size_t lane, size_t value) const {
    return lane % 4 * lane_strides[0] + lane / 4 * lane_strides[1] + value % 2 * value_strides[0] +
           value / 2 % 2 * value_strides[1] + value / 4 * value_strides[2];
  }
};
const Map kA8 = {{32, 1}, {16, 8, 0}, 16}, kB8 = {{16, 1}, {8, 0, 0}, 8};
const Map kA16 = {{32, 1}, {16, 8, 128}, 16}, kB16 = {{16, 1}, {8, 64, 0}, 8};
const Map kC = {{32, 1}, {16, 8, 0}, 16};

// Halves of a matrix, [columns, rows], into the lanes' registers.
void distribute(const Map& map, const std::vector<uint16_t>& matrix, size_t values, uint32_t* registers) {
  for (size_t lane = 0; lane < 32; ++lane)
    for (size_t value = 0; value < values; ++value) {
      uint32_t* word = registers + (lane * values + value) / 2;
      const uint32_t half = matrix[map.index(lane, value)];
      *word = value % 2 ? (*word & 0xffff) | half << 16 : half;
    }
}

template <int K>
void check_mma(const Map& map_a, const Map& map_b) {
  Random random;
  for (int round = 0; round < 20; ++round) {
    std::vector<uint16_t> a(16 * K), b(8 * K);
    std::vector<float> c(128);
    const bool whole = round % 2 == 0;  // small whole numbers, whose sums are exact in any order
    auto draw = [&] {
      const float value = static_cast<float>(static_cast<int>(random.bits() % 31) - 15);
      return whole ? value : value * 0.37f + static_cast<float>(random.bits() % 1000) * 1e-3f;
    };
    for (uint16_t& each : a) each = cuda::to_half(draw()).bits;
    for (uint16_t& each : b) each = cuda::to_half(draw()).bits;
    for (float& each : c) each = draw();
    const size_t a_words = 32 * K / 4, b_words = 32 * K / 8;
    Words in(a_words + b_words + 128), out(128);
    distribute(map_a, a, K / 2, in.data());
    distribute(map_b, b, K / 4, in.data() + a_words);
    for (size_t lane = 0; lane < 32; ++lane)
      for (size_t i = 0; i < 4; ++i) in[a_words + b_words + 4 * lane + i] = __float_as_uint(c[kC.index(lane, i)]);
    run(mma_kernel<K>, 32, 0, Buffers{in.data(), out.data(), 0});
    for (size_t lane = 0; lane < 32; ++lane)
      for (size_t i = 0; i < 4; ++i) {
        const size_t at = kC.index(lane, i), row = at % 16, column = at / 16;
        double want = c[at], size = fabs(want);
        for (size_t k = 0; k < K; ++k) {
          const double product = half_value(a[row + 16 * k]) * half_value(b[column + 8 * k]);
          want += product;
          size += fabs(product);
        }
        const double got = __uint_as_float(out[4 * lane + i]);
        const double bound = whole ? 0 : K * size / 16777216;  // K sums, each rounded
        expect(fabs(got - want) <= bound, "mma with k = " + std::to_string(K));
      }
  }
}

}  // namespace

void check_instructions() {
  check_bits();
  check_shuffles();
  check_load_matrix();
  check_mma<8>(kA8, kB8);
  check_mma<16>(kA16, kB16);
}

}  // namespace check
}  // namespace fastalex
