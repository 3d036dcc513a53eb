// The plugins for ../plugins.py: one C interface, implemented on the ops themselves (harness_op.cpp) and on the
// objects that TensorRT's registry gives (harness_v2.cpp, harness_v3.cpp).
#ifndef FASTALEX_HARNESS_H
#define FASTALEX_HARNESS_H

#include <stddef.h>

#define HARNESS extern "C" __attribute__((visibility("default")))

struct HarnessField {
  const char* name;
  int type;  // fastalex::tensorrt::FieldType; any other number: one that the plugins do not know
  const void* data;
  int length;
};

struct HarnessTensor {
  int dims[4];
  int type;    // fastalex::tensorrt::TensorType
  int format;  // fastalex::tensorrt::TensorFormat
};

// What failed last, in this thread.
HARNESS const char* harness_error();

// Opens TensorRT's runtime and the plugins' library as trtexec does; 0: done. For the ops there is nothing to open.
HARNESS int harness_open(const char* runtime, const char* plugins);

// The plugins of fastalex that there are, one a line: name, version, fields.
HARNESS const char* harness_creators();

// Null, or -1: it failed.
HARNESS void* plugin_create(const char* plugin, const HarnessField* fields, int count);
HARNESS void* plugin_clone(void* plugin);
HARNESS void plugin_destroy(void* plugin);
HARNESS int plugin_output(void* plugin, const HarnessTensor* in, HarnessTensor* out);  // dims and type
HARNESS int plugin_supports(void* plugin, int pos, const HarnessTensor* in, const HarnessTensor* out);
HARNESS long long plugin_workspace(void* plugin, const HarnessTensor* in, const HarnessTensor* out);
HARNESS int plugin_enqueue(void* plugin, const HarnessTensor* in, const HarnessTensor* out, const void* x, void* y,
                           void* workspace, void* stream);
HARNESS long long plugin_serialize(void* plugin, char* to, size_t capacity);  // the size, whatever the capacity
HARNESS void* plugin_deserialize(const char* plugin, const char* bytes, size_t size);

#endif  // FASTALEX_HARNESS_H
