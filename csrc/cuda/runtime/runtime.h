// fastalex's interface to the CUDA runtime. runtime.cpp implements it with cudart (static; only calls of CUDA 10.2),
// cuda_emulator/src/runtime_emulated.cpp with host memory and fibers. Every failure is an Error that names the call.
#ifndef FASTALEX_CUDA_RUNTIME_RUNTIME_H
#define FASTALEX_CUDA_RUNTIME_RUNTIME_H

#include <cstddef>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "cuda/runtime/launch.h"

namespace fastalex {
namespace cuda {

typedef void* StreamHandle;  // a cudaStream_t

struct DeviceFacts {
  int index;
  std::string name;
  int sm;  // compute capability: 75 is 7.5
  int sms;
  int clock_khz;
  int threads_per_sm, registers_per_sm, registers_per_block;
  size_t shared_per_sm, shared_per_block;  // the latter with the opt-in above 48 KiB
  size_t l2_bytes, memory_bytes;
  bool integrated;                      // CPU and GPU share the DRAM
  bool tensor_cores;                    // by name: TU11x is sm_75 without any
  int driver_version, runtime_version;  // 1000 major + 10 minor
};

int device_count();  // throws Error(FASTALEX_UNAVAILABLE) without a driver, with one that is too old, without a device
DeviceFacts device_facts(int index);
int current_device();  // of the calling thread

// Makes a device current for the life of the object, then restores the previous one.
class DeviceScope {
 public:
  explicit DeviceScope(int index);
  ~DeviceScope();
  DeviceScope(const DeviceScope&) = delete;
  DeviceScope& operator=(const DeviceScope&) = delete;

 private:
  int before_;
};

// Memory of the current device. On failure, allocation throws Error(FASTALEX_OUT_OF_MEMORY), which states the size
// needed and the size free.
class DeviceMemory {
 public:
  DeviceMemory() = default;
  explicit DeviceMemory(size_t bytes);
  DeviceMemory(DeviceMemory&& other) noexcept { swap(other); }
  DeviceMemory& operator=(DeviceMemory&& other) noexcept { return swap(other); }
  ~DeviceMemory();
  char* data() const { return static_cast<char*>(data_); }
  size_t size() const { return size_; }

  // Gives the memory away; the caller must adopt() it to free it.
  void* release() {
    void* data = data_;
    data_ = nullptr;
    size_ = 0;
    return data;
  }
  static DeviceMemory adopt(void* data) {
    DeviceMemory memory;
    memory.data_ = data;
    return memory;
  }

 private:
  DeviceMemory& swap(DeviceMemory& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }

  void* data_ = nullptr;
  size_t size_ = 0;
};

// Page-locked host memory; `mapped`: the device reads and writes it in place, at device().
class HostMemory {
 public:
  HostMemory() = default;
  HostMemory(size_t bytes, bool mapped);
  HostMemory(HostMemory&& other) noexcept { swap(other); }
  HostMemory& operator=(HostMemory&& other) noexcept { return swap(other); }
  ~HostMemory();
  char* data() const { return static_cast<char*>(data_); }
  char* device() const { return static_cast<char*>(device_); }

 private:
  HostMemory& swap(HostMemory& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(device_, other.device_);
    return *this;
  }

  void* data_ = nullptr;
  void* device_ = nullptr;
};

class Stream {
 public:
  Stream();  // does not wait for the default stream
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  StreamHandle handle() const { return handle_; }

 private:
  StreamHandle handle_ = nullptr;
};

class Event {
 public:
  Event();  // with a time stamp
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  void record(StreamHandle stream);
  double seconds_since(const Event& earlier) const;  // both must have happened
  void make_wait(StreamHandle stream) const;         // the stream's later work waits for this event
  void wait() const;                                 // the calling thread does

 private:
  void* handle_ = nullptr;
};

void copy_to_device(void* to, const void* from, size_t bytes, StreamHandle stream);
void copy_to_host(void* to, const void* from, size_t bytes, StreamHandle stream);
void copy_on_device(void* to, const void* from, size_t bytes, StreamHandle stream);
void synchronize(StreamHandle stream);
void synchronize_device();  // all streams of the current device

void launch(const KernelLaunch& task, StreamHandle stream);

// The launches as one graph, each after the one before.
class Graph {
 public:
  explicit Graph(const std::vector<KernelLaunch>& launches);
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  void launch(StreamHandle stream) const;

 private:
  Graph() = default;

  void* graph_ = nullptr;
  void* exec_ = nullptr;
};

// Captures what `work` queues on the stream that it is given as one graph. Nothing runs during the capture, and `work`
// may only queue what CUDA can capture.
class CapturedGraph {
 public:
  CapturedGraph(StreamHandle stream, const std::function<void(StreamHandle)>& work);
  ~CapturedGraph();
  CapturedGraph(const CapturedGraph&) = delete;
  CapturedGraph& operator=(const CapturedGraph&) = delete;
  void launch(StreamHandle stream) const;

 private:
  CapturedGraph() = default;

  void* graph_ = nullptr;
  void* exec_ = nullptr;
};

// Throws Error(FASTALEX_UNAVAILABLE) if this library has no code of the kernel for the current device, or the device
// cannot run it with its threads and shared memory. Must be called once before the first launch of a kernel.
void prepare_kernel(const KernelInfo& kernel);

// Blocks of the kernel that one multiprocessor of the current device holds at a time.
int blocks_per_sm(const KernelInfo& kernel);

// The device that the memory at `p` belongs to; -1: the host's.
int device_of(const void* p);

}  // namespace cuda
}  // namespace fastalex
#endif  // FASTALEX_CUDA_RUNTIME_RUNTIME_H
