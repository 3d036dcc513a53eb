#include "device_text.h"

#include <stdlib.h>

#include <sstream>

#include "common/error.h"

namespace fastalex {
namespace emulator {
namespace {

// GeForce RTX 3090: CUDA programming guide (compute capability 8.6) and NVIDIA's GA102 whitepaper.
cuda::DeviceFacts default_device() {
  cuda::DeviceFacts facts;
  facts.index = 0;
  facts.name = "NVIDIA GeForce RTX 3090";
  facts.sm = 86;
  facts.sms = 82;
  facts.clock_khz = 1695000;
  facts.threads_per_sm = 1536;
  facts.registers_per_sm = facts.registers_per_block = 65536;
  facts.shared_per_sm = 102400;
  facts.shared_per_block = 101376;
  facts.l2_bytes = 6291456;
  facts.memory_bytes = 25769803776;
  facts.integrated = false;
  facts.tensor_cores = true;
  facts.driver_version = facts.runtime_version = 12090;
  return facts;
}

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);)
    if (!part.empty()) parts.push_back(part);
  return parts;
}

long long number(const std::string& word, const std::string& value) {
  char* end = nullptr;
  const long long result = strtoll(value.c_str(), &end, 10);
  if (value.empty() || *end || result < 0) invalid("FASTALEX_EMULATED_DEVICE: \"", word, "\" needs a whole number");
  return result;
}

struct Key {
  const char* name;
  void (*set)(cuda::DeviceFacts*, long long);
};

const Key kKeys[] = {
    {"sm", [](cuda::DeviceFacts* f, long long v) { f->sm = static_cast<int>(v); }},
    {"sms", [](cuda::DeviceFacts* f, long long v) { f->sms = static_cast<int>(v); }},
    {"clock_khz", [](cuda::DeviceFacts* f, long long v) { f->clock_khz = static_cast<int>(v); }},
    {"threads_per_sm", [](cuda::DeviceFacts* f, long long v) { f->threads_per_sm = static_cast<int>(v); }},
    {"registers_per_sm", [](cuda::DeviceFacts* f, long long v) { f->registers_per_sm = static_cast<int>(v); }},
    {"registers_per_block", [](cuda::DeviceFacts* f, long long v) { f->registers_per_block = static_cast<int>(v); }},
    {"shared_per_sm", [](cuda::DeviceFacts* f, long long v) { f->shared_per_sm = static_cast<size_t>(v); }},
    {"shared_per_block", [](cuda::DeviceFacts* f, long long v) { f->shared_per_block = static_cast<size_t>(v); }},
    {"l2_bytes", [](cuda::DeviceFacts* f, long long v) { f->l2_bytes = static_cast<size_t>(v); }},
    {"memory_bytes", [](cuda::DeviceFacts* f, long long v) { f->memory_bytes = static_cast<size_t>(v); }},
    {"integrated", [](cuda::DeviceFacts* f, long long v) { f->integrated = v != 0; }},
    {"tensor_cores", [](cuda::DeviceFacts* f, long long v) { f->tensor_cores = v != 0; }},
    {"driver_version", [](cuda::DeviceFacts* f, long long v) { f->driver_version = static_cast<int>(v); }},
    {"runtime_version", [](cuda::DeviceFacts* f, long long v) { f->runtime_version = static_cast<int>(v); }},
};

// Returns the number of devices that the text stands for.
long long parse(const std::string& text, cuda::DeviceFacts* facts) {
  long long copies = 1;
  for (const std::string& word : split(text, ',')) {
    const size_t equals = word.find('=');
    const std::string name = word.substr(0, equals);
    const std::string value = equals == std::string::npos ? "" : word.substr(equals + 1);
    bool known = name == "name" || name == "devices";
    if (name == "name") facts->name = value;
    if (name == "devices") copies = number(word, value);
    for (const Key& key : kKeys) {
      if (name != key.name) continue;
      key.set(facts, number(word, value));
      known = true;
    }
    if (!known) invalid("FASTALEX_EMULATED_DEVICE: no key is called \"", name, "\"");
  }
  return copies;
}

}  // namespace

std::vector<cuda::DeviceFacts> pretended_devices() {
  const char* variable = getenv("FASTALEX_EMULATED_DEVICE");
  std::vector<std::string> texts = split(variable ? variable : "", ';');
  if (texts.empty()) texts.push_back("");
  std::vector<cuda::DeviceFacts> devices;
  for (const std::string& text : texts) {
    cuda::DeviceFacts facts = default_device();
    for (long long left = parse(text, &facts); left > 0; --left) {
      facts.index = static_cast<int>(devices.size());
      devices.push_back(facts);
    }
  }
  return devices;
}

}  // namespace emulator
}  // namespace fastalex
