# Build options. Decisions.cmake works out what they lead to.

function(fastalex_tristate name doc)
  set(${name} AUTO CACHE STRING "${doc}")
  set_property(CACHE ${name} PROPERTY STRINGS AUTO ON OFF)
  string(TOUPPER "${${name}}" value)
  if(NOT value MATCHES "^(AUTO|ON|OFF)$")
    message(FATAL_ERROR "${name} is '${${name}}': say AUTO, ON or OFF")
  endif()
  set(${name} ${value} PARENT_SCOPE)
endfunction()

fastalex_tristate(FASTALEX_CUDA "Build the CUDA backend: AUTO, ON (fail if it cannot be built) or OFF")
fastalex_tristate(FASTALEX_TENSORRT "Build the TensorRT backend: AUTO, ON (fail if it cannot be built) or OFF")

set(FASTALEX_DEVICE "" CACHE STRING "Prune the build to one device of devices/*.toml (empty: all)")
file(GLOB device_files CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/devices/*.toml")
set(FASTALEX_DEVICES "")
foreach(file IN LISTS device_files)
  get_filename_component(device ${file} NAME_WE)
  list(APPEND FASTALEX_DEVICES ${device})
endforeach()
if(FASTALEX_DEVICE AND NOT FASTALEX_DEVICE IN_LIST FASTALEX_DEVICES)
  string(REPLACE ";" ", " known "${FASTALEX_DEVICES}")
  message(FATAL_ERROR "FASTALEX_DEVICE is '${FASTALEX_DEVICE}': there is no devices/${FASTALEX_DEVICE}.toml "
                      "(there are: ${known})")
endif()

set(FASTALEX_PREBUILT "" CACHE PATH "Folder of libraries for GPUs that another build made (Prebuilt.cmake)")
if(FASTALEX_PREBUILT AND NOT SKBUILD)
  message(FATAL_ERROR "FASTALEX_PREBUILT is for wheels: a plain build compiles its own libraries")
endif()
set(FASTALEX_SANITIZE "" CACHE STRING "Sanitizers for a test build, for example address,undefined")
option(FASTALEX_TEST_ISA "Also build the kernels of AVX-512 of byte products and of tiles for AVX2 processors, to test them without one" OFF)

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()
