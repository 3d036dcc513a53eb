// Implements cuda/runtime/runtime.h without a GPU: host memory, and kernels on fibers. A launch is over when it
// returns.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <sstream>
#include <utility>

#include "block.h"
#include "common/error.h"
#include "crash.h"
#include "cuda/runtime/kernel_code.h"
#include "cuda/runtime/runtime.h"
#include "device_text.h"
#include "memory.h"

namespace fastalex {
namespace cuda {
namespace {

thread_local int current = 0;  // device

std::mutex mutex;                                // guards the five below
std::set<std::pair<const void*, int>> prepared;  // kernel and device
std::set<StreamHandle> streams;                  // made here and not destroyed
uintptr_t last_stream = 0;                       // the last serial number
std::string alloc_fault;
long long allocations = 0;  // since alloc_fault was first seen

// A stream is a number that cannot be an address: a mark, which copy of this runtime made it (another backend's library
// has its own), the device and a serial number.
const uintptr_t kStreamMark = uintptr_t(0x5EA) << 52, kStreamMarkBits = uintptr_t(0xFFF) << 52;
uintptr_t stream_maker() { return (reinterpret_cast<uintptr_t>(&last_stream) >> 12 & 0xFFFF) << 36; }
int device_of_stream(StreamHandle stream) { return static_cast<int>(reinterpret_cast<uintptr_t>(stream) >> 28 & 0xFF); }

struct EventState {
  int device;
  bool recorded;
  std::chrono::steady_clock::time_point time;
};

struct GraphState {
  int device;
  std::vector<KernelLaunch> launches;
};

template <typename... Parts>
[[noreturn]] void fail(int status, const Parts&... parts) {
  std::ostringstream text;
  int expand[] = {0, ((text << parts), 0)...};
  (void)expand;
  throw Error(status, text.str());
}

// FASTALEX_EMULATED_FAULT: "alloc:N" makes the N-th allocation of device memory fail, counted since the variable was
// set, "launch:TEXT" and "prepare:TEXT" the launches or preparations of kernels whose name contains the text. "ptx:N"
// pretends that the library was compiled for the virtual architecture N alone.
std::string fault(const std::string& kind) {
  const char* variable = getenv("FASTALEX_EMULATED_FAULT");
  const std::string text = variable ? variable : "";
  return text.compare(0, kind.size() + 1, kind + ":") ? "" : text.substr(kind.size() + 1);
}

bool is_faulty(const char* kind, const KernelInfo& kernel) {
  const std::string part = fault(kind);
  return !part.empty() && std::string(kernel.name).find(part) != std::string::npos;
}

bool allocation_is_faulty() {
  const std::string which = fault("alloc");
  const std::lock_guard<std::mutex> lock(mutex);
  if (which != alloc_fault) allocations = 0;
  alloc_fault = which;
  return !which.empty() && ++allocations == atoll(which.c_str());
}

[[noreturn]] void out_of_memory(size_t bytes, const char* what, size_t available, size_t total) {
  fail(FASTALEX_OUT_OF_MEMORY, what, " of ", bytes >> 20, " MiB (", bytes,
       " bytes) cannot be allocated: ", available >> 20, " MiB of the device's ", total >> 20,
       " MiB are free; use a smaller batch or image");
}

// null is the current device's own stream.
void check_stream(StreamHandle stream, const char* call) {
  if (!stream) return;
  const uintptr_t value = reinterpret_cast<uintptr_t>(stream);
  const bool own = (value & uintptr_t(0xFFFF) << 36) == stream_maker();
  const std::lock_guard<std::mutex> lock(mutex);
  if ((value & kStreamMarkBits) != kStreamMark || (own && !streams.count(stream)))
    fail(FASTALEX_INTERNAL, call, ": invalid resource handle (no stream of this runtime)");
  const int device = device_of_stream(stream);
  if (device != current)
    fail(FASTALEX_INTERNAL, call, ": invalid resource handle (a stream of device ", device, ", the current one is ",
         current, ")");
}

void check_device_memory(const void* p, size_t bytes, const char* what) {
  emulator::Region region;
  if (!emulator::find_region(p, bytes, &region) || (region.device < 0 && !region.mapped))
    fail(FASTALEX_INTERNAL, "cudaMemcpyAsync: invalid argument (", bytes, " bytes ", what, " lie in no device memory)");
}

bool has_code(const KernelInfo& kernel, const DeviceFacts& device) {
  return (!kernel.min_sm || device.sm >= kernel.min_sm) && (!kernel.max_sm || device.sm <= kernel.max_sm);
}

// Rejects what the driver would reject.
void check_launch(const KernelLaunch& task, const DeviceFacts& device) {
  const KernelInfo& kernel = *task.kernel;
  const Grid& grid = task.grid;
  auto refuse = [&](const std::string& why) {
    fail(FASTALEX_INTERNAL, "launch of ", kernel.name, " on ", device.name, ": ", why);
  };
  if (!has_code(kernel, device)) refuse("no kernel image is available for sm_" + std::to_string(device.sm));
  if (kernel.tensor_cores && !device.tensor_cores) refuse("the kernel needs tensor cores");
  if (kernel.threads < 1 || kernel.threads > 1024) refuse(std::to_string(kernel.threads) + " threads in a block");
  if (kernel.shared_bytes < 0 || static_cast<size_t>(kernel.shared_bytes) > device.shared_per_block)
    refuse(std::to_string(kernel.shared_bytes) + " bytes of shared memory, a block can have " +
           std::to_string(device.shared_per_block));
  if (grid.x < 1 || grid.y < 1 || grid.z < 1 || grid.y > 65535 || grid.z > 65535)
    refuse("a grid of " + std::to_string(grid.x) + " x " + std::to_string(grid.y) + " x " + std::to_string(grid.z));
  const std::lock_guard<std::mutex> lock(mutex);
  if (!prepared.count({kernel.address, device.index})) refuse("prepare_kernel() was not called for it");
}

// FASTALEX_EMULATED_BLOCKS = "COUNT:SEED:KERNEL": in a launch of that kernel (of any, without a name) only COUNT
// columns of blocks run: those at the corners of the grid and random others (the corners alone if they are more). A
// column is all blocks that differ in z alone, groups and parts of a split sum, so a sum is complete wherever it is
// computed.
std::set<std::pair<int, int>> sampled_columns(const KernelLaunch& task) {
  std::set<std::pair<int, int>> chosen;
  const char* variable = getenv("FASTALEX_EMULATED_BLOCKS");
  std::istringstream words(variable ? variable : "");
  long long limit = 0;
  unsigned long long seed = 0;
  char colon;
  std::string kernel;
  words >> limit >> colon >> seed >> colon >> kernel;
  const Grid& grid = task.grid;
  const long long count = static_cast<long long>(grid.x) * grid.y;
  if (limit <= 0 || count <= limit || (!kernel.empty() && kernel != task.kernel->name)) return chosen;
  std::mt19937_64 random(seed);
  for (int y : {0, grid.y - 1})
    for (int x : {0, grid.x - 1}) chosen.insert({x, y});
  while (static_cast<long long>(chosen.size()) < limit)
    chosen.insert({static_cast<int>(random() % static_cast<unsigned>(grid.x)),
                   static_cast<int>(random() % static_cast<unsigned>(grid.y))});
  return chosen;
}

// FASTALEX_EMULATED_LAUNCHES = a file: launches are written there, a line of JSON each, and none runs.
bool write_launch(const KernelLaunch& task) {
  const char* path = getenv("FASTALEX_EMULATED_LAUNCHES");
  if (!path || !*path) return false;
  std::ostringstream line;
  line << "{\"kernel\": \"" << task.kernel->name << "\", \"grid\": [" << task.grid.x << ", " << task.grid.y << ", "
       << task.grid.z << "], \"threads\": " << task.kernel->threads
       << ", \"shared_bytes\": " << task.kernel->shared_bytes << ", \"arguments\": \"";
  for (const unsigned char byte : task.args) line << "0123456789abcdef"[byte / 16] << "0123456789abcdef"[byte % 16];
  std::ofstream file(path, std::ios::app);
  file << line.str() << "\"}\n";
  file.close();
  if (!file) fail(FASTALEX_INVALID, "FASTALEX_EMULATED_LAUNCHES: ", path, " cannot be written");
  return true;
}

void run(const KernelLaunch& task, const DeviceFacts& device) {
  if (write_launch(task)) return;
  if (is_faulty("launch", *task.kernel))
    fail(FASTALEX_INTERNAL, "launch of ", task.kernel->name, ": unspecified launch failure (FASTALEX_EMULATED_FAULT)");
  const emulator::CrashGuard guard;
  const Grid& grid = task.grid;
  const std::set<std::pair<int, int>> sample = sampled_columns(task);
  const emulator::LaunchDevice on = {device.index, device.sm, device.tensor_cores};
  auto run_block = [&](const Grid& block) {
    const std::string error = emulator::run_block(task, on, block);
    if (error.empty()) return;
    const std::string damage = emulator::mend_guards(device.index);
    fail(FASTALEX_INTERNAL, "kernel ", task.kernel->name, ", block (", block.x, ", ", block.y, ", ", block.z, "), ",
         error, damage.empty() ? "" : "; ", damage);
  };
  for (int z = 0; z < grid.z; ++z)
    for (int y = 0; y < grid.y; ++y)
      for (int x = 0; x < grid.x; ++x)
        if (sample.empty() || sample.count({x, y})) run_block(Grid{x, y, z});
  const std::string damage = emulator::mend_guards(device.index);
  if (!damage.empty()) fail(FASTALEX_INTERNAL, "kernel ", task.kernel->name, ": ", damage);
}

}  // namespace

int device_count() {
  const int count = static_cast<int>(emulator::pretended_devices().size());
  if (!count) fail(FASTALEX_UNAVAILABLE, "the NVIDIA driver sees no GPU on this machine");
  return count;
}

DeviceFacts device_facts(int index) {
  const int count = device_count();
  if (index < 0 || index >= count)
    invalid("there is no CUDA device ", index, ": this machine has ", count, ", counted from 0");
  return emulator::pretended_devices()[static_cast<size_t>(index)];
}

int current_device() { return current; }

DeviceScope::DeviceScope(int index) : before_(current) {
  if (index < 0 || index >= device_count()) fail(FASTALEX_INTERNAL, "cudaSetDevice: invalid device ordinal ", index);
  current = index;
}

DeviceScope::~DeviceScope() { current = before_; }

DeviceMemory::DeviceMemory(size_t bytes) : size_(bytes) {
  if (!bytes) return;
  const size_t total = device_facts(current).memory_bytes, used = emulator::used_bytes(current);
  const size_t available = total > used ? total - used : 0;
  if (bytes > available || allocation_is_faulty()) out_of_memory(bytes, "device memory", available, total);
  data_ = emulator::allocate(bytes, current, false);
}

DeviceMemory::~DeviceMemory() {
  if (data_) emulator::release(data_);
}

HostMemory::HostMemory(size_t bytes, bool mapped) {
  if (!bytes) return;
  data_ = emulator::allocate(bytes, -1, mapped);
  if (mapped) device_ = data_;
}

HostMemory::~HostMemory() {
  if (data_) emulator::release(data_);
}

Stream::Stream() {
  const std::lock_guard<std::mutex> lock(mutex);
  const uintptr_t serial = ++last_stream & 0xFFFFFFF;
  handle_ = reinterpret_cast<StreamHandle>(kStreamMark | stream_maker() | uintptr_t(current) << 28 | serial);
  streams.insert(handle_);
}

Stream::~Stream() {
  const std::lock_guard<std::mutex> lock(mutex);
  streams.erase(handle_);
}

Event::Event() : handle_(new EventState{current, false, {}}) {}

Event::~Event() { delete static_cast<EventState*>(handle_); }

void Event::record(StreamHandle stream) {
  EventState& event = *static_cast<EventState*>(handle_);
  check_stream(stream, "cudaEventRecord");
  if (event.device != current) fail(FASTALEX_INTERNAL, "cudaEventRecord: invalid resource handle (another device's)");
  event.recorded = true;
  event.time = std::chrono::steady_clock::now();
}

double Event::seconds_since(const Event& earlier) const {
  const EventState& from = *static_cast<const EventState*>(earlier.handle_);
  const EventState& to = *static_cast<const EventState*>(handle_);
  if (!from.recorded || !to.recorded) fail(FASTALEX_INTERNAL, "cudaEventElapsedTime: invalid resource handle");
  return std::chrono::duration<double>(to.time - from.time).count();
}

void Event::make_wait(StreamHandle stream) const { check_stream(stream, "cudaStreamWaitEvent"); }

void Event::wait() const {}

void copy_to_device(void* to, const void* from, size_t bytes, StreamHandle stream) {
  check_stream(stream, "cudaMemcpyAsync");
  check_device_memory(to, bytes, "to write");
  memcpy(to, from, bytes);
}

void copy_to_host(void* to, const void* from, size_t bytes, StreamHandle stream) {
  check_stream(stream, "cudaMemcpyAsync");
  check_device_memory(from, bytes, "to read");
  memcpy(to, from, bytes);
}

void copy_on_device(void* to, const void* from, size_t bytes, StreamHandle stream) {
  check_stream(stream, "cudaMemcpyAsync");
  check_device_memory(to, bytes, "to write");
  check_device_memory(from, bytes, "to read");
  memcpy(to, from, bytes);
}

void synchronize(StreamHandle stream) { check_stream(stream, "cudaStreamSynchronize"); }

void synchronize_device() {}

void launch(const KernelLaunch& task, StreamHandle stream) {
  check_stream(stream, "cudaLaunchKernel");
  const DeviceFacts device = device_facts(current);
  check_launch(task, device);
  run(task, device);
}

Graph::Graph(const std::vector<KernelLaunch>& launches) {
  const DeviceFacts device = device_facts(current);
  for (const KernelLaunch& each : launches) check_launch(each, device);
  graph_ = new GraphState{current, launches};
}

Graph::~Graph() { delete static_cast<GraphState*>(graph_); }

void Graph::launch(StreamHandle stream) const {
  check_stream(stream, "cudaGraphLaunch");
  const GraphState& graph = *static_cast<const GraphState*>(graph_);
  if (graph.device != current) fail(FASTALEX_INTERNAL, "cudaGraphLaunch: the graph is of device ", graph.device);
  const DeviceFacts device = device_facts(current);
  for (const KernelLaunch& each : graph.launches) run(each, device);
}

// The work is called again at each launch, which does the same as a capture provided that it asks for nothing else.
CapturedGraph::CapturedGraph(StreamHandle stream, const std::function<void(StreamHandle)>& work) {
  check_stream(stream, "cudaStreamBeginCapture");
  graph_ = new std::function<void(StreamHandle)>(work);
}

CapturedGraph::~CapturedGraph() { delete static_cast<std::function<void(StreamHandle)>*>(graph_); }

void CapturedGraph::launch(StreamHandle stream) const {
  check_stream(stream, "cudaGraphLaunch");
  (*static_cast<const std::function<void(StreamHandle)>*>(graph_))(stream);
}

void prepare_kernel(const KernelInfo& kernel) {
  const DeviceFacts device = device_facts(current);
  if (!has_code(kernel, device) || is_faulty("prepare", kernel))
    fail(FASTALEX_UNAVAILABLE, "this CUDA library has no code for ", device.name, " (kernel ", kernel.name,
         "); build fastalex for it: python -m fastalex prints the command");
  const std::string pretended = fault("ptx");
  const int ptx_version = pretended.empty() ? device.sm : atoi(pretended.c_str());
  const std::string problem = code_problem(kernel, ptx_version, device.name);
  if (!problem.empty()) fail(FASTALEX_UNAVAILABLE, problem);
  if (kernel.threads > 1024)
    fail(FASTALEX_UNAVAILABLE, "this device cannot run ", kernel.name, " with its number of threads");
  if (static_cast<size_t>(kernel.shared_bytes) > device.shared_per_block)
    fail(FASTALEX_UNAVAILABLE, "this device cannot run ", kernel.name, ": it needs ", kernel.shared_bytes,
         " bytes of shared memory, a block can have ", device.shared_per_block);
  const std::lock_guard<std::mutex> lock(mutex);
  prepared.insert({kernel.address, device.index});
}

// By threads and shared memory alone; 1 KiB of the latter is the system's own from sm_80 on (CUDA programming guide).
int blocks_per_sm(const KernelInfo& kernel) {
  const DeviceFacts device = device_facts(current);
  const size_t shared = static_cast<size_t>(kernel.shared_bytes) + (device.sm >= 80 ? 1024 : 0);
  const int by_threads = device.threads_per_sm / round_up(kernel.threads, 32);
  const int by_shared = shared ? static_cast<int>(std::min<size_t>(device.shared_per_sm / shared, 1024)) : 1024;
  return std::min({by_threads, by_shared, device.threads_per_sm >= 2048 ? 32 : 16});
}

int device_of(const void* p) {
  emulator::Region region;
  return emulator::find_region(p, 1, &region) ? region.device : -1;
}

}  // namespace cuda
}  // namespace fastalex
