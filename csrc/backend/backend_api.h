// The interface between the core and a backend: a C struct of functions, so that a backend may live in a shared
// library of its own (libfastalex_<name>.so, loaded by core/backend_registry.cpp) built by another compiler.
//
// A model (packed parameters) and a plan (static shapes) never change after their creation and may be used by any
// number of threads at once. A context is the memory of one running call; the core lends each call its own.
#ifndef FASTALEX_BACKEND_BACKEND_API_H
#define FASTALEX_BACKEND_BACKEND_API_H

#include <stddef.h>
#include <stdint.h>

#include "backend/ops.h"
#include "backend/step_api.h"
#include "fastalex.h"

#ifdef __cplusplus
extern "C" {
#endif

// Bump on any change to this file, step_api.h, fastalex_step, fastalex_param or fastalex_frame. Libraries with a
// different number are rejected.
#define FASTALEX_BACKEND_ABI 8u
#define FASTALEX_BACKEND_ENTRY "fastalex_backend_entry"

typedef struct fastalex_model_options {
  int32_t fc_storage;    // fastalex_storage
  int32_t precision;     // fastalex_precision
  int32_t threads;       // > 0
  int32_t device_index;  // >= 0
  int32_t exact;         // no Winograd
  int32_t fc_layout;     // fastalex_fc_layout
  const char* tuning;    // rules (grammar: fastalex.h); never null
} fastalex_model_options;

// One run of a plan. Arrays are dense float32.
typedef struct fastalex_backend_call {
  const float* input;           // [N, C, H, W] of the first step; null: `frame` is the input
  const fastalex_frame* frame;  // of a plan for one image
  float* const* outputs;        // [i]: [N, C, H, W], with top_k [N, k], of the step whose `output` is i
  int32_t* indices;             // [N, k] of the step with top_k; null without one
  int32_t input_on_device;      // the input, or the frame's pixels, are in the memory of the model's device
  int32_t outputs_on_device;    // the indices too
  void* stream;                 // the caller's, on which work with device arrays is queued; null: the default stream
  double* step_seconds;         // [step]: the step's time is added; null: times are not measured
  int (*interrupted)(void* interrupted_user);  // fastalex_call.interrupted; may be null, and a backend may ignore it
  void* interrupted_user;
} fastalex_backend_call;

// Functions return a fastalex_status and, on failure, leave a sentence in last_error(). Functions that return text
// write its first `capacity` bytes, including the final zero, and its full size to *size.
typedef struct fastalex_backend_api {
  uint32_t abi;          // FASTALEX_BACKEND_ABI
  uint32_t struct_size;  // sizeof(fastalex_backend_api)
  const char* name;
  int32_t top_k;                    // 1: plans support fastalex_step.top_k; 0: the core gets all values and selects
  const char* (*last_error)(void);  // of the calling thread

  // FASTALEX_OK if this machine can run the backend.
  int (*probe)(void);

  // JSON of device `index`; FASTALEX_INVALID past the last.
  int (*device_info)(int index, char* text, size_t capacity, size_t* size);

  // steps: the plan of the net's own image size with n = 1. params[i]: layouts in ops.h, or quantized (fastalex.h).
  int (*model_create)(const fastalex_step* steps, size_t step_count, const fastalex_param* params, size_t param_count,
                      const fastalex_model_options* options, void** model);
  void (*model_destroy)(void* model);
  int (*model_param)(const void* model, size_t index, float* out);  // out: dense float32, dequantized
  // The quantized values and scales of a fully connected weight that the model keeps as int8 or int4, as in
  // fastalex_param.
  int (*model_quantized)(const void* model, size_t index, void* values, void* scale);
  size_t (*model_bytes)(const void* model);

  // Memory of the model's device, for arrays that stay there.
  int (*memory_create)(const void* model, size_t bytes, void** memory);
  void (*memory_destroy)(const void* model, void* memory);
  int (*memory_copy)(const void* model, void* to, const void* from, size_t bytes, int to_host);  // waits for the device

  int (*plan_create)(const void* model, const fastalex_step* steps, size_t step_count, void** plan);
  void (*plan_destroy)(void* plan);
  // JSON of the kernels that serve the steps; names[i]: of the last layer in step i.
  int (*plan_describe)(const void* plan, const char* const* names, char* text, size_t capacity, size_t* size);

  // Writes the plan's engine to a file for other programs, atomically; FASTALEX_INVALID if the backend has no engines.
  int (*plan_save)(const void* plan, const char* path);

  int (*context_create)(const void* plan, void** context);
  void (*context_destroy)(void* context);

  int (*run)(const void* plan, void* context, const fastalex_backend_call* call);

  const fastalex_step_api* layers;  // null: none
} fastalex_backend_api;

// The one symbol that a backend library exports.
typedef const fastalex_backend_api* (*fastalex_backend_entry_fn)(void);

#ifdef __cplusplus
}
#endif
#endif  // FASTALEX_BACKEND_BACKEND_API_H
