// Arguments of the Python module that must have been constructed. `Net.__new__(Net)` makes an object without calling
// its constructor; pybind11 would hand uninitialized memory to the methods.
#ifndef FASTALEX_API_CONSTRUCTED_H
#define FASTALEX_API_CONSTRUCTED_H

#include <pybind11/pybind11.h>

#include <string>
#include <type_traits>

namespace fastalex {

// The base of every class that the module exports.
class Exported {};

}  // namespace fastalex

namespace pybind11 {
namespace detail {

template <typename T>
struct type_caster<T, enable_if_t<std::is_base_of<fastalex::Exported, T>::value>> : type_caster_base<T> {
  bool load(handle source, bool convert) {
    if (!isinstance<T>(source)) return false;
    if (!reinterpret_cast<instance*>(source.ptr())->get_value_and_holder().holder_constructed())
      throw type_error("this " + std::string(str(type::handle_of(source).attr("__name__"))) +
                       " was made without its constructor; call the class instead of __new__");
    return type_caster_base<T>::load(source, convert);
  }
};

}  // namespace detail
}  // namespace pybind11

#endif  // FASTALEX_API_CONSTRUCTED_H
