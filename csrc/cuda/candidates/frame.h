// Turns a camera frame, 8 bits a color, into the network's input with one kernel.
#ifndef FASTALEX_CUDA_CANDIDATES_FRAME_H
#define FASTALEX_CUDA_CANDIDATES_FRAME_H

#include <cstddef>
#include <vector>

#include "cuda/candidates/candidate.h"
#include "fastalex.h"

namespace fastalex {
namespace cuda {

// The filters of python/fastalex/images/preprocessing.py: int(x scale); OpenCV's INTER_LINEAR; Pillow's bilinear
// filter, along the rows first. (Pillow 13 begins with the columns where a frame shrinks far more in height than in
// width or grows in width only, which changes some bytes by 1.)
enum FrameFilter { kNearest = 0, kLinear = 1, kAntialiased = 2 };

struct FrameSpec {
  int height, width;         // of the frame, [height, width, 3]
  long long row_bytes;       // from one row to the next
  int filter;                // FrameFilter
  int resized_h, resized_w;  // of the picture that the crop is cut from
  int crop_y, crop_x;        // first row and column of the crop in it
  int out_h, out_w;          // of the crop
  int swap;                  // 1: the planes are in the reverse order of the pixel's bytes
  float scale[3], shift[3];  // y = v scale - shift, by plane of the network's input
};

// The spec of a caller's frame. The bytes between the fields are zeros, so specs can be compared as bytes.
FrameSpec frame_spec(const fastalex_frame& frame, int out_h, int out_w);

// The tables of a spec: for each output pixel its source pixels and their weights; the same for all its frames. Both
// functions throw Error(FASTALEX_INVALID) for a spec that no kernel can serve.
size_t frame_table_bytes(const FrameSpec& spec);
void frame_tables(const FrameSpec& spec, void* host_buffer);

// `pixels` and `tables` (a copy of frame_tables' result) are in device memory, `out` is a tensor [1, out_h, out_w, 3].
KernelLaunch frame_launch(Dtype dtype, const FrameSpec& spec, const void* pixels, const void* tables, void* out,
                          int pitch);

// All kernels that frame_launch may use.
std::vector<const KernelInfo*> frame_kernels();

}  // namespace cuda
}  // namespace fastalex
#endif  // FASTALEX_CUDA_CANDIDATES_FRAME_H
