#include "kernels/cuda/cuda_solver.h"

#include <stdio.h>

#include "kernels/cuda/cuda_library.h"

sb_status sb_cuda_solver_load(sb_cuda_solver *s, const char *where) {
  const sb_cuda_symbol symbols[] = {{"cusolverDnCreate", &s->create},
                                    {"cusolverDnDestroy", &s->destroy},
                                    {"cusolverDnCreateParams", &s->create_params},
                                    {"cusolverDnDestroyParams", &s->destroy_params},
                                    {"cusolverDnSetStream", &s->set_stream},
                                    {"cusolverDnXpotrf_bufferSize", &s->potrf_size},
                                    {"cusolverDnXpotrf", &s->potrf},
                                    {"cusolverDnXtrtri_bufferSize", &s->trtri_size},
                                    {"cusolverDnXtrtri", &s->trtri}};
  char file[64];
  snprintf(file, sizeof file, "libcusolver.so.%d", CUSOLVER_VER_MAJOR);
  return sb_cuda_library_load(&s->library, file, symbols, sizeof symbols / sizeof *symbols,
                              "cuSOLVER", where,
                              "--factor distributed, which factorises on processors");
}

void sb_cuda_solver_unload(sb_cuda_solver *s) {
  sb_cuda_library_unload(&s->library);
}
