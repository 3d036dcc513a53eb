// Adds the products of tiles (csrc/cpu/kernels/tile_steps.h) once. Reads four int32 from stdin, DType, tiles of inputs,
// their rows and their units, then int32 inputs [2][16][16], weights [16][32] and sums [2][16][32]; writes the sums.
// Compiled for v4amx it uses the processor's tiles, otherwise their twin.
#include "cpu/kernels/tile_steps.h"

#include <cstdio>

#include "cpu/amx.h"

namespace {

struct Problem {
  int32_t dtype, inputs, rows, units;
  int32_t in[2][16][16], weights[16][32], sums[2][16][32];
};

template <int DTYPE, int INPUTS>
void solve(Problem* problem) {
  const char* const in[2] = {reinterpret_cast<const char*>(problem->in[0]),
                             reinterpret_cast<const char*>(problem->in[1])};
  void* const sums[2] = {problem->sums[0], problem->sums[1]};
  Tiles tiles;
  tiles.shape({problem->rows, problem->units});
  tiles.load_sums<INPUTS>({sums[0], sums[1]}, sizeof problem->sums[0][0]);
  tiles.add<DTYPE, INPUTS>(in, sizeof problem->in[0][0], {problem->weights, sizeof problem->weights[0]});
  tiles.store_sums<INPUTS>(sums, sizeof problem->sums[0][0]);
}

template <int DTYPE>
void solve(Problem* problem) {
  if (problem->inputs == 2)
    solve<DTYPE, 2>(problem);
  else
    solve<DTYPE, 1>(problem);
}

}  // namespace

int main() {
#if defined(FASTALEX_ISA_v4amx)
  const std::string refusal = fastalex::request_tiles(fastalex::saved_states());
  if (!refusal.empty()) {
    std::fprintf(stderr, "%s\n", refusal.c_str());
    return 1;
  }
#endif
  Problem problem;
  if (std::fread(&problem, sizeof problem, 1, stdin) != 1) return 1;
  if (problem.dtype == fastalex::kQuantized)
    solve<fastalex::kQuantized>(&problem);
  else
    solve<fastalex::kBfloat16>(&problem);
  return std::fwrite(problem.sums, sizeof problem.sums, 1, stdout) == 1 ? 0 : 1;
}
