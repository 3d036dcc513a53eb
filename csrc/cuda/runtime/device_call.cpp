#include "cuda/runtime/device_call.h"

#include <exception>

#include "common/error.h"

namespace fastalex {
namespace cuda {

void DeviceCall::settle() noexcept {
  try {
    const DeviceScope scope(device_);
    if (pending_) done_.wait();
  } catch (const std::exception&) {
    // The device is lost: there is nothing left to wait for.
  }
  pending_ = false;
}

void DeviceCall::run(const fastalex_backend_call& call) {
  check_addresses(call);
  const StreamHandle stream = call.input_on_device || call.outputs_on_device ? call.stream : own_stream();
  wait_for_last(call, stream);
  try {
    run_on(call, stream);
  } catch (...) {
    try {
      synchronize(stream);  // nothing of the failed call may still run when the next one starts
    } catch (const std::exception&) {
      // The first failure is the one to report.
    }
    throw;
  }
}

void DeviceCall::check_addresses(const fastalex_backend_call& call) const {
  auto check = [&](const void* address, bool on_device, const char* what) {
    if (!on_device) return;
    const int device = device_of(address);
    if (device < 0) invalid(what, " is not in device memory");
    if (device != device_) invalid(what, " is in the memory of device ", device, ", the net is on device ", device_);
  };
  check(call.frame ? static_cast<const void*>(call.frame->pixels) : call.input, call.input_on_device, "the input");
  for (size_t i = 0; i < outputs_; ++i) check(call.outputs[i], call.outputs_on_device, "an output");
  if (indices_) check(call.indices, call.outputs_on_device, "the array of indices");
}

void DeviceCall::wait_for_last(const fastalex_backend_call& call, StreamHandle stream) {
  if (!pending_) return;
  // Host memory may still be read by the previous call, so a writer must wait here and not on the device.
  if (call.input_on_device && !call.frame)
    done_.make_wait(stream);
  else
    done_.wait();
  pending_ = false;
}

void DeviceCall::run_on(const fastalex_backend_call& call, StreamHandle stream) {
  enqueue(call, stream);
  if (call.outputs_on_device && !call.step_seconds) {
    done_.record(stream);
    pending_ = true;
    return;
  }
  synchronize(stream);
  finish(call);
}

}  // namespace cuda
}  // namespace fastalex
