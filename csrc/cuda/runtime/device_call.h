// A running call on a CUDA device, without what it computes: which stream it runs on, what it waits for, and when it is
// over. A call that leaves its outputs on the device returns before the device is done; the next one to borrow the
// context waits for it there.
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
  // A net on device `device` with that many outputs; `indices`: and an array of indices.
  DeviceCall(int device, size_t outputs, bool indices) : device_(device), outputs_(outputs), indices_(indices) {}

  // Queues all of a call: input, work, outputs.
  virtual void enqueue(const fastalex_backend_call& call, StreamHandle stream) = 0;
  // What is left to do on the host when the device is done; not for a call that leaves its outputs on the device,
  // unless it asks for times.
  virtual void finish(const fastalex_backend_call& call) = 0;

  // Until the device is done with the last call. A destructor begins with it: it frees what the device may still use.
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
