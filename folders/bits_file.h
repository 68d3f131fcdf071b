/* The allocation file: the bit map of a model as JSON, to be saved, looked at, and used again.
 *
 *   {"format": "shardbits allocation", "version": 1, "program": "0.1.0", "block": [128, 128],
 * "symmetric": false, "matrices": [{"name": "model.layers.0.self_attn.q_proj.weight", "shape":
 * [576, 576], "bits": "3343..."}, ...]}
 *
 * `bits` has one digit a block, row by row of blocks.
 *
 * A bit map belongs to an order of the channels. Where they were reordered the version is 2, and
 * there is besides:
 *
 *   "reorder": "fused", "orders_hash": "0123456789abcdef",
 *   "orders": [{"name": "model.embed_tokens.weight.columns", "channels": "17 3 250 ..."}, ...]
 *
 * with the source's channels by new position, and sb_orders_hash of all. */
#ifndef SB_FOLDERS_BITS_FILE_H
#define SB_FOLDERS_BITS_FILE_H

#include "base/status.h"
#include "model/model.h"

/* Writes the model's bit map, and the orders of its channels if it has some, complete or not at
 * all. Rank 0 writes; collective. */
sb_status sb_bits_file_write(const sb_model *model, const char *path);
/* The orders of a file made with `mode`, for the model of `arch` in blocks of that size;
 * SB_ERR_FORMAT where it was made with another mode (saying which), or where they are damaged.
 * Released by the caller. Collective. */
sb_status sb_bits_file_orders(const sb_world *world, const char *path, const sb_arch *arch,
                              sb_reorder mode, sb_orders *out);
/* Sets the model's bit map from a file made for the same matrices, block size, kind of grid and
 * orders of channels; SB_ERR_FORMAT says what differs. Collective. */
sb_status sb_bits_file_read(sb_model *model, const char *path);

#endif
