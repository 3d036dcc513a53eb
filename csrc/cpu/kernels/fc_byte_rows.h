// Fully connected layers by products of bytes, for latency: the weights lie row by row, a row being those of one input,
// so that a row whose input is zero is not read. Four rows are interleaved to the units that the products take.
#ifndef FASTALEX_CPU_KERNELS_FC_BYTE_ROWS_H
#define FASTALEX_CPU_KERNELS_FC_BYTE_ROWS_H

#include "cpu/kernels/fc_byte_planes.h"
#include "cpu/kernels/fc_prepare.h"
#include "cpu/kernels/fc_strip.h"
#include "cpu/kernels/fc_tiles.h"
#include "cpu/kernels/products.h"
#include "cpu/kernels/tile.h"
#include "cpu/kernels/values.h"
#include "fastalex.h"

namespace {

#if defined(FASTALEX_USE_BYTES)

// The rows [begin, end) of `active`, of the groups from `group` on.
struct BytePart {
  int begin, end, group, groups;
  bool first, last;
};

inline BytePart byte_part(const fastalex::FcArgs& task, int index) {
  enum { kGroups = fastalex::kBytePartRows / FASTALEX_INT4_GROUP };
  const int groups = groups_of(task), group = index * kGroups;
  const int count = groups - group < kGroups ? groups - group : static_cast<int>(kGroups);
  return {task.active_starts[group], task.active_starts[group + count], group, count, index == 0,
          group + count >= groups};
}

// A panel of a strip: its bytes of each row, and its place among all panels.
struct BytePanel {
  const char* weights;
  int64_t pitch;
  int index;
  BytePanel(const FcStrip& strip, int p)
      : weights(strip.weights + p * kBytes), pitch(strip.pitch), index(strip.first_panel + p) {}
  const char* row(int32_t row) const { return weights + row * pitch; }
};

// The lines of a panel in the rows [next, end) of the list, which are fetched one by one between products. A loop works
// on a copy, which stays in registers.
struct ByteFetch {
  const char* weights;
  int64_t pitch;
  const int32_t *next, *end;
  void line() {
    if (next < end) __builtin_prefetch(weights + *next++ * pitch, 0, 2);
  }
};

// Bytes of the planes of a row of the batch, in the order of the list.
template <int PLANES>
struct RowPlanes {
  const uint8_t* plane[PLANES];
  RowPlanes(const fastalex::FcArgs& task, int row) {
    for (int d = 0; d < PLANES; ++d)
      plane[d] = task.listed + (static_cast<int64_t>(row) * PLANES + d) * task.listed_plane;
  }
};

// int8: adds a part's sums, which are exact, to those of the parts before; after the last one scales them.
template <int PLANES>
inline void join_int8(const fastalex::FcArgs& task, const BytePart& part, int64_t lane, int row,
                      IntVec (&sum)[PLANES]) {
  for (int d = 0; d < PLANES; ++d) {
    int32_t* total = task.totals + (static_cast<int64_t>(row) * PLANES + d) * task.out_stride + lane;
    if (!part.first) sum[d] += load_units(total);
    if (!part.last) memcpy(total, &sum[d], sizeof sum[d]);
  }
  if (part.last) store_int8(task, lane, row, sum);
}

// int4: scales a group's sums, adds them to those of the groups before, and finishes after the last one.
//   sum_k (nibble - 8) (plane - zero) = sum nibble plane - 8 sum plane - zero (sum nibble - 8 count)
// ones: sum nibble, which only a row with a zero needs; count: rows of the group.
template <int PLANES>
inline void join_int4(const fastalex::FcArgs& task, int group, int64_t scale, int64_t lane, int row,
                      IntVec (&sum)[PLANES], IntVec ones) {
  const int groups = groups_of(task), left = task.k - group * FASTALEX_INT4_GROUP;
  const int count = left < FASTALEX_INT4_GROUP ? left : static_cast<int>(FASTALEX_INT4_GROUP);
  const int32_t* plane_sums = task.plane_sums + (static_cast<int64_t>(row) * groups + group) * PLANES;
  for (int d = 0; d < PLANES; ++d) sum[d] -= splat_unit(8 * plane_sums[d]);
  sum[PLANES - 1] -= splat_unit(task.row_zero[row]) * (ones - splat_unit(8 * count));
  float* out = task.out + static_cast<int64_t>(row) * task.out_stride + lane;
  Vec total = group ? load(out) : Vec{};
  total += joined_planes(sum) * load(task.scale + scale);
  if (group + 1 < groups)
    store(out, total);
  else
    store_row(task, lane, row, total);
}

// A byte of 1 for each of the rows at places [a, a + 4) of a group that is not padding, where all rows are listed.
inline int32_t ones_at(const fastalex::FcArgs& task, int group, int a) {
  const int left = task.k - group * FASTALEX_INT4_GROUP - (a - task.active_starts[group]);
  if (left <= 0) return 0;  // four rows of padding
  return left >= 4 ? 0x01010101 : ((1 << 8 * left) - 1) & 0x01010101;
}

// One image ---------------------------------------------------------------------------------------------------------
//
// int8: whole rows of the strip are read one after the other, and the sums of its panels lie in the L1 cache. int4 goes
// panel by panel through the rows of a group, whose sums stay in registers.

enum { kStripPanels = fastalex::kRowBytes / kBytes, kAhead = 16 };  // most panels of a strip; rows to fetch ahead

// A strip's weights and the planes of one image.
template <int PLANES>
struct ByteStrip {
  const fastalex::FcArgs& task;
  const FcStrip& of;
  RowPlanes<PLANES> in;
  const char* row(int a) const { return of.weights + task.active[a] * of.pitch; }
};

// The rows at places [a, a + 8) of the list.
enum { kQuads = fastalex::kListedRows / 4 };
struct ByteRows {
  const char* row[4 * kQuads];
  const char* ahead[4 * kQuads];
  template <int PLANES>
  ByteRows(const ByteStrip<PLANES>& strip, int a) {
    const int last = strip.task.active_count - 1;
    for (int i = 0; i < 4 * kQuads; ++i) {
      row[i] = strip.row(a + i);
      ahead[i] = strip.row(a + i + kAhead < last ? a + i + kAhead : last);
    }
  }
};

inline void load_quads(const ByteRows& rows, int panel, IntVec (&units)[kQuads][kByteVectors]) {
  for (int q = 0; q < kQuads; ++q) {
    const char* const four[4] = {rows.row[4 * q] + panel * kBytes, rows.row[4 * q + 1] + panel * kBytes,
                                 rows.row[4 * q + 2] + panel * kBytes, rows.row[4 * q + 3] + panel * kBytes};
    interleave(four, units[q]);
    for (int i = 0; i < 4; ++i) __builtin_prefetch(rows.ahead[4 * q + i] + panel * kBytes, 0, 3);
  }
}

template <int PLANES>
inline void add_int8_rows(const ByteStrip<PLANES>& strip, int a, IntVec (*sums)[kByteVectors][PLANES]) {
  const ByteRows rows(strip, a);
  for (int p = 0; p < strip.of.panels; ++p) {
    IntVec units[kQuads][kByteVectors];
    load_quads(rows, p, units);
    for (int d = 0; d < PLANES; ++d)
      for (int q = 0; q < kQuads; ++q) {
        const int32_t unit = unit_at(strip.in.plane[d] + a + 4 * q);
        for (int v = 0; v < kByteVectors; ++v) sums[p][v][d] = add_bytes(sums[p][v][d], unit, units[q][v]);
      }
  }
}

template <int PLANES>
void int8_one(const ByteStrip<PLANES>& strip) {
  IntVec sums[kStripPanels][kByteVectors][PLANES];
  for (int p = 0; p < strip.of.panels; ++p) memset(sums[p], 0, sizeof sums[p]);
  for (int a = 0; a < strip.task.active_count; a += 4 * kQuads) add_int8_rows<PLANES>(strip, a, sums);
  const BytePart whole = {0, 0, 0, 0, true, true};
  for (int p = 0; p < strip.of.panels; ++p)
    for (int v = 0; v < kByteVectors; ++v)
      join_int8<PLANES>(strip.task, whole, static_cast<int64_t>(strip.of.first_panel + p) * kBytes + v * kLanes, 0,
                        sums[p][v]);
}

// The lines of a strip in the rows of a group, which are fetched row by row.
struct StripFetch {
  const FcStrip& of;
  const int32_t *next, *end;
  int64_t line;
  StripFetch(const fastalex::FcArgs& task, const FcStrip& strip, int group) : of(strip), line(0) {
    const bool there = group < groups_of(task);
    next = there ? task.active + task.active_starts[group] : nullptr;
    end = there ? task.active + task.active_starts[group + 1] : nullptr;
  }
  void lines(int count) {
    for (; count > 0 && next < end; --count) {
      __builtin_prefetch(of.weights + *next * of.pitch + line, 0, 2);
      line += kBytes;
      if (line == of.pitch) line = 0, ++next;
    }
  }
};

// int4: a panel's sums over a group stay in registers, while the rows of its next group are fetched.
template <int PLANES, bool SHIFTED>
inline void add_int4_rows(const ByteStrip<PLANES>& strip, const BytePanel& panel, int group, StripFetch* fetch,
                          IntVec (&sum)[2][kByteVectors][PLANES], IntVec (&ones)[2][kByteVectors]) {
  const fastalex::FcArgs& task = strip.task;
  const int end = task.active_starts[group + 1];
  for (int a = task.active_starts[group]; a < end; a += 4) {
    const char* const rows[4] = {panel.row(task.active[a]), panel.row(task.active[a + 1]),
                                 panel.row(task.active[a + 2]), panel.row(task.active[a + 3])};
    IntVec units[kByteVectors];
    interleave(rows, units);
    fetch->lines(4);
#pragma GCC unroll 2
    for (int high = 0; high < 2; ++high)
#pragma GCC unroll 4
      for (int v = 0; v < kByteVectors; ++v) {
        const IntVec w = nibbles(units[v], high);
        for (int d = 0; d < PLANES; ++d)
          sum[high][v][d] = add_bytes(sum[high][v][d], unit_at(strip.in.plane[d] + a), w);
        if (SHIFTED) ones[high][v] = add_bytes(ones[high][v], ones_at(task, group, a), w);
      }
  }
}

template <int PLANES, bool SHIFTED>
void int4_one(const ByteStrip<PLANES>& strip) {
  const fastalex::FcArgs& task = strip.task;
  const int groups = groups_of(task);
  for (int group = 0; group < groups; ++group) {
    StripFetch fetch(task, strip.of, group + 1);
    for (int p = 0; p < strip.of.panels; ++p) {
      const BytePanel panel(strip.of, p);
      const int64_t scale = (static_cast<int64_t>(panel.index) * groups + group) * 2 * kBytes;
      // The scales come from memory, too, and are needed when the rows are done.
      for (int i = 0; i < 2 * kBytes; i += kLanes) __builtin_prefetch(task.scale + scale + i);
      IntVec sum[2][kByteVectors][PLANES] = {}, ones[2][kByteVectors] = {};
      add_int4_rows<PLANES, SHIFTED>(strip, panel, group, &fetch, sum, ones);
      for (int high = 0; high < 2; ++high)
        for (int v = 0; v < kByteVectors; ++v) {
          const int64_t within = high * kBytes + v * kLanes;
          join_int4<PLANES>(task, group, scale + within, static_cast<int64_t>(panel.index) * 2 * kBytes + within, 0,
                            sum[high][v], ones[high][v]);
        }
    }
  }
}

// Several images ----------------------------------------------------------------------------------------------------
//
// A part of a panel is interleaved once for all of them.

template <int PLANES, int ROWS>
inline void planes_of(const fastalex::FcArgs& task, int row, const uint8_t* (*in)[ROWS][PLANES]) {
  for (int i = 0; i < ROWS; ++i)
    for (int d = 0; d < PLANES; ++d) (*in)[i][d] = RowPlanes<PLANES>(task, row + i).plane[d];
}

// ROWS rows of the batch times vectors [first, first + 2) of the interleaved units of a part.
template <int PLANES, int ROWS>
void int8_tile(const fastalex::FcArgs& task, const BytePanel& panel, const BytePart& part, const IntVec* units, int row,
               int first, ByteFetch* shared) {
  ByteFetch fetch = *shared;
  IntVec sum[ROWS][2][PLANES] = {};
  const uint8_t* in[ROWS][PLANES];
  planes_of(task, row, &in);
  for (int a = part.begin; a < part.end; a += 4, units += kByteVectors) {
    const IntVec w[2] = {units[first], units[first + 1]};
    fetch.line();
    add_units<PLANES, ROWS>(in, a, w, sum);
  }
  *shared = fetch;
  for (int i = 0; i < ROWS; ++i)
    for (int j = 0; j < 2; ++j)
      join_int8<PLANES>(task, part, static_cast<int64_t>(panel.index) * kBytes + (first + j) * kLanes, row + i,
                        sum[i][j]);
}

// ROWS rows of the batch times vector `v` of the interleaved units of a part, which has two vectors of outputs.
template <int PLANES, int ROWS>
void int4_tile(const fastalex::FcArgs& task, const BytePanel& panel, const BytePart& part, const IntVec* units, int row,
               int v, ByteFetch* shared) {
  const bool shifted = any_shifted(task, row, ROWS);
  ByteFetch fetch = *shared;
  const uint8_t* in[ROWS][PLANES];
  planes_of(task, row, &in);
  for (int group = part.group; group < part.group + part.groups; ++group) {
    IntVec sum[ROWS][2][PLANES] = {}, ones[2] = {};
    for (int a = task.active_starts[group]; a < task.active_starts[group + 1]; a += 4, units += kByteVectors) {
      const IntVec w[2] = {nibbles(units[v], 0), nibbles(units[v], 1)};
      fetch.line();
      add_units<PLANES, ROWS>(in, a, w, sum);
      if (shifted)
        for (int j = 0; j < 2; ++j) ones[j] = add_bytes(ones[j], ones_at(task, group, a), w[j]);
    }
    const int64_t scale = (static_cast<int64_t>(panel.index) * groups_of(task) + group) * 2 * kBytes;
    for (int i = 0; i < ROWS; ++i)
      for (int j = 0; j < 2; ++j) {
        const int64_t within = j * kBytes + v * kLanes;
        join_int4<PLANES>(task, group, scale + within, static_cast<int64_t>(panel.index) * 2 * kBytes + within, row + i,
                          sum[i][j], ones[j]);
      }
  }
  *shared = fetch;
}

template <int PLANES, int ROWS>
void byte_tile(const fastalex::FcArgs& task, const BytePanel& panel, const BytePart& part, const IntVec* units, int row,
               ByteFetch* fetch) {
  if (task.form == fastalex::kFcByteRows) {
    for (int first = 0; first < kByteVectors; first += 2)
      int8_tile<PLANES, ROWS>(task, panel, part, units, row, first, fetch);
    return;
  }
  for (int v = 0; v < kByteVectors; ++v) int4_tile<PLANES, ROWS>(task, panel, part, units, row, v, fetch);
}

#if defined(FASTALEX_USE_TILES)
// The interleaved units of a part times all rows of the batch, by tiles. Steps are filled up with units of zeros: what
// the planes hold there counts for nothing.
template <int PLANES>
void int8_tiles(const fastalex::FcArgs& task, const BytePanel& panel, const BytePart& part, IntVec* units,
                ByteFetch* fetch) {
  const int count = (part.end - part.begin) / 4, whole = (count + kTileUnits - 1) / kTileUnits * kTileUnits;
  memset(units + count * kByteVectors, 0, (whole - count) * kByteVectors * sizeof(IntVec));
  const uint8_t* planes = task.listed + part.begin;
  const int results = task.n * kByteVectors, share = (part.end - part.begin + results - 1) / results;
  Tiles tiles;
  for (int first = 0; first < kByteVectors; first += kVectors) {
    const TileAt weights = {units + first, kBytes * 4};
    byte_tiles<PLANES>(task.n, planes, task.listed_plane, weights, whole, &tiles, [&](int image, int j, auto& sum) {
      for (int line = 0; line < share; ++line) fetch->line();
      join_int8<PLANES>(task, part, static_cast<int64_t>(panel.index) * kBytes + (first + j) * kLanes, image, sum);
    });
  }
}
#endif

template <int PLANES>
void byte_rows(const fastalex::FcArgs& task, const BytePanel& panel, const BytePanel& next, const BytePart& part,
               IntVec* units) {
  for (int a = part.begin; a < part.end; a += 4) {
    const char* const rows[4] = {panel.row(task.active[a]), panel.row(task.active[a + 1]),
                                 panel.row(task.active[a + 2]), panel.row(task.active[a + 3])};
    IntVec quad[kByteVectors];
    interleave(rows, quad);
    memcpy(units + (a - part.begin) / 4 * kByteVectors, quad, sizeof quad);
  }
  ByteFetch fetch = {next.weights, next.pitch, task.active + part.begin, task.active + part.end};
#if defined(FASTALEX_USE_TILES)
  if (task.form == fastalex::kFcByteRows && bytes_by_tiles(task))
    return int8_tiles<PLANES>(task, panel, part, units, &fetch);
#endif
  enum { kTile = PlaneRows<PLANES>::kCount };
  int row = 0;
  for (; row + kTile <= task.n; row += kTile) byte_tile<PLANES, kTile>(task, panel, part, units, row, &fetch);
  for (; row < task.n; ++row) byte_tile<PLANES, 1>(task, panel, part, units, row, &fetch);
}

#if !defined(FASTALEX_USE_VNNI)
// int8 in 16 bits: a part's inputs are widened once for the strip, its weights once for all images.
struct ShortPart {
  int32_t* in;      // [row of the batch][kBytePartRows / 2]: pairs of inputs
  IntVec* weights;  // [every kVectors vectors of the panel][pair][kVectors]
};

void widen_inputs(const fastalex::FcArgs& task, const BytePart& part, const ShortPart& to) {
  for (int row = 0; row < task.n; ++row) {
    int32_t* pairs = to.in + static_cast<int64_t>(row) * (fastalex::kBytePartRows / 2);
    for (int a = part.begin; a < part.end; a += 4) {
      const int32_t unit = unit_at(RowPlanes<1>(task, row).plane[0] + a);
      *pairs++ = unit & 0x00ff00ff;
      *pairs++ = unit >> 8 & 0x00ff00ff;
    }
  }
}

void widen_weights(const fastalex::FcArgs& task, const BytePanel& panel, const BytePart& part, const ShortPart& to) {
  const int64_t pairs = (part.end - part.begin) / 2;
  for (int a = part.begin; a < part.end; a += 4) {
    const char* const rows[4] = {panel.row(task.active[a]), panel.row(task.active[a + 1]),
                                 panel.row(task.active[a + 2]), panel.row(task.active[a + 3])};
    IntVec quad[kByteVectors];
    interleave(rows, quad);
    for (int v = 0; v < kByteVectors; ++v) {
      IntVec* unit = to.weights + (v / kVectors * pairs + (a - part.begin) / 2) * kVectors + v % kVectors;
      unit[0] = even_bytes(quad[v]);
      unit[kVectors] = odd_bytes(quad[v]);
    }
  }
}

void short_rows(const fastalex::FcArgs& task, const BytePanel& panel, const BytePanel& next, const BytePart& part,
                const ShortPart& widened) {
  const int pairs = (part.end - part.begin) / 2, tiles = (task.n + kRows - 1) / kRows * (kByteVectors / kVectors);
  ByteFetch fetch = {next.weights, next.pitch, task.active + part.begin, task.active + part.end};
  widen_weights(task, panel, part, widened);
  for (int v = 0; v < kByteVectors; v += kVectors) {
    const IntVec* weights = widened.weights + static_cast<int64_t>(v) * pairs;
    for_row_tiles(task.n, [&](auto rows, int row) {
      enum { kCount = decltype(rows)::kCount };
      const char* in[kCount];
      for (int i = 0; i < kCount; ++i)
        in[i] =
            reinterpret_cast<const char*>(widened.in + static_cast<int64_t>(row + i) * (fastalex::kBytePartRows / 2));
      for (int i = 0; i < 2 * pairs / tiles + 1; ++i) fetch.line();
      IntVec sums[kCount * kVectors];
      multiply<fastalex::kQuantized, kCount>(in, nullptr, pairs, reinterpret_cast<const char*>(weights), sums);
      for (int i = 0; i < kCount; ++i)
        for (int j = 0; j < kVectors; ++j) {
          IntVec sum[1] = {sums[i * kVectors + j]};
          join_int8<1>(task, part, static_cast<int64_t>(panel.index) * kBytes + (v + j) * kLanes, row + i, sum);
        }
    });
  }
}

void short_strip(const fastalex::FcArgs& task, const FcStrip& of, char* scratch) {
  const ShortPart widened = {reinterpret_cast<int32_t*>(scratch + 2 * fastalex::kBytePartRows * kBytes),
                             reinterpret_cast<IntVec*>(scratch)};
  BytePart part = {};
  for (int i = 0; !part.last; ++i) {
    part = byte_part(task, i);
    widen_inputs(task, part, widened);
    for (int p = 0; p < of.panels; ++p)
      short_rows(task, BytePanel(of, p), BytePanel(of, p + 1 < of.panels ? p + 1 : p), part, widened);
  }
}
#endif

template <int PLANES>
void byte_strip(const fastalex::FcArgs& task, const FcStrip& of, int worker) {
  char* scratch = task.scratch + worker * task.scratch_bytes;
  if (task.n == 1) {
    const ByteStrip<PLANES> strip = {task, of, RowPlanes<PLANES>(task, 0)};
    if (task.form == fastalex::kFcByteRows) return int8_one<PLANES>(strip);
    return task.row_zero[0] ? int4_one<PLANES, true>(strip) : int4_one<PLANES, false>(strip);
  }
#if !defined(FASTALEX_USE_VNNI)
  if (task.form == fastalex::kFcByteRows) return short_strip(task, of, scratch);
#endif
  IntVec* units = reinterpret_cast<IntVec*>(scratch);
  BytePart part = {};
  for (int i = 0; !part.last; ++i) {
    part = byte_part(task, i);
    for (int p = 0; p < of.panels; ++p)
      byte_rows<PLANES>(task, BytePanel(of, p), BytePanel(of, p + 1 < of.panels ? p + 1 : p), part, units);
  }
}

// A row with a NaN or an infinity has no byte planes: its products are computed one by one, of all rows of weights.
void unbounded_byte_row(const fastalex::FcArgs& task, const BytePanel& panel, int row) {
  const bool int4 = task.form == fastalex::kFcByteRows4;
  const int halves = int4 ? 2 : 1, groups = groups_of(task);
  const int64_t first = static_cast<int64_t>(panel.index) * halves * kBytes;  // output
  const float* in = task.in + static_cast<int64_t>(row) * task.in_stride;
  Vec sum[2][kByteVectors] = {};
  for (int k = 0; k < task.k; ++k) {
    const char* const same[4] = {panel.row(k), panel.row(k), panel.row(k), panel.row(k)};
    IntVec units[kByteVectors];
    interleave(same, units);
    const float* scale =
        task.scale +
        (int4 ? (static_cast<int64_t>(panel.index) * groups + k / FASTALEX_INT4_GROUP) * 2 * kBytes : first);
    for (int high = 0; high < halves; ++high)
      for (int v = 0; v < kByteVectors; ++v) {
        const IntVec q = int4 ? (nibbles(units[v], high) & splat_unit(15)) - splat_unit(8) : (units[v] << 24) >> 24;
        sum[high][v] += splat(in[k]) * (to_float(q) * load(scale + high * kBytes + v * kLanes));
      }
  }
  for (int high = 0; high < halves; ++high)
    for (int v = 0; v < kByteVectors; ++v) {
      const int64_t lane = first + high * kBytes + v * kLanes;
      store(task.out + static_cast<int64_t>(row) * task.out_stride + lane,
            activate(sum[high][v] + load(task.bias + lane), task.activation));
    }
}

void fc_byte_rows(const fastalex::FcArgs& task, const FcStrip& strip, int worker) {
  if (task.byte_planes == 1) byte_strip<1>(task, strip, worker);
#if defined(FASTALEX_USE_VNNI)
  if (task.byte_planes == 2) byte_strip<2>(task, strip, worker);
  if (task.byte_planes > 2) byte_strip<fastalex::kMaxBytePlanes>(task, strip, worker);
#endif
  for (int row = 0; row < task.n; ++row)
    if (task.row_scale[row] != task.row_scale[row])
      for (int p = 0; p < strip.panels; ++p) unbounded_byte_row(task, BytePanel(strip, p), row);
}

#else

void fc_byte_rows(const fastalex::FcArgs&, const FcStrip&, int) {
}  // CpuKernels::byte_planes is 0: no layer has this form

#endif

}  // namespace
#endif  // FASTALEX_CPU_KERNELS_FC_BYTE_ROWS_H
