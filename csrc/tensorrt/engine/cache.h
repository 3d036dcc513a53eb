// Files that are valid for a single key: built engines and TensorRT's timings. Does not include TensorRT.
//
// A file is a line "fastalex-cache 1 KEYBYTES BYTES XXH64", the key's text, then the content; the hash is of key and
// content together. Any other file, or one with another key, counts as missing and is replaced.
#ifndef FASTALEX_TENSORRT_ENGINE_CACHE_H
#define FASTALEX_TENSORRT_ENGINE_CACHE_H

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace fastalex {
namespace tensorrt {

// Everything that an engine depends on. All of it is in the file; the first group also names the file, so that a newer
// TensorRT or other tuning replaces the engine that it makes useless, and two networks do not replace each other.
struct EngineKey {
  std::string gpu;  // name
  int sm, sms;
  std::string plan;     // hash of EnginePlan::text()
  std::string weights;  // hash
  std::string precision;
  int min_batch, best_batch, max_batch;

  std::string tensorrt;  // 8.2.1.8
  std::string tuning;
  std::string library;  // of the plugins

  std::string text() const;       // one line per part
  std::string file_name() const;  // ends in .engine
};

class CacheFile {
 public:
  // folder: "" to read and write nothing.
  CacheFile(const std::string& folder, const std::string& name, const std::string& key);

  // Returns whether there is a file for the key; if not, `reason` says why: "" if it does not exist.
  bool read(std::vector<char>* content, std::string* reason) const;
  // Writes under a temporary name, then renames: the file is complete at any moment and comes from one writer. Throws
  // Error(FASTALEX_INVALID) that names the file and what to do.
  void write(const std::vector<char>& content) const;

  const std::string& path() const { return path_; }  // "" without a folder

 private:
  std::string path_, key_;
};

// Waits until no other process holds the lock of this name; held until destroyed, or the process ends. Without a
// folder, or where it cannot be made or locked, it holds nothing.
class FolderLock {
 public:
  FolderLock(const std::string& folder, const std::string& name);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int file_ = -1;
};

// Writes a file as a whole or not at all; throws Error(FASTALEX_INVALID) with the path and the reason.
void write_whole(const std::string& path, const std::vector<std::pair<const void*, size_t>>& parts);

}  // namespace tensorrt
}  // namespace fastalex
#endif  // FASTALEX_TENSORRT_ENGINE_CACHE_H
