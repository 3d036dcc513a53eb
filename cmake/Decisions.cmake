# What this build contains and why: decided here, printed as a table, compiled into the library for `fastalex info`.

# The CUDA library is decided in CudaArch.cmake. There is no TensorRT backend in this release: ON must fail and AUTO says so.
set(FASTALEX_DECISION_cuda "${FASTALEX_CUDA_REASON}")
string(REPLACE ";" " " architectures "${FASTALEX_CUDA_ARCHITECTURES}")
string(REPLACE "-real" "" architectures "${architectures}")
string(REPLACE "-virtual" "+PTX" architectures "${architectures}")
if(architectures)
  set(FASTALEX_DECISION_cuda "on: sm ${architectures}")
endif()
if(FASTALEX_TENSORRT STREQUAL "ON")
  message(FATAL_ERROR "FASTALEX_TENSORRT=ON, but this release has no tensorrt backend; configure with "
                      "FASTALEX_TENSORRT=AUTO or OFF")
elseif(FASTALEX_TENSORRT STREQUAL "OFF")
  set(FASTALEX_DECISION_tensorrt "off: FASTALEX_TENSORRT=OFF")
else()
  set(FASTALEX_DECISION_tensorrt "off: this release has no tensorrt backend")
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
  "FASTALEX_BUILD_CUDA_ARCHITECTURES=\"${architectures}\""
  "FASTALEX_BUILD_TENSORRT=\"${FASTALEX_DECISION_tensorrt}\"")
