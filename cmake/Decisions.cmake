# What this build contains and why: decided here, printed as a table, compiled into the library for `fastalex info`.

# A backend is built from csrc/<name>/CMakeLists.txt. Where a release has none, ON must fail and AUTO says so.
function(fastalex_decide name option)
  set(reason "")
  if(${option} STREQUAL "OFF")
    set(reason "off: ${option}=OFF")
  elseif(NOT EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/csrc/${name}/CMakeLists.txt")
    set(reason "off: this release has no ${name} backend")
  endif()
  if(reason AND ${option} STREQUAL "ON")
    message(FATAL_ERROR "${option}=ON, but this release has no ${name} backend; configure with ${option}=AUTO or OFF")
  endif()
  if(NOT reason)
    set(reason "on")
  endif()
  set(FASTALEX_DECISION_${name} "${reason}" PARENT_SCOPE)
endfunction()

fastalex_decide(cuda FASTALEX_CUDA)
fastalex_decide(tensorrt FASTALEX_TENSORRT)

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
  "FASTALEX_BUILD_TENSORRT=\"${FASTALEX_DECISION_tensorrt}\"")
