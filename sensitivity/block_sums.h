/* Exact sums over the sequences of all ranks, a few per block. A rank adds the values of its own
 * sequences. Layer by layer the sums go to the owners of the blocks. A pass calls begin_layer, add
 * for each of the rank's sequences, and end_layer; several waves add up. */
#ifndef SB_SENSITIVITY_BLOCK_SUMS_H
#define SB_SENSITIVITY_BLOCK_SUMS_H

#include <stddef.h>

#include "base/status.h"
#include "model/model.h"
#include "model/sizes.h"

typedef struct sb_block_sums sb_block_sums;

/* `each` sums per block. Memory: 16 bytes per sum of this rank's owned blocks, of its share of a
 * layer, and of all blocks of a layer. Local. */
sb_status sb_block_sums_create(const sb_model *model, size_t each, sb_block_sums **out);
/* Bytes that sb_block_sums_create takes. Pure. */
size_t sb_block_sums_bytes(const sb_sizes *sizes, size_t each);
void sb_block_sums_free(sb_block_sums **sums);

/* Number of a layer's first block in the model (`layer` may be the number of layers: the end);
 * blocks of a layer; blocks that this rank owns. Local. */
size_t sb_block_sums_first(const sb_block_sums *sums, size_t layer);
size_t sb_block_sums_layer_blocks(const sb_block_sums *sums, size_t layer);
/* Most blocks of any layer. Local. */
size_t sb_block_sums_most_blocks(const sb_block_sums *sums);
size_t sb_block_sums_owned(const sb_block_sums *sums);

/* All sums become 0. Local. */
void sb_block_sums_clear(sb_block_sums *sums);
void sb_block_sums_begin_layer(sb_block_sums *sums);
/* Sum i of the layer's block k += value. SB_ERR_NUMERIC for values that
 * mpi/exact.h cannot add. Local. */
sb_status sb_block_sums_add(sb_block_sums *sums, size_t k, size_t i, double value);
/* SB_ERR_NUMERIC with a line for users: the gradient of a layer cannot be added. Local. */
sb_status sb_block_sums_overflow(size_t layer);
/* Gives the layer's sums to the owners of its blocks. Collective; up to 16 bytes per sum leave
 * every rank. */
sb_status sb_block_sums_end_layer(sb_block_sums *sums, size_t layer);
/* Sum i of this rank's owned block number `owned`, layer after layer. Local. */
double sb_block_sums_value(const sb_block_sums *sums, size_t owned, size_t i);

#endif
