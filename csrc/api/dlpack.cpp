#include "api/dlpack.h"

#include <pybind11/stl.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "api/constructed.h"

namespace py = pybind11;

namespace fastalex {
namespace {

// The structures before version 1.0 of the specification (dmlc.github.io/dlpack), which every library reads and writes.
// A capsule is called "dltensor", and "used_dltensor" once its tensor has been consumed.
constexpr char kName[] = "dltensor";
constexpr char kUsedName[] = "used_dltensor";

enum DeviceType : int32_t { kCpu = 1, kCuda = 2 };
enum TypeCode : uint8_t { kInt = 0, kUint = 1, kFloat = 2, kBfloat = 4, kComplex = 5, kBool = 6 };

struct Device {
  int32_t type, index;
};

struct DataType {
  uint8_t code, bits;
  uint16_t lanes;
};

struct Tensor {
  void* data;
  Device device;
  int32_t ndim;
  DataType dtype;
  int64_t* shape;    // [ndim]
  int64_t* strides;  // [ndim], in elements; null: dense
  uint64_t byte_offset;
};

struct ManagedTensor {
  Tensor tensor;
  void* context;                    // the producer's
  void (*deleter)(ManagedTensor*);  // may be null
};

static_assert(sizeof(void*) != 8 || (offsetof(Tensor, shape) == 24 && sizeof(Tensor) == 48 &&
                                     offsetof(ManagedTensor, deleter) == 56 && sizeof(ManagedTensor) == 64),
              "DLPack's layout");

std::string name_of(DataType type) {
  const char* kind = "opaque";
  switch (type.code) {
    case kInt:
      kind = "int";
      break;
    case kUint:
      kind = "uint";
      break;
    case kFloat:
      kind = "float";
      break;
    case kBfloat:
      kind = "bfloat";
      break;
    case kComplex:
      kind = "complex";
      break;
    case kBool:
      kind = "bool";
      break;
  }
  return kind + std::to_string(type.bits) + (type.lanes == 1 ? "" : "x" + std::to_string(type.lanes));
}

py::tuple tuple_of(const int64_t* values, int32_t count) {
  py::tuple result(count);
  for (int32_t i = 0; i < count; ++i) result[i] = values[i];
  return result;
}

// A tensor consumed from a capsule; the destructor runs the producer's deleter. Like everything that touches a capsule,
// the constructor holds the GIL, so only one of several threads can consume it.
class DLTensor : public Exported {
 public:
  explicit DLTensor(const py::object& capsule) {
    auto* managed = static_cast<ManagedTensor*>(PyCapsule_GetPointer(capsule.ptr(), kName));
    if (managed == nullptr) throw py::error_already_set();  // no capsule, or a consumed one
    const Tensor& tensor = managed->tensor;
    if (tensor.ndim < 0 || (tensor.ndim > 0 && tensor.shape == nullptr))
      throw py::value_error("the DLPack tensor has no shape");
    shape_ = tuple_of(tensor.shape, tensor.ndim);
    strides_ = py::none();
    if (tensor.strides != nullptr) strides_ = tuple_of(tensor.strides, tensor.ndim);
    dtype_ = name_of(tensor.dtype);
    // Last: from here on the tensor is ours. After an earlier failure it is still the capsule's.
    if (PyCapsule_SetName(capsule.ptr(), kUsedName) != 0) throw py::error_already_set();
    managed_ = managed;
  }
  ~DLTensor() {
    if (managed_ != nullptr && managed_->deleter != nullptr) managed_->deleter(managed_);
  }
  DLTensor(const DLTensor&) = delete;
  DLTensor& operator=(const DLTensor&) = delete;

  uint64_t address() const { return reinterpret_cast<uintptr_t>(tensor().data) + tensor().byte_offset; }
  const py::tuple& shape() const { return shape_; }
  const py::object& strides() const { return strides_; }
  const std::string& dtype() const { return dtype_; }
  int itemsize() const { return (tensor().dtype.bits * tensor().dtype.lanes + 7) / 8; }
  std::pair<int, int> device() const { return {tensor().device.type, tensor().device.index}; }

 private:
  const Tensor& tensor() const { return managed_->tensor; }

  ManagedTensor* managed_ = nullptr;
  py::tuple shape_;
  py::object strides_;
  std::string dtype_;
};

// A tensor that we export, with everything that must live until its deleter is called.
struct OwnedTensor {
  ManagedTensor managed;
  std::vector<int64_t> shape, strides;
  PyObject* owner;  // of the memory; a counted reference
};

// Called by the consumer, on any thread, with or without the GIL.
void delete_owned(ManagedTensor* managed) {
  auto* owned = static_cast<OwnedTensor*>(managed->context);
  if (Py_IsInitialized()) {
    const PyGILState_STATE state = PyGILState_Ensure();
    {
      py::error_scope pending;  // keeps an exception in flight intact
      Py_DECREF(owned->owner);
    }
    PyGILState_Release(state);
  }  // else the interpreter is shutting down: its objects must stay untouched, the process frees them
  delete owned;
}

// Destroys one of our capsules, and its tensor if nobody consumed it.
void destroy_capsule(PyObject* capsule) {
  if (!PyCapsule_IsValid(capsule, kName)) return;
  auto* managed = static_cast<ManagedTensor*>(PyCapsule_GetPointer(capsule, kName));
  std::unique_ptr<OwnedTensor> owned(static_cast<OwnedTensor*>(managed->context));
  py::error_scope pending;
  Py_DECREF(owned->owner);
}

// A capsule of the dense float32 array at `address`; keeps `owner` alive until its consumer releases it.
py::object dlpack_capsule(const py::object& owner, size_t address, std::vector<int64_t> shape,
                          const std::pair<int32_t, int32_t>& device) {
  std::unique_ptr<OwnedTensor> owned(new OwnedTensor());
  owned->shape = std::move(shape);
  owned->strides.resize(owned->shape.size());
  int64_t step = 1;
  for (size_t i = owned->shape.size(); i-- > 0; step *= owned->shape[i]) owned->strides[i] = step;
  owned->managed.tensor = {reinterpret_cast<void*>(address),
                           {device.first, device.second},
                           static_cast<int32_t>(owned->shape.size()),
                           {kFloat, 32, 1},
                           owned->shape.data(),
                           owned->strides.data(),
                           0};
  owned->managed.context = owned.get();
  owned->managed.deleter = delete_owned;
  owned->owner = owner.ptr();
  PyObject* capsule = PyCapsule_New(&owned->managed, kName, destroy_capsule);
  if (capsule == nullptr) throw py::error_already_set();
  owner.inc_ref();
  owned.release();  // the capsule's
  return py::reinterpret_steal<py::object>(capsule);
}

}  // namespace

void add_dlpack(py::module_& module) {
  py::class_<DLTensor>(module, "DLTensor")
      .def(py::init<const py::object&>(), py::arg("capsule"))
      .def_property_readonly("ptr", &DLTensor::address)
      .def_property_readonly("shape", &DLTensor::shape)
      .def_property_readonly("strides", &DLTensor::strides)
      .def_property_readonly("dtype", &DLTensor::dtype)
      .def_property_readonly("itemsize", &DLTensor::itemsize)
      .def_property_readonly("device", &DLTensor::device);
  module.def("dlpack_capsule", &dlpack_capsule, py::arg("owner"), py::arg("ptr"), py::arg("shape"), py::arg("device"));
  module.attr("DLPACK_CPU") = static_cast<int>(kCpu);
  module.attr("DLPACK_CUDA") = static_cast<int>(kCuda);
}

}  // namespace fastalex
