# fastalex_warnings: the warning flags of all C++ code. nvcc does not read them; its host compiler has flags of its own.
include_guard(GLOBAL)

option(FASTALEX_WERROR "Treat warnings as errors" OFF)
add_library(fastalex_warnings INTERFACE)
target_compile_options(fastalex_warnings INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra>
  $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<BOOL:${FASTALEX_WERROR}>>:-Werror>)
