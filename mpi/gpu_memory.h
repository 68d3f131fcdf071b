/* CUDA-aware MPI: whether the library takes pointers into GPU memory. */
#ifndef SB_MPI_GPU_MEMORY_H
#define SB_MPI_GPU_MEMORY_H

#include "mpi/world.h"

/* SB_OK where the MPI library of every rank says at run time that it does (Open MPI's
 * MPIX_Query_cuda_support); else SB_ERR_UNSUPPORTED. Collective. */
sb_status sb_mpi_takes_gpu_memory(const sb_world *world);

#endif
