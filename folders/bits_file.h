/* The allocation file: the bit map of a model as JSON, to be saved, read by people and used again.
 *
 *   {"format": "shardbits allocation", "version": 1, "program": "0.1.0",
 *    "block": [128, 128], "symmetric": false,
 *    "matrices": [{"name": "model.layers.0.self_attn.q_proj.weight", "shape": [576, 576],
 *                  "bits": "3343..."}, ...]}
 *
 * `bits` has one digit per block, row by row of blocks. Codes of a trellis, of signed grids and of
 * grids by width are named: version 3, and "codes": "trellis-12", "signed-grid" or "by-width-grid".
 * Where the embedding or the LM head have widths the version is 3, too, and "tables" has their
 * entries, of the form of "matrices".
 *
 * A bit map belongs to an order of the channels. If they were reordered, the version is at least
 * 2 and the file has the orders too:
 *
 *   "reorder": "fused", "orders_hash": "0123456789abcdef",
 *   "orders": [{"name": "model.embed_tokens.weight.columns", "channels": "17 3 250 ..."}, ...]
 *
 * channels[k] is the source's channel at position k; orders_hash is sb_orders_hash of all. */
#ifndef SB_FOLDERS_BITS_FILE_H
#define SB_FOLDERS_BITS_FILE_H

#include "base/status.h"
#include "model/model.h"

/* Writes the model's bit map and the orders of its channels, if it has any. The file appears
 * complete or not at all. Rank 0 writes. SB_ERR_IO. Collective. */
sb_status sb_bits_file_write(const sb_model *model, const char *path);
/* *out = the orders in a file that was made with `mode`, checked against the channels of `arch`.
 * SB_ERR_FORMAT, naming the mode, for a file of another one; SB_ERR_FORMAT for damaged orders. The
 * caller releases *out (sb_orders_free). Collective. */
sb_status sb_bits_file_orders(const sb_world *world, const char *path, const sb_arch *arch,
                              sb_reorder mode, sb_orders *out);
/* Sets the model's bit map from a file made for the same matrices, block size, kind of grids and
 * orders. Tables that the file has are coded then; those that it does not have stay as they are.
 * SB_ERR_FORMAT names what differs. Collective. */
sb_status sb_bits_file_read(sb_model *model, const char *path);

#endif
