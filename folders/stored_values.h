/* Questions about the values of stored tensors that are asked before a model is laid out. */
#ifndef SB_FOLDERS_STORED_VALUES_H
#define SB_FOLDERS_STORED_VALUES_H

#include <stdbool.h>

#include "io/safetensors.h"
#include "mpi/world.h"

/* *equal = the two have the same type, shape and bytes. Ranks read pieces of 8 MiB in turn, so each
 * byte is read once by one rank; they stop soon after the first difference. Collective. */
sb_status sb_stored_equal(const sb_world *world, const sb_safetensors *weights,
                          const sb_tensor_info *a, const sb_tensor_info *b, bool *equal);

/* *zero = all values of a tensor of a weight type are 0 or -0. Local. */
sb_status sb_stored_zero(const sb_safetensors *weights, const sb_tensor_info *info, bool *zero);

#endif
