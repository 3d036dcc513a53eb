# The per-ISA objects: csrc/cpu/kernels/isa_kernels.cpp, once for each level, with that level's flags and no others.
# The flags are spelled out because -march=x86-64-v3 is unknown to the GCC 10 of manylinux2014.

include(CheckCXXSourceCompiles)
string(TOLOWER "${CMAKE_SYSTEM_PROCESSOR}" processor)
if(processor MATCHES "^(x86_64|amd64)$")
  set(FASTALEX_ISAS v2 v3 v4)
  set(FASTALEX_ISA_FLAGS_v2 -msse4.2 -mpopcnt)
  set(FASTALEX_ISA_FLAGS_v3 ${FASTALEX_ISA_FLAGS_v2} -mavx2 -mfma -mf16c -mbmi -mbmi2 -mlzcnt -mmovbe)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    set(quiet_header -Wno-maybe-uninitialized -Wno-uninitialized)  # GCC 12's own header warns
    set(aligned_calls -fno-ipa-sra)
  endif()
  set(FASTALEX_ISA_FLAGS_v4 ${FASTALEX_ISA_FLAGS_v3} -mavx512f -mavx512bw -mavx512cd -mavx512dq -mavx512vl
                            -mprefer-vector-width=512 ${quiet_header})
  # Not part of a level: products of bytes (Cascade Lake, Zen 4 and newer; without AVX-512: Alder Lake and newer) and of
  # bf16 (Cooper Lake, Zen 4, ...).
  set(FASTALEX_ISA_FLAGS_v3vnni ${FASTALEX_ISA_FLAGS_v3} -mavxvnni)
  set(FASTALEX_ISA_FLAGS_v4vnni ${FASTALEX_ISA_FLAGS_v4} -mavx512vnni)
  set(FASTALEX_ISA_FLAGS_v4bf16 ${FASTALEX_ISA_FLAGS_v4vnni} -mavx512bf16)
  # Tiles (Sapphire Rapids and newer). The assembler must know the instructions of these two, too.
  set(FASTALEX_ISA_FLAGS_v4amx ${FASTALEX_ISA_FLAGS_v4bf16} -mamx-tile -mamx-int8 -mamx-bf16)
  set(use_of_v4amx "_tile_release()")
  set(use_of_v3vnni "__m256i v = _mm256_setzero_si256(); return _mm256_extract_epi32(_mm256_dpbusd_avx_epi32(v, v, v), 0)")
  foreach(isa v3vnni v4vnni v4bf16 v4amx)
    string(REPLACE ";" " " CMAKE_REQUIRED_FLAGS "${FASTALEX_ISA_FLAGS_${isa}}")
    check_cxx_source_compiles("#include <immintrin.h>
int main() { ${use_of_${isa}}; return 0; }" FASTALEX_COMPILES_${isa})
    if(FASTALEX_COMPILES_${isa})
      list(APPEND FASTALEX_ISAS ${isa})
    endif()
  endforeach()
  unset(CMAKE_REQUIRED_FLAGS)
  # For tests: the kernels of v4, of v3vnni and of v4amx in v3's instructions. Where GCC 12 splits a parameter of a
  # function that takes a vector of 64 bytes, calls misalign the stack, so it is not to.
  set(FASTALEX_ISA_FLAGS_wide ${FASTALEX_ISA_FLAGS_v3} -Wno-psabi -Wno-ignored-attributes ${aligned_calls})
  set(FASTALEX_ISA_FLAGS_v3twin ${FASTALEX_ISA_FLAGS_v3})
  set(FASTALEX_ISA_FLAGS_amxtwin ${FASTALEX_ISA_FLAGS_wide})
  if(FASTALEX_TEST_ISA)
    list(APPEND FASTALEX_ISAS wide v3twin amxtwin)
  endif()
elseif(processor MATCHES "^(aarch64|arm64)$")
  set(FASTALEX_ISAS neon)
  set(FASTALEX_ISA_FLAGS_neon -march=armv8-a)
else()
  message(FATAL_ERROR "fastalex has CPU kernels for x86-64 and aarch64, not for ${CMAKE_SYSTEM_PROCESSOR}")
endif()

function(fastalex_add_isa_objects target)
  foreach(isa IN LISTS FASTALEX_ISAS)
    add_library(fastalex_isa_${isa} OBJECT csrc/cpu/kernels/isa_kernels.cpp)
    target_include_directories(fastalex_isa_${isa} PRIVATE csrc csrc/include)
    target_link_libraries(fastalex_isa_${isa} PRIVATE fastalex_flags)
    target_compile_definitions(fastalex_isa_${isa} PRIVATE FASTALEX_ISA=${isa} FASTALEX_ISA_${isa})
    # Contraction gives a * b + c one rounding where the ISA has a fused multiply-add; -fno-math-errno and
    # -fno-trapping-math change no value, they let square roots and selects become single instructions.
    target_compile_options(fastalex_isa_${isa} PRIVATE -O3 -ffp-contract=fast -fno-math-errno -fno-trapping-math
                                                       -fno-exceptions -fno-rtti ${FASTALEX_ISA_FLAGS_${isa}})
    target_sources(${target} INTERFACE $<TARGET_OBJECTS:fastalex_isa_${isa}>)
  endforeach()
  foreach(isa IN LISTS FASTALEX_ISAS)
    string(TOUPPER ${isa} upper)
    target_compile_definitions(${target} PRIVATE FASTALEX_ISA_${upper})  # csrc/cpu/isa.cpp: what there is to choose from
  endforeach()
  if(FASTALEX_TEST_ISA)
    target_compile_definitions(${target} PRIVATE FASTALEX_TEST_ISA)
  endif()
endfunction()
