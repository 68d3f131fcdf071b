# How this project builds libraries, tests and benchmarks: one set of flags, one way to name things.

set(SB_WARNINGS -Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion -Wstrict-prototypes -Wmissing-prototypes
    -Wpointer-arith -Wvla -Werror)

# Sanitizers make the compiler's work on long vector code several times as long; at -O1 it is bearable, and they see as much.
set(CMAKE_C_FLAGS_SANITIZE "-O1 -g1")
set(CMAKE_CXX_FLAGS_SANITIZE "-O1 -g1")

# __FILE__ is the path from the source folder on. A launcher (ccache) makes absolute paths relative to the build folder, and would
# not share objects between folders if its own name were among the flags.
set(SB_SOURCE_PREFIX ${CMAKE_SOURCE_DIR}/)
if(CMAKE_C_COMPILER_LAUNCHER)
  file(RELATIVE_PATH SB_SOURCE_PREFIX ${CMAKE_BINARY_DIR} ${CMAKE_SOURCE_DIR}/)
endif()

# Counters of lines and branches: at -O1 a line is still a line. Threads may lose counts to each other, but not whether a line ran;
# atomic counters make inner loops many times as slow.
set(CMAKE_C_FLAGS_COVERAGE "-O1 -g1 --coverage")
set(CMAKE_CXX_FLAGS_COVERAGE "-O1 -g1")
set(CMAKE_EXE_LINKER_FLAGS_COVERAGE "--coverage")

function(sb_flags target)
  target_compile_options(${target} PRIVATE ${SB_WARNINGS} $<$<CONFIG:Release>:-O3> -fno-math-errno -fno-trapping-math
                                           -ffp-contract=fast -fmacro-prefix-map=${SB_SOURCE_PREFIX}=)
  if(SB_NATIVE)
    target_compile_options(${target} PRIVATE -march=native -mprefer-vector-width=512)
  else()
    target_compile_options(${target} PRIVATE $<$<BOOL:${SB_MARCH}>:-march=${SB_MARCH}>)
  endif()
  if(SB_SANITIZE)
    # Instrumentation misleads warnings that follow values (format-truncation); in the other builds they are errors.
    target_compile_options(${target} PRIVATE -fsanitize=address,undefined -fno-sanitize-recover=undefined
                                             -fno-omit-frame-pointer -Wno-error)
    target_link_options(${target} PRIVATE -fsanitize=address,undefined)
  endif()
  if(SB_FUZZ) # libFuzzer follows which edges an input takes
    target_compile_options(${target} PRIVATE -fsanitize=fuzzer-no-link -Wno-pass-failed)
  endif()
  target_compile_definitions(${target} PRIVATE _GNU_SOURCE SB_VERSION="${PROJECT_VERSION}"
                                               $<$<BOOL:${SB_CHECKS}>:SB_CHECKS>)
  target_include_directories(${target} PRIVATE ${CMAKE_SOURCE_DIR})
endfunction()

# sb_library(io SOURCES a.c b.c LINKS sb_base PkgConfig::ZSTD): the static library sb_io.
function(sb_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;LINKS" ${ARGN})
  add_library(sb_${name} STATIC ${arg_SOURCES})
  sb_flags(sb_${name})
  target_link_libraries(sb_${name} PUBLIC ${arg_LINKS} OpenMP::OpenMP_C m)
endfunction()

# sb_test(store LABEL mpi LINKS sb_mpi [RANKS 1 2 3 LONG_RANKS 7]): tests/ROOM/test_store.c as a cmocka program, run once, or once
# per number of ranks; with LONG_RANKS, which say little that fewer do not, under the label long too. The program gets the source folder in
# SB_SOURCE_DIR.
function(sb_test name)
  cmake_parse_arguments(arg "" "LABEL;TIMEOUT" "LINKS;RANKS;LONG_RANKS" ${ARGN})
  if(NOT arg_LABEL)
    set(arg_LABEL unit)
  endif()
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 120)
  endif()
  add_executable(test_${name} test_${name}.c)
  sb_flags(test_${name})
  target_link_libraries(test_${name} PRIVATE ${arg_LINKS} PkgConfig::CMOCKA OpenMP::OpenMP_C m)
  target_compile_definitions(test_${name} PRIVATE SB_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  if(arg_LABEL STREQUAL unit)
    add_dependencies(unit_tests test_${name})
  endif()
  if(arg_RANKS)
    foreach(ranks IN LISTS arg_RANKS arg_LONG_RANKS)
      add_test(NAME ${name}_${ranks} COMMAND ${CMAKE_SOURCE_DIR}/tests/mpirun.sh ${ranks} $<TARGET_FILE:test_${name}>)
      set_tests_properties(${name}_${ranks} PROPERTIES LABELS ${arg_LABEL} TIMEOUT ${arg_TIMEOUT})
      if(ranks IN_LIST arg_LONG_RANKS)
        set_property(TEST ${name}_${ranks} APPEND PROPERTY LABELS long)
      endif()
    endforeach()
  else()
    add_test(NAME ${name} COMMAND test_${name})
    set_tests_properties(${name} PROPERTIES LABELS ${arg_LABEL} TIMEOUT ${arg_TIMEOUT})
  endif()
endfunction()

# sb_bench(gemm LINKS sb_kernels): bench/bench_gemm.c.
function(sb_bench name)
  cmake_parse_arguments(arg "" "" "LINKS" ${ARGN})
  add_executable(bench_${name} bench_${name}.c)
  sb_flags(bench_${name})
  target_link_libraries(bench_${name} PRIVATE ${arg_LINKS} OpenMP::OpenMP_C m)
endfunction()
