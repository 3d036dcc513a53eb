#include "tensorrt/engine/cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <sstream>

#include "common/error.h"
#include "common/xxhash.h"

namespace fastalex {
namespace tensorrt {
namespace {

const char kMagic[] = "fastalex-cache 1";

std::string hash_of(const std::string& key, const char* content, size_t bytes) {
  return Xxh64().add(key).add(content, bytes).hex();
}

std::string header_of(const std::string& key, const std::vector<char>& content) {
  std::ostringstream text;
  text << kMagic << " " << key.size() << " " << content.size() << " " << hash_of(key, content.data(), content.size())
       << "\n";
  return text.str();
}

// Makes the folders of a path, as `mkdir -p` does.
void make_folders(const std::string& folder) {
  for (size_t end = 1; end != std::string::npos && end < folder.size();) {
    end = folder.find('/', end);
    const std::string part = folder.substr(0, end);
    if (mkdir(part.c_str(), 0777) && errno != EEXIST && errno != EISDIR)
      invalid("the folder ", part, " cannot be made: ", strerror(errno));
    if (end != std::string::npos) ++end;
  }
}

// Owns an open file and closes it.
struct File {
  int number;
  ~File() {
    if (number >= 0) close(number);
  }
};

bool write_all(int file, const void* data, size_t bytes) {
  const char* from = static_cast<const char*>(data);
  while (bytes) {
    const ssize_t done = ::write(file, from, bytes);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return false;
    from += done;
    bytes -= static_cast<size_t>(done);
  }
  return true;
}

}  // namespace

std::string EngineKey::text() const {
  std::ostringstream out;
  out << "gpu " << gpu << "\nsm " << sm << "\nsms " << sms << "\nplan " << plan << "\nweights " << weights
      << "\nprecision " << precision << "\nbatch " << min_batch << " " << best_batch << " " << max_batch
      << "\ntensorrt " << tensorrt << "\nlibrary " << library << "\ntuning " << Xxh64().add(tuning).hex() << "\n";
  return out.str();
}

std::string EngineKey::file_name() const {
  std::ostringstream named, name;
  named << gpu << "\n" << sm << " " << sms << "\n" << plan << "\n" << weights << "\n" << precision;
  name << Xxh64().add(named.str()).hex() << "-b" << max_batch << ".engine";
  return name.str();
}

CacheFile::CacheFile(const std::string& folder, const std::string& name, const std::string& key)
    : path_(folder.empty() ? "" : folder + "/" + name), key_(key) {}

bool CacheFile::read(std::vector<char>* content, std::string* reason) const {
  reason->clear();
  if (path_.empty()) return false;
  std::ifstream in(path_, std::ios::binary);
  std::string line;
  if (!in) return false;
  const auto refuse = [&](const char* why) {
    *reason = path_ + " " + why;
    content->clear();
    return false;
  };
  in.seekg(0, std::ios::end);
  const long long size = in.tellg();
  in.seekg(0);
  char start[128];
  in.getline(start, sizeof start);
  unsigned long long key_bytes = 0, bytes = 0;
  char hash[17] = "";
  const std::string format = std::string(kMagic) + " %llu %llu %16s";
  if (!in || sscanf(start, format.c_str(), &key_bytes, &bytes, hash) != 3)
    return refuse("is not a fastalex cache file");
  const unsigned long long head = strlen(start) + 1;
  if (key_bytes > static_cast<unsigned long long>(size) || bytes > static_cast<unsigned long long>(size) ||
      head + key_bytes + bytes != static_cast<unsigned long long>(size))
    return refuse("is damaged: its length is wrong");
  std::string key(key_bytes, '\0');
  content->resize(bytes);
  in.read(&key[0], static_cast<std::streamsize>(key_bytes));
  in.read(content->data(), static_cast<std::streamsize>(bytes));
  if (!in || hash_of(key, content->data(), content->size()) != hash) return refuse("is damaged: its hash is wrong");
  if (key != key_) return refuse("is of another TensorRT, GPU, network or tuning");
  return true;
}

void CacheFile::write(const std::vector<char>& content) const {
  if (path_.empty()) return;
  make_folders(path_.substr(0, path_.rfind('/')));
  const std::string header = header_of(key_, content);
  write_whole(path_, {{header.data(), header.size()}, {key_.data(), key_.size()}, {content.data(), content.size()}});
}

FolderLock::FolderLock(const std::string& folder, const std::string& name) {
  if (folder.empty()) return;
  try {
    make_folders(folder);
  } catch (const Error&) {
    return;  // writing the file reports the error
  }
  file_ = open((folder + "/" + name + ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  while (file_ >= 0 && flock(file_, LOCK_EX) && errno == EINTR) {
  }
}

FolderLock::~FolderLock() {
  if (file_ >= 0) close(file_);
}

void write_whole(const std::string& path, const std::vector<std::pair<const void*, size_t>>& parts) {
  const auto fail = [&] { invalid(path, " cannot be written: ", strerror(errno)); };
  std::string temporary = path + "." + std::string(6, 'X');  // mkstemp's
  const int number = mkstemp(&temporary[0]);
  if (number < 0) fail();
  bool ok = true;
  int problem = 0;
  {
    const File file{number};
    const mode_t mask = umask(0);
    umask(mask);
    ok = fchmod(number, 0666 & ~mask) == 0;
    for (const auto& part : parts) ok = ok && write_all(number, part.first, part.second);
    ok = ok && fsync(number) == 0;
    problem = errno;
  }
  if (ok && rename(temporary.c_str(), path.c_str()) == 0) return;
  if (ok) problem = errno;
  unlink(temporary.c_str());
  errno = problem;
  fail();
}

}  // namespace tensorrt
}  // namespace fastalex
