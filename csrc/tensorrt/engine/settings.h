// The engine settings in a net's tuning text (fastalex.h); its other lines are for the kernels of the plugins.
#ifndef FASTALEX_TENSORRT_ENGINE_SETTINGS_H
#define FASTALEX_TENSORRT_ENGINE_SETTINGS_H

#include <string>
#include <vector>

namespace fastalex {
namespace tensorrt {

struct EngineSettings {
  bool native = false;
  std::vector<std::string> preferred;  // plugins
  std::string cache;                   // folder; "": none
  bool progress = false;
  int graphs = -1;      // 0 or 1; -1: not set
  std::string kernels;  // the other lines
};

// Throws Error(FASTALEX_INVALID) with the line's number.
EngineSettings parse_engine_settings(const std::string& text);

}  // namespace tensorrt
}  // namespace fastalex
#endif  // FASTALEX_TENSORRT_ENGINE_SETTINGS_H
