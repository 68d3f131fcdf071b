/* Search for NaN and infinities in a model's files, shared out over the ranks. */
#ifndef SB_FOLDERS_FINITE_H
#define SB_FOLDERS_FINITE_H

#include <stdint.h>

#include "io/safetensors.h"
#include "model/arch.h"
#include "mpi/world.h"

/* Reads every weight of `arch` once (pieces of 8 MiB, dealt to the ranks in turn); SB_ERR_NUMERIC
 * naming file, tensor and [row, column] of the first NaN or infinity in the order of the list.
 * *checked is the number of weights read by all ranks. Shows progress. Collective; the answer is
 * the same on any number of ranks. `arch` has passed sb_arch_check. */
sb_status sb_finite_check(const sb_world *world, const sb_arch *arch, const sb_safetensors *weights,
                          uint64_t *checked);

/* Index of the first NaN or infinity of `count` values of a weight type, or `count`. Local. */
size_t sb_finite_first_bad(const void *values, sb_dtype dtype, size_t count);

#endif
