// fully connected+bias+activation. A unit of work is a strip of outputs for the whole batch, so the weights are read
// once from memory. They lie row by row, a row being one input's weights of the strip (FcArgs): a row whose input is
// zero in every image is not read at all. Leaving its products out changes no bit of a sum other than the sign of a
// zero, which the bias, never -0, hides.
#ifndef FASTALEX_CPU_KERNELS_FULLY_CONNECTED_H
#define FASTALEX_CPU_KERNELS_FULLY_CONNECTED_H

#include "cpu/kernels/fc_byte_planes.h"
#include "cpu/kernels/fc_byte_rows.h"
#include "cpu/kernels/fc_prepare.h"
#include "cpu/kernels/fc_strip.h"
#include "cpu/kernels/fc_tiles.h"
#include "cpu/kernels/tile.h"
#include "cpu/kernels/values.h"
#include "fastalex.h"

namespace {

// Batch rows per tile, and of a tile of floats where there are as many.
enum { kBatchRows = kRows < 8 ? kRows : 8, kManyRows = kRows };
// Accumulators of a tile, which leave registers for the weights and an input.
enum { kFewRegisters = kRows < 8, kAccumulators = kFewRegisters ? 8 : 16 };

// Calls body(RowCount<ROWS>, first row) for tiles of kBatchRows, 4, 2 and 1 rows that cover the rows [row, count).
template <typename Body>
inline void for_batch_rows(int count, const Body& body, int row = 0) {
  for (; row + kBatchRows <= count; row += kBatchRows) body(RowCount<kBatchRows>(), row);
  for (; row + 4 <= count; row += 4) body(RowCount<4>(), row);
  for (; row + 2 <= count; row += 2) body(RowCount<2>(), row);
  if (row < count) body(RowCount<1>(), row);
}

// Weights as floats: vector j of a panel, whose part of a row begins at `row`.
struct FloatWeights {
  enum { kIsFloat = 1 };
  static Vec at(const char* row, int j) { return load(reinterpret_cast<const float*>(row) + j * kLanes); }
};
struct HalfWeights {
  enum { kIsFloat = 0 };
  static Vec at(const char* row, int j) { return widen(reinterpret_cast<const uint16_t*>(row) + j * kLanes); }
};
struct Bf16Weights {
  enum { kIsFloat = 0 };
  static Vec at(const char* row, int j) {
    return even_bf16(widen_shorts(reinterpret_cast<const uint16_t*>(row) + j * kLanes));
  }
};
struct ByteWeights {
  enum { kIsFloat = 0 };
  static Vec at(const char* row, int j) { return widen(reinterpret_cast<const int8_t*>(row) + j * kLanes); }
};
// A byte is 16 h + l + 8, of the weights l and h of outputs i and i + kLanes. Vector 1 is 16 h: FcArgs::scale allows
// for that. Without a table to look them up in, the byte and 16 h + 8 are added to the last bits of a large float, so
// that their differences need no conversion; all of this is exact.
struct NibbleWeights {
  enum { kIsFloat = 0 };
  static Vec at(const char* row, int j) {
    const IntVec byte = widen_bytes(reinterpret_cast<const int8_t*>(row));
#if defined(FASTALEX_USE_AVX512)
    // By the last four bits.
    const __m512 low = _mm512_setr_ps(-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7);
    const __m512 high = _mm512_setr_ps(0, 16, 32, 48, 64, 80, 96, 112, -128, -112, -96, -80, -64, -48, -32, -16);
    return j ? _mm512_permutexvar_ps(reinterpret_cast<__m512i>(byte >> 4), high)
             : _mm512_permutexvar_ps(reinterpret_cast<__m512i>(byte), low);
#else
    const int32_t large = 0x4b400000;  // 2^23 + 2^22 as a float
    const Vec middle = as_floats((byte & splat_unit(~15)) + splat_unit(large + 8));
    return j ? middle - splat(12582912.0f + 8.0f) : as_floats(byte + splat_unit(large)) - middle;
#endif
  }
};

// Rows of weights in the part [begin, begin + kPartUnits), which are summed before they join the other parts' sums.
struct FcPart {
  int begin;
  const int32_t* active;  // the rows to read; null: all
  int count;
  bool first, last;
  int row(int i) const { return active ? active[i] : begin + i; }
};

inline FcPart part_of(const fastalex::FcArgs& task, int index) {
  const int begin = index * fastalex::kPartUnits, parts = (task.rows + fastalex::kPartUnits - 1) / fastalex::kPartUnits;
  FcPart part = {begin, nullptr, task.rows - begin, index == 0, index + 1 >= parts};
  if (part.count > fastalex::kPartUnits) part.count = fastalex::kPartUnits;
  if (index >= parts) part.count = 0;
  if (task.active && index < parts) {
    part.active = task.active + task.active_starts[index];
    part.count = task.active_starts[index + 1] - task.active_starts[index];
  }
  return part;
}

// The hardware does not foresee which rows are skipped, nor that a panel's rows lie apart: rows of the next part are
// fetched while this one is computed.
class Fetch {
 public:
  Fetch(const FcStrip& strip, const FcPart& next) : strip_(strip), next_(next), done_(0), at_(nullptr), end_(nullptr) {}
  // One cache line, for a loop that does more meanwhile: many at once would hold up its loads.
  void line() {
    if (at_ >= end_) {
      if (done_ == next_.count) return;
      at_ = strip_.weights + next_.row(done_++) * strip_.pitch;
      end_ = at_ + strip_.pitch;
    }
    __builtin_prefetch(at_, 0, 2);
    at_ += 64;
  }
  void rows(int count) {
    for (const int end = done_ + count < next_.count ? done_ + count : next_.count; done_ < end; ++done_) {
      const char* row = strip_.weights + next_.row(done_) * strip_.pitch;
      for (int64_t i = 0; i < strip_.pitch; i += 64) __builtin_prefetch(row + i, 0, 2);
    }
  }
  void rest() { rows(next_.count); }

 private:
  const FcStrip& strip_;
  const FcPart& next_;
  int done_;
  const char *at_, *end_;  // of the row before `done_`: what line() has not fetched yet
};

// Combines a part's sums with the parts before it: scales them (int4), adds them, and after the last part applies the
// scale (int8), bias and activation.
inline Vec joined(const fastalex::FcArgs& task, int panel, int j, const FcPart& part, const float* out, Vec sum) {
  const int64_t lane = static_cast<int64_t>(panel) * kPanel + j * kLanes;
  if (task.form == fastalex::kFcNibbles) {
    const int groups = groups_of(task);
    sum *= load(task.scale + (static_cast<int64_t>(panel) * groups + part.begin / FASTALEX_INT4_GROUP) * kPanel +
                j * kLanes);
  }
  if (!part.first) sum += load(out + j * kLanes);
  if (!part.last) return sum;
  if (task.storage == FASTALEX_INT8) sum *= load(task.scale + lane);
  return activate(sum + load(task.bias + lane), task.activation);
}

// The weights of a part for `PANELS` panels: rows `pitch` apart, in their order in the part or at its active places.
struct FcBlock {
  const char* weights;
  int64_t pitch, panel_bytes;
  bool dense;  // the rows to read lie one after the other, from `weights` on
};

// ROWS rows of the batch times PANELS panels. lines: to fetch for each row of weights.
template <class Weights, int ROWS, int PANELS>
inline __attribute__((always_inline)) void fc_tile(const fastalex::FcArgs& task, int panel, const FcPart& part,
                                                   const FcBlock& block, int row, Fetch* fetch, int lines = 0) {
  enum {
    kSums = PANELS * kVectors,
    kBases = (ROWS + 3) / 4
  };  // of rows at equal distances, every fourth has a pointer
  const int64_t stride = task.in_stride, stride2 = 2 * stride, stride3 = 3 * stride;
  Vec sum[ROWS][kSums];
  const float* in[kBases];
#pragma GCC unroll 14
  for (int i = 0; i < ROWS; ++i) {
    if (i % 4 == 0) in[i / 4] = task.in + (row + i) * stride;
    for (int j = 0; j < kSums; ++j) sum[i][j] = Vec{};
  }
  // Adds the products of input `at`, whose weights lie at w.
  const auto add = [&](int64_t at, const char* w) __attribute__((always_inline)) {
    if (ROWS == 1 && fetch) fetch->rows(1);
    if (ROWS > 1)
      for (int i = 0; i < lines; ++i) fetch->line();
    const float* base[kBases];
#pragma GCC unroll 4
    for (int b = 0; b < kBases; ++b) {
      base[b] = in[b] + at;
      __asm__("" : "+r"(base[b]));  // otherwise the compiler makes a pointer of each row again
    }
#pragma GCC unroll 8
    for (int p = 0; p < PANELS; ++p) {
      Vec weight[kVectors];
      for (int j = 0; j < kVectors; ++j) weight[j] = Weights::at(w + p * block.panel_bytes, j);
#pragma GCC unroll 14
      for (int i = 0; i < ROWS; ++i) {
        const Vec value = splat(base[i / 4][i % 4 == 0 ? 0 : i % 4 == 1 ? stride : i % 4 == 2 ? stride2 : stride3]);
        for (int j = 0; j < kVectors; ++j) sum[i][p * kVectors + j] += value * weight[j];
      }
    }
  };
  if (part.active) {
    for (int k = 0; k < part.count; ++k)
      add(part.active[k], block.weights + (block.dense ? k : part.active[k]) * block.pitch);
  } else {  // with a pointer that runs along
    const char* w = block.weights + (block.dense ? 0 : part.begin * block.pitch);
    for (int k = 0; k < part.count; ++k, w += block.pitch) add(part.begin + k, w);
  }
  float* first = task.out + static_cast<int64_t>(row) * task.out_stride + static_cast<int64_t>(panel) * kPanel;
  if (!part.last && task.form != fastalex::kFcNibbles) {  // what joined() does then, from the registers
#pragma GCC unroll 14
    for (int i = 0; i < ROWS; ++i) {
      float* out = first + static_cast<int64_t>(i) * task.out_stride;
#pragma GCC unroll 16
      for (int j = 0; j < kSums; ++j)
        store(out + j * kLanes, part.first ? sum[i][j] : sum[i][j] + load(out + j * kLanes));
    }
    return;
  }
  for (int i = 0; i < ROWS; ++i)
    for (int j = 0; j < kSums; ++j) {
      float* out = first + static_cast<int64_t>(i) * task.out_stride + j / kVectors * kPanel;
      store(out + j % kVectors * kLanes, joined(task, panel + j / kVectors, j % kVectors, part, out, sum[i][j]));
    }
}

// The tiles of ROWS rows for as many of a strip's panels, from `p` on, as tiles of PANELS panels cover. share: cache
// lines of a row of weights, of those of the next part, that a panel's tile is to fetch for each of its own rows.
template <int ROWS, int PANELS>
int float_tiles(const fastalex::FcArgs& task, const FcStrip& strip, const FcPart& part, int p, int row, int share,
                Fetch* fetch) {
  for (; p + PANELS <= strip.panels; p += PANELS) {
    const FcBlock block = {strip.weights + p * static_cast<int64_t>(task.panel_bytes), strip.pitch, task.panel_bytes,
                           false};
    fc_tile<FloatWeights, ROWS, PANELS>(task, strip.first_panel + p, part, block, row,
                                        ROWS > 1 || p == 0 ? fetch : nullptr, share * PANELS);
  }
  return p;
}

// Rows of weights that are read one after the other for all panels of a strip, and as many to be fetched meanwhile.
struct FcStep {
  enum { kRowsAtOnce = 8 };
  const char *row[kRowsAtOnce], *ahead[kRowsAtOnce];
  float value[kRowsAtOnce];  // of the inputs
  int count;

  FcStep(const fastalex::FcArgs& task, const FcStrip& strip, const FcPart& part, const FcPart& next, int begin)
      : count(part.count - begin < kRowsAtOnce ? part.count - begin : static_cast<int>(kRowsAtOnce)) {
    for (int i = 0; i < count; ++i) {
      const int64_t at = part.row(begin + i);
      const int later = begin + kRowsAtOnce + i, there = later - part.count;
      row[i] = strip.weights + at * strip.pitch;
      ahead[i] = later < part.count   ? strip.weights + part.row(later) * strip.pitch
                 : there < next.count ? strip.weights + next.row(there) * strip.pitch
                                      : row[i];
      value[i] = task.in[at];
    }
  }
};

// Adds the products of a step to the sums of as many of a strip's panels, from `p` on, as PANELS at a time cover.
template <class Weights, int PANELS>
int add_step(const fastalex::FcArgs& task, const FcStrip& strip, const FcStep& step, int p, float* sums) {
  enum { kSums = PANELS * kVectors };
  for (; p + PANELS <= strip.panels; p += PANELS) {
    const int64_t first = static_cast<int64_t>(p) * task.panel_bytes;
    float* kept = sums + p * kPanel;
    Vec sum[kSums];
#pragma GCC unroll 16
    for (int j = 0; j < kSums; ++j) sum[j] = load(kept + j * kLanes);
    for (int i = 0; i < step.count; ++i) {
      // Narrow panels share a line, which the first of them fetches.
      for (int64_t line = (first + 63) / 64 * 64; line < first + PANELS * task.panel_bytes; line += 64)
        __builtin_prefetch(step.ahead[i] + line, 0, 3);
      const Vec value = splat(step.value[i]);
#pragma GCC unroll 16
      for (int j = 0; j < kSums; ++j)
        sum[j] += value * Weights::at(step.row[i] + first + j / kVectors * task.panel_bytes, j % kVectors);
    }
#pragma GCC unroll 16
    for (int j = 0; j < kSums; ++j) store(kept + j * kLanes, sum[j]);
  }
  return p;
}

// A part for one image and a strip of more panels than a tile, whose sums lie in the L1 cache between two steps.
template <class Weights>
void fc_one(const fastalex::FcArgs& task, const FcStrip& strip, const FcPart& part, const FcPart& next) {
  float sums[2 * fastalex::kRowBytes] __attribute__((aligned(64)));  // of int4, which has the most outputs a byte
  memset(sums, 0, strip.panels * kPanel * sizeof(float));
  for (int begin = 0; begin < part.count; begin += FcStep::kRowsAtOnce) {
    const FcStep step(task, strip, part, next, begin);
    const int p = add_step<Weights, kAccumulators / kVectors>(task, strip, step, 0, sums);
    add_step<Weights, 1>(task, strip, step, p, sums);
  }
  for (int p = 0; p < strip.panels; ++p) {
    float* out = task.out + static_cast<int64_t>(strip.first_panel + p) * kPanel;
    for (int j = 0; j < kVectors; ++j)
      store(out + j * kLanes, joined(task, strip.first_panel + p, j, part, out, load(sums + p * kPanel + j * kLanes)));
  }
}

void fc_float_part(const fastalex::FcArgs& task, const FcStrip& strip, const FcPart& part, Fetch* fetch) {
  const int many = task.n / kManyRows, rest = task.n % kManyRows;
  const int tiles = (many + (rest + kBatchRows - 1) / kBatchRows) * strip.panels;
  const int share = (static_cast<int>(strip.pitch / 64) + tiles - 1) / tiles;
  if (kManyRows > kBatchRows)
    for (int i = 0; i < many; ++i) float_tiles<kManyRows, 1>(task, strip, part, 0, i * kManyRows, share, fetch);
  const auto few = [&](auto rows, int row) {
    enum { kTile = decltype(rows)::kCount, kMost = kAccumulators / kVectors / kTile };
    const int p = float_tiles<kTile, (kMost > 1 ? kMost : 1)>(task, strip, part, 0, row, share, fetch);
    if (kMost > 1) float_tiles<kTile, 1>(task, strip, part, p, row, share, fetch);
  };
  for_batch_rows(task.n, few, kManyRows > kBatchRows ? many * kManyRows : 0);
}

// Widens the weights of a part in registers, for a batch of one tile.
template <class Weights>
void fc_tile_part(const fastalex::FcArgs& task, const FcStrip& strip, const FcPart& part, Fetch* fetch) {
  for (int p = 0; p < strip.panels; ++p) {
    const int64_t first = static_cast<int64_t>(p) * task.panel_bytes;
    fetch->rows((fastalex::kPartUnits + strip.panels - 1) / strip.panels);
    fc_tile<Weights, kBatchRows, 1>(task, strip.first_panel + p, part,
                                    {strip.weights + first, strip.pitch, task.panel_bytes, false}, 0, nullptr);
  }
}

// Widens the weights of a part to floats, once for all rows of the batch.
template <class Weights>
void fc_widened_part(const fastalex::FcArgs& task, const FcStrip& strip, const FcPart& part, Fetch* fetch) {
  float wide[fastalex::kPartUnits * kPanel];
  const FcBlock block = {reinterpret_cast<const char*>(wide), kPanel * sizeof(float), kPanel * sizeof(float), true};
  for (int p = 0; p < strip.panels; ++p) {
    fetch->rows((fastalex::kPartUnits + strip.panels - 1) / strip.panels);
    for (int k = 0; k < part.count; ++k) {
      const char* w = strip.weights + part.row(k) * strip.pitch + p * task.panel_bytes;
      for (int j = 0; j < kVectors; ++j) store(wide + k * kPanel + j * kLanes, Weights::at(w, j));
    }
    for_batch_rows(task.n, [&](auto rows, int row) {
      fc_tile<FloatWeights, decltype(rows)::kCount, 1>(task, strip.first_panel + p, part, block, row, nullptr);
    });
  }
}

// Calls body(part, the next one, what fetches that) for each part of a strip, in order.
template <typename Body>
inline void for_parts(const fastalex::FcArgs& task, const FcStrip& strip, const Body& body) {
  FcPart part = part_of(task, 0);
  for (int i = 1;; ++i) {
    const FcPart next = part_of(task, i);
    Fetch fetch(strip, next);
    body(part, next, &fetch);
    if (part.last) return;
    part = next;
  }
}

template <class Weights>
void fc_strip(const fastalex::FcArgs& task, const FcStrip& strip) {
  // A tile of one image that covers the strip keeps the sums in registers.
  const bool one = task.n == 1 && (!Weights::kIsFloat || kFewRegisters || strip.panels != kAccumulators / kVectors);
  for_parts(task, strip, [&](const FcPart& part, const FcPart& next, Fetch* fetch) {
    if (one) return fc_one<Weights>(task, strip, part, next);  // fetches by itself
    if (Weights::kIsFloat)
      fc_float_part(task, strip, part, fetch);
    else if (task.n == kBatchRows)
      fc_tile_part<Weights>(task, strip, part, fetch);
    else
      fc_widened_part<Weights>(task, strip, part, fetch);
    fetch->rest();
  });
}

// bf16 times bf16: a row of weights has those of two inputs.
#if defined(FASTALEX_USE_TILES)

// By tiles (tile_steps.h) for a batch of any size: one that was computed by vectors would have other bits. Steps are of
// rows that lie together, wherever rows are skipped, since the order of the additions depends on them.
class Bf16Panel {
 public:
  Bf16Panel(const fastalex::FcArgs& task, const FcStrip& strip) : task_(task), strip_(strip) {}

  void add_part(const FcPart& part, int p) {
    for_tile_rows(task_.n, 1, [&](auto inputs, const TileRowBlock& block) {
      tiles_.shape({block.rows, kTileUnits});
      add_rows<decltype(inputs)::kCount>(part, p, block);
    });
  }

 private:
  enum { kPanelRow = kPanel * 4 };

  float* out(int p, int row) const {
    return task_.out + static_cast<int64_t>(row) * task_.out_stride +
           static_cast<int64_t>(strip_.first_panel + p) * kPanel;
  }

  template <int INPUTS>
  void add_rows(const FcPart& part, int p, const TileRowBlock& block) {
    const int64_t pitch = static_cast<int64_t>(task_.out_stride) * static_cast<int64_t>(sizeof(float));
    const char* in = reinterpret_cast<const char*>(task_.prepared);
    const char* const rows[2] = {in + block.first * task_.plane, in + block.second * task_.plane};
    void* const sums[2] = {out(p, block.first), out(p, block.second)};
    if (part.first)
      tiles_.zero_sums<INPUTS>();
    else
      tiles_.load_sums<INPUTS>({sums[0], sums[1]}, pitch);
    const int end = part.last ? task_.rows : part.begin + fastalex::kPartUnits;
    int next = 0;
    for (int row = part.begin; row < end; row += kTileUnits) {
      const TileAt weights = weights_of(part, p, row, &next);
      if (!weights.data) continue;
      const char* const units[2] = {rows[0] + 4 * row, rows[1] + 4 * row};
      tiles_.add<fastalex::kBfloat16, INPUTS>(units, task_.plane, weights);
    }
    tiles_.store_sums<INPUTS>(sums, pitch);
    if (part.last) finish(p, block);
  }

  // The weights of a step from `row` on; null: it needs none. Needed rows are copied between those of an earlier step,
  // which are finite and meet zeros. next: the first of the part's needed rows that belongs to the step.
  TileAt weights_of(const FcPart& part, int p, int64_t row, int* next) {
    const char* panel = strip_.weights + p * kPanelRow;
    const TileAt all = {panel + row * strip_.pitch, strip_.pitch};
    if (!part.active) return all;
    const int first = *next;
    while (*next < part.count && part.active[*next] < row + kTileUnits) ++*next;
    if (*next - first == kTileUnits) return all;
    for (int i = first; i < *next; ++i)
      memcpy(needed_[part.active[i] - row], panel + part.active[i] * strip_.pitch, kPanelRow);
    return {*next > first ? needed_ : nullptr, kPanelRow};
  }

  void finish(int p, const TileRowBlock& block) const {
    const float* bias = task_.bias + static_cast<int64_t>(strip_.first_panel + p) * kPanel;
    for (int row = block.first; row < block.first + block.count; ++row)
      for (int j = 0; j < kPanel; j += kLanes)
        store(out(p, row) + j, activate(load(out(p, row) + j) + load(bias + j), task_.activation));
  }

  const fastalex::FcArgs& task_;
  const FcStrip& strip_;
  Tiles tiles_;
  char needed_[kTileUnits][kPanelRow] __attribute__((aligned(64))) = {};
};

void fc_bf16_strip(const fastalex::FcArgs& task, const FcStrip& strip) {
  Bf16Panel panel(task, strip);
  for_parts(task, strip, [&](const FcPart& part, const FcPart&, Fetch* fetch) {
    for (int p = 0; p < strip.panels; ++p) {
      fetch->rows((fastalex::kPartUnits + strip.panels - 1) / strip.panels);
      panel.add_part(part, p);
    }
    fetch->rest();
  });
}

#else

template <int ROWS>
void fc_bf16_tile(const fastalex::FcArgs& task, const FcStrip& strip, const FcPart& part, int p, int row,
                  Fetch* fetch) {
  Vec sum[ROWS][kVectors] = {};
  const uint8_t* in[ROWS];
  for (int i = 0; i < ROWS; ++i) in[i] = task.prepared + static_cast<int64_t>(row + i) * task.plane;
  for (int k = 0; k < part.count; ++k) {
    const int64_t at = part.row(k);
    const char* w = strip.weights + at * strip.pitch + p * task.panel_bytes;
    if (ROWS == 1 && fetch) fetch->rows(1);
    IntVec weight[kVectors];
    for (int j = 0; j < kVectors; ++j) weight[j] = load_units(w + 4 * j * kLanes);
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; ++i) {
      const int32_t unit = unit_at(in[i] + 4 * at);
      for (int j = 0; j < kVectors; ++j) sum[i][j] = Products<fastalex::kBfloat16>::add(sum[i][j], unit, weight[j]);
    }
  }
  const int panel = strip.first_panel + p;
  for (int i = 0; i < ROWS; ++i) {
    float* out = task.out + static_cast<int64_t>(row + i) * task.out_stride + static_cast<int64_t>(panel) * kPanel;
    for (int j = 0; j < kVectors; ++j) store(out + j * kLanes, joined(task, panel, j, part, out, sum[i][j]));
  }
}

void fc_bf16_strip(const fastalex::FcArgs& task, const FcStrip& strip) {
  for_parts(task, strip, [&](const FcPart& part, const FcPart&, Fetch* fetch) {
    for (int p = 0; p < strip.panels; ++p)
      for_batch_rows(task.n, [&](auto rows, int row) {
        if (decltype(rows)::kCount > 1) fetch->rows(fastalex::kPartUnits / strip.panels);
        fc_bf16_tile<decltype(rows)::kCount>(task, strip, part, p, row, p == 0 ? fetch : nullptr);
      });
    fetch->rest();
  });
}

#endif

void fully_connected(const void* erased, int index, int worker) {
  const fastalex::FcArgs& task = *static_cast<const fastalex::FcArgs*>(erased);
  if (task.form == fastalex::kFcBytePlanes || task.form == fastalex::kFcBytePlanes4) return fc_byte_planes(task, index);
  const FcStrip strip = strip_of(task, index);
  if (task.form == fastalex::kFcByteRows || task.form == fastalex::kFcByteRows4)
    return fc_byte_rows(task, strip, worker);
  if (task.form == fastalex::kFcNibbles) return fc_strip<NibbleWeights>(task, strip);
  if (task.form == fastalex::kFcBf16) return fc_bf16_strip(task, strip);
  if (task.storage == FASTALEX_BF16) return fc_strip<Bf16Weights>(task, strip);
  if (task.storage == FASTALEX_FP16) return fc_strip<HalfWeights>(task, strip);
  if (task.storage == FASTALEX_INT8) return fc_strip<ByteWeights>(task, strip);
  fc_strip<FloatWeights>(task, strip);
}

}  // namespace
#endif  // FASTALEX_CPU_KERNELS_FULLY_CONNECTED_H
