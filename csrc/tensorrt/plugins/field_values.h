// The fields of one plugin, checked and complete, in its own memory; and their serialized form.
#ifndef FASTALEX_TENSORRT_PLUGINS_FIELD_VALUES_H
#define FASTALEX_TENSORRT_PLUGINS_FIELD_VALUES_H

#include <map>
#include <string>
#include <vector>

#include "tensorrt/plugins/plugin_fields.h"

namespace fastalex {
namespace tensorrt {

class FieldValues {
 public:
  // Throws Error(FASTALEX_INVALID) for an unknown, repeated or missing field, for a type or number of values that
  // differs from the row's, and for an unknown serial_version.
  FieldValues(const std::string& plugin, const std::vector<Field>& fields);

  const std::string& plugin() const { return plugin_; }
  int32_t integer(const char* name, int index = 0) const;
  double number(const char* name, int index = 0) const;  // kFLOAT32 or kFLOAT64
  std::string text(const char* name) const;
  const void* data(const char* name) const { return values_.at(name).data(); }
  size_t length(const char* name) const;  // values

  // All of them in the order of field_rows(); the data is this object's.
  std::vector<Field> fields() const;

  // Identical for plugins that differ only in the values of their weights, which no kernel's time depends on.
  std::string timing_id() const;

 private:
  const FieldRow& row_of(const std::string& name) const;
  void take(const Field& field);
  void complete();

  std::string plugin_;
  const std::vector<FieldRow>& rows_;
  std::map<std::string, std::vector<char>> values_;  // bytes in the row's type
};

// The serialized form for TensorRT 8, ending in a digest. deserialize's fields point into the bytes; it throws
// Error(FASTALEX_INVALID) for bytes that are damaged, or written by another plugin or a newer library.
std::vector<char> serialize(const FieldValues& values);
std::vector<Field> deserialize(const std::string& plugin, const void* bytes, size_t size);

}  // namespace tensorrt
}  // namespace fastalex
#endif  // FASTALEX_TENSORRT_PLUGINS_FIELD_VALUES_H
