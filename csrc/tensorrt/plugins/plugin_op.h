// The computation of a plugin, independent of TensorRT: fields, shapes, formats, and the run on the device. The
// adapters (adapter_v2, adapter_v3) wrap it in TensorRT's interfaces. An op never changes after its creation; all
// clones of a plugin share one, and so its weights on the device.
#ifndef FASTALEX_TENSORRT_PLUGINS_PLUGIN_OP_H
#define FASTALEX_TENSORRT_PLUGINS_PLUGIN_OP_H

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <vector>

#include "backend/backend_api.h"
#include "core/plan.h"
#include "tensorrt/plugins/field_values.h"

namespace fastalex {
namespace tensorrt {

// nvinfer1::DataType and TensorFormat of the same names; kOTHER: any that no plugin supports.
enum class TensorType { kFLOAT, kHALF, kINT8, kUINT8, kOTHER };
enum class TensorFormat { kLINEAR, kHWC8, kHWC, kOTHER };

struct Shape {
  int n, d[3];  // in the order of the tensor's dimensions: c, h, w of a map, h, w, 3 of a frame; n: -1 if unknown
};

struct Tensor {
  Shape shape;
  TensorType type;
  TensorFormat format;
};

// The backend whose kernels the plugins run: the CUDA library beside this one. Throws Error(FASTALEX_UNAVAILABLE) with
// the reason if it is not available.
const fastalex_backend_api& kernels();

class PluginOp {
 public:
  // Throws Error(FASTALEX_INVALID) for bad fields, in one sentence that says what to do.
  static std::shared_ptr<PluginOp> create(const std::string& plugin, const std::vector<Field>& fields);

  explicit PluginOp(FieldValues values) : values_(std::move(values)) {}
  virtual ~PluginOp() = default;
  PluginOp(const PluginOp&) = delete;
  PluginOp& operator=(const PluginOp&) = delete;

  const FieldValues& values() const { return values_; }

  // The shape of the output; n passes through. Throws Error(FASTALEX_INVALID) for an input that the op does not
  // support.
  virtual Shape output_shape(const Shape& in) const = 0;
  virtual TensorType output_type(TensorType in) const = 0;
  virtual bool takes(const Tensor& in) const = 0;
  virtual bool gives(const Tensor& in, const Tensor& out) const = 0;

  // Workspace bytes for all batches up to in.shape.n.
  size_t workspace(const Tensor& in, const Tensor& out) const;
  // Uploads weights and tables, which the first enqueue would otherwise do.
  void prepare(const Tensor& in) const;
  // workspace: at least workspace() bytes.
  void enqueue(const Tensor& in, const Tensor& out, const void* x, void* y, void* workspace, void* stream) const;

 protected:
  // A layer (backend/step_api.h) for inputs of this shape and type, on the current device.
  virtual void* make_layer(const Shape& in, TensorType type) const = 0;

 private:
  typedef std::tuple<int, int, int, int, int> LayerKey;  // device, shape without n, type
  const void* layer_for(const Tensor& in) const;

  const FieldValues values_;
  struct Release {
    void operator()(void* layer) const { kernels().layers->destroy(layer); }
  };
  mutable std::mutex mutex_;  // guards layers_
  mutable std::map<LayerKey, std::unique_ptr<void, Release>> layers_;
};

// Base of the three plugins that compute steps of a plan: their fields become rows of a layer table, which
// csrc/core/plan.cpp checks and shapes, so a plugin's shapes and limits are those of a net.
class StepsOp : public PluginOp {
 public:
  using PluginOp::PluginOp;
  Shape output_shape(const Shape& in) const override;
  TensorType output_type(TensorType in) const override { return in; }
  bool takes(const Tensor& in) const override;
  bool gives(const Tensor& in, const Tensor& out) const override;

 protected:
  virtual std::vector<LayerRow> rows() const = 0;
  // Throws if the weights do not fit the plan's.
  virtual void check(const Plan& plan) const = 0;
  virtual fastalex_param weight() const { return fastalex_param(); }  // count 0: none

  void* make_layer(const Shape& in, TensorType type) const override;

  LayerRow row(const char* op) const;  // named after the plugin
  void add_activation(const char* field, std::vector<LayerRow>* rows) const;
  void set(LayerRow* row, const char* option, int value) const { row->options[option] = std::to_string(value); }
  void set_rounding(LayerRow* row) const;  // of the field
  void expect(const char* field, size_t count, size_t needed) const;

 private:
  Plan plan(const Shape& in) const;
};

std::shared_ptr<PluginOp> make_conv_relu(FieldValues values);
std::shared_ptr<PluginOp> make_lrn_pool(FieldValues values);
std::shared_ptr<PluginOp> make_fully_connected_w8(FieldValues values);
std::shared_ptr<PluginOp> make_preprocess(FieldValues values);

}  // namespace tensorrt
}  // namespace fastalex
#endif  // FASTALEX_TENSORRT_PLUGINS_PLUGIN_OP_H
