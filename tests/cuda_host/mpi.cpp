/* A CUDA-aware MPI library for the stand-in: it says that it is one where sb_cuda_host_device.mpi
 * is set, and reduces device memory then. It waits for no stream: what is queued has not happened.
 * Without it MPI follows the pointer, and dies. */
#define OMPI_SKIP_MPICXX /* the C interface alone */
#include <mpi.h>

#include <mpi-ext.h>

#include <cuda_runtime.h>

#include "tests/cuda_host/cuda_host.h"

extern "C" int MPIX_Query_cuda_support(void) {
  return sb_cuda_host_device.mpi;
}

extern "C" int MPI_Allreduce(const void *from, void *to, int count, MPI_Datatype type, MPI_Op op,
                             MPI_Comm comm) {
  int result = 0;
  const auto reduce = [&]() { result = PMPI_Allreduce(from, to, count, type, op, comm); };
  if (sb_cuda_host_device.mpi && sb_host_is_device(to)) {
    sb_host_with_memory(reduce);
    sb_cuda_host_device.mpi_sums++;
  } else {
    reduce();
  }
  return result;
}
