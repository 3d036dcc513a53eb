// Steps of products by tiles: blocks of up to 16 rows of the input times 16 units of 4 bytes, four products of bytes or
// two of bf16 each, and units of 16 outputs. Two blocks of rows and two of outputs are multiplied at once, so that each
// loaded tile serves two products. Intel's AMX where it is compiled for; for test levels plain C++, exact to Intel's
// description of the instructions (Software Developer's Manual, volume 2, TDPBUSD and TDPBF16PS), so that every
// processor runs the kernels that are built on these steps.
#ifndef FASTALEX_CPU_KERNELS_TILE_STEPS_H
#define FASTALEX_CPU_KERNELS_TILE_STEPS_H

#include "cpu/kernels/kernel_table.h"
#include "cpu/kernels/simd.h"
#include "cpu/kernels/tile.h"

#if defined(FASTALEX_USE_TILES)

namespace {

enum { kTileRows = 16, kTileUnits = fastalex::kStepUnits };

// Rows of the tiles of inputs and sums; units of a row of inputs, which are the rows of the tiles of weights.
struct TileShape {
  int rows, units;
};

// A tile in memory: rows `pitch` bytes apart.
struct TileAt {
  const void* data;
  int64_t pitch;
};

// The numbers of the tiles: sums (i, j), inputs i, weights j.
enum { kSumTile = 0, kInputTile = 4, kWeightTile = 6, kTiles = 8 };

#if defined(FASTALEX_ISA_v4amx)

// The intrinsics take a literal number of a tile.
#define FASTALEX_OF_TILES(CALL) \
  do {                          \
    if (TILE == 0) CALL(0);     \
    if (TILE == 1) CALL(1);     \
    if (TILE == 2) CALL(2);     \
    if (TILE == 3) CALL(3);     \
    if (TILE == 4) CALL(4);     \
    if (TILE == 5) CALL(5);     \
    if (TILE == 6) CALL(6);     \
    if (TILE == 7) CALL(7);     \
  } while (0)

// The thread's tile registers. They are in use from the first shape to the end of this object's life: then they are
// given back, so that an idle processor can save energy, and a thread that waits or forks has none to be saved.
class TileRegisters {
 public:
  ~TileRegisters() { _tile_release(); }

  // Sets the shapes; all tiles become zero.
  void configure(TileShape shape) {
    struct {
      uint8_t palette, start_row, reserved[14];
      uint16_t row_bytes[16];
      uint8_t rows[16];
    } config = {};
    static_assert(sizeof config == 64, "the operand of LDTILECFG");
    config.palette = 1;
    for (int tile = 0; tile < kTiles; ++tile) {
      const bool input = tile >= kInputTile && tile < kWeightTile;
      config.row_bytes[tile] = static_cast<uint16_t>(4 * (input ? shape.units : static_cast<int>(kLanes)));
      config.rows[tile] = static_cast<uint8_t>(tile >= kWeightTile ? shape.units : shape.rows);
    }
    written(&config);
    _tile_loadconfig(&config);
  }
  template <int TILE>
  void zero() {
#define FASTALEX_ZERO(t) _tile_zero(t)
    FASTALEX_OF_TILES(FASTALEX_ZERO);
#undef FASTALEX_ZERO
  }
  template <int TILE>
  void load(TileAt from) {
    written(from.data);
#define FASTALEX_LOAD(t) _tile_loadd(t, from.data, from.pitch)
    FASTALEX_OF_TILES(FASTALEX_LOAD);
#undef FASTALEX_LOAD
  }
  template <int TILE>
  void store(void* to, int64_t pitch) const {
#define FASTALEX_STORE(t) _tile_stored(t, to, pitch)
    FASTALEX_OF_TILES(FASTALEX_STORE);
#undef FASTALEX_STORE
  }
  // Adds the products of inputs I and weights J to the sums (I, J).
  template <int DTYPE, int I, int J>
  void add_products() {
    if (DTYPE == fastalex::kQuantized) {
      if (I == 0 && J == 0) _tile_dpbusd(0, 4, 6);
      if (I == 0 && J == 1) _tile_dpbusd(1, 4, 7);
      if (I == 1 && J == 0) _tile_dpbusd(2, 5, 6);
      if (I == 1 && J == 1) _tile_dpbusd(3, 5, 7);
    } else {
      if (I == 0 && J == 0) _tile_dpbf16ps(0, 4, 6);
      if (I == 0 && J == 1) _tile_dpbf16ps(1, 4, 7);
      if (I == 1 && J == 0) _tile_dpbf16ps(2, 5, 6);
      if (I == 1 && J == 1) _tile_dpbf16ps(3, 5, 7);
    }
  }

 private:
  // GCC's intrinsics do not say that they read what lies behind the pointer: the compiler must have written it.
  static void written(const void* data) { asm volatile("" : : "r"(data) : "memory"); }
};
#undef FASTALEX_OF_TILES

#else

// Denormals become zeros, as TDPBF16PS makes them of operands and of results, whatever the thread's settings are.
inline Vec flushed(Vec v) {
  const IntVec bits = as_bits(v), magnitude = splat_unit(0x7fffffff);
  const IntVec denormal = (bits & magnitude) < splat_unit(0x00800000);
  return as_floats(bits & ~(denormal & magnitude));
}

// a * b + sum, rounded once, whatever the compiler is asked for.
inline Vec fused(Vec a, Vec b, Vec sum) {
  const Halves<__m256> as = split<__m256>(a), bs = split<__m256>(b), sums = split<__m256>(sum);
  return join<Vec>(_mm256_fmadd_ps(as.low, bs.low, sums.low), _mm256_fmadd_ps(as.high, bs.high, sums.high));
}

class TileRegisters {
 public:
  void configure(TileShape shape) {
    shape_ = shape;
    memset(tiles_, 0, sizeof tiles_);
  }
  template <int TILE>
  void zero() {
    memset(tiles_[TILE], 0, sizeof tiles_[TILE]);
  }
  template <int TILE>
  void load(TileAt from) {
    zero<TILE>();
    for (int row = 0; row < rows(TILE); ++row)
      memcpy(tiles_[TILE][row], static_cast<const char*>(from.data) + row * from.pitch, row_bytes(TILE));
  }
  template <int TILE>
  void store(void* to, int64_t pitch) const {
    for (int row = 0; row < rows(TILE); ++row)
      memcpy(static_cast<char*>(to) + row * pitch, tiles_[TILE][row], row_bytes(TILE));
  }
  template <int DTYPE, int I, int J>
  void add_products() {
    for (int row = 0; row < shape_.rows; ++row) {
      int32_t* sums = tiles_[kSumTile + 2 * I + J][row];
      const int32_t* in = tiles_[kInputTile + I][row];
      if (DTYPE == fastalex::kQuantized)
        add_row_of_bytes(in, tiles_[kWeightTile + J], sums);
      else
        add_row_of_bf16(in, tiles_[kWeightTile + J], sums);
    }
  }

 private:
  int rows(int tile) const { return tile >= kWeightTile ? shape_.units : shape_.rows; }
  size_t row_bytes(int tile) const {
    return 4 * static_cast<size_t>(tile >= kInputTile && tile < kWeightTile ? shape_.units : static_cast<int>(kLanes));
  }
  void add_row_of_bytes(const int32_t* in, const int32_t (*weights)[kLanes], int32_t* sums) const {
    IntVec sum = load_units(sums);
    for (int unit = 0; unit < shape_.units; ++unit)
      sum = Products<fastalex::kQuantized>::add(sum, in[unit], load_units(weights[unit]));
    memcpy(sums, &sum, sizeof sum);
  }
  // The first and the second products of all units are summed apart, from zero; then one sum is added to the other, and
  // both to what is there. Each addition is rounded to nearest, ties to even, products are not.
  void add_row_of_bf16(const int32_t* in, const int32_t (*weights)[kLanes], int32_t* sums) const {
    Vec even = Vec{}, odd = Vec{};
    for (int unit = 0; unit < shape_.units; ++unit) {
      const IntVec w = load_units(weights[unit]), x = splat_unit(in[unit]);
      even = flushed(fused(flushed(even_bf16(x)), flushed(even_bf16(w)), even));
      odd = flushed(fused(flushed(odd_bf16(x)), flushed(odd_bf16(w)), odd));
    }
    const Vec products = flushed(even + odd);
    const Vec sum = flushed(flushed(as_floats(load_units(sums))) + products);
    memcpy(sums, &sum, sizeof sum);
  }

  TileShape shape_ = {};
  int32_t tiles_[kTiles][kTileRows][kLanes];
};

#endif

// Two tiles of weights, of 16 outputs each, times INPUTS tiles of inputs, one or two.
class Tiles {
 public:
  void shape(TileShape shape) {
    if (shape.rows == shape_.rows && shape.units == shape_.units) return;
    shape_ = shape;
    registers_.configure(shape);
  }
  template <int INPUTS>
  void zero_sums() {
    registers_.zero<kSumTile>();
    registers_.zero<kSumTile + 1>();
    if (INPUTS == 1) return;
    registers_.zero<kSumTile + 2>();
    registers_.zero<kSumTile + 3>();
  }
  // sums[i]: the first of the rows of inputs i, [row][32 outputs], rows `pitch` bytes apart.
  template <int INPUTS>
  void load_sums(const void* const (&sums)[2], int64_t pitch) {
    registers_.load<kSumTile>({sums[0], pitch});
    registers_.load<kSumTile + 1>({second_half(sums[0]), pitch});
    if (INPUTS == 1) return;
    registers_.load<kSumTile + 2>({sums[1], pitch});
    registers_.load<kSumTile + 3>({second_half(sums[1]), pitch});
  }
  template <int INPUTS>
  void store_sums(void* const (&sums)[2], int64_t pitch) const {
    registers_.store<kSumTile>(sums[0], pitch);
    registers_.store<kSumTile + 1>(second_half(sums[0]), pitch);
    if (INPUTS == 1) return;
    registers_.store<kSumTile + 2>(sums[1], pitch);
    registers_.store<kSumTile + 3>(second_half(sums[1]), pitch);
  }
  // Adds the products of the units at in[i], rows `pitch` bytes apart, and those of weights, [unit][32 outputs].
  template <int DTYPE, int INPUTS>
  void add(const char* const (&in)[2], int64_t pitch, TileAt weights) {
    registers_.load<kInputTile>({in[0], pitch});
    registers_.load<kWeightTile>(weights);
    registers_.add_products<DTYPE, 0, 0>();
    registers_.load<kWeightTile + 1>({second_half(weights.data), weights.pitch});
    registers_.add_products<DTYPE, 0, 1>();
    if (INPUTS == 1) return;
    registers_.load<kInputTile + 1>({in[1], pitch});
    registers_.add_products<DTYPE, 1, 0>();
    registers_.add_products<DTYPE, 1, 1>();
  }

 private:
  static const char* second_half(const void* row) { return static_cast<const char*>(row) + 4 * kLanes; }
  static char* second_half(void* row) { return static_cast<char*>(row) + 4 * kLanes; }
  TileShape shape_ = {};
  TileRegisters registers_;
};

}  // namespace

#endif  // FASTALEX_USE_TILES
#endif  // FASTALEX_CPU_KERNELS_TILE_STEPS_H
