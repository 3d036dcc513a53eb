// The Python module fastalex._core: a thin layer over the C interface. Compute releases the GIL.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

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

// The text that `give(text, capacity, &size)` writes, whatever its size.
template <typename Give>
std::string whole_text(const Give& give) {
  size_t size = 0;
  std::vector<char> text(4096);
  check(give(text.data(), text.size(), &size));
  if (size > text.size()) {
    text.resize(size);
    check(give(text.data(), text.size(), &size));
  }
  return text.data();
}

// For calls that may make a plan: a TensorRT engine can take minutes.
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

// A parameter is a float32 array, or (levels, scale) of a fully connected weight: int8 [out, in] with float32 [out], or
// uint8 [out, (in + 1) / 2] with float16 [out, groups_of(in)] and the number of its values.
fastalex_param param_of(const py::object& given) {
  const auto dense = [](const py::array& array, char kind, py::ssize_t bytes) {
    if (!(array.flags() & py::array::c_style) || array.dtype().kind() != kind || array.itemsize() != bytes)
      throw py::value_error("a parameter's array must be C-contiguous and of its documented type");
    return array.data();
  };
  if (!py::isinstance<py::tuple>(given)) {
    const py::array array = given.cast<py::array>();
    return {dense(array, 'f', 4), nullptr, static_cast<size_t>(array.size()), FASTALEX_FP32};
  }
  const py::tuple parts = given.cast<py::tuple>();
  const bool bytes = parts.size() == 2;
  if (!bytes && parts.size() != 3)
    throw py::value_error("a quantised parameter is (levels, scale) or has its count, too");
  const py::array levels = parts[0].cast<py::array>(), scale = parts[1].cast<py::array>();
  const size_t out = static_cast<size_t>(levels.ndim() == 2 ? levels.shape(0) : 0);
  const size_t count = bytes ? static_cast<size_t>(levels.size()) : parts[2].cast<size_t>();
  const size_t inputs = out ? count / out : 0;
  const size_t scales = bytes ? out : out * groups_of(inputs);
  const size_t room = bytes ? count : out * ((inputs + 1) / 2);
  if (!out || count % out || static_cast<size_t>(scale.size()) != scales || static_cast<size_t>(levels.size()) != room)
    throw py::value_error("the shapes of a quantised parameter do not fit each other");
  return {dense(levels, bytes ? 'i' : 'u', 1), dense(scale, 'f', bytes ? 4 : 2), count,
          bytes ? FASTALEX_INT8 : FASTALEX_INT4};
}

class PyNet {
 public:
  PyNet(const std::string& table, std::vector<int32_t> shape, const std::vector<py::object>& params,
        const std::string& backend, int fc_storage, int threads, int precision, int device_index,
        const std::string& tuning, bool exact)
      : shape_(std::move(shape)) {
    if (shape_.size() != 3) throw py::value_error("the input shape must be (channels, height, width)");
    std::vector<fastalex_param> given;
    for (const py::object& param : params) {
      given.push_back(param_of(param));
      counts_.push_back(given.back().count);
    }
    fastalex_options options = {};
    options.struct_size = sizeof options;
    options.backend = backend.c_str();
    options.fc_storage = fc_storage;
    options.precision = precision;
    options.threads = threads;
    options.device_index = device_index;
    options.tuning = tuning.c_str();
    options.exact = exact;
    fastalex_net* net = nullptr;
    int status;
    {
      py::gil_scoped_release release;
      status = fastalex_create_quantised(table.c_str(), shape_[0], shape_[1], shape_[2], given.data(), given.size(),
                                         &options, &net);
    }
    check(status);
    net_ = std::shared_ptr<fastalex_net>(net, Closer());
  }

  const std::shared_ptr<fastalex_net>& handle() const { return net_; }

  Array run(const Array& x, bool softmax) {
    const Size size = size_of(x);
    const uint32_t flags = softmax ? static_cast<uint32_t>(FASTALEX_SOFTMAX) : 0u;
    int32_t shape[4];
    check(without_gil([&] { return fastalex_output_shape(net_.get(), size.n, size.h, size.w, flags, shape); }));
    Array y = empty(shape);
    const float* from = x.data();
    float* to = y.mutable_data();
    const size_t count = static_cast<size_t>(y.size());
    int status;
    {
      py::gil_scoped_release release;
      status = fastalex_run(net_.get(), from, size.n, size.h, size.w, flags, to, count);
    }
    check(status);
    return y;
  }

  std::vector<Array> taps(const Array& x, const std::vector<std::string>& names, bool softmax) {
    const Size size = size_of(x);
    const uint32_t flags = softmax ? static_cast<uint32_t>(FASTALEX_SOFTMAX) : 0u;
    std::vector<const char*> texts;
    for (const std::string& name : names) texts.push_back(name.c_str());
    std::vector<int32_t> shapes(4 * names.size());
    check(without_gil([&] {
      return fastalex_tap_shapes(net_.get(), size.n, size.h, size.w, flags, texts.data(), texts.size(), shapes.data());
    }));
    std::vector<Array> results;
    std::vector<float*> outputs;
    std::vector<size_t> counts;
    for (size_t i = 0; i < names.size(); ++i) {
      results.push_back(empty(&shapes[4 * i]));
      outputs.push_back(results.back().mutable_data());
      counts.push_back(static_cast<size_t>(results.back().size()));
    }
    const float* from = x.data();
    int status;
    {
      py::gil_scoped_release release;
      status = fastalex_run_taps(net_.get(), from, size.n, size.h, size.w, flags, texts.data(), texts.size(),
                                 outputs.data(), counts.data());
    }
    check(status);
    return results;
  }

  // [(name of the last layer in a step, seconds)]
  std::vector<std::pair<std::string, double>> profile(const Array& x) {
    const Size size = size_of(x);
    std::vector<std::pair<std::string, double>> times;
    const float* from = x.data();
    int status;
    {
      py::gil_scoped_release release;
      auto report = [](void* user, const char* layer, double seconds) {
        static_cast<std::vector<std::pair<std::string, double>>*>(user)->emplace_back(layer, seconds);
      };
      status = fastalex_profile(net_.get(), from, size.n, size.h, size.w, 0, report, &times);
    }
    check(status);
    return times;
  }

  Array param(size_t index) {
    if (index >= counts_.size()) throw py::index_error("there is no such parameter");
    Array values(static_cast<py::ssize_t>(counts_[index]));
    check(fastalex_get_param(net_.get(), index, values.mutable_data(), counts_[index]));
    return values;
  }

  // [N, C, H, W] of each output: of the taps, or of the last layer.
  std::vector<std::vector<int32_t>> output_shapes(int32_t n, int32_t h, int32_t w, const std::vector<std::string>& taps,
                                                  bool softmax) {
    const std::vector<const char*> names = texts(taps);
    std::vector<int32_t> sides(4 * std::max<size_t>(1, taps.size()));
    check(without_gil([&] {
      return taps.empty() ? fastalex_output_shape(net_.get(), n, h, w, flags_of(softmax), sides.data())
                          : fastalex_tap_shapes(net_.get(), n, h, w, flags_of(softmax), names.data(), names.size(),
                                                sides.data());
    }));
    std::vector<std::vector<int32_t>> shapes;
    for (size_t i = 0; i < sides.size(); i += 4) shapes.emplace_back(sides.begin() + i, sides.begin() + i + 4);
    return shapes;
  }

  std::string describe(int32_t n, int32_t h, int32_t w, bool softmax, const std::vector<std::string>& taps) {
    const std::vector<const char*> names = texts(taps);
    return whole_text([&](char* text, size_t capacity, size_t* size) {
      return without_gil([&] {
        return fastalex_describe(net_.get(), n, h, w, flags_of(softmax), names.data(), names.size(), text, capacity,
                                 size);
      });
    });
  }

  void save_engine(int32_t n, int32_t h, int32_t w, bool softmax, const std::string& path) {
    check(without_gil([&] { return fastalex_save_engine(net_.get(), n, h, w, flags_of(softmax), path.c_str()); }));
  }

  // Addresses are integers: arrays of other libraries, on the device or not.
  void run_device(size_t input, const std::vector<int32_t>& shape, const std::vector<size_t>& outputs,
                  const std::vector<size_t>& counts, const std::vector<std::string>& taps, size_t stream, bool softmax,
                  bool input_on_device, bool outputs_on_device, int32_t top_k, size_t indices) {
    if (shape.size() != 3) throw py::value_error("the shape must be (n, h, w)");
    fastalex_call call = {};
    call.batch = shape[0];
    call.height = shape[1];
    call.width = shape[2];
    call.input = reinterpret_cast<const float*>(input);
    call.input_on_device = input_on_device;
    call.top_k = top_k;
    call.indices = reinterpret_cast<int32_t*>(indices);
    run_call(&call, outputs, counts, taps, stream, softmax, outputs_on_device);
  }

  void run_frame(size_t pixels, bool on_device, const py::dict& spec, const std::vector<int32_t>& size,
                 const std::vector<size_t>& outputs, const std::vector<size_t>& counts,
                 const std::vector<std::string>& taps, size_t stream, bool softmax, bool outputs_on_device,
                 int32_t top_k, size_t indices) {
    if (size.size() != 2) throw py::value_error("the size must be (h, w)");
    fastalex_frame frame = {};
    frame.pixels = reinterpret_cast<const uint8_t*>(pixels);
    frame.row_bytes = spec["row_bytes"].cast<int64_t>();
    const std::pair<const char*, int32_t*> fields[] = {{"height", &frame.height},       {"width", &frame.width},
                                                       {"filter", &frame.filter},       {"resized_h", &frame.resized_h},
                                                       {"resized_w", &frame.resized_w}, {"crop_y", &frame.crop_y},
                                                       {"crop_x", &frame.crop_x},       {"swap", &frame.swap}};
    for (const auto& field : fields) *field.second = spec[field.first].cast<int32_t>();
    const auto scale = spec["scale"].cast<std::array<float, 3>>(), shift = spec["shift"].cast<std::array<float, 3>>();
    std::copy(scale.begin(), scale.end(), frame.scale);
    std::copy(shift.begin(), shift.end(), frame.shift);
    fastalex_call call = {};
    call.batch = 1;
    call.height = size[0];
    call.width = size[1];
    call.frame = &frame;
    call.input_on_device = on_device;
    call.top_k = top_k;
    call.indices = reinterpret_cast<int32_t*>(indices);
    run_call(&call, outputs, counts, taps, stream, softmax, outputs_on_device);
  }

  size_t param_bytes() {
    size_t bytes = 0;
    check(fastalex_param_bytes(net_.get(), &bytes));
    return bytes;
  }

 private:
  struct Size {
    int32_t n, h, w;
  };

  static uint32_t flags_of(bool softmax) { return softmax ? static_cast<uint32_t>(FASTALEX_SOFTMAX) : 0u; }

  static std::vector<const char*> texts(const std::vector<std::string>& names) {
    std::vector<const char*> pointers;
    for (const std::string& name : names) pointers.push_back(name.c_str());
    return pointers;
  }

  void run_call(fastalex_call* call, const std::vector<size_t>& outputs, const std::vector<size_t>& counts,
                const std::vector<std::string>& taps, size_t stream, bool softmax, bool outputs_on_device) {
    if (outputs.size() != counts.size() || outputs.size() != std::max<size_t>(1, taps.size()))
      throw py::value_error("there must be one output, with its count, for each tap");
    const std::vector<const char*> names = texts(taps);
    std::vector<float*> pointers;
    for (size_t address : outputs) pointers.push_back(reinterpret_cast<float*>(address));
    call->struct_size = sizeof *call;
    call->flags = flags_of(softmax);
    call->names = taps.empty() ? nullptr : names.data();
    call->name_count = names.size();
    call->outputs = pointers.data();
    call->output_counts = counts.data();
    call->outputs_on_device = outputs_on_device;
    call->stream = reinterpret_cast<void*>(stream);
    int status;
    {
      py::gil_scoped_release release;
      status = fastalex_run_call(net_.get(), call);
    }
    check(status);
  }

  Size size_of(const Array& x) const {
    if (x.ndim() != 4) throw py::value_error("the input must be [N, C, H, W]");
    if (x.shape(1) != shape_[0]) throw py::value_error("the input has the wrong number of channels");
    return Size{side(x.shape(0)), side(x.shape(2)), side(x.shape(3))};
  }

  // [N, C, H, W]; [N, C] for features.
  static Array empty(const int32_t* shape) {
    return Array(std::vector<py::ssize_t>(shape, shape + (shape[2] == 1 && shape[3] == 1 ? 2 : 4)));
  }

  static int32_t side(py::ssize_t value) {
    if (value > INT32_MAX) throw py::value_error("the input is too large");
    return static_cast<int32_t>(value);
  }

  std::vector<int32_t> shape_;
  std::vector<size_t> counts_;
  std::shared_ptr<fastalex_net> net_;
};

// Memory of a net's device. It keeps the net.
class DeviceBuffer {
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
  std::vector<std::string> list;
  char first;
  size_t size;
  check(fastalex_device_info(backend.c_str(), 0, &first, 1, &size));
  for (int32_t i = 0; fastalex_device_info(backend.c_str(), i, &first, 1, &size) == FASTALEX_OK; ++i)
    list.push_back(whole_text([&](char* text, size_t capacity, size_t* needed) {
      return fastalex_device_info(backend.c_str(), i, text, capacity, needed);
    }));
  return list;
}

// (levels, scale) of weights [out, in] in the order [out, y, x, channel]: what param_of takes.
py::tuple quantise_rows(const Array& weights, int storage) {
  if (weights.ndim() != 2) throw py::value_error("the weights must be [out, in]");
  const py::ssize_t out = weights.shape(0), in = weights.shape(1);
  py::array levels, scale;
  if (storage == FASTALEX_INT8) {
    levels = py::array(py::dtype("i1"), std::vector<py::ssize_t>{out, in});
    scale = py::array(py::dtype("f4"), std::vector<py::ssize_t>{out});
  } else {
    levels = py::array(py::dtype("u1"), std::vector<py::ssize_t>{out, (in + 1) / 2});
    scale = py::array(py::dtype("f2"),
                      std::vector<py::ssize_t>{out, static_cast<py::ssize_t>(groups_of(static_cast<size_t>(in)))});
  }
  const float* from = weights.data();
  void *to = levels.mutable_data(), *scales = scale.mutable_data();
  int status;
  {
    py::gil_scoped_release release;
    status = fastalex_quantise(from, static_cast<size_t>(out), static_cast<size_t>(in), storage, to, scales);
  }
  check(status);
  return py::make_tuple(levels, scale);
}

// maps [images, channels, ...], changed in place.
void unit_normalise(Array maps, float eps, bool eps_inside, int32_t threads) {
  if (maps.ndim() < 3) throw py::value_error("the maps must be [images, channels, ...]");
  float* values = maps.mutable_data();
  const size_t images = static_cast<size_t>(maps.shape(0)), channels = static_cast<size_t>(maps.shape(1));
  const size_t positions = static_cast<size_t>(maps.size()) / std::max<size_t>(1, images * channels);
  int status;
  {
    py::gil_scoped_release release;
    status = fastalex_unit_normalise(values, images, channels, positions, eps, eps_inside, threads);
  }
  check(status);
}

// Each of `list` is [channels, ...] with `count` values.
std::vector<const float*> addresses(const std::vector<Array>& list, size_t channels, size_t count) {
  std::vector<const float*> found;
  for (const Array& map : list) {
    if (static_cast<size_t>(map.size()) != count || map.ndim() < 1 || static_cast<size_t>(map.shape(0)) != channels)
      throw py::value_error("the maps must all have the same shape, [channels, ...], and a weight for each channel");
    found.push_back(map.data());
  }
  return found;
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

  py::class_<PyNet>(m, "Net")
      .def(py::init<const std::string&, std::vector<int32_t>, const std::vector<py::object>&, const std::string&, int,
                    int, int, int, const std::string&, bool>(),
           py::arg("table"), py::arg("input_shape"), py::arg("params"), py::arg("backend") = "cpu",
           py::arg("fc_storage") = 0, py::arg("threads") = 0, py::arg("precision") = 0, py::arg("device_index") = 0,
           py::arg("tuning") = "", py::arg("exact") = false)
      .def("run", &PyNet::run, py::arg("x").noconvert(), py::arg("softmax") = false)
      .def("taps", &PyNet::taps, py::arg("x").noconvert(), py::arg("names"), py::arg("softmax") = false)
      .def("profile", &PyNet::profile, py::arg("x").noconvert())
      .def("output_shapes", &PyNet::output_shapes, py::arg("n"), py::arg("h"), py::arg("w"),
           py::arg("taps") = std::vector<std::string>(), py::arg("softmax") = false)
      .def("describe", &PyNet::describe, py::arg("n"), py::arg("h"), py::arg("w"), py::arg("softmax") = false,
           py::arg("taps") = std::vector<std::string>())
      .def("save_engine", &PyNet::save_engine, py::arg("n"), py::arg("h"), py::arg("w"), py::arg("softmax"),
           py::arg("path"))
      .def("run_device", &PyNet::run_device, py::arg("input_ptr"), py::arg("shape"), py::arg("output_ptrs"),
           py::arg("output_counts"), py::arg("taps") = std::vector<std::string>(), py::arg("stream") = 0,
           py::arg("softmax") = false, py::arg("input_on_device") = true, py::arg("outputs_on_device") = true,
           py::arg("top_k") = 0, py::arg("indices_ptr") = 0)
      .def("run_frame", &PyNet::run_frame, py::arg("pixels_ptr"), py::arg("on_device"), py::arg("spec"),
           py::arg("size"), py::arg("output_ptrs"), py::arg("output_counts"),
           py::arg("taps") = std::vector<std::string>(), py::arg("stream") = 0, py::arg("softmax") = false,
           py::arg("outputs_on_device") = false, py::arg("top_k") = 0, py::arg("indices_ptr") = 0)
      .def("param", &PyNet::param, py::arg("index"))
      .def_property_readonly("param_bytes", &PyNet::param_bytes);
  py::class_<DeviceBuffer>(m, "DeviceBuffer")
      .def(py::init<const PyNet&, size_t>(), py::arg("net"), py::arg("bytes"))
      .def_property_readonly("ptr", &DeviceBuffer::address)
      .def_property_readonly("bytes", &DeviceBuffer::bytes)
      .def("copy_to_host", &DeviceBuffer::copy_to_host, py::arg("out"))
      .def("copy_from_host", &DeviceBuffer::copy_from_host, py::arg("values"));
  m.attr("INT4_GROUP") = FASTALEX_INT4_GROUP;
  m.def("quantise_rows", &quantise_rows, py::arg("weights").noconvert(), py::arg("storage"));
  m.def("unit_normalise", &unit_normalise, py::arg("maps").noconvert(), py::arg("eps"), py::arg("eps_inside"),
        py::arg("threads") = 0);
  m.def("map_distances", &map_distances, py::arg("a"), py::arg("b"), py::arg("weights"), py::arg("pairing"),
        py::arg("with_maps") = false, py::arg("threads") = 0);
  m.def("devices", &devices, py::arg("backend") = "cuda");
  m.def("backends", &backends);
  m.def("build_info", &build_info);
  m.def("cpu_isa", [] {
    const char* isa;
    check(fastalex_cpu_isa(&isa));
    return std::string(isa);
  });
  m.def("load_backend", [](const std::string& path) { check(fastalex_load_backend(path.c_str())); }, py::arg("path"));
}
