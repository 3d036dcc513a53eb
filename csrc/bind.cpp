// The Python module fastalex._core: a thin layer over the C interface. Compute releases the GIL.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

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

struct Closer {
  void operator()(fastalex_net* net) const {
    py::gil_scoped_release release;  // waits for running calls
    fastalex_destroy(net);
  }
};

class PyNet {
 public:
  PyNet(const std::string& table, std::vector<int32_t> shape, std::vector<Array> params, const std::string& backend,
        int fc_storage, int threads)
      : shape_(std::move(shape)) {
    if (shape_.size() != 3) throw py::value_error("the input shape must be (channels, height, width)");
    std::vector<const float*> pointers;
    for (const Array& param : params) {
      pointers.push_back(param.data());
      counts_.push_back(static_cast<size_t>(param.size()));
    }
    fastalex_options options = {sizeof(fastalex_options), backend.c_str(), fc_storage, threads};
    fastalex_net* net = nullptr;
    int status;
    {
      py::gil_scoped_release release;
      status = fastalex_create(table.c_str(), shape_[0], shape_[1], shape_[2], pointers.data(), counts_.data(),
                               counts_.size(), &options, &net);
    }
    check(status);
    net_.reset(net);
  }

  Array run(const Array& x, bool softmax) {
    const Size size = size_of(x);
    const uint32_t flags = softmax ? static_cast<uint32_t>(FASTALEX_SOFTMAX) : 0u;
    int32_t shape[4];
    check(fastalex_output_shape(net_.get(), size.n, size.h, size.w, flags, shape));
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
    check(fastalex_tap_shapes(net_.get(), size.n, size.h, size.w, flags, texts.data(), texts.size(), shapes.data()));
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

  size_t param_bytes() {
    size_t bytes = 0;
    check(fastalex_param_bytes(net_.get(), &bytes));
    return bytes;
  }

 private:
  struct Size {
    int32_t n, h, w;
  };

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
  std::unique_ptr<fastalex_net, Closer> net_;
};

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
      .def(py::init<const std::string&, std::vector<int32_t>, std::vector<Array>, const std::string&, int, int>(),
           py::arg("table"), py::arg("input_shape"), py::arg("params"), py::arg("backend") = "cpu",
           py::arg("fc_storage") = 0, py::arg("threads") = 0)
      .def("run", &PyNet::run, py::arg("x").noconvert(), py::arg("softmax") = false)
      .def("taps", &PyNet::taps, py::arg("x").noconvert(), py::arg("names"), py::arg("softmax") = false)
      .def("profile", &PyNet::profile, py::arg("x").noconvert())
      .def("param", &PyNet::param, py::arg("index"))
      .def_property_readonly("param_bytes", &PyNet::param_bytes);
  m.def("backends", &backends);
  m.def("build_info", &build_info);
  m.def("cpu_isa", [] {
    const char* isa;
    check(fastalex_cpu_isa(&isa));
    return std::string(isa);
  });
  m.def("load_backend", [](const std::string& path) { check(fastalex_load_backend(path.c_str())); }, py::arg("path"));
}
