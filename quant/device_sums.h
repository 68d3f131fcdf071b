/* Sums over ranks of numbers on their devices. They travel from device to device where devices
 * exchange data themselves, by an MPI library that takes device memory, or through the hosts. */
#ifndef SB_QUANT_DEVICE_SUMS_H
#define SB_QUANT_DEVICE_SUMS_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/backend.h"
#include "mpi/world.h"

typedef struct sb_device_sums {
  const sb_world *world;
  sb_backend *backend;
  size_t piece;       /* numbers per message, where they go through the hosts */
  int64_t *pieces[2]; /* host: one on the network, one between device and host; NULL where numbers
                         go another way */
} sb_device_sums;

/* `piece` 0: 2^23 numbers. `world` and `backend` are borrowed. SB_ERR_MEMORY; release *out in any
 * case. Local. */
sb_status sb_device_sums_open(const sb_world *world, sb_backend *backend, size_t piece,
                              sb_device_sums *out);
void sb_device_sums_release(sb_device_sums *);

/* sums[i] = the sum of all ranks' sums[i], modulo 2^64, for `count` numbers in device memory, in
 * the order of `stream`. Collective; all ranks fail together. Where devices exchange data
 * themselves, a later failure of theirs is SB_ERR_DEVICE at the next sync. */
sb_status sb_device_sums_make(const sb_device_sums *, sb_stream stream, int64_t *sums,
                              size_t count);

#endif
