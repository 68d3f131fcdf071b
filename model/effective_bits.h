/* Effective bits per weight of a model's matrices: of uniform widths, and the range that widths can
 * reach. Storage is counted as kernels/blockrow.h packs it: codes, scales, zero points, factors of
 * rows, bit maps, padding. Pure. */
#ifndef SB_MODEL_EFFECTIVE_BITS_H
#define SB_MODEL_EFFECTIVE_BITS_H

#include "kernels/backend.h"
#include "kernels/shared/tiling.h"
#include "model/model.h"

/* What shares a width: a block, all blocks of a matrix, matrices that a server fuses
 * (model/ties.h), or all of the model. */
typedef enum sb_width_scope {
  SB_WIDTH_OF_BLOCK,
  SB_WIDTH_OF_MATRIX,
  SB_WIDTH_OF_TIE,
  SB_WIDTH_OF_MODEL
} sb_width_scope;

/* Bytes of a matrix' coded block rows with all blocks at `bits`, and the least that widths of
 * blocks in [min_bits, max_bits] can have. O(1). */
uint64_t sb_matrix_bytes(const sb_tiling *tiling, sb_code_kind code_kind, unsigned bits);
uint64_t sb_matrix_least_bytes(const sb_tiling *tiling, sb_code_kind code_kind, unsigned min_bits,
                               unsigned max_bits);
/* All blocks at `bits`, per weight. O(matrices). */
double sb_effective_bits_uniform(const sb_arch *arch, size_t block_rows, size_t block_cols,
                                 unsigned bits, sb_code_kind code_kind);
/* Least storage of all blocks, in bits, that widths in [min_bits, max_bits] can reach, and that
 * with max_bits; bit maps and factors of rows included. More bits do not always cost more: a group
 * of 1 bit stores two fp16 numbers, one of 2 bits a number and a zero point. From 2 bits up costs
 * do not fall, so fused matrices, whose servers begin at 2, have the least of each matrix.
 * O(matrices). */
void sb_storage_range(const sb_arch *arch, const sb_blocking *blocking, sb_width_scope scope,
                      unsigned min_bits, unsigned max_bits, uint64_t *least, uint64_t *most);
/* Bits per weight of the orders that `mode` stores for this model (model/orders.h). */
double sb_model_order_bits(const sb_model *model, sb_reorder mode);
/* sb_effective_bits_uniform of a model, and its stored orders. */
double sb_model_uniform_bits(const sb_model *model, unsigned bits);

#endif
