/* Sums over ranks of numbers that each has on its device: from device to device where they exchange
 * data among themselves, in the hands of an MPI library that takes device memory, or through the
 * hosts. */
#ifndef SB_QUANT_DEVICE_SUMS_H
#define SB_QUANT_DEVICE_SUMS_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/backend.h"
#include "mpi/world.h"

typedef struct sb_device_sums {
  const sb_world *world;
  sb_backend *backend;
  size_t piece;       /* numbers that go through a host at a time */
  int64_t *pieces[2]; /* there: one on the network, one between device and host; NULL where none
                         goes that way */
} sb_device_sums;

/* `piece` 0: 2^23 numbers. World and backend must outlive it. SB_ERR_MEMORY; release it in any
 * case. Local. */
sb_status sb_device_sums_open(const sb_world *world, sb_backend *backend, size_t piece,
                              sb_device_sums *out);
void sb_device_sums_release(sb_device_sums *);

/* sums[i] = the sum of all ranks' sums[i], modulo 2^64, for `count` numbers on the device; what was
 * queued on `stream` comes before, what is queued later after it. Collective, and a failure is all
 * ranks'; where devices exchange data among themselves, of those that fail later SB_ERR_DEVICE is
 * known at the next sync. */
sb_status sb_device_sums_make(const sb_device_sums *, sb_stream stream, int64_t *sums,
                              size_t count);

#endif
