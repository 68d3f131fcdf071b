/* One width per matrix, a baseline: all blocks of a matrix have the same. Chosen from the same
 * table of losses as in alloc/choose_blocks.h. */
#ifndef SB_ALLOC_CHOOSE_MATRICES_H
#define SB_ALLOC_CHOOSE_MATRICES_H

#include "alloc/choose_blocks.h"

/* bits[i] = the width of block i's matrix, for the least sum of losses with a storage of at most
 * `budget` bits. matrix[i] in [0, matrices) is the number of block i's matrix; a matrix may be
 * spread over ranks. Its cost and loss are the sums over its blocks, losses exactly (mpi/exact.h),
 * so the result does not depend on how blocks are spread. `min_bits` to `max_bits` of `blocks`
 * bound the widths; 1 bit is left out for a matrix that needs no less storage with it than with 2.
 *
 * O(blocks x widths / ranks + matrices) work; 300 bytes per matrix on every rank. Errors as
 * sb_choose_blocks, and SB_ERR_INTERNAL for a matrix out of range. Collective; SB_OK on all ranks
 * or on none. */
sb_status sb_choose_matrices(const sb_world *world, const sb_blocks *blocks, const sb_losses *loss,
                             const uint32_t *matrix, size_t matrices, uint64_t budget,
                             uint8_t *bits, sb_choose_result *result);

#endif
