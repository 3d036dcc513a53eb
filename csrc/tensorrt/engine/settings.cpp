#include "tensorrt/engine/settings.h"

#include <algorithm>
#include <sstream>

#include "common/error.h"
#include "tensorrt/plugins/plugin_fields.h"

namespace fastalex {
namespace tensorrt {
namespace {

bool is_step_plugin(const std::string& name) {
  return name == kConvReLU || name == kLRNPool || name == kFullyConnectedW8;
}

// Parses the words of an "engine ..." line after the first.
void parse_engine(int number, std::istringstream& words, EngineSettings* settings) {
  std::string setting, word;
  words >> setting;
  if (setting == "native") {
    settings->native = true;
  } else if (setting == "plugins") {
    settings->native = false;
    settings->preferred.clear();
    while (words >> word) {
      if (!is_step_plugin(word))
        invalid("line ", number, " of the tuning: there is no plugin ", word, " (there are: ", kConvReLU, ", ",
                kLRNPool, ", ", kFullyConnectedW8, ")");
      settings->preferred.push_back(word);
    }
  } else if (setting == "cache") {
    std::getline(words >> std::ws, settings->cache);
    if (settings->cache.empty() || settings->cache[0] != '/')
      invalid("line ", number, " of the tuning: engine cache needs the absolute path of a folder");
  } else if (setting == "progress") {
    settings->progress = true;
  } else {
    invalid("line ", number,
            " of the tuning: say engine native, plugins NAME..., cache FOLDER or progress, not engine ", setting);
  }
}

}  // namespace

EngineSettings parse_engine_settings(const std::string& text) {
  EngineSettings settings;
  std::istringstream lines(text);
  std::string line;
  for (int number = 1; std::getline(lines, line); ++number) {
    std::istringstream words(line);
    std::string first, second;
    words >> first;
    if (first == "engine") {
      parse_engine(number, words, &settings);
      continue;
    }
    if (first == "graphs" && words >> second && (second == "on" || second == "off")) settings.graphs = second == "on";
    settings.kernels += line + "\n";
  }
  return settings;
}

}  // namespace tensorrt
}  // namespace fastalex
