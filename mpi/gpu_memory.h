/* CUDA-aware MPI: whether the library takes pointers into GPU memory. */
#ifndef SB_MPI_GPU_MEMORY_H
#define SB_MPI_GPU_MEMORY_H

#include "mpi/world.h"

/* SB_OK where every rank's MPI library says, now that it runs, that it takes them (Open MPI's
 * MPIX_Query_cuda_support); else SB_ERR_UNSUPPORTED, saying so. Collective. */
sb_status sb_mpi_takes_gpu_memory(const sb_world *world);

#endif
