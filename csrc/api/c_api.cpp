// The public C interface (fastalex.h) over Net.
#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "common/error.h"
#include "core/backend_registry.h"
#include "core/net.h"
#include "core/plan.h"
#include "cpu/backend.h"
#include "cpu/distance.h"
#include "cpu/isa.h"
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

const int32_t kMaxThreads = 1024;

// The backends of this process.
fastalex::BackendRegistry& registry() {
  // Never destroyed: nets may outlive static destructors.
  static auto* instance = new fastalex::BackendRegistry({fastalex::cpu_backend(), fastalex::naive_backend()});
  return *instance;
}

Net::Request request_of(int32_t n, int32_t h, int32_t w, uint32_t flags) {
  if (flags & ~static_cast<uint32_t>(FASTALEX_SOFTMAX)) invalid("unknown flags ", flags);
  return Net::Request{n, h, w, fastalex::Wish{(flags & FASTALEX_SOFTMAX) != 0, {}, 0}};
}

size_t count_of(const fastalex_step& step) {
  if (step.top_k) return static_cast<size_t>(step.n) * step.top_k;
  return static_cast<size_t>(step.n) * step.out_c * step.out_h * step.out_w;
}

void copy_shape(const fastalex_step& step, int32_t* shape) {
  const int32_t sides[4] = {step.n, step.out_c, step.out_h, step.out_w};
  std::memcpy(shape, sides, sizeof sides);
}

void need(bool given, const char* what) {
  if (!given) invalid(what, " must not be NULL");
}

void check_room(const char* what, size_t count, size_t room) {
  if (count != room) invalid(what, " has ", count, " values, room for ", room, " was given");
}

Net::Request tap_request(int32_t n, int32_t h, int32_t w, uint32_t flags, const char* const* names, size_t count) {
  need(names && count, "names");
  Net::Request request = request_of(n, h, w, flags);
  for (size_t i = 0; i < count; ++i) {
    need(names[i], "a name");
    std::vector<std::string>& taps = request.wish.taps;
    if (std::find(taps.begin(), taps.end(), names[i]) != taps.end()) invalid("layer ", names[i], " is named twice");
    taps.push_back(names[i]);
  }
  return request;
}

int threads_of(const char* what, int32_t threads) {
  if (threads < 0 || threads > kMaxThreads)
    invalid(what, " must be 0 (all processors) to ", kMaxThreads, ", not ", threads);
  return threads ? threads : fastalex::usable_cpus();
}

void check_options(const fastalex_options& options) {
  need(options.backend, "options->backend");
  if (options.struct_size != sizeof(fastalex_options))
    invalid("options->struct_size is ", options.struct_size, ", set it to sizeof(fastalex_options)");
  if (options.fc_storage < FASTALEX_FP32 || options.fc_storage > FASTALEX_BF16)
    invalid("options->fc_storage is not a fastalex_storage: ", options.fc_storage);
  if (options.precision < FASTALEX_PRECISION_FP32 || options.precision > FASTALEX_PRECISION_INT8)
    invalid("options->precision is not a fastalex_precision: ", options.precision);
  if (options.device_index < 0) invalid("options->device_index must not be negative");
  threads_of("options->threads", options.threads);
}

fastalex_net* create(const char* table, int32_t channels, int32_t height, int32_t width,
                     const std::vector<fastalex_param>& params, const fastalex_options* options) {
  need(table, "table");
  need(options, "options");
  check_options(*options);
  for (const fastalex_param& param : params) {
    need(param.data, "a parameter");
    if (param.storage != FASTALEX_FP32 && param.storage != FASTALEX_INT8 && param.storage != FASTALEX_INT4)
      invalid("a parameter's storage must be fp32, int8 or int4, not ", param.storage);
    if (param.storage != FASTALEX_FP32) need(param.scale, "a quantised parameter's scale");
  }
  fastalex_model_options model = {};
  model.fc_storage = options->fc_storage;
  model.precision = options->precision;
  model.threads = threads_of("options->threads", options->threads);
  model.device_index = options->device_index;
  model.exact = options->exact != 0;
  model.tuning = options->tuning ? options->tuning : "";
  return new fastalex_net{{table, channels, height, width, params, registry().find(options->backend), model}};
}

fastalex_backend_call host_call(const float* input, float* const* outputs) {
  fastalex_backend_call call = {};
  call.input = input;
  call.outputs = outputs;
  return call;
}

void check_frame(const fastalex_frame& frame, const fastalex_call& call, int channels) {
  if (call.batch != 1 || channels != 3) invalid("a frame is the input of a net with three channels, one at a time");
  need(frame.pixels, "frame->pixels");
  if (frame.height < 1 || frame.width < 1 || frame.row_bytes < 3LL * frame.width)
    invalid("a frame of ", frame.height, " x ", frame.width, " pixels with rows of ", frame.row_bytes,
            " bytes has no sense");
  if (frame.filter < FASTALEX_NEAREST || frame.filter > FASTALEX_ANTIALIAS)
    invalid("frame->filter is not a fastalex_filter: ", frame.filter);
  if (frame.crop_y < 0 || frame.crop_x < 0 || frame.resized_h - frame.crop_y < call.height ||
      frame.resized_w - frame.crop_x < call.width)
    invalid("a crop of ", call.height, " x ", call.width, " at (", frame.crop_y, ", ", frame.crop_x,
            ") does not fit into a picture of ", frame.resized_h, " x ", frame.resized_w);
}

}  // namespace

extern "C" {

uint32_t fastalex_api_version(void) { return FASTALEX_API_VERSION; }

const char* fastalex_last_error(void) { return fastalex::last_error().c_str(); }

int fastalex_param_counts(const char* table, int32_t channels, int32_t height, int32_t width, size_t* counts,
                          size_t capacity, size_t* total) {
  return guarded([&] {
    need(table && total && (counts || capacity == 0), "table, counts and total");
    const fastalex::Plan plan = fastalex::build_plan(fastalex::parse_table(table), 1, channels, height, width, {});
    *total = plan.param_counts.size();
    std::copy_n(plan.param_counts.begin(), std::min(capacity, *total), counts);
  });
}

int fastalex_create(const char* table, int32_t channels, int32_t height, int32_t width, const float* const* params,
                    const size_t* param_counts, size_t param_total, const fastalex_options* options,
                    fastalex_net** net) {
  return guarded([&] {
    need(net, "net");
    *net = nullptr;
    need(param_total == 0 || (params && param_counts), "params");
    std::vector<fastalex_param> plain;
    for (size_t i = 0; i < param_total; ++i)
      plain.push_back(fastalex_param{params[i], nullptr, param_counts[i], FASTALEX_FP32});
    *net = create(table, channels, height, width, plain, options);
  });
}

int fastalex_create_quantised(const char* table, int32_t channels, int32_t height, int32_t width,
                              const fastalex_param* params, size_t param_total, const fastalex_options* options,
                              fastalex_net** net) {
  return guarded([&] {
    need(net, "net");
    *net = nullptr;
    need(param_total == 0 || params, "params");
    *net = create(table, channels, height, width, std::vector<fastalex_param>(params, params + param_total), options);
  });
}

int fastalex_quantise(const float* weights, size_t outputs, size_t inputs, int32_t storage, void* levels, void* scale) {
  return guarded([&] {
    need(weights && levels && scale, "weights, levels and scale");
    if (storage != FASTALEX_INT8 && storage != FASTALEX_INT4) invalid("storage must be int8 or int4, not ", storage);
    if (inputs > INT32_MAX) invalid("an output has ", inputs, " weights, at most ", INT32_MAX, " are possible");
    const int count = static_cast<int>(inputs);
    for (size_t out = 0; out < outputs; ++out) {
      const float* row = weights + out * inputs;
      if (storage == FASTALEX_INT8) {
        fastalex::quantise_int8(row, count, static_cast<int8_t*>(levels) + out * inputs,
                                static_cast<float*>(scale) + out);
      } else {
        fastalex::quantise_int4(row, count, static_cast<uint8_t*>(levels) + out * ((inputs + 1) / 2),
                                static_cast<uint16_t*>(scale) + out * fastalex::int4_groups(inputs));
      }
    }
  });
}

void fastalex_destroy(fastalex_net* net) { delete net; }

int fastalex_output_shape(fastalex_net* net, int32_t batch, int32_t height, int32_t width, uint32_t flags,
                          int32_t* shape) {
  return guarded([&] {
    need(net && shape, "net and shape");
    copy_shape(net->net.output_steps(request_of(batch, height, width, flags))[0], shape);
  });
}

int fastalex_tap_shapes(fastalex_net* net, int32_t batch, int32_t height, int32_t width, uint32_t flags,
                        const char* const* names, size_t name_count, int32_t* shapes) {
  return guarded([&] {
    need(net && shapes, "net and shapes");
    const Net::Request request = tap_request(batch, height, width, flags, names, name_count);
    for (const fastalex_step& step : net->net.output_steps(request)) {
      copy_shape(step, shapes);
      shapes += 4;
    }
  });
}

int fastalex_run_taps(fastalex_net* net, const float* input, int32_t batch, int32_t height, int32_t width,
                      uint32_t flags, const char* const* names, size_t name_count, float* const* outputs,
                      const size_t* output_counts) {
  return guarded([&] {
    need(net && input && outputs && output_counts, "net, input and outputs");
    const Net::Request request = tap_request(batch, height, width, flags, names, name_count);
    const std::vector<fastalex_step> steps = net->net.output_steps(request);
    for (size_t i = 0; i < steps.size(); ++i) {
      need(outputs[i], "an output");
      check_room(names[i], count_of(steps[i]), output_counts[i]);
    }
    net->net.run(request, host_call(input, outputs));
  });
}

int fastalex_run(fastalex_net* net, const float* input, int32_t batch, int32_t height, int32_t width, uint32_t flags,
                 float* output, size_t output_count) {
  return guarded([&] {
    need(net && input && output, "net, input and output");
    const Net::Request request = request_of(batch, height, width, flags);
    check_room("the output", count_of(net->net.output_steps(request)[0]), output_count);
    net->net.run(request, host_call(input, &output));
  });
}

int fastalex_profile(fastalex_net* net, const float* input, int32_t batch, int32_t height, int32_t width,
                     uint32_t flags, fastalex_step_time report, void* user) {
  return guarded([&] {
    need(net && input && report, "net, input and report");
    const Net::Request request = request_of(batch, height, width, flags);
    std::vector<float> output(count_of(net->net.output_steps(request)[0]));
    const std::vector<std::string> names = net->net.step_names(request);
    std::vector<double> seconds(names.size());
    float* const outputs[] = {output.data()};
    fastalex_backend_call call = host_call(input, outputs);
    call.step_seconds = seconds.data();
    net->net.run(request, call);
    for (size_t i = 0; i < names.size(); ++i) report(user, names[i].c_str(), seconds[i]);
  });
}

int fastalex_run_call(fastalex_net* net, const fastalex_call* call) {
  return guarded([&] {
    need(net && call, "net and call");
    if (call->struct_size != sizeof(fastalex_call))
      invalid("call->struct_size is ", call->struct_size, ", set it to sizeof(fastalex_call)");
    if (!call->input == !call->frame) invalid("give either an input or a frame, not both and not neither");
    need(call->outputs && call->output_counts, "outputs");
    if (call->frame) check_frame(*call->frame, *call, net->net.channels());
    if (call->top_k && call->names) invalid("top_k is of the last layer's values; ask for it without names");
    if (!call->top_k != !call->indices) invalid("top_k and indices go together: give both or neither");
    Net::Request request =
        call->names ? tap_request(call->batch, call->height, call->width, call->flags, call->names, call->name_count)
                    : request_of(call->batch, call->height, call->width, call->flags);
    request.wish.top_k = call->top_k;
    const std::vector<fastalex_step> steps = net->net.output_steps(request);
    for (size_t i = 0; i < steps.size(); ++i) {
      need(call->outputs[i], "an output");
      check_room(call->names ? call->names[i] : "the output", count_of(steps[i]), call->output_counts[i]);
    }
    net->net.run(request, {call->input, call->frame, call->outputs, call->indices, call->input_on_device,
                           call->outputs_on_device, call->stream, nullptr});
  });
}

int fastalex_describe(fastalex_net* net, int32_t batch, int32_t height, int32_t width, uint32_t flags,
                      const char* const* names, size_t name_count, char* text, size_t capacity, size_t* size) {
  return guarded([&] {
    need(net && size && (text || !capacity), "net, text and size");
    const Net::Request request = name_count ? tap_request(batch, height, width, flags, names, name_count)
                                            : request_of(batch, height, width, flags);
    net->net.describe(request, text, capacity, size);
  });
}

int fastalex_save_engine(fastalex_net* net, int32_t batch, int32_t height, int32_t width, uint32_t flags,
                         const char* path) {
  return guarded([&] {
    need(net && path, "net and path");
    net->net.save(request_of(batch, height, width, flags), path);
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
    const std::vector<size_t>& counts = net->net.param_counts();
    if (index < counts.size() && count != counts[index])
      invalid("parameter ", index, " has ", counts[index], " values, room for ", count, " was given");
    net->net.get_param(index, out);
  });
}

int fastalex_param_bytes(fastalex_net* net, size_t* bytes) {
  return guarded([&] {
    need(net && bytes, "net and bytes");
    *bytes = net->net.param_bytes();
  });
}

int fastalex_unit_normalise(float* maps, size_t images, size_t channels, size_t positions, float eps,
                            int32_t eps_inside, int32_t threads) {
  return guarded([&] {
    need(maps, "maps");
    fastalex::unit_normalise(maps, images, channels, positions, eps, eps_inside != 0, threads_of("threads", threads));
  });
}

int fastalex_map_distances(const fastalex_distances* distances) {
  return guarded([&] {
    need(distances, "distances");
    if (distances->struct_size != sizeof(fastalex_distances))
      invalid("distances->struct_size is ", distances->struct_size, ", set it to sizeof(fastalex_distances)");
    need(distances->a && distances->b && distances->weights && distances->sums, "a, b, weights and sums");
    fastalex::map_distances(*distances, threads_of("distances->threads", distances->threads));
  });
}

int fastalex_backend(size_t index, const char** name, const char** reason) {
  return guarded([&] {
    need(name && reason, "name and reason");
    std::vector<const fastalex::BackendStatus*> all = registry().all();
    if (index >= all.size()) invalid("there are ", all.size(), " backends, there is no ", index);
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

int fastalex_cpu_isa(const char** isa) {
  return guarded([&] {
    need(isa, "isa");
    *isa = fastalex::cpu_kernels().isa;
  });
}

}  // extern "C"
