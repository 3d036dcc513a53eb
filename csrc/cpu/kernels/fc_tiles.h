// Fully connected layers by tiles (tile_steps.h): the rows of the input are images, or the byte planes of images.
#ifndef FASTALEX_CPU_KERNELS_FC_TILES_H
#define FASTALEX_CPU_KERNELS_FC_TILES_H

#include "cpu/kernels/tile_steps.h"
#include "cpu/kernels/values.h"

#if defined(FASTALEX_USE_TILES)

namespace {

// Rows of the input that are computed at once: in one tile, or in two, which have some rows in common if the number of
// rows is odd.
struct TileRowBlock {
  int first, count, inputs, rows, second;
  TileRowBlock(int first_row, int row_count)
      : first(first_row),
        count(row_count),
        inputs(count > kTileRows ? 2 : 1),
        rows((count + inputs - 1) / inputs),
        second(first + count - rows) {}
};

// Calls body(RowCount<INPUTS>, block) for the rows of a batch, in blocks of at most two tiles that do not divide an
// image's rows.
template <typename Body>
inline void for_tile_rows(int images, int rows_of_image, const Body& body) {
  const int most = 2 * kTileRows / rows_of_image;
  for (int image = 0; image < images; image += most) {
    const int count = images - image < most ? images - image : most;
    const TileRowBlock block(image * rows_of_image, count * rows_of_image);
    if (block.inputs == 2)
      body(RowCount<2>(), block);
    else
      body(RowCount<1>(), block);
  }
}

// Products of bytes ------------------------------------------------------------------------------------------------

// Whether tiles are faster than vectors. A step of 16 units and 32 outputs takes tiles two instructions of 16 cycles,
// however many of 16 rows they have; vectors take 32 instructions a row, two a cycle. So they are even at two rows,
// where reading the weights takes longer than either. Sums are exact: which of them adds changes no bit.
inline bool bytes_by_tiles(const fastalex::FcArgs& task) { return task.n * task.byte_planes >= 4; }

// Calls finish(image, vector, sums of its byte planes) for all images and two vectors of outputs.
// planes: [image][plane][units], `pitch` bytes from plane to plane; weights: [unit][outputs], units `weights.pitch`
// bytes apart; `units`: a multiple of kTileUnits.
template <int PLANES, typename Finish>
inline void byte_tiles(int images, const uint8_t* planes, int64_t pitch, TileAt weights, int units, Tiles* tiles,
                       const Finish& finish) {
  for_tile_rows(images, PLANES, [&](auto inputs, const TileRowBlock& block) {
    enum { kInputs = decltype(inputs)::kCount };
    const char* const rows[2] = {reinterpret_cast<const char*>(planes + block.first * pitch),
                                 reinterpret_cast<const char*>(planes + block.second * pitch)};
    tiles->shape({block.rows, kTileUnits});
    tiles->zero_sums<kInputs>();
    for (int64_t unit = 0; unit < units; unit += kTileUnits) {
      const char* const in[2] = {rows[0] + 4 * unit, rows[1] + 4 * unit};
      const char* w = static_cast<const char*>(weights.data) + unit * weights.pitch;
      tiles->add<fastalex::kQuantized, kInputs>(in, pitch, {w, weights.pitch});
    }
    IntVec sums[2 * kTileRows][kVectors];
    void* const to[2] = {sums[0], sums[block.second - block.first]};
    tiles->store_sums<kInputs>(to, sizeof sums[0]);
    for (int row = 0; row < block.count; row += PLANES)
      for (int j = 0; j < kVectors; ++j) {
        IntVec sum[PLANES];
        for (int d = 0; d < PLANES; ++d) sum[d] = sums[row + d][j];
        finish((block.first + row) / PLANES, j, sum);
      }
  });
}

}  // namespace

#endif  // FASTALEX_USE_TILES
#endif  // FASTALEX_CPU_KERNELS_FC_TILES_H
