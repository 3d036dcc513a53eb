# What this build contains and why: decided here, printed as a table, compiled into the library for `fastalex info`.

# The CUDA library is decided in CudaArch.cmake.
set(FASTALEX_DECISION_cuda "${FASTALEX_CUDA_REASON}")
string(REPLACE ";" " " architectures "${FASTALEX_CUDA_ARCHITECTURES}")
string(REPLACE "-real" "" architectures "${architectures}")
string(REPLACE "-virtual" "+PTX" architectures "${architectures}")
if(architectures)
  set(FASTALEX_DECISION_cuda "on: CUDA ${FASTALEX_CUDA_TOOLKIT}, sm ${architectures}")
endif()

# The TensorRT library: its headers, and the CUDA library, whose kernels it runs.
set(FASTALEX_TENSORRT_MAJOR "")
if(FASTALEX_PREBUILT)
  set(FASTALEX_DECISION_tensorrt "off: ${FASTALEX_PREBUILT} has no library for it")
elseif(FASTALEX_TENSORRT STREQUAL "OFF")
  set(FASTALEX_DECISION_tensorrt "off: FASTALEX_TENSORRT=OFF")
else()
  find_package(TensorRT MODULE QUIET)
  set(reason "${TensorRT_REASON}")
  if(NOT reason AND NOT FASTALEX_CUDA_ARCHITECTURES)
    set(reason "its plugins run the CUDA library's kernels, and that is ${FASTALEX_CUDA_REASON}")
  endif()
  if(reason AND FASTALEX_TENSORRT STREQUAL "ON")
    message(FATAL_ERROR "FASTALEX_TENSORRT=ON, but ${reason}${TensorRT_ADVICE}")
  elseif(reason)
    set(FASTALEX_DECISION_tensorrt "off: ${reason}")
  else()
    set(FASTALEX_TENSORRT_MAJOR ${TensorRT_VERSION_MAJOR})
    set(FASTALEX_DECISION_tensorrt "on: TensorRT ${TensorRT_VERSION}")
  endif()
endif()

# Both from elsewhere.
if(FASTALEX_PREBUILT)
  fastalex_use_prebuilt()
  if(FASTALEX_PREBUILT_TENSORRT)
    string(REPLACE ";" ", " releases "${FASTALEX_PREBUILT_TENSORRT}")
    set(FASTALEX_DECISION_tensorrt "on: TensorRT ${releases}")
  endif()
endif()

string(REPLACE ";" " " isas "${FASTALEX_ISAS}")
set(device "${FASTALEX_DEVICE}")
if(NOT device)
  set(device "all")
endif()
message(STATUS "fastalex builds:")
message(STATUS "  device    ${device}")
message(STATUS "  cpu       on: ${isas}")
message(STATUS "  cuda      ${FASTALEX_DECISION_cuda}")
message(STATUS "  tensorrt  ${FASTALEX_DECISION_tensorrt}")
message(STATUS "  type      ${CMAKE_BUILD_TYPE}${FASTALEX_SANITIZE}")

set(FASTALEX_BUILD_DEFINITIONS
  "FASTALEX_BUILD_COMPILER=\"${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}\""
  "FASTALEX_BUILD_TYPE=\"${CMAKE_BUILD_TYPE}\""
  "FASTALEX_BUILD_DEVICE=\"${device}\""
  "FASTALEX_BUILD_CUDA=\"${FASTALEX_DECISION_cuda}\""
  "FASTALEX_BUILD_CUDA_TOOLKIT=\"${FASTALEX_CUDA_TOOLKIT}\""
  "FASTALEX_BUILD_CUDA_ARCHITECTURES=\"${architectures}\""
  "FASTALEX_BUILD_TENSORRT=\"${FASTALEX_DECISION_tensorrt}\"")
