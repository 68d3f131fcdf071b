/* The limits of the machine. Collective over the world: all ranks measure at once, and a figure is
 * that of the slowest rank. Times are the best of `rounds` (measure/timing.h). */
#ifndef SB_MEASURE_LIMITS_H
#define SB_MEASURE_LIMITS_H

#include "base/status.h"
#include "kernels/backend.h"
#include "measure/machine.h"
#include "mpi/world.h"

/* *flops = FLOP/s of a product of square matrices, whose side is doubled from 1024 until one
 * product takes 20 ms. `world` NULL: this rank alone, local. */
sb_status sb_limit_gemm(const sb_world *world, sb_backend *backend, int rounds, double *flops);

/* Memory: host reads, device copies, and transfers unless host and device are one. A rank reads
 * 512 MiB / ranks of the node, at least 64 MiB, and copies as much; on a device with memory of its
 * own it copies 1 GiB, or a sixteenth of what is free, several times before it waits. */
sb_status sb_limit_memory(const sb_world *world, sb_backend *backend, int rounds, sb_machine *out);

/* All-gather and all-reduce at 64 KiB, 1, 16 and 64 MiB over all ranks; nothing with one rank. */
sb_status sb_limit_network(const sb_world *world, int rounds, sb_machine *out);

/* All-reduce of 64 MiB of device memory, as second moments take it (quant/device_sums.h); nothing
 * with one rank, or if host and device are one. */
sb_status sb_limit_sums(const sb_world *world, sb_backend *backend, int rounds, sb_machine *out);

/* Writes and syncs a file of 64 MiB per rank in `folder`, then reads it; before that the system is
 * asked to drop it from its cache. Removes it again, also on interruption. At most three rounds. */
sb_status sb_limit_disk(const sb_world *world, const char *folder, int rounds, sb_machine *out);

#endif
