// The C++ side of backend_api.h: a backend derives these classes and gets the C functions, with every exception turned
// into a status. Included by each backend; nothing here crosses a library's border.
#ifndef FASTALEX_BACKEND_BACKEND_IMPL_H
#define FASTALEX_BACKEND_BACKEND_IMPL_H

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>

#include "backend/backend_api.h"
#include "common/error.h"

namespace fastalex {

class BackendContext {
 public:
  virtual ~BackendContext() = default;
};

class BackendPlan {
 public:
  virtual ~BackendPlan() = default;
  virtual std::unique_ptr<BackendContext> make_context() const = 0;
  virtual std::string describe(const char* const* names) const = 0;
  virtual void run(BackendContext* context, const fastalex_backend_call& call) const = 0;
  virtual void save(const std::string&) const { invalid("this backend has no engines to write; use tensorrt"); }
};

class BackendModel {
 public:
  virtual ~BackendModel() = default;
  virtual void param(size_t index, float* out) const = 0;
  // Of a model that keeps fully connected weights as int8 or int4.
  virtual void quantized(size_t, void*, void*) const { invalid("this backend keeps no quantized weights"); }
  virtual size_t bytes() const = 0;
  virtual std::unique_ptr<BackendPlan> make_plan(const fastalex_step* steps, size_t count) const = 0;
  virtual void* allocate(size_t) const { no_device(); }
  virtual void release(void*) const {}
  virtual void copy(void*, const void*, size_t, bool) const { no_device(); }

 private:
  [[noreturn]] static void no_device() { invalid("this backend has no memory of its own; use host arrays"); }
};

// The functions that make up a backend; they may throw.
struct BackendVTable {
  const char* name;
  void (*probe)();
  std::string (*device_info)(int index);
  std::unique_ptr<BackendModel> (*make_model)(const fastalex_step* steps, size_t step_count,
                                              const fastalex_param* params, size_t param_count,
                                              const fastalex_model_options& options);
  bool top_k = false;                         // as in fastalex_backend_api
  const fastalex_step_api* layers = nullptr;  // likewise
};

// Unpacks parameter `index` from layers that have unpack_weight and unpack_bias: two per layer, in the order of the
// net.
template <typename Layers>
void unpack_param(const Layers& layers, size_t index, float* out) {
  const auto& layer = *layers.at(index / 2);
  if (index % 2 == 0)
    layer.unpack_weight(out);
  else
    layer.unpack_bias(out);
}

template <typename Layers>
size_t bytes_of_all(const Layers& layers) {
  size_t total = 0;
  for (const auto& layer : layers) total += layer->bytes();
  return total;
}

// device_info() of backends that compute on the host.
inline std::string no_device_info(int) { invalid("this backend has no devices"); }

inline void check_host_call(const fastalex_backend_call& call) {
  if (call.input_on_device || call.outputs_on_device || call.frame)
    invalid("this backend takes float32 arrays in host memory");
}

// JSON for a backend with one set of kernels for everything.
inline std::string describe_all(const char* kernels, const char* const* names, size_t count) {
  std::string text = "{\"graph\": false, \"steps\": [";
  for (size_t i = 0; i < count; ++i)
    text += std::string(i ? ", " : "") + "{\"layers\": [\"" + names[i] + "\"], \"candidate\": \"" + kernels +
            "\", \"kernels\": []}";
  return text + "]}";
}

inline void copy_text(const std::string& from, char* text, size_t capacity, size_t* size) {
  *size = from.size() + 1;
  if (!capacity) return;
  const size_t count = std::min(capacity - 1, from.size());
  std::memcpy(text, from.data(), count);
  text[count] = '\0';
}

// Parts: a class with a static function parts() -> const BackendVTable&.
template <typename Parts>
class BackendApi {
 public:
  static const fastalex_backend_api* get() {
    static const fastalex_backend_api api = {
        FASTALEX_BACKEND_ABI,  // the order is backend_api.h's
        sizeof(fastalex_backend_api),
        Parts::parts().name,
        Parts::parts().top_k,
        last_error_text,
        probe,
        device_info,
        model_create,
        model_destroy,
        model_param,
        model_quantized,
        model_bytes,
        memory_create,
        memory_destroy,
        memory_copy,
        plan_create,
        plan_destroy,
        plan_describe,
        plan_save,
        context_create,
        context_destroy,
        run,
        Parts::parts().layers,
    };
    return &api;
  }

 private:
  static const BackendModel& model_of(const void* model) { return *static_cast<const BackendModel*>(model); }
  static const BackendPlan& plan_of(const void* plan) { return *static_cast<const BackendPlan*>(plan); }

  static const char* last_error_text() { return last_error().c_str(); }
  static int probe() {
    return guarded([] { Parts::parts().probe(); });
  }
  static int device_info(int index, char* text, size_t capacity, size_t* size) {
    return guarded([&] { copy_text(Parts::parts().device_info(index), text, capacity, size); });
  }
  static int model_create(const fastalex_step* steps, size_t step_count, const fastalex_param* params,
                          size_t param_count, const fastalex_model_options* options, void** model) {
    return guarded(
        [&] { *model = Parts::parts().make_model(steps, step_count, params, param_count, *options).release(); });
  }
  static void model_destroy(void* model) { delete static_cast<BackendModel*>(model); }
  static int model_param(const void* model, size_t index, float* out) {
    return guarded([&] { model_of(model).param(index, out); });
  }
  static int model_quantized(const void* model, size_t index, void* values, void* scale) {
    return guarded([&] { model_of(model).quantized(index, values, scale); });
  }
  static size_t model_bytes(const void* model) { return model_of(model).bytes(); }
  static int memory_create(const void* model, size_t bytes, void** memory) {
    return guarded([&] { *memory = model_of(model).allocate(bytes); });
  }
  static void memory_destroy(const void* model, void* memory) { model_of(model).release(memory); }
  static int memory_copy(const void* model, void* to, const void* from, size_t bytes, int to_host) {
    return guarded([&] { model_of(model).copy(to, from, bytes, to_host != 0); });
  }
  static int plan_create(const void* model, const fastalex_step* steps, size_t count, void** plan) {
    return guarded([&] { *plan = model_of(model).make_plan(steps, count).release(); });
  }
  static void plan_destroy(void* plan) { delete static_cast<BackendPlan*>(plan); }
  static int plan_describe(const void* plan, const char* const* names, char* text, size_t capacity, size_t* size) {
    return guarded([&] { copy_text(plan_of(plan).describe(names), text, capacity, size); });
  }
  static int plan_save(const void* plan, const char* path) {
    return guarded([&] { plan_of(plan).save(path); });
  }
  static int context_create(const void* plan, void** context) {
    return guarded([&] { *context = plan_of(plan).make_context().release(); });
  }
  static void context_destroy(void* context) { delete static_cast<BackendContext*>(context); }
  static int run(const void* plan, void* context, const fastalex_backend_call* call) {
    return guarded([&] { plan_of(plan).run(static_cast<BackendContext*>(context), *call); });
  }
};

}  // namespace fastalex
#endif  // FASTALEX_BACKEND_BACKEND_IMPL_H
