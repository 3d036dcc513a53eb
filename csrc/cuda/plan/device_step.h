// Implements backend/step_api.h for CUDA devices.
#ifndef FASTALEX_CUDA_PLAN_DEVICE_STEP_H
#define FASTALEX_CUDA_PLAN_DEVICE_STEP_H

#include "backend/step_api.h"

namespace fastalex {
namespace cuda {

const fastalex_step_api* layer_api();

}  // namespace cuda
}  // namespace fastalex
#endif  // FASTALEX_CUDA_PLAN_DEVICE_STEP_H
