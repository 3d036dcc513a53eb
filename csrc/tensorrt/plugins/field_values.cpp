#include "tensorrt/plugins/field_values.h"

#include <cstring>
#include <locale>
#include <sstream>

#include "common/error.h"

namespace fastalex {
namespace tensorrt {
namespace {

const char* const kTypeNames[] = {"kFLOAT32", "kFLOAT64", "kINT8", "kINT32", "kCHAR"};
const char* name_of(FieldType type) { return kTypeNames[static_cast<int>(type)]; }

const char kMagic[] = {'F', 'X', 'P', '1'};  // of the bytes; the 1 is the form of this header

template <typename T>
T value_at(const void* data, size_t index) {  // data may lie at any address
  T value;
  std::memcpy(&value, static_cast<const char*>(data) + index * sizeof value, sizeof value);
  return value;
}

template <typename T>
void append(std::vector<char>* bytes, T value) {
  const char* from = reinterpret_cast<const char*>(&value);
  bytes->insert(bytes->end(), from, from + sizeof value);
}

// FNV-1a of 64 bits: http://www.isthe.com/chongo/tech/comp/fnv
uint64_t digest_of(const char* bytes, size_t size) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (size_t i = 0; i < size; ++i) hash = (hash ^ static_cast<unsigned char>(bytes[i])) * 0x100000001b3u;
  return hash;
}

std::vector<char> standard_value(const FieldRow& row) {
  std::vector<char> bytes;
  if (row.type == FieldType::kCHAR) return bytes;
  std::istringstream words(row.standard);
  words.imbue(std::locale::classic());
  for (int32_t value; words >> value;) append(&bytes, value);  // only kINT32 and kCHAR have one
  return bytes;
}

// Reads the bytes that serialize wrote, and none after them.
class Reader {
 public:
  Reader(const std::string& plugin, const void* bytes, size_t size)
      : plugin_(plugin), at_(static_cast<const char*>(bytes)), left_(size) {}

  const char* take(size_t count) {
    if (count > left_) damaged();
    const char* from = at_;
    at_ += count;
    left_ -= count;
    return from;
  }
  int32_t number() { return value_at<int32_t>(take(sizeof(int32_t)), 0); }
  size_t count() {
    const int32_t value = number();
    if (value < 0) damaged();
    return static_cast<size_t>(value);
  }
  std::string text() {
    const size_t size = count();
    return std::string(take(size), size);
  }
  bool done() const { return left_ == 0; }
  [[noreturn]] void damaged() const { invalid("the serialized ", plugin_, " is damaged; build the engine again"); }

 private:
  const std::string& plugin_;
  const char* at_;
  size_t left_;
};

}  // namespace

FieldValues::FieldValues(const std::string& plugin, const std::vector<Field>& fields)
    : plugin_(plugin), rows_(field_rows(plugin)) {
  for (const Field& field : fields) take(field);
  complete();
  const int32_t version = integer(kSerialField);
  if (version < 1 || version > kSerialVersion)
    invalid("this ", plugin_, " has serial version ", version, ", this fastalex reads 1 to ", kSerialVersion,
            "; build the engine again, or install the fastalex that built it");
}

const FieldRow& FieldValues::row_of(const std::string& name) const {
  std::string known;
  for (const FieldRow& row : rows_) {
    if (name == row.name) return row;
    known += (known.empty() ? "" : ", ") + std::string(row.name);
  }
  invalid(plugin_, " has no field ", name, "; its fields are ", known);
}

void FieldValues::take(const Field& field) {
  const FieldRow& row = row_of(field.name);
  if (values_.count(field.name)) invalid("field ", field.name, " of ", plugin_, " is given twice");
  const bool widened = row.type == FieldType::kFLOAT64 && field.type == FieldType::kFLOAT32;
  if (field.type != row.type && !widened)
    invalid("field ", field.name, " of ", plugin_, " must be of type ", name_of(row.type), ", not ",
            name_of(field.type));
  if (field.length < 0 || (field.length > 0 && !field.data))
    invalid("field ", field.name, " of ", plugin_, " has no data");
  if (row.length && field.length != row.length)
    invalid("field ", field.name, " of ", plugin_, " must have ", row.length, row.length == 1 ? " value" : " values",
            ", not ", field.length);
  std::vector<char>& bytes = values_[field.name];
  if (widened) {
    for (int32_t i = 0; i < field.length; ++i) append(&bytes, static_cast<double>(value_at<float>(field.data, i)));
    return;
  }
  const char* from = static_cast<const char*>(field.data);
  bytes.assign(from, from + static_cast<size_t>(field.length) * size_of(field.type));
  if (row.type == FieldType::kCHAR)
    while (!bytes.empty() && bytes.back() == '\0') bytes.pop_back();  // some callers count the final zero
}

void FieldValues::complete() {
  for (const FieldRow& row : rows_) {
    if (values_.count(row.name)) continue;
    if (!row.standard) invalid(plugin_, " needs the field ", row.name, ": ", row.meaning);
    values_[row.name] = standard_value(row);
  }
}

int32_t FieldValues::integer(const char* name, int index) const { return value_at<int32_t>(data(name), index); }

double FieldValues::number(const char* name, int index) const {
  return row_of(name).type == FieldType::kFLOAT64 ? value_at<double>(data(name), index)
                                                  : static_cast<double>(value_at<float>(data(name), index));
}

std::string FieldValues::text(const char* name) const {
  const std::vector<char>& bytes = values_.at(name);
  return std::string(bytes.begin(), bytes.end());
}

size_t FieldValues::length(const char* name) const { return values_.at(name).size() / size_of(row_of(name).type); }

std::vector<Field> FieldValues::fields() const {
  std::vector<Field> list;
  for (const FieldRow& row : rows_)
    list.push_back(Field{row.name, row.type, data(row.name), static_cast<int32_t>(length(row.name))});
  return list;
}

std::string FieldValues::timing_id() const {
  std::vector<char> bytes;
  for (const Field& field : fields()) {
    append(&bytes, field.length);
    if (!row_of(field.name).length && field.type != FieldType::kCHAR) continue;
    const char* from = static_cast<const char*>(field.data);
    bytes.insert(bytes.end(), from, from + static_cast<size_t>(field.length) * size_of(field.type));
  }
  std::ostringstream text;
  text << std::hex << digest_of(bytes.data(), bytes.size());
  return text.str();
}

std::vector<char> serialize(const FieldValues& values) {
  std::vector<char> bytes(kMagic, kMagic + sizeof kMagic);
  const auto append_text = [&](const std::string& text) {
    append(&bytes, static_cast<int32_t>(text.size()));
    bytes.insert(bytes.end(), text.begin(), text.end());
  };
  append_text(values.plugin());
  const std::vector<Field> fields = values.fields();
  append(&bytes, static_cast<int32_t>(fields.size()));
  for (const Field& field : fields) {
    append_text(field.name);
    append(&bytes, static_cast<int32_t>(field.type));
    append(&bytes, field.length);
    const char* from = static_cast<const char*>(field.data);
    bytes.insert(bytes.end(), from, from + static_cast<size_t>(field.length) * size_of(field.type));
  }
  append(&bytes, digest_of(bytes.data(), bytes.size()));
  return bytes;
}

std::vector<Field> deserialize(const std::string& plugin, const void* bytes, size_t size) {
  Reader whole(plugin, bytes, size);
  if (size < sizeof(uint64_t)) whole.damaged();
  const size_t body = size - sizeof(uint64_t);
  if (digest_of(static_cast<const char*>(bytes), body) != value_at<uint64_t>(whole.take(body) + body, 0))
    whole.damaged();
  Reader reader(plugin, bytes, body);
  if (std::memcmp(reader.take(sizeof kMagic), kMagic, sizeof kMagic) != 0) reader.damaged();
  const std::string writer = reader.text();
  if (writer != plugin) invalid("these are the bytes of a ", writer, ", not of a ", plugin);
  std::vector<Field> fields;
  for (size_t left = reader.count(); left; --left) {
    Field field;
    field.name = reader.text();
    const int32_t type = reader.number();
    if (type < 0 || type > static_cast<int32_t>(FieldType::kCHAR)) reader.damaged();
    field.type = static_cast<FieldType>(type);
    const size_t length = reader.count();
    field.length = static_cast<int32_t>(length);
    field.data = reader.take(length * size_of(field.type));
    fields.push_back(field);
  }
  if (!reader.done()) reader.damaged();
  return fields;
}

}  // namespace tensorrt
}  // namespace fastalex
