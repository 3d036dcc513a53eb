# TensorRT's headers, and its library if there is one: fastalex needs only the headers to build.
#
# It uses the first of these folders that has NvInfer.h:
#   TENSORRT_INCLUDE_DIR   a folder with NvInfer.h (CMake or environment), for example beside pip's tensorrt-cu12-libs
#   TENSORRT_ROOT          an unpacked tarball (CMake or environment)
#   JetPack and apt        /usr/include/aarch64-linux-gnu, /usr/include/x86_64-linux-gnu, /usr/include
#   /usr/local/TensorRT*, /usr/local/tensorrt, /opt/tensorrt*
#
# Result: TensorRT_FOUND, TensorRT_INCLUDE_DIR, TensorRT_VERSION, TensorRT_VERSION_MAJOR, TensorRT_CUDA_INCLUDE_DIR
# (cuda_runtime_api.h, which the headers include), TensorRT_LIBRARY (may be empty), and where something is missing
# TensorRT_REASON, to be followed by TensorRT_ADVICE.

set(TENSORRT_ROOT "$ENV{TENSORRT_ROOT}" CACHE PATH "Folder of an unpacked TensorRT")
set(TENSORRT_INCLUDE_DIR "$ENV{TENSORRT_INCLUDE_DIR}" CACHE PATH "Folder of NvInfer.h")

# major.minor.patch of the headers in a folder, "" if there are none. Newer headers name the numbers by another macro.
function(fastalex_tensorrt_version folder out)
  set(version "")
  if(EXISTS "${folder}/NvInferVersion.h")
    foreach(part MAJOR MINOR PATCH)
      file(STRINGS "${folder}/NvInferVersion.h" line LIMIT_COUNT 1
           REGEX "^#define (NV_TENSORRT_${part}|TRT_${part}_ENTERPRISE) +[0-9]+")
      string(REGEX REPLACE "^#define [A-Z_]+ +([0-9]+).*" "\\1" number "${line}")
      list(APPEND version "${number}")
    endforeach()
    string(REPLACE ";" "." version "${version}")
  endif()
  set(${out} "${version}" PARENT_SCOPE)
endfunction()

set(TensorRT_FOUND FALSE)
set(TensorRT_REASON "")
set(TensorRT_ADVICE "")
file(GLOB TensorRT_places /usr/local/TensorRT* /usr/local/tensorrt /opt/TensorRT* /opt/tensorrt*)
if(TENSORRT_INCLUDE_DIR)
  find_path(TensorRT_INCLUDE_DIR NvInfer.h PATHS "${TENSORRT_INCLUDE_DIR}" NO_DEFAULT_PATH)
elseif(TENSORRT_ROOT)
  find_path(TensorRT_INCLUDE_DIR NvInfer.h PATHS "${TENSORRT_ROOT}" PATH_SUFFIXES include
            include/${CMAKE_SYSTEM_PROCESSOR}-linux-gnu NO_DEFAULT_PATH)
else()
  find_path(TensorRT_INCLUDE_DIR NvInfer.h
            PATHS /usr/include/${CMAKE_SYSTEM_PROCESSOR}-linux-gnu /usr/include ${TensorRT_places} PATH_SUFFIXES include)
endif()
# TensorRT's headers need those of CUDA, of any release.
find_path(TensorRT_CUDA_INCLUDE_DIR cuda_runtime_api.h
          HINTS ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES} ${CUDA_INCLUDE_DIR}
          PATHS $ENV{CUDA_HOME} $ENV{CUDA_PATH} /usr/local/cuda PATH_SUFFIXES include)
if(NOT TensorRT_CUDA_INCLUDE_DIR)
  find_program(TensorRT_NVCC NAMES "$ENV{CUDACXX}" nvcc)
  mark_as_advanced(TensorRT_NVCC)
  if(TensorRT_NVCC)
    get_filename_component(TensorRT_nvcc "${TensorRT_NVCC}" REALPATH)
    get_filename_component(TensorRT_nvcc "${TensorRT_nvcc}" DIRECTORY)
    find_path(TensorRT_CUDA_INCLUDE_DIR cuda_runtime_api.h PATHS "${TensorRT_nvcc}/../include"
              "${TensorRT_nvcc}/../targets/${CMAKE_SYSTEM_PROCESSOR}-linux/include" NO_DEFAULT_PATH)
  endif()
endif()
mark_as_advanced(TensorRT_INCLUDE_DIR TensorRT_CUDA_INCLUDE_DIR)

fastalex_tensorrt_version("${TensorRT_INCLUDE_DIR}" TensorRT_VERSION)
string(REGEX REPLACE "\\..*" "" TensorRT_VERSION_MAJOR "${TensorRT_VERSION}")
if(NOT TensorRT_INCLUDE_DIR)
  set(TensorRT_REASON "TensorRT's headers were not found (NvInfer.h)")
  set(TensorRT_ADVICE ": on a Jetson, sudo apt-get install tensorrt; elsewhere unpack the tarball of \
developer.nvidia.com/tensorrt and set TENSORRT_ROOT, or take include/ of the release's branch of \
github.com/NVIDIA/TensorRT and set TENSORRT_INCLUDE_DIR")
elseif(NOT TensorRT_VERSION_MAJOR MATCHES "^(8|10|11)$")
  set(TensorRT_REASON "${TensorRT_INCLUDE_DIR} has the headers of TensorRT '${TensorRT_VERSION}', fastalex builds for 8, \
10 and 11")
elseif(NOT TensorRT_CUDA_INCLUDE_DIR)
  set(TensorRT_REASON "cuda_runtime_api.h was not found, which TensorRT's headers include: install the CUDA toolkit")
else()
  set(TensorRT_FOUND TRUE)
endif()

# The library is opened when fastalex runs; this only reports what is installed.
if(TensorRT_FOUND)
  set(TensorRT_pip "")
  find_program(TensorRT_PYTHON NAMES python3 python)
  mark_as_advanced(TensorRT_PYTHON)
  if(TensorRT_PYTHON)
    execute_process(COMMAND ${TensorRT_PYTHON} -c "import importlib.util as u; s = u.find_spec('tensorrt_libs'); \
print(s.submodule_search_locations[0] if s else '')"
                    OUTPUT_VARIABLE TensorRT_pip ERROR_QUIET OUTPUT_STRIP_TRAILING_WHITESPACE)
  endif()
  find_library(TensorRT_LIBRARY NAMES libnvinfer.so.${TensorRT_VERSION_MAJOR} nvinfer
               HINTS "${TENSORRT_ROOT}" "${TensorRT_INCLUDE_DIR}/.." PATHS ${TensorRT_pip} ${TensorRT_places}
               /usr/lib/${CMAKE_SYSTEM_PROCESSOR}-linux-gnu
               PATH_SUFFIXES lib targets/${CMAKE_SYSTEM_PROCESSOR}-linux-gnu/lib)
  mark_as_advanced(TensorRT_LIBRARY)
  if(TensorRT_LIBRARY)
    message(STATUS "TensorRT ${TensorRT_VERSION}: headers ${TensorRT_INCLUDE_DIR}, library ${TensorRT_LIBRARY}")
  else()
    message(STATUS "TensorRT ${TensorRT_VERSION}: headers ${TensorRT_INCLUDE_DIR}, no libnvinfer.so."
                   "${TensorRT_VERSION_MAJOR} here (it is needed to run, not to build)")
  endif()
endif()
