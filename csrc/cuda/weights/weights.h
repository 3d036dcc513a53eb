// The parameters of one layer in device memory. The direct or streamed form is made with the layer, and param() reads
// it back; a Winograd form is made from it when a plan first needs it, and then kept. The form by columns takes the
// place of the streamed one. A plan that needs that later has it made again: in place of the columns, which are then
// never made again, so that plans for batches of either kind in turn do not repack each time; or beside them.
#ifndef FASTALEX_CUDA_WEIGHTS_WEIGHTS_H
#define FASTALEX_CUDA_WEIGHTS_WEIGHTS_H

#include <atomic>
#include <map>
#include <mutex>
#include <vector>

#include "cuda/candidates/candidate.h"
#include "cuda/weights/columns.h"
#include "cuda/weights/quantized.h"

namespace fastalex {
namespace cuda {

// Values of one packed row of convolution weights before padding: kernel x kernel x channels (4 for the three colors).
int conv_products(const fastalex_step& step);

class LayerWeights {
 public:
  // weight, bias: dense float32 at any address. The device of the memory is the current one.
  LayerWeights(const fastalex_step& step, Dtype dtype, int storage, const float* weight, const float* bias);
  // For a fully connected layer in int8 or int4, whose quantized values are used unchanged.
  LayerWeights(const fastalex_step& step, Dtype dtype, const fastalex_param& weight, const float* bias);

  const fastalex_step& step() const { return step_; }
  // For any thread. The memory lives as long as this object; that of columns, unless `both` layouts may stay, until the
  // streamed form is asked for. So nothing that uses columns may run then, nor later.
  DeviceWeights get(WeightFormat format, bool both);
  // Returns whether plans use the streamed form, to which columns will not be added.
  bool rows_alone(bool both) const { return streamed_used_ && !both; }
  void unpack_weight(float* out) const;  // dense float32, dequantized
  void unpack_bias(float* out) const;
  // Of a fully connected layer in int8 or int4, as in fastalex_param.
  void unpack_quantized(void* values, void* scale) const;
  size_t bytes() const;

 private:
  void pack_conv(const float* weight, const float* bias);
  void upload_streamed(const StreamedWeights& packed);
  StreamedLayout streamed() const;
  PackedValues rows() const;  // of a fully connected layer
  DeviceWeights streamed_form(bool both);
  DeviceWeights column_form();
  DeviceWeights winograd_form(WeightFormat format);
  void unpack_conv(float* out) const;

  fastalex_step step_;  // of the net's own image size, n = 1
  Dtype dtype_;
  int storage_;
  DeviceMemory bias_;
  bool skip_zeros_ = true;

  std::atomic<bool> streamed_used_{false};  // by a plan

  mutable std::mutex mutex_;     // guards the members below
  DeviceMemory values_, scale_;  // direct or streamed; empty while there are columns alone
  DeviceMemory column_values_, column_scale_;
  std::map<WeightFormat, DeviceMemory> others_;
};

}  // namespace cuda
}  // namespace fastalex
#endif  // FASTALEX_CUDA_WEIGHTS_WEIGHTS_H
