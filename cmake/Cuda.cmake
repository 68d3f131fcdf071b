# The CUDA backend: SB_CUDA=AUTO builds it where nvcc is found, ON insists, OFF does without. Sets SB_HAVE_CUDA.
#
# The program asks for nothing of CUDA at start: the runtime is linked in, the driver and libraries are looked for when a device
# is opened.

set(SB_CUDA AUTO CACHE STRING "Build the CUDA backend: AUTO (where nvcc is found), ON, OFF")
set_property(CACHE SB_CUDA PROPERTY STRINGS AUTO ON OFF)
set(SB_HAVE_CUDA OFF)

if(NOT SB_CUDA STREQUAL "OFF")
  if(NOT CMAKE_CUDA_COMPILER)
    find_program(SB_NVCC nvcc HINTS ENV CUDACXX ENV CUDA_HOME ENV CUDA_PATH PATHS /usr/local/cuda PATH_SUFFIXES bin)
    if(SB_NVCC)
      set(CMAKE_CUDA_COMPILER ${SB_NVCC})
    endif()
  endif()
  if(CMAKE_CUDA_COMPILER)
    if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
      set(CMAKE_CUDA_ARCHITECTURES "80-real;90-real;90-virtual" CACHE STRING "GPUs to compile for: A100, H100, newer ones by PTX")
    endif()
    set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
    enable_language(CXX)
    enable_language(CUDA)
    set(SB_HAVE_CUDA ON)
  elseif(SB_CUDA STREQUAL "ON")
    message(FATAL_ERROR "SB_CUDA=ON, but no nvcc was found: put it on PATH, or set CMAKE_CUDA_COMPILER")
  endif()
endif()
if(SB_HAVE_CUDA)
  message(STATUS "CUDA backend: nvcc ${CMAKE_CUDA_COMPILER_VERSION}, for ${CMAKE_CUDA_ARCHITECTURES}")
  # NCCL, for what GPUs exchange without their hosts: its header is needed here, its library is looked for at run time.
  get_filename_component(SB_CUDA_BIN ${CMAKE_CUDA_COMPILER} DIRECTORY)
  find_path(SB_NCCL_INCLUDE_DIR nccl.h HINTS ENV NCCL_HOME ENV NCCL_ROOT ${SB_CUDA_BIN}/.. PATH_SUFFIXES include)
  if(SB_NCCL_INCLUDE_DIR)
    message(STATUS "NCCL: ${SB_NCCL_INCLUDE_DIR}/nccl.h")
  else()
    message(STATUS "NCCL: not found; GPUs exchange data through their hosts")
  endif()
else()
  message(STATUS "CUDA backend: not built (no nvcc, or SB_CUDA=OFF)")
endif()

# Flags of CUDA sources: warnings of both compilers are errors; no fast-math, and fused products as the CPU has them.
function(sb_cuda_flags target)
  target_compile_options(
    ${target}
    PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings -Xcompiler=-Wall,-Wextra,-Werror -std=c++20>)
  target_compile_definitions(${target} PRIVATE _GNU_SOURCE)
  target_include_directories(${target} PRIVATE ${CMAKE_SOURCE_DIR})
endfunction()
