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

// "engine ..." without its first word.
void parse_engine(int number, std::istringstream& words, EngineSettings* found) {
  std::string what, word;
  words >> what;
  if (what == "native") {
    found->native = true;
  } else if (what == "plugins") {
    found->native = false;
    found->preferred.clear();
    while (words >> word) {
      if (!is_step_plugin(word))
        invalid("line ", number, " of the tuning: there is no plugin ", word, " (there are: ", kConvReLU, ", ",
                kLRNPool, ", ", kFullyConnectedW8, ")");
      found->preferred.push_back(word);
    }
  } else if (what == "cache") {
    std::getline(words >> std::ws, found->cache);
    if (found->cache.empty() || found->cache[0] != '/')
      invalid("line ", number, " of the tuning: engine cache needs the absolute path of a folder");
  } else if (what == "progress") {
    found->progress = true;
  } else {
    invalid("line ", number,
            " of the tuning: say engine native, plugins NAME..., cache FOLDER or progress, not engine ", what);
  }
}

}  // namespace

EngineSettings parse_engine_settings(const std::string& text) {
  EngineSettings found;
  std::istringstream lines(text);
  std::string line;
  for (int number = 1; std::getline(lines, line); ++number) {
    std::istringstream words(line);
    std::string first, second;
    words >> first;
    if (first == "engine") {
      parse_engine(number, words, &found);
      continue;
    }
    if (first == "graphs" && words >> second && (second == "on" || second == "off")) found.graphs = second == "on";
    found.kernels += line + "\n";
  }
  return found;
}

}  // namespace tensorrt
}  // namespace fastalex
