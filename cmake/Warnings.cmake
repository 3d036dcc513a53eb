# fastalex_warnings: what all C++ here is compiled with. nvcc does not read these flags, its host compiler's are its own.
include_guard(GLOBAL)

option(FASTALEX_WERROR "Treat warnings as errors" OFF)
add_library(fastalex_warnings INTERFACE)
target_compile_options(fastalex_warnings INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra>
  $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<BOOL:${FASTALEX_WERROR}>>:-Werror>)
