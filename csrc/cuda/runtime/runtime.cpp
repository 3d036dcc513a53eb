// Implements runtime.h with the CUDA runtime, using only calls of CUDA 10.2 (tests/tools/cuda_host_calls.txt lists
// them).
#include "cuda/runtime/runtime.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <sstream>

#include "common/error.h"
#include "cuda/runtime/kernel_code.h"

namespace fastalex {
namespace cuda {
namespace {

[[noreturn]] void fail(cudaError_t code, const char* call, const char* file, int line) {
  cudaGetLastError();  // an error that is not sticky must not show up at the next call
  std::ostringstream text;
  text << file << ":" << line << ": " << call << ": " << cudaGetErrorString(code);
  throw Error(code == cudaErrorMemoryAllocation ? FASTALEX_OUT_OF_MEMORY : FASTALEX_INTERNAL, text.str());
}

#define CHECK(call)                                                   \
  do {                                                                \
    const cudaError_t code_ = (call);                                 \
    if (code_ != cudaSuccess) fail(code_, #call, __FILE__, __LINE__); \
  } while (0)

// The oldest CUDA of a driver that runs this library: since 11 any of the same major release
// (docs.nvidia.com/deploy/cuda-compatibility, "minor version compatibility").
constexpr int kLeastDriver = CUDART_VERSION >= 11000 ? CUDART_VERSION / 1000 * 1000 : CUDART_VERSION;
// Two errors that the runtime of CUDA 10.2 does not name: cudaErrorJitCompilerNotFound, cudaErrorUnsupportedPtxVersion.
constexpr int kNoPtxCompiler = 221, kNewerPtx = 222;

[[noreturn]] void unavailable(const std::string& why) { throw Error(FASTALEX_UNAVAILABLE, why); }

std::string version_text(int version) {
  std::ostringstream text;
  text << version / 1000 << "." << version % 1000 / 10;
  return text.str();
}

int attribute(cudaDeviceAttr which, int device) {
  int value = 0;
  CHECK(cudaDeviceGetAttribute(&value, which, device));
  return value;
}

// TU116 and TU117 are sm_75 without tensor cores (NVIDIA's GTX 16 series and other products with these chips). An mma
// runs there, but slowly.
bool has_tensor_cores(int sm, const std::string& name) {
  if (sm < 70) return false;
  if (sm != 75) return true;
  for (const char* without : {"GTX 16", "MX450", "MX550", "T400", "T500", "T550", "T600", "T1000", "T1200", "T2000"})
    if (name.find(without) != std::string::npos) return false;
  return true;
}

[[noreturn]] void out_of_memory(size_t bytes, const char* what) {
  size_t available = 0, total = 0;
  cudaGetLastError();
  const bool known = cudaMemGetInfo(&available, &total) == cudaSuccess;
  std::ostringstream text;
  text << what << " of " << (bytes >> 20) << " MiB (" << bytes << " bytes) cannot be allocated";
  if (known) text << ": " << (available >> 20) << " MiB of the device's " << (total >> 20) << " MiB are free";
  text << "; use a smaller batch or image";
  throw Error(FASTALEX_OUT_OF_MEMORY, text.str());
}

std::string current_name() {
  int device = 0;
  cudaGetDevice(&device);
  return device_facts(device).name;
}

cudaStream_t stream_of(StreamHandle handle) { return static_cast<cudaStream_t>(handle); }
cudaEvent_t event_of(void* handle) { return static_cast<cudaEvent_t>(handle); }

}  // namespace

int device_count() {
  int driver = 0, count = 0;
  cudaDriverGetVersion(&driver);
  const cudaError_t code = cudaGetDeviceCount(&count);
  if (code == cudaErrorInsufficientDriver && driver == 0)
    unavailable("there is no NVIDIA driver on this machine; install one that supports CUDA " +
                version_text(kLeastDriver) + " or newer");
  if (code == cudaErrorInsufficientDriver)
    unavailable("the NVIDIA driver supports CUDA " + version_text(driver) + ", this library needs " +
                version_text(kLeastDriver) + " or newer; update the driver, or build fastalex with an older CUDA");
  if (code == cudaErrorNoDevice || (code == cudaSuccess && count == 0))
    unavailable("the NVIDIA driver sees no GPU on this machine");
  if (code != cudaSuccess) unavailable(std::string("CUDA cannot be used: ") + cudaGetErrorString(code));
  return count;
}

DeviceFacts device_facts(int index) {
  const int count = device_count();
  if (index < 0 || index >= count)
    invalid("there is no CUDA device ", index, ": this machine has ", count, ", counted from 0");
  cudaDeviceProp properties;
  CHECK(cudaGetDeviceProperties(&properties, index));
  DeviceFacts facts;
  facts.index = index;
  facts.name = properties.name;
  facts.sm = 10 * properties.major + properties.minor;
  facts.sms = properties.multiProcessorCount;
  facts.clock_khz = attribute(cudaDevAttrClockRate, index);
  facts.threads_per_sm = attribute(cudaDevAttrMaxThreadsPerMultiProcessor, index);
  facts.registers_per_sm = attribute(cudaDevAttrMaxRegistersPerMultiprocessor, index);
  facts.registers_per_block = attribute(cudaDevAttrMaxRegistersPerBlock, index);
  facts.shared_per_sm = attribute(cudaDevAttrMaxSharedMemoryPerMultiprocessor, index);
  facts.shared_per_block = std::max(attribute(cudaDevAttrMaxSharedMemoryPerBlock, index),
                                    attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, index));
  facts.l2_bytes = attribute(cudaDevAttrL2CacheSize, index);
  facts.memory_bytes = properties.totalGlobalMem;
  facts.integrated = attribute(cudaDevAttrIntegrated, index) != 0;
  facts.tensor_cores = has_tensor_cores(facts.sm, facts.name);
  CHECK(cudaDriverGetVersion(&facts.driver_version));
  CHECK(cudaRuntimeGetVersion(&facts.runtime_version));
  return facts;
}

int current_device() {
  int index = 0;
  CHECK(cudaGetDevice(&index));
  return index;
}

DeviceScope::DeviceScope(int index) {
  CHECK(cudaGetDevice(&before_));
  if (index != before_) CHECK(cudaSetDevice(index));
}

DeviceScope::~DeviceScope() { cudaSetDevice(before_); }

DeviceMemory::DeviceMemory(size_t bytes) : size_(bytes) {
  if (!bytes) return;
  const cudaError_t code = cudaMalloc(&data_, bytes);
  if (code == cudaErrorMemoryAllocation) out_of_memory(bytes, "device memory");
  CHECK(code);
}

DeviceMemory::~DeviceMemory() {
  if (data_) cudaFree(data_);
}

// Delegating constructors: the destructor then runs even if a later call fails.
HostMemory::HostMemory(size_t bytes, bool mapped) : HostMemory() {
  if (!bytes) return;
  const cudaError_t code =
      cudaHostAlloc(&data_, bytes, cudaHostAllocPortable | (mapped ? cudaHostAllocMapped : cudaHostAllocDefault));
  if (code == cudaErrorMemoryAllocation) out_of_memory(bytes, "page-locked host memory");
  CHECK(code);
  if (mapped) CHECK(cudaHostGetDevicePointer(&device_, data_, 0));
}

HostMemory::~HostMemory() {
  if (data_) cudaFreeHost(data_);
}

Stream::Stream() {
  cudaStream_t stream;
  CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  handle_ = stream;
}

Stream::~Stream() { cudaStreamDestroy(stream_of(handle_)); }

Event::Event() {
  cudaEvent_t event;
  CHECK(cudaEventCreate(&event));
  handle_ = event;
}

Event::~Event() { cudaEventDestroy(event_of(handle_)); }

void Event::record(StreamHandle stream) { CHECK(cudaEventRecord(event_of(handle_), stream_of(stream))); }

double Event::seconds_since(const Event& earlier) const {
  float milliseconds = 0;
  CHECK(cudaEventElapsedTime(&milliseconds, event_of(earlier.handle_), event_of(handle_)));
  return milliseconds * 1e-3;
}

void Event::make_wait(StreamHandle stream) const {
  CHECK(cudaStreamWaitEvent(stream_of(stream), event_of(handle_), 0));
}

void Event::wait() const { CHECK(cudaEventSynchronize(event_of(handle_))); }

void copy_to_device(void* to, const void* from, size_t bytes, StreamHandle stream) {
  CHECK(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream_of(stream)));
}

void copy_to_host(void* to, const void* from, size_t bytes, StreamHandle stream) {
  CHECK(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream_of(stream)));
}

void copy_on_device(void* to, const void* from, size_t bytes, StreamHandle stream) {
  CHECK(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream_of(stream)));  // `from` may be mapped host memory
}

void synchronize(StreamHandle stream) { CHECK(cudaStreamSynchronize(stream_of(stream))); }

void synchronize_device() { CHECK(cudaDeviceSynchronize()); }

void launch(const KernelLaunch& task, StreamHandle stream) {
  void* args[] = {const_cast<unsigned char*>(task.args)};
  const cudaError_t code =
      cudaLaunchKernel(task.kernel->address, dim3(task.grid.x, task.grid.y, task.grid.z), dim3(task.kernel->threads),
                       args, task.kernel->shared_bytes, stream_of(stream));
  if (code != cudaSuccess) fail(code, task.kernel->name, __FILE__, __LINE__);
}

namespace {

cudaGraphExec_t instantiated(cudaGraph_t graph) {
  cudaGraphExec_t exec;
#if CUDART_VERSION >= 12000
  CHECK(cudaGraphInstantiate(&exec, graph, 0));
#else
  CHECK(cudaGraphInstantiate(&exec, graph, nullptr, nullptr, 0));
#endif
  return exec;
}

}  // namespace

Graph::Graph(const std::vector<KernelLaunch>& launches) : Graph() {
  cudaGraph_t graph;
  CHECK(cudaGraphCreate(&graph, 0));
  graph_ = graph;
  cudaGraphNode_t before = nullptr;
  for (const KernelLaunch& each : launches) {
    void* args[] = {const_cast<unsigned char*>(each.args)};
    cudaKernelNodeParams node = {};
    node.func = const_cast<void*>(each.kernel->address);
    node.gridDim = dim3(each.grid.x, each.grid.y, each.grid.z);
    node.blockDim = dim3(each.kernel->threads);
    node.sharedMemBytes = each.kernel->shared_bytes;
    node.kernelParams = args;
    cudaGraphNode_t added;
    CHECK(cudaGraphAddKernelNode(&added, graph, before ? &before : nullptr, before ? 1 : 0, &node));
    before = added;
  }
  exec_ = instantiated(graph);
}

Graph::~Graph() {
  if (exec_) cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(exec_));
  if (graph_) cudaGraphDestroy(static_cast<cudaGraph_t>(graph_));
}

void Graph::launch(StreamHandle stream) const {
  CHECK(cudaGraphLaunch(static_cast<cudaGraphExec_t>(exec_), stream_of(stream)));
}

CapturedGraph::CapturedGraph(StreamHandle stream, const std::function<void(StreamHandle)>& work) : CapturedGraph() {
  cudaGraph_t graph = nullptr;
  CHECK(cudaStreamBeginCapture(stream_of(stream), cudaStreamCaptureModeThreadLocal));
  try {
    work(stream);
  } catch (...) {
    cudaStreamEndCapture(stream_of(stream), &graph);  // makes the stream usable again
    if (graph) cudaGraphDestroy(graph);
    cudaGetLastError();
    throw;
  }
  CHECK(cudaStreamEndCapture(stream_of(stream), &graph));
  graph_ = graph;
  exec_ = instantiated(graph);
}

CapturedGraph::~CapturedGraph() {
  if (exec_) cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(exec_));
  if (graph_) cudaGraphDestroy(static_cast<cudaGraph_t>(graph_));
}

void CapturedGraph::launch(StreamHandle stream) const {
  CHECK(cudaGraphLaunch(static_cast<cudaGraphExec_t>(exec_), stream_of(stream)));
}

namespace {

// A GPU newer than the library's machine code needs a driver that compiles the library's PTX.
[[noreturn]] void ptx_refused(int code) {
  cudaGetLastError();
  const std::string what = "this CUDA library has no machine code for " + current_name() + ", only PTX of CUDA " +
                           version_text(CUDART_VERSION) + ", and the driver ";
  if (code == kNoPtxCompiler) unavailable(what + "lacks its compiler, libnvidia-ptxjitcompiler.so.1; install that");
  int driver = 0;
  cudaDriverGetVersion(&driver);
  unavailable(what + "supports CUDA " + version_text(driver) + ": install a driver that supports CUDA " +
              version_text(CUDART_VERSION) + " or newer");
}

}  // namespace

void prepare_kernel(const KernelInfo& kernel) {
  cudaFuncAttributes attributes;
  const cudaError_t code = cudaFuncGetAttributes(&attributes, kernel.address);
  if (code == cudaErrorInvalidDeviceFunction || code == cudaErrorNoKernelImageForDevice) {
    cudaGetLastError();
    unavailable("this CUDA library has no code for " + current_name() + " (kernel " + kernel.name +
                "); build fastalex for it: python -m fastalex prints the command");
  }
  if (code == kNewerPtx || code == kNoPtxCompiler) ptx_refused(code);
  if (code != cudaSuccess) fail(code, kernel.name, __FILE__, __LINE__);
  if (attributes.ptxVersion < kernel.min_sm) unavailable(code_problem(kernel, attributes.ptxVersion, current_name()));
  if (kernel.threads > attributes.maxThreadsPerBlock)
    unavailable(std::string("this device cannot run ") + kernel.name + " with its number of threads");
  const int limit_without_asking = 48 << 10;  // CUDA programming guide, compute capabilities, footnote to shared memory
  if (kernel.shared_bytes > limit_without_asking)
    CHECK(cudaFuncSetAttribute(kernel.address, cudaFuncAttributeMaxDynamicSharedMemorySize, kernel.shared_bytes));
}

int blocks_per_sm(const KernelInfo& kernel) {
  int blocks = 0;
  CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel.address, kernel.threads, kernel.shared_bytes));
  return blocks;
}

int device_of(const void* p) {
  cudaPointerAttributes attributes;
  const cudaError_t code = cudaPointerGetAttributes(&attributes, p);
  if (code == cudaErrorInvalidValue) {  // before CUDA 11, memory that CUDA does not know
    cudaGetLastError();
    return -1;
  }
  CHECK(code);
  const bool device = attributes.type == cudaMemoryTypeDevice || attributes.type == cudaMemoryTypeManaged;
  return device ? attributes.device : -1;
}

}  // namespace cuda
}  // namespace fastalex
