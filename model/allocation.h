/* The allocation file: the bit map of a model as JSON, to be saved, looked at, and used again.
 *
 *   {"format": "shardbits allocation", "version": 1, "program": "0.1.0", "block": [128, 128], "symmetric": false,
 *    "matrices": [{"name": "model.layers.0.self_attn.q_proj.weight", "shape": [576, 576], "bits": "3343..."}, ...]}
 *
 * `bits` has one digit a block, row by row of blocks. */
#ifndef SB_MODEL_ALLOCATION_H
#define SB_MODEL_ALLOCATION_H

#include "base/status.h"
#include "model/model.h"

/* Writes the model's bit map, complete or not at all. Rank 0 writes; collective. */
sb_status sb_allocation_write(const sb_model *model, const char *path);
/* Sets the model's bit map from a file made for the same matrices, block size and kind of grid; SB_ERR_FORMAT
 * says what differs. Collective. */
sb_status sb_allocation_read(sb_model *model, const char *path);

#endif
