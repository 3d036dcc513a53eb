// A running call on a CUDA device, without its computation: the stream it runs on, what it waits for, and its
// completion. A call that leaves its outputs on the device returns before the device is done; the next call that
// borrows the context waits for it.
#ifndef FASTALEX_CUDA_RUNTIME_DEVICE_CALL_H
#define FASTALEX_CUDA_RUNTIME_DEVICE_CALL_H

#include "backend/backend_impl.h"
#include "cuda/runtime/runtime.h"

namespace fastalex {
namespace cuda {

class DeviceCall : public BackendContext {
 public:
  void run(const fastalex_backend_call& call);

 protected:
  // For a net on device `device` with `outputs` outputs and, if `indices` is set, an array of indices.
  DeviceCall(int device, size_t outputs, bool indices) : device_(device), outputs_(outputs), indices_(indices) {}

  // Queues all work of a call: input, computation, outputs.
  virtual void enqueue(const fastalex_backend_call& call, StreamHandle stream) = 0;
  // Does the host's part once the device is done. Not called if the outputs stay on the device, unless times are
  // measured.
  virtual void finish(const fastalex_backend_call& call) = 0;

  // Waits until the device is done with the last call. Destructors start with it, since they free memory that the
  // device may still use.
  void settle() noexcept;

  StreamHandle own_stream() const { return stream_.handle(); }

 private:
  void check_addresses(const fastalex_backend_call& call) const;
  void wait_for_last(const fastalex_backend_call& call, StreamHandle stream);
  void run_on(const fastalex_backend_call& call, StreamHandle stream);

  const int device_;
  const size_t outputs_;
  const bool indices_;
  Stream stream_;
  Event done_;
  bool pending_ = false;  // the last call did not wait for `done_`
};

}  // namespace cuda
}  // namespace fastalex
#endif  // FASTALEX_CUDA_RUNTIME_DEVICE_CALL_H
