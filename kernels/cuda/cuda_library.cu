#include "kernels/cuda/cuda_library.h"

extern "C" {
#include "kernels/library.h"
}

/* The toolkit, NCCL, conda's packages, and pip's: nvidia-cublas-cu12 and its like. */
static const char *const folders[] = {"$CUDA_HOME/lib64",
                                      "$CUDA_PATH/lib64",
                                      "$NCCL_HOME/lib",
                                      "$VIRTUAL_ENV/lib/python3*/site-packages/nvidia/*/lib",
                                      "$CONDA_PREFIX/lib",
                                      "$CONDA_PREFIX/lib/python3*/site-packages/nvidia/*/lib",
                                      "$HOME/.local/lib/python3*/site-packages/nvidia/*/lib",
                                      "/usr/local/cuda/lib64",
                                      "/usr/local/cuda-*/lib64",
                                      "/usr/local/lib/python3*/*-packages/nvidia/*/lib",
                                      "/usr/lib/python3*/*-packages/nvidia/*/lib",
                                      NULL};

sb_status sb_cuda_library_load(void **library, const char *file, const sb_cuda_symbol *symbols,
                               size_t count, const char *called, const char *where,
                               const char *instead) {
  const sb_status status = sb_library_open(file, folders, library);
  if (status != SB_OK)
    return sb_fail(status,
                   "%s: %s is missing (%s) in the system's folders, LD_LIBRARY_PATH, CUDA_HOME, "
                   "NCCL_HOME, /usr/local/cuda*, VIRTUAL_ENV, CONDA_PREFIX and pip's nvidia "
                   "packages: install it, or use %s",
                   where, called, sb_message(), instead);
  for (size_t i = 0; i < count; i++) {
    void *found = sb_library_symbol(*library, symbols[i].name);
    *(void **)symbols[i].function = found;
    if (found) continue;
    sb_cuda_library_unload(library);
    return sb_fail(SB_ERR_UNSUPPORTED, "%s: %s is not the %s of this build: it has no %s", where,
                   file, called, symbols[i].name);
  }
  return SB_OK;
}

void sb_cuda_library_unload(void **library) {
  sb_library_close(library);
}
