#include "api/mapping.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "api/constructed.h"

namespace py = pybind11;

namespace fastalex {
namespace {

[[noreturn]] void raise_errno() {
  PyErr_SetFromErrno(PyExc_OSError);
  throw py::error_already_set();
}

// Unlike Python's mmap it keeps no descriptor of the file open. The bytes are those of the file at any time: another
// program that writes to the file changes them, and reading what it has cut off ends the process by SIGBUS.
class Mapping : public Exported {
 public:
  Mapping(int descriptor, size_t bytes, std::string name) : bytes_(bytes), name_(std::move(name)) {
    struct stat status;
    if (fstat(descriptor, &status) != 0) raise_errno();
    if (bytes == 0 || status.st_size < 0 || static_cast<uint64_t>(status.st_size) < bytes)
      throw py::value_error("the file does not have as many bytes as are to be mapped");
    data_ = mmap(nullptr, bytes, PROT_READ, MAP_SHARED, descriptor, 0);
    if (data_ == MAP_FAILED) raise_errno();
  }
  ~Mapping() { munmap(data_, bytes_); }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  py::buffer_info buffer() const {
    return py::buffer_info(const_cast<unsigned char*>(static_cast<const unsigned char*>(data_)),
                           static_cast<py::ssize_t>(bytes_), true);
  }
  size_t size() const { return bytes_; }
  const std::string& name() const { return name_; }

  // Returns whether the file still has all the bytes. The kernel reads the last one: where it is missing, it answers
  // with an error instead of a signal.
  bool is_whole() const {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) raise_errno();
    const ssize_t written = write(ends[1], static_cast<const char*>(data_) + (bytes_ - 1), 1);
    const int problem = errno;
    close(ends[0]);
    close(ends[1]);
    if (written != 1 && problem != EFAULT) {
      errno = problem;
      raise_errno();
    }
    return written == 1;
  }

  // Takes the pages out of this process's memory; they are read again when they are needed.
  void drop_pages() const { madvise(data_, bytes_, MADV_DONTNEED); }  // advice: a failure changes nothing

 private:
  void* data_ = nullptr;
  size_t bytes_;
  std::string name_;  // of the file, for messages
};

}  // namespace

void add_mapping(py::module_& module) {
  py::class_<Mapping>(module, "Mapping", py::buffer_protocol())
      .def(py::init<int, size_t, std::string>(), py::arg("descriptor"), py::arg("bytes"), py::arg("name") = "")
      .def_buffer(&Mapping::buffer)
      .def("__len__", &Mapping::size)
      .def_property_readonly("name", &Mapping::name)
      .def("is_whole", &Mapping::is_whole)
      .def("drop_pages", &Mapping::drop_pages);
}

}  // namespace fastalex
