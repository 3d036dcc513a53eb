#include "cpu/usable_cpus.h"

#include <sched.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <sstream>
#include <vector>

#include "common/error.h"

namespace fastalex {
namespace {

const int kNoBound = std::numeric_limits<int>::max();

int affinity() {
  cpu_set_t set;
  return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

// Whole processors that `quota` microseconds in every `period` come to, rounded up; no bound where there is no quota.
int processors(double quota, double period) {
  if (!(quota > 0) || !(period > 0)) return kNoBound;
  const double count = quota / period;
  return count >= kNoBound ? kNoBound : static_cast<int>(count) + (count > static_cast<int>(count) ? 1 : 0);
}

double number_in(const std::string& path) {
  std::ifstream in(path);
  double value = 0;
  return in >> value ? value : 0;
}

int quota_v2(const std::string& folder) {
  std::ifstream in(folder + "/cpu.max");  // "max 100000", or "150000 100000"
  std::string quota;
  double period = 0;
  if (!(in >> quota >> period) || quota == "max") return kNoBound;
  return processors(std::strtod(quota.c_str(), nullptr), period);
}

int quota_v1(const std::string& folder) {
  return processors(number_in(folder + "/cpu.cfs_quota_us"), number_in(folder + "/cpu.cfs_period_us"));
}

// The least quota of the group `path` and of the groups that it is in, whose files are below `mount`. In a container
// the group's own path may not be there: the container's group is then the mount itself.
template <typename Quota>
int least_quota(const std::string& mount, std::string path, const Quota& quota) {
  int least = quota(mount);
  while (!path.empty() && path != "/") {
    least = std::min(least, quota(mount + path));
    const size_t parent = path.rfind('/');
    path.resize(parent == std::string::npos ? 0 : parent);
  }
  return least;
}

bool has_word(const std::string& list, const std::string& word) {
  std::istringstream words(list);
  for (std::string each; std::getline(words, each, ',');)
    if (each == word) return true;
  return false;
}

int cgroup_quota(const std::string& root) {
  int least = kNoBound;
  std::ifstream in(root + "/proc/self/cgroup");
  for (std::string line; std::getline(in, line);) {  // hierarchy:controllers:path
    const size_t first = line.find(':'), second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1), path = line.substr(second + 1);
    if (path.find("..") != std::string::npos) continue;
    if (controllers.empty())
      least = std::min(least, least_quota(root + "/sys/fs/cgroup", path, quota_v2));
    else if (has_word(controllers, "cpu"))
      for (const std::string& mount : {std::string("/sys/fs/cgroup/cpu"), "/sys/fs/cgroup/" + controllers})
        least = std::min(least, least_quota(root + mount, path, quota_v1));
  }
  return least;
}

// The number that the environment variable `name` begins with; 0 where it is not set or no number above 0.
int number_of(const char* name, bool* whole) {
  const char* text = std::getenv(name);
  if (!text || !*text) return 0;
  char* end = nullptr;
  const long value = std::strtol(text, &end, 10);
  *whole = end != text && *end == '\0';
  return end == text || value < 1 ? 0 : static_cast<int>(std::min<long>(value, kNoBound));
}

int environment_bound() {
  bool whole = true;
  const int own = number_of("FASTALEX_NUM_THREADS", &whole);
  const char* text = std::getenv("FASTALEX_NUM_THREADS");
  if (text && *text) {
    if (!own || !whole) invalid("FASTALEX_NUM_THREADS must be a whole number above 0, not ", text);
    return own;
  }
  const int openmp = number_of("OMP_NUM_THREADS", &whole);  // may be a list, one for each level of nesting
  return openmp ? openmp : kNoBound;
}

}  // namespace

int usable_cpus(const std::string& root) {
  return std::max(1, std::min({affinity(), cgroup_quota(root), environment_bound()}));
}

}  // namespace fastalex
