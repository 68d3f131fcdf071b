/* Effective bits a weight when every block has the same bitwidth. Local, pure. */
#ifndef SB_MODEL_EFFECTIVE_BITS_H
#define SB_MODEL_EFFECTIVE_BITS_H

#include "kernels/backend.h"
#include "model/model.h"

/* The bits of everything a reader needs to rebuild the matrices of the decoder layers, packed as
 * kernels/blockrow.h has it (codes, scales, zero points, bit maps, padding), over their number of
 * weights. O(blocks of a layer). */
double sb_effective_bits_uniform(const sb_arch *arch, size_t block_rows, size_t block_cols,
                                 unsigned bits, sb_symmetry symmetry);
/* Bits a weight that `mode` stores of orders for this model (model/orders.h). */
double sb_model_order_bits(const sb_model *model, sb_reorder mode);
/* The first for a model, with the orders it stores where its channels have some (model/orders.h).
 */
double sb_model_uniform_bits(const sb_model *model, unsigned bits);

#endif
