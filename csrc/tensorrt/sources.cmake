# The files of libfastalex_tensorrt<major>.so, for csrc/tensorrt/CMakeLists.txt and tests/support/tensorrt_harness/CMakeLists.txt.

include(${CMAKE_CURRENT_LIST_DIR}/../../cmake/Warnings.cmake)
set(FASTALEX_TENSORRT_FOLDER ${CMAKE_CURRENT_LIST_DIR})
set(FASTALEX_TENSORRT_INCLUDES ${CMAKE_CURRENT_LIST_DIR}/.. ${CMAKE_CURRENT_LIST_DIR}/../include)
set(FASTALEX_TENSORRT_KERNELS "libfastalex_cuda.so" CACHE STRING
    "Library whose kernels the plugins run: a name in their own folder, or a path")
mark_as_advanced(FASTALEX_TENSORRT_KERNELS)

# They include nothing of TensorRT.
set(FASTALEX_TENSORRT_OP_SOURCES
  plugins/conv_relu.cpp plugins/field_values.cpp plugins/fully_connected_w8.cpp plugins/lrn_pool.cpp
  plugins/plugin_fields.cpp plugins/plugin_op.cpp plugins/preprocess.cpp
  ../backend/dynamic_library.cpp ../core/plan.cpp)
# The backend, which includes nothing of TensorRT either, but asks for csrc/cuda/runtime/runtime.h.
set(FASTALEX_TENSORRT_BACKEND_SOURCES
  backend.cpp engine/cache.cpp engine/call.cpp engine/frame_input.cpp engine/plan.cpp engine/progress.cpp
  engine/settings.cpp engine/store.cpp engine/weights.cpp
  ../common/xxhash.cpp ../cuda/runtime/device_arrays.cpp ../cuda/runtime/device_call.cpp ../weights/dequantize.cpp
  ../weights/quantize.cpp)
list(TRANSFORM FASTALEX_TENSORRT_BACKEND_SOURCES PREPEND "${FASTALEX_TENSORRT_FOLDER}/")
# These do, whatever its release: of the plugins, of the backend.
set(FASTALEX_TENSORRT_SOURCES adapters/compat.cpp)
set(FASTALEX_TENSORRT_ENGINE_SOURCES engine/network.cpp engine/runtime.cpp)
list(TRANSFORM FASTALEX_TENSORRT_ENGINE_SOURCES PREPEND "${FASTALEX_TENSORRT_FOLDER}/")
# The plugins for TensorRT's interfaces, by major release.
set(FASTALEX_TENSORRT_ADAPTER_8 adapters/adapter_v2.cpp)
set(FASTALEX_TENSORRT_ADAPTER_10 adapters/adapter_v3.cpp)
set(FASTALEX_TENSORRT_ADAPTER_11 adapters/adapter_v3.cpp)

list(TRANSFORM FASTALEX_TENSORRT_OP_SOURCES PREPEND "${FASTALEX_TENSORRT_FOLDER}/")
add_library(fastalex_tensorrt_ops OBJECT ${FASTALEX_TENSORRT_OP_SOURCES})
target_include_directories(fastalex_tensorrt_ops PRIVATE ${FASTALEX_TENSORRT_INCLUDES})
target_compile_definitions(fastalex_tensorrt_ops PRIVATE "FASTALEX_TENSORRT_KERNELS=\"${FASTALEX_TENSORRT_KERNELS}\"")
target_link_libraries(fastalex_tensorrt_ops PRIVATE fastalex_warnings)

# For sources that include TensorRT's headers: functions deprecated in one release are all that an older one has.
add_library(fastalex_tensorrt_warnings INTERFACE)
target_link_libraries(fastalex_tensorrt_warnings INTERFACE fastalex_warnings)
target_compile_options(fastalex_tensorrt_warnings INTERFACE -Wno-deprecated-declarations)

# A library of the plugins: the adapter's file, TensorRT's headers, those of CUDA. It is linked with neither TensorRT
# nor CUDA: the first is in the process already, the second in the library of kernels that is opened when they run.
function(fastalex_add_tensorrt_library target adapter tensorrt_headers cuda_headers)
  set(sources ${FASTALEX_TENSORRT_SOURCES} ${adapter})
  list(TRANSFORM sources PREPEND "${FASTALEX_TENSORRT_FOLDER}/")
  add_library(${target} MODULE ${sources})
  target_include_directories(${target} PRIVATE ${FASTALEX_TENSORRT_INCLUDES})
  target_include_directories(${target} SYSTEM PRIVATE ${tensorrt_headers} ${cuda_headers})
  target_link_libraries(${target} PRIVATE fastalex_tensorrt_ops fastalex_tensorrt_warnings ${CMAKE_DL_LIBS})
  target_link_options(${target} PRIVATE LINKER:-z,defs
                      "LINKER:--version-script=${FASTALEX_TENSORRT_FOLDER}/exports.map")
endfunction()
