/* A few exact sums for every block, over the sequences of all ranks: added up where a sequence is,
 * handed to the owner of the block layer by layer. A pass calls begin_layer, add for each of a
 * rank's sequences, end_layer; several waves add up. */
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
/* What sb_block_sums_create takes. Pure. */
size_t sb_block_sums_bytes(const sb_sizes *sizes, size_t each);
void sb_block_sums_free(sb_block_sums **sums);

/* First block of a layer in the model's numbering (layers: their end), blocks of a layer, blocks
 * this rank owns. Local. */
size_t sb_block_sums_first(const sb_block_sums *sums, size_t layer);
size_t sb_block_sums_layer_blocks(const sb_block_sums *sums, size_t layer);
/* The most that a layer has. */
size_t sb_block_sums_most_blocks(const sb_block_sums *sums);
size_t sb_block_sums_owned(const sb_block_sums *sums);

/* All sums become 0. Local. */
void sb_block_sums_clear(sb_block_sums *sums);
void sb_block_sums_begin_layer(sb_block_sums *sums);
/* Sum i of the layer's block k += value. SB_ERR_NUMERIC where mpi/exact.h says so. Local. */
sb_status sb_block_sums_add(sb_block_sums *sums, size_t k, size_t i, double value);
/* Collective; up to 16 bytes a sum of the layer leave every rank. */
sb_status sb_block_sums_end_layer(sb_block_sums *sums, size_t layer);
/* Sum i of this rank's owned block (layer after layer). Local. */
double sb_block_sums_value(const sb_block_sums *sums, size_t owned, size_t i);

#endif
