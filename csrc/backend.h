// The interface between the core and a backend: a C struct of functions, so that a backend may live in a shared
// library of its own (libfastalex_<name>.so, loaded by loader.cpp) built by another compiler.
//
// A model (packed parameters) and a plan (static shapes) never change after their creation and may be used by any
// number of threads at once. A context is the memory of one running call; the core lends each call its own.
#ifndef FASTALEX_BACKEND_H
#define FASTALEX_BACKEND_H

#include <stddef.h>
#include <stdint.h>

#include "ops.h"

#ifdef __cplusplus
extern "C" {
#endif

// Raised with every change of this file or of fastalex_step; a library of another number is refused.
#define FASTALEX_BACKEND_ABI 1u
#define FASTALEX_BACKEND_ENTRY "fastalex_backend_entry"

typedef struct fastalex_model_options {
  int32_t fc_storage;  // fastalex_storage
  int32_t threads;     // > 0
} fastalex_model_options;

// Functions return a fastalex_status and, on failure, leave a sentence in last_error().
typedef struct fastalex_backend_api {
  uint32_t abi;          // FASTALEX_BACKEND_ABI
  uint32_t struct_size;  // sizeof(fastalex_backend_api)
  const char* name;
  const char* (*last_error)(void);  // of the calling thread

  // FASTALEX_OK if this machine can run the backend.
  int (*probe)(void);

  // steps: the plan of the net's own image size with n = 1. params[i]: dense float32 at any address, layouts in ops.h.
  int (*model_create)(const fastalex_step* steps, size_t step_count, const float* const* params, size_t param_count,
                      const fastalex_model_options* options, void** model);
  void (*model_destroy)(void* model);
  int (*model_param)(const void* model, size_t index, float* out);  // out: dense float32, dequantised
  size_t (*model_bytes)(const void* model);

  int (*plan_create)(const void* model, const fastalex_step* steps, size_t step_count, void** plan);
  void (*plan_destroy)(void* plan);

  int (*context_create)(const void* plan, void** context);
  void (*context_destroy)(void* context);

  // input: [N, C, H, W] of the first step. outputs[i]: [N, C, H, W] of the step whose `output` is i. Dense float32 in
  // host memory. step_seconds: the time of each step is added to its place; null where nobody asks.
  int (*run)(const void* plan, void* context, const float* input, float* const* outputs, double* step_seconds);
} fastalex_backend_api;

// The one symbol that a backend library exports.
typedef const fastalex_backend_api* (*fastalex_backend_entry_fn)(void);

#ifdef __cplusplus
}
#endif
#endif  // FASTALEX_BACKEND_H
