#include "kernels/cuda/cuda_blas.h"

#include <dlfcn.h>
#include <stdio.h>

static bool find(void *library, const char *name, void *function) {
  void *symbol = dlsym(library, name);
  *(void **)function = symbol;
  return symbol != NULL;
}

sb_status sb_cuda_blas_load(sb_cuda_blas *blas, const char *where) {
  char name[64];
  snprintf(name, sizeof name, "libcublas.so.%d", CUBLAS_VER_MAJOR);
  blas->library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (!blas->library)
    return sb_fail(
        SB_ERR_DEVICE,
        "%s: cuBLAS is missing (%s): install it or add its folder to LD_LIBRARY_PATH, or use --device cpu",
        where, dlerror());
  if (!find(blas->library, "cublasCreate_v2", &blas->create) ||
      !find(blas->library, "cublasDestroy_v2", &blas->destroy) ||
      !find(blas->library, "cublasSetStream_v2", &blas->set_stream) ||
      !find(blas->library, "cublasSetWorkspace_v2", &blas->set_workspace) ||
      !find(blas->library, "cublasGemmEx", &blas->gemm)) {
    sb_status status =
        sb_fail(SB_ERR_DEVICE, "%s: %s is not the cuBLAS of this build: %s", where, name, dlerror());
    sb_cuda_blas_unload(blas);
    return status;
  }
  return SB_OK;
}

void sb_cuda_blas_unload(sb_cuda_blas *blas) {
  if (blas->library) (void)dlclose(blas->library);
  blas->library = NULL;
}
