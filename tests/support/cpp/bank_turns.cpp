// For each line of standard input, the bytes of a read and the addresses of 32 lanes: prints the turns that the banks
// of shared memory take. Then the rows and columns of the threads of each kind of warp that the kernels have.
#include <cstdio>

#include "cuda/kernels/simt_lanes.cuh"

namespace simt = fastalex::cuda::simt;

template <int WarpY, int TY, int TX>
void print_threads() {
  std::printf("%d %d", TY, TX);
  for (int i = 0; i < TY * TX; ++i)
    std::printf(" %d:%d", simt::Threads<WarpY, TY, TX>::ty(i), simt::Threads<WarpY, TY, TX>::tx(i));
  std::printf("\n");
}

int main() {
  int bytes;
  while (std::scanf("%d", &bytes) == 1) {
    simt::LaneAddresses lanes = {};
    for (int& at : lanes.of)
      if (std::scanf("%d", &at) != 1) return 1;
    std::printf("%d\n", simt::read_turns(lanes, bytes));
  }
  print_threads<8, 8, 8>();
  print_threads<8, 16, 12>();
  print_threads<4, 12, 8>();
  print_threads<4, 4, 16>();
}
