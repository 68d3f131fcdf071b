/* Allocation by layer, a baseline: all blocks of one matrix have one width. From the same table of
 * losses as alloc/block_widths.h. */
#ifndef SB_ALLOC_MATRIX_WIDTHS_H
#define SB_ALLOC_MATRIX_WIDTHS_H

#include "alloc/block_widths.h"

/* bits[i] = the width of block i's matrix: one a matrix, for the least sum of losses with a storage
 * of at most `budget` bits. matrix[i] in [0, matrices) says which matrix block i is of; a matrix
 * may be spread over ranks. Costs and losses of a matrix are the sums over its blocks, losses
 * exactly (mpi/exact.h), so the answer does not depend on how blocks are spread. `min_bits` to
 * `max_bits` of `blocks` bound the widths; 1 bit is left out for a matrix in which it holds no less
 * than 2.
 *
 * O(blocks x widths / ranks + matrices) work, memory of 300 bytes a matrix on every rank. Errors as
 * sb_block_widths_choose, and SB_ERR_INTERNAL for a matrix out of range. Collective; SB_OK on all ranks
 * or on none. */
sb_status sb_matrix_widths_choose(const sb_world *world, const sb_blocks *blocks,
                             const sb_losses *loss, const uint32_t *matrix,
                             size_t matrices, uint64_t budget, uint8_t *bits,
                             sb_block_widths_result *result);

#endif
