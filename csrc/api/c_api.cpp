// The public C interface (fastalex.h) over Net.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "backend/steps.h"
#include "common/error.h"
#include "core/backend_registry.h"
#include "core/net.h"
#include "core/plan.h"
#include "cpu/backend.h"
#include "cpu/distance.h"
#include "cpu/isa.h"
#include "cpu/usable_cpus.h"
#include "fastalex.h"
#include "reference/naive.h"
#include "weights/dequantize.h"
#include "weights/quantize.h"

struct fastalex_net {
  fastalex::Net net;
};

namespace {

using fastalex::guarded;
using fastalex::invalid;
using fastalex::Net;
using fastalex::Request;

const int32_t kMaxThreads = 1024;

// The backends of this process.
fastalex::BackendRegistry& registry() {
  // Never destroyed: nets may outlive static destructors.
  static auto* instance = new fastalex::BackendRegistry({fastalex::cpu_backend(), fastalex::naive_backend()});
  return *instance;
}

size_t count_of(const fastalex_step& step) {
  if (step.top_k) return static_cast<size_t>(step.n) * step.top_k;
  return static_cast<size_t>(step.n) * step.out_c * step.out_h * step.out_w;
}

void copy_shape(const fastalex_step& step, int32_t* shape) {
  const int32_t sides[4] = {step.n, step.top_k ? step.top_k : step.out_c, step.out_h, step.out_w};
  std::memcpy(shape, sides, sizeof sides);
}

void need(bool present, const char* what) {
  if (!present) invalid(what, " must not be NULL");
}

// Values at another address cannot be read on every processor.
void need_aligned(const void* values, const char* what, size_t bytes = sizeof(float)) {
  if (reinterpret_cast<uintptr_t>(values) % bytes) invalid(what, " must lie at a multiple of ", bytes, " bytes");
}

void check_room(const char* what, size_t count, size_t room) {
  if (count != room) invalid(what, " has ", count, " values, room for ", room, " was given");
}

Request request_of(const fastalex_call& call) {
  if (call.struct_size != sizeof(fastalex_call))
    invalid("call->struct_size is ", call.struct_size, ", set it to sizeof(fastalex_call)");
  if (call.flags & ~static_cast<uint32_t>(FASTALEX_SOFTMAX)) invalid("unknown flags ", call.flags);
  if (call.top_k && call.names) invalid("top_k applies to the last layer alone; ask for it without names");
  Request request = {call.batch, call.height, call.width, (call.flags & FASTALEX_SOFTMAX) != 0, call.top_k, {}};
  if (!call.names != !call.name_count) invalid("names and name_count go together: give both or neither");
  for (size_t i = 0; call.names && i < call.name_count; ++i) {
    need(call.names[i], "a name");
    std::vector<std::string>& taps = request.taps;
    if (std::find(taps.begin(), taps.end(), call.names[i]) != taps.end())
      invalid("layer ", call.names[i], " is named twice");
    taps.push_back(call.names[i]);
  }
  return request;
}

// The output arrays: the caller's own, or new ones from `allocate`.
std::vector<float*> outputs_of(const fastalex_call& call, const std::vector<fastalex_step>& steps) {
  std::vector<float*> outputs;
  for (size_t i = 0; i < steps.size(); ++i) {
    if (call.outputs) {
      check_room(call.names ? call.names[i] : "the output", count_of(steps[i]), call.output_counts[i]);
      outputs.push_back(call.outputs[i]);
      need(outputs.back(), "an output");
      continue;
    }
    int32_t shape[4];
    copy_shape(steps[i], shape);
    outputs.push_back(call.allocate(call.user, i, shape));
    if (!outputs.back()) throw fastalex::Error(FASTALEX_OUT_OF_MEMORY, "there is not enough memory for the output");
  }
  for (const float* output : outputs) need_aligned(output, "an output");
  return outputs;
}

int threads_of(const char* what, int32_t threads) {
  if (threads < 0 || threads > kMaxThreads)
    invalid(what, " must be 0 (all processors) to ", kMaxThreads, ", not ", threads);
  return threads ? threads : std::min(fastalex::usable_cpus(), kMaxThreads);
}

void check_options(const fastalex_options& options) {
  if (options.struct_size != sizeof(fastalex_options))
    invalid("options->struct_size is ", options.struct_size, ", set it to sizeof(fastalex_options)");
  need(options.backend, "options->backend");
  if (options.fc_storage < FASTALEX_FP32 || options.fc_storage > FASTALEX_BF16)
    invalid("options->fc_storage is not a fastalex_storage: ", options.fc_storage);
  if (options.precision < FASTALEX_PRECISION_FP32 || options.precision > FASTALEX_PRECISION_INT8)
    invalid("options->precision is not a fastalex_precision: ", options.precision);
  if (options.fc_layout != FASTALEX_FC_LATENCY && options.fc_layout != FASTALEX_FC_THROUGHPUT)
    invalid("options->fc_layout is not a fastalex_fc_layout: ", options.fc_layout);
  if (options.device_index < 0) invalid("options->device_index must not be negative");
  threads_of("options->threads", options.threads);
}

fastalex_net* create(const char* table, int32_t channels, int32_t height, int32_t width, const fastalex_param* params,
                     size_t param_total, const fastalex_options* options) {
  need(table, "table");
  need(param_total == 0 || params, "params");
  need(options, "options");
  check_options(*options);
  fastalex_model_options model = {};
  model.fc_storage = options->fc_storage;
  model.precision = options->precision;
  model.threads = threads_of("options->threads", options->threads);
  model.device_index = options->device_index;
  model.exact = options->exact != 0;
  model.fc_layout = options->fc_layout;
  model.tuning = options->tuning ? options->tuning : "";
  return new fastalex_net{
      {table, channels, height, width, params, param_total, registry().find(options->backend), model}};
}

void check_frame(const fastalex_frame& frame, const fastalex_call& call, int channels) {
  if (call.batch != 1 || channels != 3) invalid("a frame needs a net with three input channels and a batch of 1");
  need(frame.pixels, "frame->pixels");
  if (frame.height < 1 || frame.width < 1 || frame.row_bytes < 3LL * frame.width ||
      frame.row_bytes > std::numeric_limits<int64_t>::max() / frame.height)
    invalid(
        "a frame of ", frame.height, " x ", frame.width, " pixels cannot have rows of ", frame.row_bytes,
        " bytes: both sides must be at least 1, row_bytes at least 3 * width, and height * row_bytes must fit int64_t");
  if (frame.filter < FASTALEX_NEAREST || frame.filter > FASTALEX_ANTIALIAS)
    invalid("frame->filter is not a fastalex_filter: ", frame.filter);
  if (frame.crop_y < 0 || frame.crop_x < 0 || frame.resized_h < 1 || frame.resized_w < 1 ||
      frame.resized_h - frame.crop_y < call.height || frame.resized_w - frame.crop_x < call.width)
    invalid("a crop of ", call.height, " x ", call.width, " at (", frame.crop_y, ", ", frame.crop_x,
            ") does not fit into a picture of ", frame.resized_h, " x ", frame.resized_w);
}

}  // namespace

extern "C" {

uint32_t fastalex_api_version(void) { return FASTALEX_API_VERSION; }

const char* fastalex_last_error(void) { return fastalex::last_error().c_str(); }

const char* fastalex_storage_name(int32_t storage) { return fastalex::storage_name(storage); }

const char* fastalex_precision_name(int32_t precision) { return fastalex::precision_name(precision); }

int fastalex_layers(const char* table, int32_t channels, int32_t height, int32_t width, fastalex_layer* layers,
                    size_t capacity, size_t* total) {
  return guarded([&] {
    need(table && total && (layers || capacity == 0), "table, layers and total");
    const std::vector<fastalex_layer> rows = fastalex::layers_of(fastalex::parse_table(table), channels, height, width);
    *total = rows.size();
    std::copy_n(rows.begin(), std::min(capacity, *total), layers);
  });
}

int fastalex_create(const char* table, int32_t channels, int32_t height, int32_t width, const fastalex_param* params,
                    size_t param_total, const fastalex_options* options, fastalex_net** net) {
  return guarded([&] {
    need(net, "net");
    *net = nullptr;
    *net = create(table, channels, height, width, params, param_total, options);
  });
}

int fastalex_quantize(const float* weights, size_t outputs, size_t inputs, int32_t storage, void* values, void* scale) {
  return guarded([&] {
    need(weights && values && scale, "weights, values and scale");
    if (storage != FASTALEX_INT8 && storage != FASTALEX_INT4) invalid("storage must be int8 or int4, not ", storage);
    if (inputs > INT32_MAX) invalid("an output has ", inputs, " weights; at most ", INT32_MAX, " are supported");
    if (inputs && outputs > std::numeric_limits<size_t>::max() / sizeof(float) / inputs)
      invalid(outputs, " x ", inputs, " weights are more than any memory holds");
    need_aligned(scale, "scale", storage == FASTALEX_INT8 ? sizeof(float) : sizeof(uint16_t));
    const int count = static_cast<int>(inputs);
    for (size_t out = 0; out < outputs; ++out) {
      const float* row = weights + out * inputs;
      if (storage == FASTALEX_INT8) {
        fastalex::quantize_int8(row, count, static_cast<int8_t*>(values) + out * inputs,
                                static_cast<float*>(scale) + out);
      } else {
        fastalex::quantize_int4(row, count, static_cast<uint8_t*>(values) + out * ((inputs + 1) / 2),
                                static_cast<uint16_t*>(scale) + out * fastalex::int4_groups(inputs));
      }
    }
  });
}

void fastalex_destroy(fastalex_net* net) { delete net; }

int fastalex_shapes(fastalex_net* net, const fastalex_call* call, int32_t* shapes) {
  return guarded([&] {
    need(net && call && shapes, "net, call and shapes");
    for (const fastalex_step& step : net->net.output_steps(request_of(*call))) {
      copy_shape(step, shapes);
      shapes += 4;
    }
  });
}

int fastalex_run(fastalex_net* net, const fastalex_call* call) {
  return guarded([&] {
    need(net && call, "net and call");
    const Request request = request_of(*call);
    if (!call->input == !call->frame) invalid("set either input or frame, but not both");
    need(call->outputs ? call->output_counts != nullptr : call->allocate != nullptr, "outputs, or allocate");
    if (call->frame) check_frame(*call->frame, *call, net->net.channels());
    if (!call->top_k != !call->indices) invalid("top_k and indices go together: give both or neither");
    need_aligned(call->input, "the input");
    need_aligned(call->indices, "indices");
    Net::Call running(&net->net, request);
    const std::vector<float*> outputs = outputs_of(*call, running.outputs());
    running.run({call->input, call->frame, outputs.data(), call->indices, call->input_on_device,
                 call->outputs_on_device, call->stream, nullptr, call->interrupted, call->interrupted_user});
  });
}

int fastalex_profile(fastalex_net* net, const fastalex_call* call, fastalex_step_time report, void* user) {
  return guarded([&] {
    need(net && call && report, "net, call and report");
    const Request request = request_of(*call);
    if (!call->input || call->input_on_device || call->frame)
      invalid("the times of steps are measured with an input in host memory, without a frame");
    need_aligned(call->input, "the input");
    std::vector<double> seconds;
    std::vector<std::string> names;
    {
      Net::Call running(&net->net, request);
      names = running.step_names();
      seconds.resize(names.size());
      std::vector<std::vector<float>> results;
      std::vector<float*> outputs;
      for (const fastalex_step& step : running.outputs()) {
        results.emplace_back(count_of(step));
        outputs.push_back(results.back().data());
      }
      std::vector<int32_t> indices(request.top_k ? results[0].size() : 0);
      running.run({call->input, nullptr, outputs.data(), request.top_k ? indices.data() : nullptr, 0, 0, call->stream,
                   seconds.data(), nullptr, nullptr});
    }
    for (size_t i = 0; i < names.size(); ++i) report(user, names[i].c_str(), seconds[i]);
  });
}

int fastalex_describe(fastalex_net* net, const fastalex_call* call, char* text, size_t capacity, size_t* size) {
  return guarded([&] {
    need(net && call && size && (text || !capacity), "net, call, text and size");
    net->net.describe(request_of(*call), text, capacity, size);
  });
}

int fastalex_save_engine(fastalex_net* net, const fastalex_call* call, const char* path) {
  return guarded([&] {
    need(net && call && path, "net, call and path");
    net->net.save(request_of(*call), path);
  });
}

int fastalex_device_info(const char* backend, int32_t index, char* text, size_t capacity, size_t* size) {
  return guarded([&] {
    need(backend && size && (text || !capacity), "backend, text and size");
    const fastalex_backend_api* api = registry().find(backend);
    const int status = api->device_info(index, text, capacity, size);
    if (status != FASTALEX_OK) throw fastalex::Error(status, api->last_error());
  });
}

int fastalex_memory_create(fastalex_net* net, size_t bytes, void** memory) {
  return guarded([&] {
    need(net && memory, "net and memory");
    *memory = net->net.allocate(bytes);
  });
}

void fastalex_memory_destroy(fastalex_net* net, void* memory) {
  if (net && memory) net->net.release(memory);
}

int fastalex_memory_copy(fastalex_net* net, void* to, const void* from, size_t bytes, int32_t to_host) {
  return guarded([&] {
    need(net && to && from, "net, to and from");
    net->net.copy(to, from, bytes, to_host != 0);
  });
}

int fastalex_get_param(fastalex_net* net, size_t index, float* out, size_t count) {
  return guarded([&] {
    need(net && out, "net and out");
    need_aligned(out, "out");
    const std::vector<size_t>& counts = net->net.param_counts();
    if (index < counts.size() && count != counts[index])
      invalid("parameter ", index, " has ", counts[index], " values, room for ", count, " was given");
    net->net.get_param(index, out);
  });
}

int fastalex_get_quantized(fastalex_net* net, size_t index, void* values, size_t value_bytes, void* scale,
                           size_t scale_bytes) {
  return guarded([&] {
    need(net && values && scale, "net, values and scale");
    net->net.get_quantized(index, values, value_bytes, scale, scale_bytes);
  });
}

int fastalex_param_bytes(fastalex_net* net, size_t* bytes) {
  return guarded([&] {
    need(net && bytes, "net and bytes");
    *bytes = net->net.param_bytes();
  });
}

int fastalex_unit_normalize(float* maps, size_t images, size_t channels, size_t positions, float eps,
                            int32_t eps_inside, int32_t threads) {
  return guarded([&] {
    need(maps, "maps");
    need_aligned(maps, "maps");
    fastalex::unit_normalize(maps, images, channels, positions, eps, eps_inside != 0, threads_of("threads", threads));
  });
}

int fastalex_map_distances(const fastalex_distances* distances) {
  return guarded([&] {
    need(distances, "distances");
    if (distances->struct_size != sizeof(fastalex_distances))
      invalid("distances->struct_size is ", distances->struct_size, ", set it to sizeof(fastalex_distances)");
    need(distances->a && distances->b && distances->weights && distances->sums, "a, b, weights and sums");
    need_aligned(distances->weights, "weights");
    need_aligned(distances->maps, "maps");
    need_aligned(distances->sums, "sums", sizeof(double));
    fastalex::map_distances(*distances, threads_of("distances->threads", distances->threads));
  });
}

int fastalex_backend(size_t index, const char** name, const char** reason) {
  return guarded([&] {
    need(name && reason, "name and reason");
    std::vector<const fastalex::BackendStatus*> all = registry().all();
    if (index >= all.size()) invalid("there is no backend ", index, ": the last one is ", all.size() - 1);
    *name = all[index]->name.c_str();
    *reason = all[index]->reason.c_str();
  });
}

int fastalex_load_backend(const char* path) {
  return guarded([&] {
    need(path, "path");
    registry().load(path);
  });
}

int fastalex_default_threads(int32_t* threads) {
  return guarded([&] {
    need(threads, "threads");
    *threads = std::min(fastalex::usable_cpus(), kMaxThreads);
  });
}

int fastalex_cpu_isa(const char** isa) {
  return guarded([&] {
    need(isa, "isa");
    *isa = fastalex::cpu_kernels().isa;
  });
}

}  // extern "C"
