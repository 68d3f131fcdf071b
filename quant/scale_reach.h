/* Weights that fp16 scales do not reach.
 *
 * A group of b bits has levels over at most `reach(b) = 65504 (2^b - 1)`, half of that to each side
 * with symmetric grids, `65504 (2^(b-1) - 1)` to each side with signed ones; 65280 takes the place
 * of 65504 where scales have 8 significant bits (kernels/shared/grid.h). On a trellis a row's root
 * mean square is at most 65504, which no weights of up to 65504 exceed. A weight beyond is cut off,
 * which ruins a model without any other sign. So weights are looked at before the work, and scales
 * behind it. */
#ifndef SB_QUANT_SCALE_REACH_H
#define SB_QUANT_SCALE_REACH_H

#include <stdint.h>

#include "base/status.h"
#include "model/model.h"

/* The largest weight that a group of `bits` bits, 2 to 8, or any block of a trellis is sure to
 * keep. Pure. */
double sb_scale_reach(unsigned bits, sb_code_kind code_kind);

/* Looks at every weight of the matrices of `source` (SB_CODING_SOURCE), in any order of channels.
 * SB_ERR_NUMERIC where the largest is beyond the reach of max_bits: no width can keep it. One line
 * for users where it is beyond that of min_bits (or 2): which weight, and the bits it takes.
 * Collective; the same on any number of ranks. One pass over this rank's weights in memory. */
sb_status sb_scale_reach_check(sb_model *source, unsigned min_bits, unsigned max_bits);

/* *scales = the scales of `coded` (SB_CODING_CODES), and factors of rows, that are the largest of
 * fp16, so that weights were cut off; one line for users names the first matrix that has some.
 * Collective. O(scales of this rank). */
sb_status sb_scale_reach_count_cuts(sb_model *coded, uint64_t *scales);

#endif
