// Checks the emulated devices and what the runtime must reject.
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <thread>

#include "check.h"
#include "common/error.h"

namespace fastalex {
namespace check {
namespace {

using namespace cuda;

class Variable {  // of the environment, for a scope
 public:
  Variable(const char* name, const char* value) : name_(name) { setenv(name, value, 1); }
  ~Variable() { unsetenv(name_); }

 private:
  const char* name_;
};

// out [grid]: each block its number
void number_kernel(const Buffers a) {
  const uint32_t block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  if (threadIdx.x == 0) a.out[block] = block;
}

// out[block]: the sum of in [n]
void sum_kernel(const Buffers a) {
  FASTALEX_SHARED(smem);
  uint32_t* parts = reinterpret_cast<uint32_t*>(smem);
  uint32_t sum = 0;
  for (int i = static_cast<int>(threadIdx.x); i < a.n; i += static_cast<int>(blockDim.x)) sum += a.in[i];
  for (int bits = 16; bits; bits /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, bits);
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x == 0)
    for (unsigned w = 1; w < blockDim.x / 32; ++w) sum += parts[w];
  if (threadIdx.x == 0) a.out[blockIdx.x] = sum;
}

void ldmatrix_kernel(const Buffers) {
  FASTALEX_SHARED(smem);
  uint32_t r[4];
  reinterpret_cast<cuda::Bits128*>(smem)[threadIdx.x] = cuda::Bits128{0, 0, 0, 0};
  __syncthreads();
  load_matrix_x4(r, smem + 16 * threadIdx.x);
}

void mma_kernel(const Buffers) {
  float d[4] = {};
  const uint32_t a[2] = {};
  mma_m16n8k8(d, a, 0);
}

void check_devices() {
  const DeviceFacts usual = device_facts(0);
  expect(device_count() == 1 && usual.sm == 86 && usual.sms == 82 && usual.tensor_cores, "the default device");
  {
    const Variable text(
        "FASTALEX_EMULATED_DEVICE",
        "name=NVIDIA Tegra X1,sm=53,sms=2,integrated=1,tensor_cores=0,shared_per_block=49152,devices=2;sm=75");
    expect(device_count() == 3, "three devices");
    const DeviceFacts tegra = device_facts(1);
    expect(tegra.index == 1 && tegra.name == "NVIDIA Tegra X1" && tegra.sm == 53 && tegra.sms == 2 &&
               tegra.integrated && !tegra.tensor_cores && tegra.shared_per_block == 49152,
           "the keys");
    expect(device_facts(2).sm == 75, "another device");
    expect_error("device 3", {"there is no CUDA device 3: this machine has 3"}, [] { device_facts(3); });
    const DeviceMemory first(8);
    const DeviceScope scope(1);
    const DeviceMemory second(8);
    int local = 0;
    expect(device_of(first.data()) == 0 && device_of(second.data() + 7) == 1 && device_of(&local) == -1, "device_of");
    const HostMemory mapped(8, true), not_mapped(8, false);
    expect(device_of(mapped.data()) == -1 && mapped.device() == mapped.data() && !not_mapped.device(), "host memory");
    Words out(4);
    const Buffers args = {nullptr, reinterpret_cast<uint32_t*>(first.data()), 0};
    if (kRaceMode) expect_error("memory of device 0", {"memory of device 0"}, [&] { run(number_kernel, 32, 0, args); });
    run(number_kernel, 32, 0, Buffers{nullptr, out.data(), 0});
    run(number_kernel, 32, 0, Buffers{nullptr, reinterpret_cast<uint32_t*>(mapped.device()), 0});
  }
  const Variable none("FASTALEX_EMULATED_DEVICE", "devices=0");
  expect_error("no device", {"sees no GPU"}, [] { device_count(); });
  const Variable wrong("FASTALEX_EMULATED_DEVICE", "color=2");
  expect_error("a wrong key", {"no key is called \"color\""}, [] { device_count(); });
}

void check_memory() {
  const Variable small("FASTALEX_EMULATED_DEVICE", "memory_bytes=4194304");
  DeviceMemory half(2 << 20);
  expect_error("more memory than there is", {"(3145728 bytes)", "2 MiB of the device's 4 MiB are free"},
               [] { DeviceMemory more(3 << 20); });
  half = DeviceMemory();
  const DeviceMemory most(4 << 20);
  expect(static_cast<unsigned char>(most.data()[1000]) == 0xff, "poison");
  expect_error("copy past the end", {"cudaMemcpyAsync: invalid argument"},
               [&] { copy_on_device(most.data() + 1, most.data(), 4 << 20, nullptr); });
  std::vector<char> host(100, 3), back(100);
  copy_to_device(most.data(), host.data(), 100, nullptr);
  copy_on_device(most.data() + 100, most.data(), 100, nullptr);
  copy_to_host(back.data(), most.data() + 100, 100, nullptr);
  expect(host == back, "copies");
  expect_error("a host pointer", {"lie in no device memory"},
               [&] { copy_to_device(back.data(), host.data(), 1, nullptr); });
  void* const raw = DeviceMemory(0).release();
  expect(!raw, "no bytes, no memory");
}

void check_limits() {
  Words out(16);
  const Buffers args = {nullptr, out.data(), 0};
  auto refused = [&](const char* what, const std::vector<std::string>& words, KernelInfo info, Grid grid,
                     bool prepare) {
    expect_error(what, words, [&] {
      if (prepare) prepare_kernel(info);
      launch(KernelLaunch::make(info, grid, args), nullptr);
    });
  };
  const Grid one = {1, 1, 1};
  refused("not prepared", {"prepare_kernel() was not called"}, kernel_info("a", ldmatrix_kernel, 32, 512), one, false);
  refused("grid", {"a grid of 1 x 65536 x 1"}, kernel_info("b", number_kernel, 32, 0), Grid{1, 65536, 1}, true);
  refused("grid", {"a grid of 0 x 1 x 1"}, kernel_info("c", number_kernel, 32, 0), Grid{0, 1, 1}, true);
  refused("threads", {"number of threads"}, kernel_info("d", number_kernel, 1056, 0), one, true);
  refused("shared memory", {"101377 bytes of shared memory"}, kernel_info("e", number_kernel, 32, 101377), one, true);
  refused("sm", {"no code for NVIDIA GeForce RTX 3090"}, kernel_info("f", number_kernel, 32, 0, 90), one, true);
  refused("sm", {"no code for NVIDIA GeForce RTX 3090"}, kernel_info("g", number_kernel, 32, 0, 0, 75), one, true);
  const Variable turing("FASTALEX_EMULATED_DEVICE", "name=NVIDIA GeForce GTX 1650,sm=75,tensor_cores=0");
  refused("tensor cores", {"needs tensor cores"}, kernel_info("h", number_kernel, 32, 0, 75, 0, true), one, true);
  refused("mma", {"mma.m16n8k8 needs tensor cores"}, kernel_info("i", mma_kernel, 32, 0), one, true);
  const Variable pascal("FASTALEX_EMULATED_DEVICE", "sm=61");
  refused("ldmatrix", {"ldmatrix needs sm_75, the device is sm_61"}, kernel_info("j", ldmatrix_kernel, 32, 512), one,
          true);
}

void check_faults_on_demand() {
  Words out(1);
  const Buffers args = {nullptr, out.data(), 0};
  {
    const Variable fault("FASTALEX_EMULATED_FAULT", "launch:te");
    expect_error("launch fault", {"launch of test: unspecified launch failure"},
                 [&] { run(number_kernel, 32, 0, args); });
  }
  {
    const Variable fault("FASTALEX_EMULATED_FAULT", "prepare:test");
    expect_error("preparation fault", {"no code"}, [&] { run(number_kernel, 32, 0, args); });
  }
  {
    const Variable fault("FASTALEX_EMULATED_FAULT", "ptx:75");
    run(number_kernel, 32, 0, args);
    prepare_kernel(kernel_info("enough", number_kernel, 32, 0, 75));
    expect_error("code of an older architecture",
                 {"code of sm_75 for NVIDIA GeForce RTX 3090", "kernel late needs that of sm_80 or newer"},
                 [] { prepare_kernel(kernel_info("late", number_kernel, 32, 0, 80)); });
  }
  run(number_kernel, 32, 0, args);
  const Variable fault("FASTALEX_EMULATED_FAULT", "alloc:2");
  const DeviceMemory first(8);
  expect_error("second allocation", {"cannot be allocated"}, [] { DeviceMemory second(8); });
  const DeviceMemory third(8);
}

void check_sampling() {
  const Grid grid = {7, 5, 3};
  const uint32_t poison = 0xffffffffu;
  Words out(105), again(105), other(105);
  {
    const Variable blocks("FASTALEX_EMULATED_BLOCKS", "20:3:test");
    run(number_kernel, 32, 0, Buffers{nullptr, out.data(), 0}, grid);
    run(number_kernel, 32, 0, Buffers{nullptr, again.data(), 0}, grid);
  }
  const Variable blocks("FASTALEX_EMULATED_BLOCKS", "20:3:another");
  run(number_kernel, 32, 0, Buffers{nullptr, other.data(), 0}, grid);
  size_t ran = 0;
  for (size_t i = 0; i < 105; ++i) {
    expect(out[i] == (out[i % 35] == poison ? poison : i), "whole columns of blocks");
    expect(other[i] == i, "all blocks of a kernel that is not sampled");
    ran += out[i] == i;
  }
  expect(ran == 60, "the number of sampled blocks");
  for (size_t i : {0, 6, 28, 34, 70, 76, 98, 104}) expect(out[i] == i, "corners");
  expect(!memcmp(out.data(), again.data(), 420), "the same sample again");
}

void check_streams() {
  Words out(1000), in(1000);
  for (size_t i = 0; i < 1000; ++i) in[i] = static_cast<uint32_t>(i);
  static const KernelInfo info = kernel_info("sum", sum_kernel, 256, 32);
  prepare_kernel(info);
  const KernelLaunch one = KernelLaunch::make(info, Grid{1000, 1, 1}, Buffers{in.data(), out.data(), 1000});
  const Stream stream;
  Event before, after;
  before.record(stream.handle());
  const Graph graph({one, one});
  graph.launch(stream.handle());
  after.record(stream.handle());
  after.wait();
  synchronize(stream.handle());
  expect(after.seconds_since(before) > 0, "events");
  for (size_t i = 0; i < 1000; ++i) expect(out[i] == 499500, "a sum in a graph");
  const Event never;
  expect_error("an event that was not recorded", {"cudaEventElapsedTime"}, [&] { never.seconds_since(before); });
  expect_error("no stream", {"invalid resource handle"},
               [&] { synchronize(const_cast<Buffers*>(reinterpret_cast<const Buffers*>(&info))); });
  const Variable two("FASTALEX_EMULATED_DEVICE", "devices=2");
  const DeviceScope scope(1);
  expect_error("a stream of device 0", {"a stream of device 0"}, [&] { synchronize(stream.handle()); });
  expect_error("a graph of device 0", {"the graph is of device 0"}, [&] { graph.launch(nullptr); });
}

// Launches in several threads of the host at a time, each with blocks of its own size.
void check_threads() {
  std::vector<std::thread> threads;
  std::vector<uint32_t> sums(4);
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([t, &sums] {
      Words in(1000), out(50);
      for (size_t i = 0; i < 1000; ++i) in[i] = static_cast<uint32_t>(i * (t + 1));
      run(sum_kernel, 64 << t, 64, Buffers{in.data(), out.data(), 1000}, Grid{50, 1, 1});
      for (size_t i = 0; i < 50; ++i) sums[t] += out[i];
    });
  for (std::thread& thread : threads) thread.join();
  for (uint32_t t = 0; t < 4; ++t) expect(sums[t] == 50 * 499500 * (t + 1), "launches side by side");
}

void check_occupancy() {
  const KernelInfo small = kernel_info("a", number_kernel, 128, 0), large = kernel_info("b", number_kernel, 128, 50000);
  const KernelInfo wide = kernel_info("c", number_kernel, 1024, 0);
  expect(blocks_per_sm(small) == 12 && blocks_per_sm(large) == 2 && blocks_per_sm(wide) == 1, "blocks_per_sm");
}

}  // namespace

void check_runtime() {
  check_devices();
  check_memory();
  check_limits();
  check_faults_on_demand();
  check_sampling();
  check_streams();
  check_threads();
  check_occupancy();
}

}  // namespace check
}  // namespace fastalex
