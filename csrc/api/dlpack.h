// DLPack for the Python module: reads capsules of other libraries and makes capsules of our own.
#pragma once

#include <pybind11/pybind11.h>

namespace fastalex {

// Adds the class DLTensor, the function dlpack_capsule and the device constants to the module.
void add_dlpack(pybind11::module_& module);

}  // namespace fastalex
