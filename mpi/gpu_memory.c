#include "mpi/gpu_memory.h"

#ifdef OPEN_MPI
#include <mpi-ext.h>
#endif

static bool says_so(void) {
#ifdef OMPI_HAVE_MPI_EXT_CUDA
  return MPIX_Query_cuda_support() == 1;
#else
  return false; /* not Open MPI, or built without this question: nobody to ask */
#endif
}

sb_status sb_mpi_takes_gpu_memory(const sb_world *world) {
  return sb_world_agree(world, says_so()
                                   ? SB_OK
                                   : sb_fail(SB_ERR_UNSUPPORTED,
                                             "this MPI library does not take GPU memory (it is not "
                                             "CUDA-aware)"));
}
