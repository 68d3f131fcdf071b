/* Effective bits per weight where every block has the same width. Pure. */
#ifndef SB_MODEL_EFFECTIVE_BITS_H
#define SB_MODEL_EFFECTIVE_BITS_H

#include "kernels/backend.h"
#include "model/model.h"

/* Bits of the packed matrices of all layers (kernels/blockrow.h: codes, scales, zero points, bit
 * maps, padding), divided by their weights. O(blocks). */
double sb_effective_bits_uniform(const sb_arch *arch, size_t block_rows, size_t block_cols,
                                 unsigned bits, sb_symmetry symmetry);
/* Bits per weight of the orders that `mode` stores for this model (model/orders.h). */
double sb_model_order_bits(const sb_model *model, sb_reorder mode);
/* sb_effective_bits_uniform of a model, and its stored orders. */
double sb_model_uniform_bits(const sb_model *model, unsigned bits);

#endif
