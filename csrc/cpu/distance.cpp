#include "cpu/distance.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "common/error.h"
#include "cpu/isa.h"
#include "cpu/thread_pool.h"

namespace fastalex {
namespace {

// Positions of one unit of work: a few strips for any instruction set, yet enough units for several threads on the
// smallest maps.
const int kPositionsPerUnit = 256;

// Images along a tile's side: their strips of 64 positions and 384 channels together fit a cache of 1 MiB.
const int kTile = 4;

// Half of what an int holds, so that no index of a strip or a tile leaves its range.
const size_t kMaxCount = size_t(1) << 30;

int checked(const char* what, size_t value) {
  if (value < 1 || value > kMaxCount) invalid(what, " is ", value, ", it must be from 1 to ", kMaxCount);
  return static_cast<int>(value);
}

// The offsets of values are int64_t.
void check_total(double values) {
  if (values > 1e18) invalid("the maps have more values than any memory holds");
}

void check_maps(const char* side, const float* const* maps, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    if (!maps[i]) invalid(side, "[", i, "] must not be NULL");
    if (reinterpret_cast<uintptr_t>(maps[i]) % sizeof(float))
      invalid(side, "[", i, "] must lie at a multiple of 4 bytes");
  }
}

int ceil_div(int value, int by) { return (value + by - 1) / by; }

// The number of units of a job, which is an int.
int unit_count(double count) {
  if (count > std::numeric_limits<int32_t>::max()) invalid("there are too many maps for one call");
  return static_cast<int>(count);
}

}  // namespace

void unit_normalize(float* maps, size_t images, size_t channels, size_t positions, float eps, bool eps_inside,
                    int threads) {
  UnitNormArgs task = {};
  task.maps = maps;
  const int count = checked("images", images);
  task.channels = checked("channels", channels);
  task.positions = checked("positions", positions);
  task.positions_per_unit = kPositionsPerUnit;
  task.units_per_image = ceil_div(task.positions, kPositionsPerUnit);
  check_total(1.0 * images * channels * positions);
  task.eps = eps;
  task.eps_inside = eps_inside;
  const std::shared_ptr<ThreadPool> pool = ThreadPool::shared(threads);
  ThreadPool::Lease workers(pool.get());
  workers.run(cpu_kernels().unit_norm, &task, unit_count(1.0 * count * task.units_per_image));
}

void map_distances(const fastalex_distances& distances, int threads) {
  MapDistanceArgs task = {};
  task.a = distances.a;
  task.b = distances.b;
  task.weights = distances.weights;
  task.channels = checked("channels", distances.channels);
  task.positions = checked("positions", distances.positions);
  task.rows = checked("rows", distances.rows);
  task.columns = checked("columns", distances.columns);
  task.pairing = distances.pairing;
  task.maps = distances.maps;
  task.positions_per_unit = kPositionsPerUnit;
  task.units_per_tile = ceil_div(task.positions, kPositionsPerUnit);
  const bool zipped = distances.pairing == FASTALEX_ZIPPED;
  if (distances.pairing < FASTALEX_ZIPPED || distances.pairing > FASTALEX_TRIANGLE)
    invalid("there is no pairing ", distances.pairing);
  if (zipped && task.columns != 1) invalid("zipped pairs have 1 column, not ", task.columns);
  if (distances.pairing == FASTALEX_TRIANGLE && distances.maps) invalid("a triangle of pairs has no maps");
  check_total(1.0 * distances.channels * distances.positions);
  check_total(1.0 * distances.rows * distances.columns * distances.positions);
  task.tile = zipped ? 1 : kTile;
  task.tiles_across = ceil_div(task.columns, task.tile);
  const int units = unit_count(1.0 * ceil_div(task.rows, task.tile) * task.tiles_across * task.units_per_tile);
  check_maps("a", distances.a, distances.rows);
  check_maps("b", distances.b, zipped ? distances.rows : distances.columns);
  std::vector<double> partial(distances.rows * distances.columns * task.units_per_tile);
  task.partial = partial.data();
  const std::shared_ptr<ThreadPool> pool = ThreadPool::shared(threads);
  {
    ThreadPool::Lease workers(pool.get());
    workers.run(cpu_kernels().map_distance, &task, units);
  }
  for (size_t pair = 0; pair < distances.rows * distances.columns; ++pair) {
    const double* from = partial.data() + pair * task.units_per_tile;
    distances.sums[pair] = 0;
    for (int i = 0; i < task.units_per_tile; ++i) distances.sums[pair] += from[i];
  }
}

}  // namespace fastalex
