/* A stand-in for a GPU: the sources of kernels/cuda, compiled as C++, run thread by thread
 * on a processor.
 *
 * It tests the kernels' logic: indices, barriers, register layouts of tensor cores, which memory is
 * read in which order of streams, and races between threads (races.h). It says nothing about speed,
 * and nothing about errors of the hardware and its compiler alone (occupancy, the driver, cuBLAS).
 * Results that pass here have not been computed by a GPU.
 *
 * It is stricter than a GPU, so that mistakes show:
 *
 * - Only kernels and transfers may touch device memory, and they may touch no other. A host
 *   function that follows a device pointer dies. So does a kernel started with a host pointer
 *   (unless inside a struct), and an access far beyond an allocation. New memory, and dynamic
 *   shared memory at the start of a block, hold NaN.
 * - Nothing queued on a stream happens before somebody waits for it. A missing sync or stream_wait
 *   gives wrong numbers. Host memory of an upload is read then, too.
 * - An asynchronous copy spoils its room from the call on, and fills it at the wait that covers it.
 * - Warps and blocks that part at a barrier, launches beyond the limits, and deadlocks end the
 *   program with a line.
 *
 * One host thread at a time. */
#ifndef SB_TESTS_CUDA_HOST_H
#define SB_TESTS_CUDA_HOST_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The stand-in's description of itself; tests change it to see the errors. The environment sets
 * fields for whole programs: SB_CUDA_HOST_FAIL_IN, _MEMORY (bytes), _DEVICES, _DRIVER, _BLAS,
 * _MPI and _JOIN. */
typedef struct sb_cuda_host {
  int devices;      /* 1 */
  int driver;       /* 13000: CUDA version of the driver; 0: none */
  int major, minor; /* 9, 0: compute capability */
  size_t memory;    /* 4 GiB */
  int blas;         /* 1: cuBLAS is found */
  int solver;       /* 1: cuSOLVER is */
  long fail_in;     /* -1: never; n: the n-th kernel from now on fails, and everything after it */
  int mpi;          /* 0; 1: MPI is CUDA-aware */
  int join;         /* 1: groups of devices are joined; 0: that never ends; -1: it fails */
  long mpi_sums;    /* reductions of device memory that MPI made so far */
  long kernels;     /* kernels run so far */
  size_t in_use;    /* bytes of device memory */
  int eager; /* 0; 1: all is done when it is queued, for tests that were written for the CPU backend
                and hand over host pointers */
} sb_cuda_host;

extern sb_cuda_host sb_cuda_host_device;

#ifdef __cplusplus
}
#endif

#endif
