// The stages of conv_simt.cuh on their way from global to shared memory, through registers.
#ifndef FASTALEX_CUDA_KERNELS_SIMT_COPIES_CUH
#define FASTALEX_CUDA_KERNELS_SIMT_COPIES_CUH

#include "cuda/kernels/simt_tile.cuh"

namespace fastalex {
namespace cuda {
namespace simt {

// A thread's share of a stage of `Rows` rows in registers: kLoads vectors, all of the same unit of their rows.
// Math: the type in shared memory.
template <typename T, typename Math, int Rows, int Threads, bool Column>
struct Copies {
  static constexpr int kWiden = sizeof(Math) / sizeof(T);  // units in shared memory for one in global memory
  static constexpr int kRowUnits = kUnits / kWiden, kLoads = ceil_div(Rows * kRowUnits, Threads);
  static_assert(Threads % kRowUnits == 0, "a thread keeps its unit of a row");
  Bits128 values[kLoads];

  FASTALEX_DEVICE static int row(int i) { return (static_cast<int>(threadIdx.x) + i * Threads) / kRowUnits; }
  FASTALEX_DEVICE static int unit() { return threadIdx.x % kRowUnits; }

  FASTALEX_DEVICE void store(u8* smem) const {
    u8* to = smem + row(0) * kRowBytes + unit() * kWiden * 16;
#pragma unroll
    for (int i = 0; i < kLoads; ++i, to += Threads / kRowUnits * kRowBytes)
      if (Rows * kRowUnits % Threads == 0 || row(i) < Rows) put_unit(to, values[i]);
  }
  FASTALEX_DEVICE static void put_unit(u8* to, const Bits128& v) {
    if (kWiden == 1) {
      const u32 words[4] = {v.x, v.y, v.z, v.w};
      store_unit<Column>(to, words);
    } else {
      const Half2 h[4] = {{v.x}, {v.y}, {v.z}, {v.w}};
#pragma unroll
      for (int i = 0; i < 4; i += 2) {
        const u32 words[4] = {float_to_bits(low(h[i])), float_to_bits(high(h[i])), float_to_bits(low(h[i + 1])),
                              float_to_bits(high(h[i + 1]))};
        store_unit<Column>(to + 8 * i, words);
      }
    }
  }
};

// Rows of weights. Rows past the last repeat it; their results are not stored.
template <typename T, typename Math, class S>
struct WeightCopies : Copies<T, Math, S::kColumns, S::kThreads, true> {
  typedef Copies<T, Math, S::kColumns, S::kThreads, true> Base;
  const ConvArgs& args;
  int place;                // in a row
  int start[Base::kLoads];  // units from the first of all to the row's first

  FASTALEX_DEVICE WeightCopies(const ConvArgs& a, int group, int column0, int stage)
      : args(a), place(stage * Base::kRowUnits + Base::unit()) {
#pragma unroll
    for (int i = 0; i < Base::kLoads; ++i) {
      const int row = group * a.w_rows + smaller(column0 + Base::row(i), a.w_rows - 1);
      start[i] = row * (a.w_pitch / (16 / static_cast<int>(sizeof(T))));
    }
  }
  FASTALEX_DEVICE void load() {  // one stage
    const Bits128* w = static_cast<const Bits128*>(args.w);
#pragma unroll
    for (int i = 0; i < Base::kLoads; ++i) Base::values[i] = w[start[i] + place];
    place += Base::kRowUnits;
  }
};

// Bit i: start + i is in 0 .. size - 1, i < kernel.
FASTALEX_DEVICE u32 bits_inside(int start, int size, int kernel) {
  const int first = larger(0, -start), end = smaller(kernel, size - start);
  return first < end ? (1u << end) - (1u << first) : 0;
}

// Values of a pixel in a row of weights.
FASTALEX_HOST_DEVICE constexpr int window_channels(int groups, int in_c_group) {
  return groups == 1 && in_c_group <= 4 ? 4 : in_c_group;
}

constexpr int kLargestKernel = 12;  // rows of a window have bits 0 .. 15; the last stage may go four rows past the end

// Rows of windows, where a pixel's channels of a group are whole units. The thread's rows share their place in the
// window, (r, s, unit c), which steps by a stage.
template <typename T, typename Math, class S>
struct WindowCopies : Copies<T, Math, S::kPixels, S::kThreads, false> {
  typedef Copies<T, Math, S::kPixels, S::kThreads, false> Base;
  static constexpr int kUnit = 16 / static_cast<int>(sizeof(T));
  const ConvArgs& args;
  int channels;  // units of a pixel in a window
  int c;
  u32 place_bits;            // of r and s, as in `inside`
  int place;                 // units from a window's first to (r, s, c)
  int start[Base::kLoads];   // units from the tensor's first to the window's first
  u32 inside[Base::kLoads];  // bits 0 .. 15: rows of the window in the image; 16 .. 31: columns

  // Recomputed from the arguments each time: registers are scarce, and this is needed once in many stages.
  FASTALEX_DEVICE int pitch() const { return args.in_pitch / kUnit; }

  FASTALEX_DEVICE WindowCopies(const ConvArgs& a, int group, int pixel0, int stage)
      : args(a), channels(window_channels(a.groups, a.in_c_group) / kUnit) {
    const int unit = stage * Base::kRowUnits + Base::unit(), tap = unit / channels;
    c = unit % channels;
    place_bits = 1u << tap / a.kernel | 0x10000u << tap % a.kernel;
    place = (tap / a.kernel * a.in_w + tap % a.kernel) * pitch() + c;
#pragma unroll
    for (int i = 0; i < Base::kLoads; ++i) {
      const int pixel = pixel0 + Base::row(i), line = pixel / a.out_w, n = line / a.out_h;
      const int y = line % a.out_h * a.stride - a.pad, x = pixel % a.out_w * a.stride - a.pad;
      start[i] = ((n * a.in_h + y) * a.in_w + x) * pitch() + group * (a.in_c_group / kUnit);
      inside[i] = n < a.n ? bits_inside(y, a.in_h, a.kernel) | bits_inside(x, a.in_w, a.kernel) << 16 : 0;
    }
  }
  FASTALEX_DEVICE void load() {  // one stage
    const Bits128* in = static_cast<const Bits128*>(args.in);
#pragma unroll
    for (int i = 0; i < Base::kLoads; ++i) {
      Base::values[i] = Bits128{0, 0, 0, 0};
      if ((inside[i] & place_bits) == place_bits) Base::values[i] = in[start[i] + place];
    }
    place += Base::kRowUnits;
    for (c += Base::kRowUnits; c >= channels; c -= channels) {
      place += pitch() - channels;
      place_bits += place_bits & 0xffff0000u;  // the next column
      if (!(place_bits >> (16 + args.kernel))) continue;
      place_bits = (place_bits & 0xffff) << 1 | 0x10000u;  // the next row
      place += (args.in_w - args.kernel) * pitch();
    }
  }
};

}  // namespace simt
}  // namespace cuda
}  // namespace fastalex
#endif  // FASTALEX_CUDA_KERNELS_SIMT_COPIES_CUH
