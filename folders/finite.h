/* Search for NaN and infinities in the files of a model, by all ranks together. */
#ifndef SB_FOLDERS_FINITE_H
#define SB_FOLDERS_FINITE_H

#include <stdint.h>

#include "io/safetensors.h"
#include "model/arch.h"
#include "mpi/world.h"

/* Reads every weight of `arch`, which has passed sb_arch_check, once: pieces of 8 MiB, dealt to the
 * ranks in turn. tensors[i] is where arch->tensors[i] is stored.
 * SB_ERR_NUMERIC names file, tensor and [row, column] of the first NaN or infinity, in the order of
 * arch->tensors; the same on any number of ranks. *checked = the number of weights that all ranks
 * have read. Shows progress. Collective. */
sb_status sb_finite_check(const sb_world *world, const sb_arch *arch, const sb_safetensors *weights,
                          const sb_tensor_info *const *tensors, uint64_t *checked);

/* Index of the first NaN or infinity among `count` values of a weight type, or `count`. `values`
 * needs no alignment. Pure. */
size_t sb_finite_first_bad(const void *values, sb_dtype dtype, size_t count);

#endif
