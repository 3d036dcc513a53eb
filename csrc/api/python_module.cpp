// The Python module fastalex._core: a thin layer over the C interface. Compute releases the GIL.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <exception>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "api/constructed.h"
#include "api/dlpack.h"
#include "api/mapping.h"
#include "fastalex.h"

namespace py = pybind11;

namespace {

using Array = py::array_t<float, py::array::c_style>;

PyObject* user_error = nullptr;     // fastalex.errors.UserError
PyObject* backend_error = nullptr;  // fastalex.errors.BackendError

void check(int status) {
  if (status == FASTALEX_OK) return;
  const std::string message = fastalex_last_error();
  if (status == FASTALEX_OUT_OF_MEMORY) {
    PyErr_SetString(PyExc_MemoryError, message.c_str());
  } else {
    PyObject* type = status == FASTALEX_INVALID       ? user_error
                     : status == FASTALEX_UNAVAILABLE ? backend_error
                                                      : PyExc_RuntimeError;
    PyErr_SetString(type, message.c_str());
  }
  throw py::error_already_set();
}

// Returns the text that `give(text, capacity, &size)` writes, whatever its size, which may change from call to call.
template <typename Give>
std::string whole_text(const Give& give) {
  size_t size = 4096;
  std::vector<char> text;
  do {
    text.resize(size);
    check(give(text.data(), text.size(), &size));
  } while (size > text.size());
  return text.data();
}

// Returns `text` for the C interface, which ends at its first zero.
const char* c_text(const char* what, const std::string& text) {
  if (text.find('\0') != std::string::npos) {
    PyErr_Format(user_error, "%s must not contain a zero byte", what);
    throw py::error_already_set();
  }
  return text.c_str();
}

// Runs a call that may build a plan without the GIL: a TensorRT engine can take minutes.
template <typename Call>
int without_gil(const Call& call) {
  py::gil_scoped_release release;
  return call();
}

struct Closer {
  void operator()(fastalex_net* net) const {
    py::gil_scoped_release release;  // waits for running calls
    fastalex_destroy(net);
  }
};

size_t groups_of(size_t inputs) { return (inputs + FASTALEX_INT4_GROUP - 1) / FASTALEX_INT4_GROUP; }

// Types of the arrays of quantized weights [out, in], in a net's storage.
const char* value_type(int storage) { return storage == FASTALEX_INT8 ? "i1" : "u1"; }
const char* scale_type(int storage) { return storage == FASTALEX_INT8 ? "f4" : "f2"; }

// Makes (values, scale), not filled in, of quantized weights [out, in], as param_of takes them.
std::pair<py::array, py::array> empty_quantized(int storage, py::ssize_t out, py::ssize_t in) {
  const bool bytes = storage == FASTALEX_INT8;
  std::vector<py::ssize_t> scales{out};
  if (!bytes) scales.push_back(static_cast<py::ssize_t>(groups_of(static_cast<size_t>(in))));
  return {py::array(py::dtype(value_type(storage)), std::vector<py::ssize_t>{out, bytes ? in : (in + 1) / 2}),
          py::array(py::dtype(scale_type(storage)), scales)};
}

// Returns the array that `object` is; it lives as long as `object`, so nothing is converted.
py::array array_of(const py::handle& object, const char* type) {
  if (!py::isinstance<py::array>(object)) throw py::type_error("a parameter must be a numpy array");
  const py::array array = py::reinterpret_borrow<py::array>(object);
  if (!(array.flags() & py::array::c_style) || !array.dtype().equal(py::dtype(type)))
    throw py::value_error("a parameter's array must be C-contiguous and of its documented type");
  return array;
}

// A parameter is a float32 array, or (values, scale) of a quantized fully connected weight: int8 [out, in] with float32
// [out], or uint8 [out, (in + 1) / 2] with float16 [out, groups_of(in)] and the number of its values.
fastalex_param param_of(const py::object& parameter) {
  if (!py::isinstance<py::tuple>(parameter)) {
    const py::array array = array_of(parameter, "f4");
    return {array.data(), nullptr, static_cast<size_t>(array.size()), FASTALEX_FP32, 0};
  }
  const py::tuple parts = parameter.cast<py::tuple>();
  const bool bytes = parts.size() == 2;
  if (!bytes && parts.size() != 3)
    throw py::value_error("a quantized parameter is (values, scale) or (values, scale, count)");
  const int storage = bytes ? FASTALEX_INT8 : FASTALEX_INT4;
  const py::array values = array_of(parts[0], value_type(storage)), scale = array_of(parts[1], scale_type(storage));
  const size_t out = static_cast<size_t>(values.ndim() == 2 ? values.shape(0) : 0);
  const size_t count = bytes ? static_cast<size_t>(values.size()) : parts[2].cast<size_t>();
  const size_t inputs = out ? count / out : 0;
  const size_t scales = bytes ? out : out * groups_of(inputs);
  const size_t room = bytes ? count : out * ((inputs + 1) / 2);
  if (!out || out > INT32_MAX || count % out || static_cast<size_t>(scale.size()) != scales ||
      static_cast<size_t>(values.size()) != room)
    throw py::value_error("the shapes of a quantized parameter do not fit each other");
  return {values.data(), scale.data(), count, storage, static_cast<int32_t>(out)};
}

// A fastalex_call with the Python objects that it points into.
class PyCall : public fastalex::Exported {
 public:
  // input: a float32 array [N, C, H, W]; the address of one, or of a frame's pixels, as an integer (arrays of other
  // libraries); or None if only the plan matters. shape: (N, H, W) unless the input is an array.
  PyCall(py::object input, const std::vector<int32_t>& shape, std::vector<std::string> taps, bool softmax,
         int32_t top_k, const py::object& frame, bool on_device, size_t stream)
      : input_(std::move(input)), taps_(std::move(taps)) {
    call_.struct_size = sizeof call_;
    call_.flags = softmax ? static_cast<uint32_t>(FASTALEX_SOFTMAX) : 0u;
    call_.top_k = top_k;
    call_.input_on_device = on_device;
    call_.stream = reinterpret_cast<void*>(stream);
    for (const std::string& tap : taps_) names_.push_back(c_text("a tap", tap));
    call_.names = names_.empty() ? nullptr : names_.data();
    call_.name_count = names_.size();
    if (py::isinstance<py::array>(input_)) {
      take_array(py::reinterpret_borrow<py::array>(input_));
      return;
    }
    if (shape.size() != 3) throw py::value_error("the shape must be (n, h, w)");
    call_.batch = shape[0];
    call_.height = shape[1];
    call_.width = shape[2];
    void* const address = input_.is_none() ? nullptr : reinterpret_cast<void*>(input_.cast<size_t>());
    if (frame.is_none())
      call_.input = static_cast<const float*>(address);
    else
      take_frame(static_cast<const uint8_t*>(address), frame.cast<py::dict>());
  }
  PyCall(const PyCall&) = delete;
  PyCall& operator=(const PyCall&) = delete;

  // Sets the addresses of the outputs, each with room for counts[i] values. indices: the address for the top_k indices.
  void set_outputs(const std::vector<size_t>& addresses, const std::vector<size_t>& counts, bool on_device,
                   size_t indices) {
    if (addresses.size() != counts.size() || addresses.size() != output_count())
      throw py::value_error("each tap needs one output and its count");
    const auto made = std::make_shared<Outputs>();
    for (size_t address : addresses) made->arrays.push_back(reinterpret_cast<float*>(address));
    made->counts = counts;
    outputs_ = made;
    call_.outputs = made->arrays.data();
    call_.output_counts = made->counts.data();
    call_.outputs_on_device = on_device;
    call_.indices = reinterpret_cast<int32_t*>(indices);
  }

  // Where the call's outputs are. A run holds on to them, since another thread may set new ones meanwhile.
  struct Outputs {
    std::vector<float*> arrays;
    std::vector<size_t> counts;
  };

  const fastalex_call& call() const { return call_; }
  const std::shared_ptr<const Outputs>& outputs() const { return outputs_; }
  const py::object& input() const { return input_; }
  size_t output_count() const { return std::max<size_t>(1, taps_.size()); }
  bool has_outputs() const { return call_.outputs != nullptr; }
  py::ssize_t channels() const { return channels_; }

 private:
  static int32_t side(py::ssize_t value) {
    if (value > INT32_MAX) throw py::value_error("the input is too large");
    return static_cast<int32_t>(value);
  }

  void take_array(const py::array& x) {
    if (x.ndim() != 4) throw py::value_error("the input must be [N, C, H, W]");
    if (!py::isinstance<Array>(x)) throw py::type_error("the input must be a C-contiguous float32 array");
    call_.batch = side(x.shape(0));
    channels_ = x.shape(1);
    call_.height = side(x.shape(2));
    call_.width = side(x.shape(3));
    call_.input = static_cast<const float*>(x.data());
  }

  void take_frame(const uint8_t* pixels, const py::dict& spec) {
    frame_.pixels = pixels;
    frame_.row_bytes = spec["row_bytes"].cast<int64_t>();
    const std::pair<const char*, int32_t*> fields[] = {
        {"height", &frame_.height},       {"width", &frame_.width},
        {"filter", &frame_.filter},       {"resized_h", &frame_.resized_h},
        {"resized_w", &frame_.resized_w}, {"crop_y", &frame_.crop_y},
        {"crop_x", &frame_.crop_x},       {"swap", &frame_.swap}};
    for (const auto& field : fields) *field.second = spec[field.first].cast<int32_t>();
    const auto scale = spec["scale"].cast<std::array<float, 3>>(), shift = spec["shift"].cast<std::array<float, 3>>();
    std::copy(scale.begin(), scale.end(), frame_.scale);
    std::copy(shift.begin(), shift.end(), frame_.shift);
    call_.frame = &frame_;
  }

  py::object input_;
  std::vector<std::string> taps_;
  std::vector<const char*> names_;
  std::shared_ptr<const Outputs> outputs_;
  fastalex_frame frame_ = {};
  fastalex_call call_ = {};
  py::ssize_t channels_ = -1;  // of an array
};

// Looks for a signal's exception, such as KeyboardInterrupt, during a long call.
class Signals {
 public:
  static int interrupted(void* self) { return static_cast<Signals*>(self)->look(); }

  // Throws the exception, if there was one.
  void rethrow() const {
    if (problem_) std::rethrow_exception(problem_);
  }

 private:
  // Python's handlers run on the main thread alone; on others this finds nothing.
  int look() {
    const auto now = std::chrono::steady_clock::now();
    if (now - last_ < std::chrono::milliseconds(50)) return 0;
    last_ = now;
    py::gil_scoped_acquire gil;
    if (PyErr_CheckSignals() == 0) return 0;
    problem_ = std::make_exception_ptr(py::error_already_set());
    return 1;
  }

  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
  std::exception_ptr problem_;
};

// Provides memory for the outputs of a running call: new numpy arrays, or what the caller's function returns.
class Allocator {
 public:
  explicit Allocator(const py::object& function) : function_(function) {}

  static float* allocate(void* self, size_t, const int32_t* shape) {
    py::gil_scoped_acquire gil;
    try {
      return static_cast<Allocator*>(self)->next(shape);
    } catch (...) {
      static_cast<Allocator*>(self)->problem_ = std::current_exception();
      return nullptr;
    }
  }

  // Throws what `function` threw, if it did.
  void rethrow() const {
    if (problem_) std::rethrow_exception(problem_);
  }

  py::list& arrays() { return arrays_; }

 private:
  float* next(const int32_t* shape) {
    if (!function_.is_none())
      return reinterpret_cast<float*>(function_(py::make_tuple(shape[0], shape[1], shape[2], shape[3])).cast<size_t>());
    // [N, C, H, W]; [N, C] for features.
    Array array(std::vector<py::ssize_t>(shape, shape + (shape[2] == 1 && shape[3] == 1 ? 2 : 4)));
    arrays_.append(array);
    return array.mutable_data();
  }

  const py::object& function_;
  py::list arrays_;
  std::exception_ptr problem_;
};

class PyNet : public fastalex::Exported {
 public:
  PyNet(const std::string& table, std::vector<int32_t> shape, const std::vector<py::object>& params,
        const std::string& backend, int fc_storage, int threads, int precision, int device_index,
        const std::string& tuning, bool exact, int fc_layout)
      : shape_(std::move(shape)), fc_storage_(fc_storage) {
    if (shape_.size() != 3) throw py::value_error("the input shape must be (channels, height, width)");
    std::vector<fastalex_param> native;
    for (const py::object& param : params) {
      native.push_back(param_of(param));
      counts_.push_back(native.back().count);
    }
    fastalex_options options = {};
    options.struct_size = sizeof options;
    options.backend = c_text("the backend", backend);
    options.fc_storage = fc_storage;
    options.precision = precision;
    options.threads = threads;
    options.device_index = device_index;
    options.tuning = c_text("the tuning", tuning);
    const char* const rows = c_text("the table", table);
    options.exact = exact;
    options.fc_layout = fc_layout;
    fastalex_net* net = nullptr;
    int status;
    {
      py::gil_scoped_release release;
      status = fastalex_create(rows, shape_[0], shape_[1], shape_[2], native.data(), native.size(), &options, &net);
    }
    check(status);
    net_ = std::shared_ptr<fastalex_net>(net, Closer());
  }

  const std::shared_ptr<fastalex_net>& handle() const { return net_; }

  // Returns the outputs as numpy arrays, and with top_k their indices. Returns nothing if the call has outputs of its
  // own or `allocate` provides the address of memory for each shape.
  py::list run(const PyCall& asked, const py::object& allocate, bool on_device) const {
    check_channels(asked);
    fastalex_call call = asked.call();
    const std::shared_ptr<const PyCall::Outputs> held = asked.outputs();
    py::array_t<int32_t> indices;
    Allocator allocator(allocate);
    if (!asked.has_outputs()) {
      call.allocate = Allocator::allocate;
      call.user = &allocator;
      call.outputs_on_device = on_device;
      if (call.top_k) {
        const std::vector<int32_t> shape = shapes(asked)[0];  // checks top_k and the batch
        indices = py::array_t<int32_t>({shape[0], shape[1]});
        call.indices = indices.mutable_data();
      }
    }
    Signals signals;
    if (call.batch > 1) {  // one image is soon done
      call.interrupted = Signals::interrupted;
      call.interrupted_user = &signals;
    }
    const int status = without_gil([&] { return fastalex_run(net_.get(), &call); });
    signals.rethrow();
    allocator.rethrow();
    check(status);
    py::list& results = allocator.arrays();
    if (call.top_k && !asked.has_outputs()) results.append(indices);
    return results;
  }

  // [N, C, H, W] of each output.
  std::vector<std::vector<int32_t>> shapes(const PyCall& asked) const {
    check_channels(asked);
    std::vector<int32_t> sides(4 * asked.output_count());
    check(without_gil([&] { return fastalex_shapes(net_.get(), &asked.call(), sides.data()); }));
    std::vector<std::vector<int32_t>> shapes;
    for (size_t i = 0; i < sides.size(); i += 4) shapes.emplace_back(sides.begin() + i, sides.begin() + i + 4);
    return shapes;
  }

  // [(name of the last layer in a step, seconds)]
  std::vector<std::pair<std::string, double>> profile(const PyCall& asked) const {
    check_channels(asked);
    std::vector<std::pair<std::string, double>> times;
    const auto report = [](void* user, const char* layer, double seconds) {
      static_cast<std::vector<std::pair<std::string, double>>*>(user)->emplace_back(layer, seconds);
    };
    check(without_gil([&] { return fastalex_profile(net_.get(), &asked.call(), report, &times); }));
    return times;
  }

  std::string describe(const PyCall& asked) const {
    return whole_text([&](char* text, size_t capacity, size_t* size) {
      return without_gil([&] { return fastalex_describe(net_.get(), &asked.call(), text, capacity, size); });
    });
  }

  void save_engine(const PyCall& asked, const std::string& path) const {
    const char* const name = c_text("the path", path);
    check(without_gil([&] { return fastalex_save_engine(net_.get(), &asked.call(), name); }));
  }

  Array param(size_t index) {
    if (index >= counts_.size()) throw py::index_error("there is no such parameter");
    Array values(static_cast<py::ssize_t>(counts_[index]));
    check(fastalex_get_param(net_.get(), index, values.mutable_data(), counts_[index]));
    return values;
  }

  // (values, scale) of a weight [outputs, ...] that the net keeps in int8 or int4.
  py::tuple quantized(size_t index, size_t outputs) {
    if (index >= counts_.size()) throw py::index_error("there is no such parameter");
    if (!outputs || counts_[index] % outputs) throw py::value_error("the parameter does not have so many outputs");
    const auto made = empty_quantized(fc_storage_, static_cast<py::ssize_t>(outputs),
                                      static_cast<py::ssize_t>(counts_[index] / outputs));
    py::array values = made.first, scale = made.second;
    void *to = values.mutable_data(), *scales = scale.mutable_data();
    const size_t bytes = static_cast<size_t>(values.nbytes()), scale_bytes = static_cast<size_t>(scale.nbytes());
    check(without_gil([&] { return fastalex_get_quantized(net_.get(), index, to, bytes, scales, scale_bytes); }));
    return py::make_tuple(values, scale);
  }

  size_t param_bytes() {
    size_t bytes = 0;
    check(fastalex_param_bytes(net_.get(), &bytes));
    return bytes;
  }

 private:
  void check_channels(const PyCall& asked) const {
    if (asked.channels() >= 0 && asked.channels() != shape_[0])
      throw py::value_error("the input has the wrong number of channels");
  }

  std::vector<int32_t> shape_;
  int fc_storage_;
  std::vector<size_t> counts_;
  std::shared_ptr<fastalex_net> net_;
};

// Memory of a net's device; keeps the net alive.
class DeviceBuffer : public fastalex::Exported {
 public:
  DeviceBuffer(const PyNet& net, size_t bytes) : net_(net.handle()), bytes_(bytes) {
    check(fastalex_memory_create(net_.get(), bytes, &memory_));
  }
  ~DeviceBuffer() { fastalex_memory_destroy(net_.get(), memory_); }
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;

  size_t address() const { return reinterpret_cast<size_t>(memory_); }
  size_t bytes() const { return bytes_; }

  void copy_to_host(py::array out) {
    check_size(out);
    check(fastalex_memory_copy(net_.get(), out.mutable_data(), memory_, bytes_, 1));
  }
  void copy_from_host(const py::array& from) {
    check_size(from);
    check(fastalex_memory_copy(net_.get(), memory_, from.data(), bytes_, 0));
  }

 private:
  void check_size(const py::array& array) const {
    if (!(array.flags() & py::array::c_style) || static_cast<size_t>(array.nbytes()) != bytes_)
      throw py::value_error("the array must be C-contiguous and of the buffer's size");
  }

  std::shared_ptr<fastalex_net> net_;
  size_t bytes_;
  void* memory_ = nullptr;
};

// JSON of each device of a backend.
std::vector<std::string> devices(const std::string& backend) {
  const char* const name = c_text("the backend", backend);
  std::vector<std::string> list;
  char first;
  size_t size;
  check(fastalex_device_info(name, 0, &first, 1, &size));
  for (int32_t i = 0; fastalex_device_info(name, i, &first, 1, &size) == FASTALEX_OK; ++i)
    list.push_back(whole_text([&](char* text, size_t capacity, size_t* needed) {
      return fastalex_device_info(name, i, text, capacity, needed);
    }));
  return list;
}

// For each line of a layer table: ((C, H, W), whether the input may be negative, values of the weight and of the bias).
py::list layers(const std::string& table, const std::array<int32_t, 3>& shape) {
  const char* const lines = c_text("the table", table);
  size_t total = 0;
  check(fastalex_layers(lines, shape[0], shape[1], shape[2], nullptr, 0, &total));
  std::vector<fastalex_layer> rows(total);
  check(fastalex_layers(lines, shape[0], shape[1], shape[2], rows.data(), rows.size(), &total));
  py::list list;
  for (const fastalex_layer& layer : rows)
    list.append(py::make_tuple(py::make_tuple(layer.shape[0], layer.shape[1], layer.shape[2]), layer.signed_input != 0,
                               layer.weights, layer.bias));
  return list;
}

// (values, scale) of the weights [out, in] in the order [out, y, x, channel], as param_of takes them.
py::tuple quantize_rows(const Array& weights, int storage) {
  if (weights.ndim() != 2) throw py::value_error("the weights must be [out, in]");
  const py::ssize_t out = weights.shape(0), in = weights.shape(1);
  const auto made = empty_quantized(storage, out, in);
  py::array values = made.first, scale = made.second;
  const float* from = weights.data();
  void *to = values.mutable_data(), *scales = scale.mutable_data();
  int status;
  {
    py::gil_scoped_release release;
    status = fastalex_quantize(from, static_cast<size_t>(out), static_cast<size_t>(in), storage, to, scales);
  }
  check(status);
  return py::make_tuple(values, scale);
}

// maps [images, channels, ...], changed in place.
void unit_normalize(Array maps, float eps, bool eps_inside, int32_t threads) {
  if (maps.ndim() < 3) throw py::value_error("the maps must be [images, channels, ...]");
  float* values = maps.mutable_data();
  const size_t images = static_cast<size_t>(maps.shape(0)), channels = static_cast<size_t>(maps.shape(1));
  const size_t positions = static_cast<size_t>(maps.size()) / std::max<size_t>(1, images * channels);
  int status;
  {
    py::gil_scoped_release release;
    status = fastalex_unit_normalize(values, images, channels, positions, eps, eps_inside, threads);
  }
  check(status);
}

// Each of `list` is [channels, ...] with `count` values.
std::vector<const float*> addresses(const std::vector<Array>& list, size_t channels, size_t count) {
  std::vector<const float*> pointers;
  for (const Array& map : list) {
    if (static_cast<size_t>(map.size()) != count || map.ndim() < 1 || static_cast<size_t>(map.shape(0)) != channels)
      throw py::value_error("the maps must all have the same shape, [channels, ...], and a weight for each channel");
    pointers.push_back(map.data());
  }
  return pointers;
}

// (sums [rows, columns], maps [rows, columns, positions] or None)
py::tuple map_distances(const std::vector<Array>& a, const std::vector<Array>& b, const Array& weights, int pairing,
                        bool with_maps, int32_t threads) {
  if (a.empty() || b.empty()) throw py::value_error("there must be maps on both sides");
  const bool zipped = pairing == FASTALEX_ZIPPED;
  if (zipped && a.size() != b.size()) throw py::value_error("there must be as many maps on both sides");
  fastalex_distances distances = {};
  distances.struct_size = sizeof distances;
  distances.pairing = pairing;
  distances.channels = static_cast<size_t>(weights.size());
  if (!distances.channels) throw py::value_error("there must be a weight for each channel");
  const size_t count = static_cast<size_t>(a[0].size());
  const std::vector<const float*> rows = addresses(a, distances.channels, count);
  const std::vector<const float*> columns = addresses(b, distances.channels, count);
  distances.a = rows.data();
  distances.b = columns.data();
  distances.rows = rows.size();
  distances.columns = zipped ? 1 : columns.size();
  distances.weights = weights.data();
  distances.positions = count / distances.channels;
  distances.threads = threads;
  std::vector<py::ssize_t> shape{static_cast<py::ssize_t>(distances.rows), static_cast<py::ssize_t>(distances.columns)};
  py::array_t<double> sums(shape);
  distances.sums = sums.mutable_data();
  py::object maps = py::none();
  if (with_maps) {
    shape.push_back(static_cast<py::ssize_t>(distances.positions));
    Array values(shape);
    distances.maps = values.mutable_data();
    maps = values;
  }
  int status;
  {
    py::gil_scoped_release release;
    status = fastalex_map_distances(&distances);
  }
  check(status);
  return py::make_tuple(sums, maps);
}

// The names of an enumeration's values, in order.
py::tuple names_of(const char* (*name)(int32_t)) {
  py::list names;
  for (int32_t i = 0; name(i); ++i) names.append(name(i));
  return py::tuple(names);
}

py::list backends() {
  py::list list;
  const char *name, *reason;
  for (size_t i = 0; fastalex_backend(i, &name, &reason) == FASTALEX_OK; ++i) {
    py::dict entry;
    entry["name"] = name;
    entry["available"] = *reason == '\0';
    entry["reason"] = reason;
    list.append(entry);
  }
  return list;
}

py::dict build_info() {
  py::dict info;
  info["api_version"] = fastalex_api_version();
  info["compiler"] = FASTALEX_BUILD_COMPILER;
  info["build_type"] = FASTALEX_BUILD_TYPE;
  info["device"] = FASTALEX_BUILD_DEVICE;
  info["cuda"] = FASTALEX_BUILD_CUDA;
  info["cuda_toolkit"] = FASTALEX_BUILD_CUDA_TOOLKIT;
  info["cuda_architectures"] = FASTALEX_BUILD_CUDA_ARCHITECTURES;
  info["tensorrt"] = FASTALEX_BUILD_TENSORRT;
  return info;
}

}  // namespace

PYBIND11_MODULE(_core, m) {
  m.doc() = "fastalex's native engine; see csrc/include/fastalex.h for the meaning of every argument.";
  py::module_ errors = py::module_::import("fastalex.errors");
  user_error = py::object(errors.attr("UserError")).release().ptr();
  backend_error = py::object(errors.attr("BackendError")).release().ptr();

  py::class_<PyCall>(m, "Call")
      .def(py::init<py::object, const std::vector<int32_t>&, std::vector<std::string>, bool, int32_t, const py::object&,
                    bool, size_t>(),
           py::arg("input") = py::none(), py::arg("shape") = std::vector<int32_t>(),
           py::arg("taps") = std::vector<std::string>(), py::arg("softmax") = false, py::arg("top_k") = 0,
           py::arg("frame") = py::none(), py::arg("on_device") = false, py::arg("stream") = 0)
      .def_property_readonly("input", &PyCall::input)
      .def("set_outputs", &PyCall::set_outputs, py::arg("addresses"), py::arg("counts"), py::arg("on_device") = false,
           py::arg("indices") = 0);
  py::class_<PyNet>(m, "Net")
      .def(py::init<const std::string&, std::vector<int32_t>, const std::vector<py::object>&, const std::string&, int,
                    int, int, int, const std::string&, bool, int>(),
           py::arg("table"), py::arg("input_shape"), py::arg("params"), py::arg("backend") = "cpu",
           py::arg("fc_storage") = 0, py::arg("threads") = 0, py::arg("precision") = 0, py::arg("device_index") = 0,
           py::arg("tuning") = "", py::arg("exact") = false, py::arg("fc_layout") = 0)
      .def("run", &PyNet::run, py::arg("call"), py::arg("allocate") = py::none(), py::arg("on_device") = false)
      .def("shapes", &PyNet::shapes, py::arg("call"))
      .def("profile", &PyNet::profile, py::arg("call"))
      .def("describe", &PyNet::describe, py::arg("call"))
      .def("save_engine", &PyNet::save_engine, py::arg("call"), py::arg("path"))
      .def("param", &PyNet::param, py::arg("index"))
      .def("quantized", &PyNet::quantized, py::arg("index"), py::arg("outputs"))
      .def_property_readonly("param_bytes", &PyNet::param_bytes);
  py::class_<DeviceBuffer>(m, "DeviceBuffer")
      .def(py::init<const PyNet&, size_t>(), py::arg("net"), py::arg("bytes"))
      .def_property_readonly("ptr", &DeviceBuffer::address)
      .def_property_readonly("bytes", &DeviceBuffer::bytes)
      .def("copy_to_host", &DeviceBuffer::copy_to_host, py::arg("out"))
      .def("copy_from_host", &DeviceBuffer::copy_from_host, py::arg("values"));
  fastalex::add_dlpack(m);
  fastalex::add_mapping(m);
  m.attr("INT4_GROUP") = FASTALEX_INT4_GROUP;
  m.attr("FC_STORAGES") = names_of(fastalex_storage_name);
  m.attr("PRECISIONS") = names_of(fastalex_precision_name);
  m.def("quantize_rows", &quantize_rows, py::arg("weights").noconvert(), py::arg("storage"));
  m.def("unit_normalize", &unit_normalize, py::arg("maps").noconvert(), py::arg("eps"), py::arg("eps_inside"),
        py::arg("threads") = 0);
  m.def("map_distances", &map_distances, py::arg("a"), py::arg("b"), py::arg("weights"), py::arg("pairing"),
        py::arg("with_maps") = false, py::arg("threads") = 0);
  m.def("layers", &layers, py::arg("table"), py::arg("input_shape"));
  m.def("devices", &devices, py::arg("backend") = "cuda");
  m.def("backends", &backends);
  m.def("build_info", &build_info);
  m.def("default_threads", [] {
    int32_t threads = 0;
    check(fastalex_default_threads(&threads));
    return threads;
  });
  m.def("cpu_isa", [] {
    const char* isa;
    check(fastalex_cpu_isa(&isa));
    return std::string(isa);
  });
  m.def(
      "load_backend", [](const std::string& path) { check(fastalex_load_backend(c_text("the path", path))); },
      py::arg("path"));
}
