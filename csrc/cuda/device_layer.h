// layer.h on the device.
#ifndef FASTALEX_CUDA_DEVICE_LAYER_H
#define FASTALEX_CUDA_DEVICE_LAYER_H

#include "../layer.h"

namespace fastalex {
namespace cuda {

const fastalex_layer_api* layer_api();

}  // namespace cuda
}  // namespace fastalex
#endif  // FASTALEX_CUDA_DEVICE_LAYER_H
