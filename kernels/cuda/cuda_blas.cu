#include "kernels/cuda/cuda_blas.h"

#include <stdio.h>

#include "kernels/cuda/cuda_library.h"

sb_status sb_cuda_blas_load(sb_cuda_blas *blas, const char *where) {
  const sb_cuda_symbol symbols[] = {{"cublasCreate_v2", &blas->create},
                                    {"cublasDestroy_v2", &blas->destroy},
                                    {"cublasSetStream_v2", &blas->set_stream},
                                    {"cublasSetWorkspace_v2", &blas->set_workspace},
                                    {"cublasSetPointerMode_v2", &blas->set_pointer_mode},
                                    {"cublasGemmEx", &blas->gemm}};
  char file[64];
  snprintf(file, sizeof file, "libcublas.so.%d", CUBLAS_VER_MAJOR);
  return sb_cuda_library_load(&blas->library, file, symbols, sizeof symbols / sizeof *symbols,
                              "cuBLAS", where, "--device cpu");
}

void sb_cuda_blas_unload(sb_cuda_blas *blas) {
  sb_cuda_library_unload(&blas->library);
}
