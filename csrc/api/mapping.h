// _core.Mapping: the bytes of a file, mapped for reading.
#ifndef FASTALEX_API_MAPPING_H
#define FASTALEX_API_MAPPING_H

#include <pybind11/pybind11.h>

namespace fastalex {

void add_mapping(pybind11::module_& module);

}  // namespace fastalex
#endif  // FASTALEX_API_MAPPING_H
