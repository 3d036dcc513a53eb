// DLPack for the Python module: tensors of other libraries read from their capsules, and capsules of our own.
#pragma once

#include <pybind11/pybind11.h>

namespace fastalex {

// Adds the class DLTensor, the function dlpack_capsule and the devices' numbers to the module.
void add_dlpack(pybind11::module_& module);

}  // namespace fastalex
