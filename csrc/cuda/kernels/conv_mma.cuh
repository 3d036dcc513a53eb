// Convolution + bias + activation as implicit GEMM on tensor cores: half tensors and weights, sums in float.
//
//   y[m, o] = act(b[o] + sum_k x[pixel m shifted by (r, s)(k), c(k)] w[o, k]),  k = (r R + s) C + c
//
// A block makes BM pixels x BN channels of one group from one range of K; the matrix of windows is never stored, its
// rows are gathered stage by stage (mma_tile.cuh multiplies them). A thread copies the same 8 products (4 of the three
// colors' pixels) of several pixels, so that all of them share the place (r, s, c) in the window, which steps by BK
// products a stage; of each pixel it keeps where its window starts and which of its rows and columns lie in the image.
//
// Grid: x = tiles of channels fastest, then tiles of pixels; z = groups x split.
#ifndef FASTALEX_CUDA_KERNELS_CONV_MMA_CUH
#define FASTALEX_CUDA_KERNELS_CONV_MMA_CUH

#include "cuda/kernels/mma_tile.cuh"

namespace fastalex {
namespace cuda {

// The properties of the window known at compile time. Kernel, stride and pad are run-time arguments where that costs
// nothing.
struct ColorWindow {  // 11x11 over pixels of 4 values
  static constexpr int UNIT = 4, CHANNELS = 4, KERNEL = 11;
  static constexpr bool UNIFORM = false;
};
struct Window48 {  // 5x5 over 48 channels
  static constexpr int UNIT = 8, CHANNELS = 48, KERNEL = 5;
  static constexpr bool UNIFORM = false;
};
struct Window64 {  // any window over a multiple of 64 channels: a stage never leaves its place (r, s)
  static constexpr int UNIT = 8, CHANNELS = 0, KERNEL = 0;
  static constexpr bool UNIFORM = true;
};
struct Window8 {  // any window over a multiple of 8 channels
  static constexpr int UNIT = 8, CHANNELS = 0, KERNEL = 0;
  static constexpr bool UNIFORM = false;
};
constexpr int kMmaLargestKernel = 15;  // a window's rows and columns each have 16 bits, the last stays clear

// A position in the window.
template <class Window>
struct WindowPlace {
  int r, s, c;
  u32 offset;  // bytes from the window's start to there; modulo 2^32, as images may be narrower than the window

  FASTALEX_DEVICE static int channels(const ConvArgs& a) { return Window::CHANNELS ? +Window::CHANNELS : a.in_c_group; }
  FASTALEX_DEVICE static int kernel(const ConvArgs& a) { return Window::KERNEL ? +Window::KERNEL : a.kernel; }

  FASTALEX_DEVICE WindowPlace(const ConvArgs& a, int product) {
    const int tap = product / channels(a);
    c = product - tap * channels(a);
    r = tap / kernel(a);
    s = tap - r * kernel(a);
    offset = ((r * a.in_w + s) * a.in_pitch + c) * 2;
  }

  FASTALEX_DEVICE void next_row(const ConvArgs& a) {
    s -= kernel(a);
    ++r;
    offset += (a.in_w - kernel(a)) * a.in_pitch * 2;
  }

  template <int BK>
  FASTALEX_DEVICE void advance(const ConvArgs& a) {
    if (Window::UNIT == 4) {  // a place is a whole pixel
      s += BK / 4;
      offset += BK * 2;
#pragma unroll
      for (int i = 0; i < ceil_div(BK / 4, 11); ++i)
        if (s >= kernel(a)) next_row(a);
      return;
    }
    c += BK;
    offset += BK * 2;
    if (Window::UNIFORM) {
      if (c == channels(a)) next_tap(a);
    } else if (Window::CHANNELS) {
#pragma unroll
      for (int i = 0; i < ceil_div(BK, larger(Window::CHANNELS, 1)); ++i)
        if (c >= channels(a)) next_tap(a);
    } else {
      while (c >= channels(a)) next_tap(a);
    }
  }

  FASTALEX_DEVICE void next_tap(const ConvArgs& a) {
    c -= channels(a);
    offset += (a.in_pitch - channels(a)) * 2;
    if (++s == kernel(a)) next_row(a);
  }

  // The bits of this row and this column in a pixel's mask; rows past the window have none.
  FASTALEX_DEVICE u32 bits() const {
    return 1u << (Window::KERNEL || Window::UNIFORM ? r : smaller(r, kMmaLargestKernel)) | 0x10000u << s;
  }
};

// Bit i: start + i is in 0 .. size - 1.
FASTALEX_DEVICE u32 inside_bits(int start, int size, int kernel) {
  const int first = larger(0, -start), end = smaller(kernel, size - start);
  return first < end ? (1u << end) - (1u << first) : 0;
}

template <class Tile, class Window>
struct ConvLoader {
  static constexpr int UNITS = Tile::BK / Window::UNIT;  // copies of a pixel's products in a stage
  static constexpr int PIXEL_STEP = Tile::THREADS / UNITS, PIXELS = Tile::BM / PIXEL_STEP;
  static constexpr int CHUNKS = Tile::BK / 8;
  static constexpr int ROW_STEP = Tile::THREADS / CHUNKS, ROWS = Tile::BN / ROW_STEP;
  static_assert(PIXEL_STEP % 8 == 0 && ROW_STEP % 8 == 0, "the swizzle repeats every 8 rows");
  static constexpr bool STAGED = Tile::GENERATION == kTuring;

  const ConvArgs& args;
  WindowPlace<Window> place;
  const char* image;    // of the block's first pixel, from the group's first channel and the padding's first pixel on
  u32 start[PIXELS];    // bytes from there to the window of each pixel
  u32 inside[PIXELS];   // low half: rows of the window that are in the image; high half: columns
  const char* weights;  // [w_rows, w_pitch] of the group, from the block's first row on
  u32 row;              // bytes from there to this thread's chunk of the first of its rows
  u32 row_bytes;        // from one of its rows to the next
  int row_count, product;  // rows that exist; the chunk's first product
  int a_offset, b_offset;  // in a stage
  uint2 pixels[STAGED ? PIXELS * Window::UNIT / 4 : 1];
  Bits128 rows[STAGED ? ROWS : 1];

  FASTALEX_DEVICE ConvLoader(const ConvArgs& a, int group, int first_pixel, int first_row, int first_product)
      : args(a), place(a, first_product + (Window::UNIFORM ? 0 : unit())) {
    find_pixels(group, first_pixel);
    const int chunk = threadIdx.x % CHUNKS, first = threadIdx.x / CHUNKS;
    product = first_product + chunk * 8;
    weights = reinterpret_cast<const char*>(static_cast<const Half*>(a.w) +
                                            (static_cast<long long>(group) * a.w_rows + first_row) * a.w_pitch);
    row = (first * a.w_pitch + product) * 2;
    row_bytes = ROW_STEP * a.w_pitch * 2;
    row_count = ceil_div(larger(a.w_rows - first_row - first, 0), ROW_STEP);
    b_offset = Tile::BM * Tile::BK * 2 + swizzle<Tile::BK>(first, chunk);
  }

  // The thread's first product in a stage of pixels.
  FASTALEX_DEVICE static int unit() { return threadIdx.x % UNITS * Window::UNIT; }

  FASTALEX_DEVICE void find_pixels(int group, int first_pixel) {
    const ConvArgs& a = args;
    const int first = threadIdx.x / UNITS, kernel = WindowPlace<Window>::kernel(a);
    const int image_pixels = a.out_h * a.out_w, first_image = first_pixel / image_pixels;
    image = reinterpret_cast<const char*>(
        static_cast<const Half*>(a.in) +
        (static_cast<long long>(first_image) * a.in_h * a.in_w - a.pad * a.in_w - a.pad) * a.in_pitch +
        group * a.in_c_group);
#pragma unroll
    for (int i = 0; i < PIXELS; ++i) {
      const int pixel = first_pixel + first + i * PIXEL_STEP;
      const int n = pixel / image_pixels, y = (pixel - n * image_pixels) / a.out_w;
      const int top = y * a.stride, left = (pixel - n * image_pixels - y * a.out_w) * a.stride;
      start[i] =
          (((n - first_image) * a.in_h + top) * a.in_w + left) * a.in_pitch * 2 + (Window::UNIFORM ? unit() * 2 : 0);
      inside[i] =
          n < a.n ? inside_bits(top - a.pad, a.in_h, kernel) | inside_bits(left - a.pad, a.in_w, kernel) << 16 : 0;
    }
    a_offset = swizzle<Tile::BK>(first, unit() / 8) + unit() % 8 * 2;
  }

  // Starts the copies of one stage (asynchronous generation).
  FASTALEX_DEVICE void fetch(unsigned char* stage) {
    const u32 bits = place.bits();
#pragma unroll
    for (int i = 0; i < PIXELS; ++i) {
      unsigned char* to = stage + a_offset + i * (PIXEL_STEP * Tile::BK * 2);
      const char* from = image + (start[i] + place.offset);
      const bool valid = (inside[i] & bits) == bits;
      if (Window::UNIT == 4)
        copy_async_8(to, from, valid);
      else
        copy_async_16(to, from, valid);
    }
#pragma unroll
    for (int i = 0; i < ROWS; ++i)
      copy_async_16(stage + b_offset + i * (ROW_STEP * Tile::BK * 2), weights + (row + i * row_bytes), i < rows_left());
    advance();
  }

  // Reads one stage into registers (the generation without asynchronous copies).
  FASTALEX_DEVICE void fetch() {
    const u32 bits = place.bits();
#pragma unroll
    for (int i = 0; i < PIXELS; ++i) {
      const char* from = image + (start[i] + place.offset);
      const bool valid = (inside[i] & bits) == bits;
      if (Window::UNIT == 4) {
        pixels[i] = valid ? *reinterpret_cast<const uint2*>(from) : uint2{0, 0};
      } else {
        const Bits128 v = valid ? *reinterpret_cast<const Bits128*>(from) : Bits128{0, 0, 0, 0};
        pixels[i * 2] = uint2{v.x, v.y};
        pixels[i * 2 + 1] = uint2{v.z, v.w};
      }
    }
#pragma unroll
    for (int i = 0; i < ROWS; ++i)
      rows[i] =
          i < rows_left() ? *reinterpret_cast<const Bits128*>(weights + (row + i * row_bytes)) : Bits128{0, 0, 0, 0};
    advance();
  }

  FASTALEX_DEVICE void store(unsigned char* stage) const {
#pragma unroll
    for (int i = 0; i < PIXELS; ++i) {
      unsigned char* to = stage + a_offset + i * (PIXEL_STEP * Tile::BK * 2);
      if (Window::UNIT == 4)
        *reinterpret_cast<uint2*>(to) = pixels[i];
      else
        *reinterpret_cast<Bits128*>(to) =
            Bits128{pixels[i * 2].x, pixels[i * 2].y, pixels[i * 2 + 1].x, pixels[i * 2 + 1].y};
    }
#pragma unroll
    for (int i = 0; i < ROWS; ++i)
      *reinterpret_cast<Bits128*>(stage + b_offset + i * (ROW_STEP * Tile::BK * 2)) = rows[i];
  }

  FASTALEX_DEVICE void advance() {
    place.template advance<Tile::BK>(args);
    product += Tile::BK;
    row += Tile::BK * 2;
  }

  // Rows of weights hold whole stages of 32 products.
  FASTALEX_DEVICE int rows_left() const { return Tile::BK == 32 || product < args.w_pitch ? row_count : 0; }
};

template <class Tile, class Loader, bool ASYNC = Tile::GENERATION == kAmpere>
struct MultiplyTile {
  FASTALEX_DEVICE static void run(Loader& loader, unsigned char* smem, int stages, MmaSums<Tile>& sums) {
    multiply_async<Tile>(loader, smem, stages, sums);
  }
};
template <class Tile, class Loader>
struct MultiplyTile<Tile, Loader, false> {
  FASTALEX_DEVICE static void run(Loader& loader, unsigned char* smem, int stages, MmaSums<Tile>& sums) {
    multiply_staged<Tile>(loader, smem, stages, sums);
  }
};

// The columns of a group that are stored: the last group's include the padding of the tensor.
FASTALEX_HOST_DEVICE inline int conv_columns(const ConvArgs& a, int group) {
  return group == a.groups - 1 ? a.out_pitch - group * a.out_c_group : a.out_c_group;
}

template <class Window, class Tile>
__global__ void __launch_bounds__(Tile::THREADS, 1) conv_mma(const ConvArgs a) {
  FASTALEX_SHARED(smem);
  if (!FASTALEX_MMA_COMPILED(Tile::GENERATION)) return;
  const int group = blockIdx.z % a.groups, part = blockIdx.z / a.groups;
  const int column_tiles = ceil_div(conv_columns(a, a.groups - 1), Tile::BN);
  const int first_pixel = blockIdx.x / column_tiles * Tile::BM, first_column = blockIdx.x % column_tiles * Tile::BN;
  const int pixels = a.n * a.out_h * a.out_w;
  const int all_stages = ceil_div(a.w_pitch, Tile::BK), part_stages = ceil_div(all_stages, a.split);
  const int first_stage = smaller(part * part_stages, all_stages);
  const int stages = smaller(part_stages, all_stages - first_stage);

  MmaSums<Tile> sums;
  clear<Tile>(sums);
  ConvLoader<Tile, Window> loader(a, group, first_pixel, first_column, first_stage * Tile::BK);
  MultiplyTile<Tile, ConvLoader<Tile, Window>>::run(loader, smem, stages, sums);

  const int rows = pixels - first_pixel;
  if (a.split > 1) {
    float* to = a.partial + (static_cast<long long>(blockIdx.z) * pixels + first_pixel) * a.w_rows + first_column;
    store_partial<Tile>(sums, to, rows, a.w_rows - first_column, a.w_rows);
    return;
  }
  MmaResult result;
  result.bias = a.bias + group * a.w_rows + first_column;
  result.out = static_cast<Half*>(a.out) + static_cast<long long>(first_pixel) * a.out_pitch + group * a.out_c_group +
               first_column;
  result.rows = rows;
  result.columns = conv_columns(a, group) - first_column;
  result.real = a.out_c_group - first_column;
  result.biases = a.w_rows - first_column;
  result.pitch = a.out_pitch;
  result.activation = a.activation;
  store_tile<Tile>(sums, smem, result);
}

}  // namespace cuda
}  // namespace fastalex
#endif  // FASTALEX_CUDA_KERNELS_CONV_MMA_CUH
