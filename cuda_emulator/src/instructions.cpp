// Asynchronous copies and the tensor cores' instructions, from the PTX manual (sections "cp.async", "ldmatrix", "Matrix
// fragments for mma.m16n8k8" and "... mma.m16n8k16").
#include <string.h>

#include <vector>

#include "block.h"
#include "cuda/kernels/ptx.h"
#include "race_check.h"

namespace fastalex {
namespace emulator {
namespace {

struct Copy {
  unsigned char* to;
  const void* from;
  size_t bytes;
  bool valid;
  unsigned group;
};

// The asynchronous copies of one thread of the block, in the order of their groups.
struct Copies {
  std::vector<Copy> under_way;
  unsigned open_group = 0;  // = number of committed groups
};

thread_local std::vector<Copies> copies_of_thread;

void check_shared(const char* instruction, const void* p, size_t bytes, size_t alignment) {
  const unsigned char* address = static_cast<const unsigned char*>(p);
  if (address < indices.shared || address + bytes > indices.shared + shared_bytes())
    fail("%s at byte %td of %zu bytes of shared memory", instruction, address - indices.shared, shared_bytes());
  if (static_cast<size_t>(address - indices.shared) % alignment)
    fail("%s at byte %td of shared memory, which is not %zu-byte aligned", instruction, address - indices.shared,
         alignment);
}

float value_of(uint32_t pair, int which) {
  return cuda::to_float(cuda::Half{static_cast<cuda::u16>(which ? pair >> 16 : pair & 0xffff)});
}

// d [16, 8] += a [16, k] b [k, 8] of a warp. Lane l has, with g = l / 4 and t = l % 4:
//   a: register i holds row g + 8 (i % 2), columns 2 t + 8 (i / 2) and the next, the first in the low half
//   b: register i holds column g, rows 2 t + 8 i and the next
//   d: value i is row g + 8 (i / 2), column 2 t + i % 2
// Products are exact in float. They are added to d one by one, k ascending, each sum rounded to nearest; the hardware
// adds groups of products at once, in an order that is not documented, so its last bits differ.
template <int K>
void multiply(Exchange& exchange) {
  float a[16][K], b[K][8], d[16][8];
  for (int lane = 0; lane < 32; ++lane) {
    const uint32_t* in = exchange.in[lane];
    const int g = lane / 4, t = lane % 4;
    for (int i = 0; i < K / 4; ++i)
      for (int half = 0; half < 2; ++half) a[g + 8 * (i % 2)][2 * t + 8 * (i / 2) + half] = value_of(in[i], half);
    for (int i = 0; i < K / 8; ++i)
      for (int half = 0; half < 2; ++half) b[2 * t + 8 * i + half][g] = value_of(in[4 + i], half);
    for (int i = 0; i < 4; ++i) d[g + 8 * (i / 2)][2 * t + i % 2] = __uint_as_float(in[6 + i]);
  }
  for (int row = 0; row < 16; ++row)
    for (int k = 0; k < K; ++k)
      for (int column = 0; column < 8; ++column) d[row][column] += a[row][k] * b[k][column];
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < 4; ++i)
      exchange.out[lane][i] = __float_as_uint(d[lane / 4 + 8 * (i / 2)][2 * (lane % 4) + i % 2]);
}

}  // namespace

void check_sm(const char* instruction, int sm) {
  if (current_device().sm < sm) fail("%s needs sm_%d, the device is sm_%d", instruction, sm, current_device().sm);
}

void check_tensor_cores(const char* instruction, int sm) {
  check_sm(instruction, sm);
  if (!current_device().tensor_cores) fail("%s needs tensor cores, the device has none", instruction);
}

void begin_copies(unsigned threads) {
  if (copies_of_thread.size() < threads) copies_of_thread.resize(threads);
  for (Copies& copies : copies_of_thread) {
    copies.under_way.clear();
    copies.open_group = 0;
  }
}

// Until the copy lands, the destination holds poison that no kernel should read.
void copy_async(void* to, const void* from, size_t bytes, bool valid) {
  check_sm("cp.async", 80);
  check_shared("cp.async", to, bytes, bytes);
  if (valid && reinterpret_cast<uintptr_t>(from) % bytes)
    fail("cp.async from an address that is not %zu-byte aligned", bytes);
  if (valid) check_read(from, bytes);
  race_copy_issued(to, bytes);
  memset(to, 0xff, bytes);
  Copies& copies = copies_of_thread[indices.thread.x];
  copies.under_way.push_back(Copy{static_cast<unsigned char*>(to), from, bytes, valid, copies.open_group});
}

void copy_async_commit() {
  check_sm("cp.async", 80);
  ++copies_of_thread[indices.thread.x].open_group;
}

void copy_async_wait(size_t pending) {
  check_sm("cp.async", 80);
  Copies& copies = copies_of_thread[indices.thread.x];
  size_t landed = 0;
  for (; landed < copies.under_way.size(); ++landed) {
    const Copy& copy = copies.under_way[landed];
    if (copy.group + pending >= copies.open_group) break;
    if (copy.valid)
      memcpy(copy.to, copy.from, copy.bytes);
    else
      memset(copy.to, 0, copy.bytes);
    race_copy_landed(copy.to, copy.bytes);
  }
  copies.under_way.erase(copies.under_way.begin(), copies.under_way.begin() + static_cast<std::ptrdiff_t>(landed));
}

// Register m of lane l gets from matrix m the halves 2 (l % 4) and the next of row l / 4. The address of that row is
// lane 8 m + l / 4's.
void load_matrix(uint32_t* r, const void* row, int matrices, Place place) {
  check_sm("ldmatrix", 75);
  const int own = lane();
  if (own < 8 * matrices) check_shared("ldmatrix", row, 16, 16);
  const char* name = matrices == 4 ? "ldmatrix.x4" : "ldmatrix.x2";
  Exchange& exchange = begin_warp_op(name);
  memcpy(exchange.in[own], &row, sizeof row);
  meet_warp(name, place, nullptr);
  for (int m = 0; m < matrices; ++m) {
    const unsigned char* from;
    memcpy(&from, exchange.in[8 * m + own / 4], sizeof from);
    check_prefetch(from + 4 * (own % 4), 4);
    memcpy(&r[m], from + 4 * (own % 4), 4);
  }
}

void mma(float* d, const uint32_t* a, const uint32_t* b, int k, Place place) {
  const char* name = k == 8 ? "mma.m16n8k8" : "mma.m16n8k16";
  check_tensor_cores(name, k == 8 ? 75 : 80);
  Exchange& exchange = begin_warp_op(name);
  const int own = lane();
  memcpy(exchange.in[own], a, static_cast<size_t>(k));  // k / 4 registers
  memcpy(exchange.in[own] + 4, b, static_cast<size_t>(k) / 2);
  memcpy(exchange.in[own] + 6, d, 16);
  meet_warp(name, place, k == 8 ? multiply<8> : multiply<16>);
  memcpy(d, exchange.out[own], 16);
}

}  // namespace emulator
}  // namespace fastalex
