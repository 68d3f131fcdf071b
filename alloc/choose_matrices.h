/* Allocation by layer, a baseline: all blocks of one matrix have one width. From the same table of
 * losses as alloc/choose_blocks.h. */
#ifndef SB_ALLOC_CHOOSE_MATRICES_H
#define SB_ALLOC_CHOOSE_MATRICES_H

#include "alloc/choose_blocks.h"

/* bits[i] = the width of block i's matrix: one a matrix, for the least sum of losses with a storage
 * of at most `budget` bits. matrix[i] in [0, matrices) says which matrix block i is of; a matrix
 * may be spread over ranks. Costs and losses of a matrix are the sums over its blocks, losses
 * exactly (mpi/exact.h), so the answer does not depend on how blocks are spread. `min_bits` to
 * `max_bits` of `blocks` bound the widths; 1 bit is left out for a matrix in which it holds no less
 * than 2.
 *
 * O(blocks x widths / ranks + matrices) work, memory of 300 bytes a matrix on every rank. Errors as
 * sb_choose_blocks, and SB_ERR_INTERNAL for a matrix out of range. Collective; SB_OK on all
 * ranks or on none. */
sb_status sb_choose_matrices(const sb_world *world, const sb_blocks *blocks, const sb_losses *loss,
                             const uint32_t *matrix, size_t matrices, uint64_t budget,
                             uint8_t *bits, sb_choose_result *result);

#endif
