# Libraries for GPUs that go into the wheels of several Pythons, compiled once:
#
#   cmake -S . -B build -DFASTALEX_CUDA=ON && cmake --build build --target fastalex_cuda
#   cmake --install build --component fastalex_cuda --prefix DIR    fastalex_prebuilt(), for each library
#   pip wheel . -C cmake.define.FASTALEX_PREBUILT=DIR               fastalex_use_prebuilt(): installs them as they are
#
# Beside a library lies <library>.cmake, which says what it was built for and from which sources.

# One hash of all native sources and of what builds them: a library of others is refused.
function(fastalex_hash_sources out)
  file(GLOB_RECURSE sources RELATIVE "${CMAKE_CURRENT_SOURCE_DIR}/csrc" csrc/*.h csrc/*.cpp csrc/*.cu csrc/*.cuh
       csrc/CMakeLists.txt csrc/*.cmake csrc/*.map)
  list(SORT sources)
  set(hashes "")
  foreach(source IN LISTS sources)
    file(SHA256 "${CMAKE_CURRENT_SOURCE_DIR}/csrc/${source}" hash)
    string(APPEND hashes "${source} ${hash}\n")
  endforeach()
  string(SHA256 hash "${hashes}")
  set(${out} ${hash} PARENT_SCOPE)
endfunction()

# A component named as the target; `facts` are lines of CMake for fastalex_use_prebuilt().
function(fastalex_prebuilt target facts)
  if(SKBUILD)
    return()
  endif()
  set(file "${CMAKE_BINARY_DIR}/prebuilt/lib${target}.cmake")
  file(WRITE "${file}" "set(sources ${FASTALEX_SOURCES_HASH})\n${facts}\n")
  install(TARGETS ${target} LIBRARY DESTINATION . COMPONENT ${target} EXCLUDE_FROM_ALL)
  install(FILES "${file}" DESTINATION . COMPONENT ${target} EXCLUDE_FROM_ALL)
endfunction()

# Sets the decisions on CUDA and TensorRT to what the libraries in FASTALEX_PREBUILT were built for, and installs them.
macro(fastalex_use_prebuilt)
  file(GLOB prebuilt_facts "${FASTALEX_PREBUILT}/libfastalex_*.cmake")
  if(NOT EXISTS "${FASTALEX_PREBUILT}/libfastalex_cuda.cmake")
    message(FATAL_ERROR "FASTALEX_PREBUILT: there is no libfastalex_cuda.so with its .cmake file in "
                        "'${FASTALEX_PREBUILT}'")
  endif()
  set(FASTALEX_PREBUILT_TENSORRT "")
  foreach(facts IN LISTS prebuilt_facts)
    include("${facts}")
    if(NOT sources STREQUAL FASTALEX_SOURCES_HASH)
      message(FATAL_ERROR "${facts} is of other sources: build the libraries of ${FASTALEX_PREBUILT} again")
    endif()
    string(REGEX REPLACE "cmake$" "so" library "${facts}")
    install(FILES "${library}" DESTINATION fastalex)
  endforeach()
endmacro()

fastalex_hash_sources(FASTALEX_SOURCES_HASH)
