/* fastalex: public C interface. No C++ type, no exception and no exit() crosses it.
 *
 * Every function that can fail returns a fastalex_status; fastalex_last_error() then returns one sentence, valid until
 * the next failing call of the same thread.
 *
 * The network is a text table, one layer a line: an op, then key=value words. `fastalex summary --table` prints the
 * table of any member of the family, so that no program needs a second description of the architecture.
 *
 *   conv name=S out=I kernel=I stride=I pad=I groups=I rounding=floor|ceil [scale=F]
 *   fc name=S out=I [scale=F]                          scale: of the quantized input, for precision int8
 *   relu|tanh|sigmoid|softmax name=S
 *   leaky_relu name=S alpha=F                          alpha: the slope below zero
 *   lrn name=S size=I alpha=F beta=F k=F groups=I      alpha is the factor in front of the sum of squares;
 *                                                      the window stays inside each of `groups` channel groups
 *   spatial_norm name=S size=I alpha=F beta=F k=F      the same over size x size pixels of one channel
 *   maxpool name=S kernel=I stride=I rounding=floor|ceil
 *   adaptive_avgpool name=S out=I
 *
 * Parameters are float32 arrays in the order of the layers, weight then bias:
 *   conv weight [out, in / groups, kernel, kernel], fc weight [out, in], bias [out].
 *
 * NaN and infinities propagate through every op as in PyTorch.
 */
#ifndef FASTALEX_H
#define FASTALEX_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FASTALEX_API_VERSION 3u

#if defined(__GNUC__)
#define FASTALEX_API __attribute__((visibility("default")))
#else
#define FASTALEX_API
#endif

typedef enum fastalex_status {
  FASTALEX_OK = 0,
  FASTALEX_INVALID = 1,       /* an argument is wrong: the message says which and what to do */
  FASTALEX_OUT_OF_MEMORY = 2, /* the net stays usable */
  FASTALEX_UNAVAILABLE = 3,   /* the backend cannot run here; the message says why */
  FASTALEX_INTERNAL = 4,      /* a bug in the library */
  FASTALEX_INTERRUPTED = 5    /* fastalex_call.interrupted ended the call; the net stays usable */
} fastalex_status;

/* Storage of fully connected weights. int8: symmetric, one scale an output channel;
 * int4: symmetric, one fp16 scale for each FASTALEX_INT4_GROUP weights of an output channel, counted in the order y, x,
 * channel of the input. bf16: "cpu". */
typedef enum fastalex_storage {
  FASTALEX_FP32 = 0,
  FASTALEX_FP16 = 1,
  FASTALEX_INT8 = 2,
  FASTALEX_INT4 = 3,
  FASTALEX_BF16 = 4
} fastalex_storage;

#define FASTALEX_INT4_GROUP 128 /* weights that share a scale in int4 */

/* Precision of activations and convolutions. Inputs and outputs are always float32. fp16: "cuda". bf16, int8: "cpu".
 * int8: the input x of a conv or fc becomes round(x / scale), 0 to 255 where it cannot be negative, else -127 to 127;
 * weights are int8 with one scale an output channel. Every conv and fc of the table needs its scale. */
typedef enum fastalex_precision {
  FASTALEX_PRECISION_FP32 = 0,
  FASTALEX_PRECISION_FP16 = 1,
  FASTALEX_PRECISION_BF16 = 2,
  FASTALEX_PRECISION_INT8 = 3
} fastalex_precision;

/* The name of a fastalex_storage or a fastalex_precision; NULL if unknown. */
FASTALEX_API const char* fastalex_storage_name(int32_t storage);
FASTALEX_API const char* fastalex_precision_name(int32_t precision);

/* A parameter in the caller's memory: `count` values, at any address.
 *   FASTALEX_FP32  float; weights in the layouts above
 *   FASTALEX_INT8  an fc weight, int8_t [out, y, x, channel] of the input; scale: float [out]; value = q * scale
 *   FASTALEX_INT4  an fc weight in the same order, two in a byte, the first in its low half, as q + 8, each output
 *                  starting in a byte of its own; scale: fp16 [out, ceil(in / FASTALEX_INT4_GROUP)] */
typedef struct fastalex_param {
  const void* data;
  const void* scale; /* NULL for FASTALEX_FP32 */
  size_t count;
  int32_t storage; /* fastalex_storage */
  int32_t outputs; /* of quantized values: the outputs that data and scale are for; 0 for FASTALEX_FP32 */
} fastalex_param;

/* Layout of fully connected weights in int8 and int4 on processors with products of bytes ("cpu"). In the other formats
 * one layout serves both. Results are the same bits. */
typedef enum fastalex_fc_layout {
  FASTALEX_FC_LATENCY = 0,   /* by input: at batch 1, weights that meet a zero are not read */
  FASTALEX_FC_THROUGHPUT = 1 /* by groups of inputs: faster from a batch of about 8 on */
} fastalex_fc_layout;

typedef struct fastalex_options {
  uint32_t struct_size; /* sizeof(fastalex_options) */
  const char* backend;  /* "cpu", "naive", "cuda", "tensorrt" */
  int32_t fc_storage;   /* fastalex_storage */
  int32_t precision;    /* fastalex_precision */
  int32_t threads;      /* CPU threads a call may use; 0: fastalex_default_threads() */
  int32_t device_index; /* which GPU, from 0 */
  const char* tuning;   /* rules for the choice of kernels, or NULL: see below */
  int32_t exact;        /* "cpu": 1: convolutions sum their products directly, never by Winograd's algorithm */
  int32_t fc_layout;    /* "cpu": fastalex_fc_layout */
} fastalex_options;

/* Tuning rules, one a line; `fastalex_describe` lists the keys, and the candidates that could serve each.
 *
 *   # comment
 *   graphs on|off                                      launch a plan as one CUDA graph; default: not on Jetson
 *   frames copied|mapped                               on a Jetson, copy a frame to device memory, or read it where the
 *                                                      CPU wrote it (default)
 *   zeros skipped|read                                 leave out weights that meet a zero, where a kernel can, or read
 *                                                      all; default: skipped
 *   layouts one|both                                   keep fully connected weights in one layout, by input column
 *                                                      until a batch needs them by output row, then by row for good
 *                                                      (default), or in both if both are in use: twice the memory
 *   fp32|fp16 KEY FIRST-LAST CANDIDATE [split=N]       for batches FIRST to LAST
 *
 * KEY is conv:{C per group}x{R}x{R}/{stride}:{K per group}, fc:{inputs}:{outputs}:{storage}, or the op's name; two
 * fused ops are joined by "+", and the CANDIDATE "separate" keeps them apart. The first rule that fits is followed; if
 * none does, a cost model chooses. If a setting is given more than once, the last line wins.
 *
 * "tensorrt" also has the following; the rules above then apply to its plugins:
 *
 *   engine native                                      TensorRT's own layers alone
 *   engine plugins [NAME ...]                          fastalex's plugins of these names wherever they can serve, any
 *                                                      where TensorRT has no layer (default: without names)
 *   engine cache FOLDER                                cache engines there; default: no cache
 *   engine progress                                    report the progress of a build on standard error */

typedef struct fastalex_net fastalex_net;

FASTALEX_API uint32_t fastalex_api_version(void);
FASTALEX_API const char* fastalex_last_error(void);

/* One line of a layer table, for one image. */
typedef struct fastalex_layer {
  int32_t shape[3];     /* C, H, W of its result; H = W = 1 after an fc layer */
  int32_t signed_input; /* 0: its input is never negative */
  size_t weights, bias; /* values of its parameters, 0 where it has none */
} fastalex_layer;

/* Describes the layers of `table` for images of channels x height x width: their number in *total, the first
 * min(*total, capacity) of them in layers. */
FASTALEX_API int fastalex_layers(const char* table, int32_t channels, int32_t height, int32_t width,
                                 fastalex_layer* layers, size_t capacity, size_t* total);

/* Builds a net for images of channels x height x width. The parameters are copied; they may be freed afterwards.
 * Quantized parameters are used unchanged if the backend and fc_storage have the same format; otherwise they are
 * dequantized first. */
FASTALEX_API int fastalex_create(const char* table, int32_t channels, int32_t height, int32_t width,
                                 const fastalex_param* params, size_t param_total, const fastalex_options* options,
                                 fastalex_net** net);

/* Quantizes `outputs` x `inputs` float32 weights exactly as a net does, into the layout and order of fastalex_param.
 * storage: FASTALEX_INT8 or FASTALEX_INT4; values and scale: sized as in fastalex_param. */
FASTALEX_API int fastalex_quantize(const float* weights, size_t outputs, size_t inputs, int32_t storage, void* values,
                                   void* scale);

/* Waits until no call is running on the net, then frees it. NULL is allowed. */
FASTALEX_API void fastalex_destroy(fastalex_net* net);

/* A camera frame: height x width pixels of three bytes, rows row_bytes apart. It is resized to resized_h x resized_w,
 * the net's input is cut from that at (crop_y, crop_x), and plane p becomes v * scale[p] - shift[p]. */
typedef enum fastalex_filter {
  FASTALEX_NEAREST = 0,
  FASTALEX_LINEAR = 1,   /* two by two neighbors, whatever the scale (OpenCV) */
  FASTALEX_ANTIALIAS = 2 /* a triangle that widens when it shrinks (Pillow) */
} fastalex_filter;

typedef struct fastalex_frame {
  const uint8_t* pixels;
  int64_t row_bytes;
  int32_t height, width;
  int32_t filter; /* fastalex_filter; the result of resizing is rounded to 8 bits */
  int32_t resized_h, resized_w;
  int32_t crop_y, crop_x;
  int32_t swap; /* 1: the net's planes are in the reverse order of a pixel's bytes */
  float scale[3], shift[3];
} fastalex_frame;

/* Returns memory for output `index` of a call, float32 of shape [N, C, H, W], or NULL if there is none. */
typedef float* (*fastalex_allocate)(void* user, size_t index, const int32_t shape[4]);

enum { FASTALEX_SOFTMAX = 1u }; /* flag of a call: append a softmax over the features */

/* A call of a net: the request and, for fastalex_run, its arrays. Set unused fields to zero. */
typedef struct fastalex_call {
  uint32_t struct_size; /* sizeof(fastalex_call) */
  int32_t batch, height, width;
  uint32_t flags;
  int32_t top_k;            /* > 0, without names: the output is the top_k largest values of each image, [batch, top_k],
                               in descending order; equal values in order of index; a NaN counts as larger than any
                               number */
  const char* const* names; /* layers whose results are the outputs; NULL: the last one. A layer's name is that of its
                               row in the table; an activation has a name of its own, so the values before and after it
                               have different names. The one that FASTALEX_SOFTMAX appends is called softmax. The net
                               runs as far as the last of them. */
  size_t name_count;

  const float* input; /* dense [batch, channels, height, width]; or NULL, and a frame (batch 1) */
  const fastalex_frame* frame;
  float* const* outputs;       /* name_count dense arrays, or one; NULL: from `allocate` */
  const size_t* output_counts; /* values that each of `outputs` has room for */
  fastalex_allocate allocate;
  void* user;                                 /* of allocate */
  int32_t* indices;                           /* the indices of the top_k values; NULL without top_k */
  int32_t input_on_device, outputs_on_device; /* GPU: 1: in the memory of the net's device. The indices are where the
                                                 output is. */
  void* stream; /* cudaStream_t for arrays on the device, NULL: the default stream. With outputs on the device the call
                   returns when its work is queued there. */

  /* "cpu": asked now and then, on the calling thread, whether the call should end early; its outputs are then
     undefined, and fastalex_run returns FASTALEX_INTERRUPTED. NULL: never. */
  int (*interrupted)(void* interrupted_user);
  void* interrupted_user;
} fastalex_call;

/* Shapes of the outputs: shapes[4 * i] = N, C, H, W of output i. */
FASTALEX_API int fastalex_shapes(fastalex_net* net, const fastalex_call* call, int32_t* shapes);

/* Runs the net. Safe to call from any number of threads on one net. "cpu": an image's result is the same, to the bit,
 * for any number of threads, in a batch of any size, and beside any other images. */
FASTALEX_API int fastalex_run(fastalex_net* net, const fastalex_call* call);

/* Runs the net and reports the time of each of its steps: a layer with the activation that is fused into it, under the
 * name of the latter. The time of steps that the backend fuses is reported for the last one; the others get 0.
 * Results are discarded: the call needs an input in host memory, and no outputs. */
typedef void (*fastalex_step_time)(void* user, const char* layer, double seconds);
FASTALEX_API int fastalex_profile(fastalex_net* net, const fastalex_call* call, fastalex_step_time report, void* user);

/* JSON of the kernels that serve each step of the call's plan. The first `capacity` bytes are written to text, the
 * final zero included, and the whole size to *size. */
FASTALEX_API int fastalex_describe(fastalex_net* net, const fastalex_call* call, char* text, size_t capacity,
                                   size_t* size);

/* Writes the TensorRT engine that serves the call to `path`, for trtexec and other programs: input "x" [N, C, H, W],
 * output "y0", both float32. An engine that has plugins needs libfastalex_tensorrt<major>.so where it is loaded. */
FASTALEX_API int fastalex_save_engine(fastalex_net* net, const fastalex_call* call, const char* path);

/* JSON of device `index` of a backend, in the same way; FASTALEX_INVALID past the last. */
FASTALEX_API int fastalex_device_info(const char* backend, int32_t index, char* text, size_t capacity, size_t* size);

/* Memory of the net's device, for arrays that stay there. It must be destroyed before the net. */
FASTALEX_API int fastalex_memory_create(fastalex_net* net, size_t bytes, void** memory);
FASTALEX_API void fastalex_memory_destroy(fastalex_net* net, void* memory);
/* One of `to` and `from` is host memory, as `to_host` says. Waits for the device. */
FASTALEX_API int fastalex_memory_copy(fastalex_net* net, void* to, const void* from, size_t bytes, int32_t to_host);

/* Copies parameter `index` out as float32, dequantized where it is stored in fewer bits. */
FASTALEX_API int fastalex_get_param(fastalex_net* net, size_t index, float* out, size_t count);

/* Copies weight `index` out as the quantized values and scales that the net keeps, in the layout of fastalex_param:
 * those it was given, if it was given them in the storage that it keeps. FASTALEX_INVALID unless it keeps this
 * parameter as FASTALEX_INT8 or FASTALEX_INT4. value_bytes, scale_bytes: the room at `values` and at `scale`, which
 * must be exact. */
FASTALEX_API int fastalex_get_quantized(fastalex_net* net, size_t index, void* values, size_t value_bytes, void* scale,
                                        size_t scale_bytes);

/* Bytes of memory that the packed parameters take. */
FASTALEX_API int fastalex_param_bytes(fastalex_net* net, size_t* bytes);

/* The two halves of a learned perceptual distance (LPIPS, Zhang et al., arXiv 1801.03924), on the CPU whatever the
 * backend. Maps are [channels][positions] of one image. The result does not depend on the number of threads; 0 threads:
 * fastalex_default_threads().
 *
 * The first makes the channels of each position a vector of length 1, in place: x / (sqrt(sum x^2) + eps), or with
 * eps_inside x / sqrt(sum x^2 + eps). maps: [images][channels][positions]. */
FASTALEX_API int fastalex_unit_normalize(float* maps, size_t images, size_t channels, size_t positions, float eps,
                                         int32_t eps_inside, int32_t threads);

typedef enum fastalex_pairing {
  FASTALEX_ZIPPED = 0,  /* a[i] with b[i]; columns is 1, and b has `rows` entries */
  FASTALEX_ALL = 1,     /* a[i] with b[j] */
  FASTALEX_TRIANGLE = 2 /* a[i] with b[j], j > i; the other sums are 0 */
} fastalex_pairing;

/* The second: of each pair, sum_c weights[c] (a - b)^2 at each position in float32, and the sum of that over the
 * positions in double. */
typedef struct fastalex_distances {
  uint32_t struct_size; /* sizeof(fastalex_distances) */
  int32_t pairing;      /* fastalex_pairing */
  const float* const* a;
  const float* const* b;
  size_t rows, columns;
  const float* weights; /* [channels] */
  size_t channels, positions;
  double* sums; /* [rows][columns] */
  float* maps;  /* [rows][columns][positions], or NULL; not with FASTALEX_TRIANGLE */
  int32_t threads;
} fastalex_distances;

FASTALEX_API int fastalex_map_distances(const fastalex_distances* distances);

/* Backends known to this build: name and why it cannot be used ("" if it can). FASTALEX_INVALID past the last. */
FASTALEX_API int fastalex_backend(size_t index, const char** name, const char** reason);

/* Registers the backend in the shared library at `path` (see csrc/backend/backend_api.h) under its own name. */
FASTALEX_API int fastalex_load_backend(const char* path);

/* The threads that a call uses where its options name none: the processors that this process may run on, bounded by its
 * cgroup's CPU quota, rounded up, and by FASTALEX_NUM_THREADS, or where that is not set by OMP_NUM_THREADS. */
FASTALEX_API int fastalex_default_threads(int32_t* threads);

/* The instruction set the cpu backend uses: "v2", "v3", "v4" (x86-64 levels), "v3vnni", "v4vnni" (v3 and v4 with
 * products of bytes), "v4bf16" (and of bf16), "v4amx" (and by tiles) or "neon".
 * FASTALEX_CPU_ISA overrides the choice; FASTALEX_UNAVAILABLE if this processor lacks it, or the system forbids it. */
FASTALEX_API int fastalex_cpu_isa(const char** isa);

#ifdef __cplusplus
}
#endif
#endif /* FASTALEX_H */
