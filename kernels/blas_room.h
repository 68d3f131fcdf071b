/* Memory that the libraries of matrix products take for themselves, taken early.
 *
 * OpenBLAS maps a buffer per thread that is at work in it, the first time, and where the system
 * refuses it tries again without end: a run would hang at its first factor, after hours. oneDNN
 * writes code at its first product, and ends the process where it finds no memory. So both are made
 * to take what they need while a refusal can still be said. */
#ifndef SB_KERNELS_BLAS_ROOM_H
#define SB_KERNELS_BLAS_ROOM_H

#include "base/status.h"

/* OpenBLAS' buffer, of which pages are used as far as matrices need them: 128 MiB of address space
 * on x86-64 (its BUFFER_SIZE). oneDNN's code and what goes with it: measured, less than that. */
enum { SB_BLAS_BUFFER_MIB = 128, SB_DNN_CODE_MIB = 64 };

/* Takes room for `threads` threads (0: OpenMP's own number) in both libraries. SB_ERR_MEMORY, at
 * once, where the system does not give the address space (ulimit -v, vm.overcommit_memory 2).
 * Called again it takes nothing more. Local; milliseconds. Not for several threads. */
sb_status sb_blas_room_take(int threads);

#endif
