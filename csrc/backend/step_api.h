// Runs single steps of a plan in memory of the caller. TensorRT's plugins call the CUDA library this way, through
// fastalex_backend_api.layers.
//
// A layer belongs to the device that is current when it is made. It never changes afterwards and may be used by any
// number of threads at once. Its device memory is made by the first prepare or enqueue.
#ifndef FASTALEX_BACKEND_STEP_API_H
#define FASTALEX_BACKEND_STEP_API_H

#include <stddef.h>
#include <stdint.h>

#include "backend/ops.h"
#include "fastalex.h"

#ifdef __cplusplus
extern "C" {
#endif

// Memory layout of a tensor in the layer's precision.
typedef enum fastalex_layout {
  FASTALEX_LAYOUT_DENSE = 0,  // [N, C, H, W]
  FASTALEX_LAYOUT_PACKED = 1  // [N, H, W, P], P: C rounded up to 4 if it is at most 4, else to a multiple of 8; the
                              // channels after the last are zeros (csrc/cuda/kernels/args.h)
} fastalex_layout;

// Functions return a fastalex_status; on failure the sentence is in fastalex_backend_api.last_error().
typedef struct fastalex_step_api {
  int (*current_device)(int* index);  // of the calling thread
  // steps: run in this order, with shapes for any n; param is 0 in at most one of them, else -1. weight, bias: the
  // parameters of that step, which stay the caller's until the layer is destroyed. Quantized weights are used
  // unchanged.
  int (*create)(const fastalex_step* steps, size_t count, const fastalex_param* weight, const float* bias,
                int32_t precision, const char* tuning, void** layer);
  // Makes a layer that turns frames of this kind into images of 3 x out_h x out_w. The input is [N, height, row_bytes]
  // bytes; pixels is not used.
  int (*create_frame)(const fastalex_frame* frame, int32_t out_h, int32_t out_w, int32_t precision, void** layer);
  void (*destroy)(void* layer);

  // Workspace bytes that suffice for every batch from 1 to `most` with these input and output layouts.
  int (*workspace)(const void* layer, int32_t most, int32_t in_layout, int32_t out_layout, size_t* bytes);
  // Uploads weights and tables and loads kernels for this batch, so that enqueue only has to launch.
  int (*prepare)(const void* layer, int32_t batch);
  // in, out, workspace: in device memory, at multiples of 256 bytes; stream: a cudaStream_t. in_layout is ignored for
  // frames.
  int (*enqueue)(const void* layer, int32_t batch, const void* in, int32_t in_layout, void* out, int32_t out_layout,
                 void* workspace, void* stream);
} fastalex_step_api;

#ifdef __cplusplus
}
#endif
#endif  // FASTALEX_BACKEND_STEP_API_H
