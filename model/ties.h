/* Items: what shares a width. A server computes q, k and v as one product, and gate and up, so
 * their matrices have one width. */
#ifndef SB_MODEL_TIES_H
#define SB_MODEL_TIES_H

#include <stddef.h>
#include <stdint.h>

#include "model/arch.h"
#include "model/effective_bits.h"

/* item[matrix_count] = the number of the item of each matrix of all layers, from 0, ascending with
 * the first matrix of each; returns their number. SB_WIDTH_OF_MATRIX: each matrix is one;
 * SB_WIDTH_OF_TIE: those that a server fuses; SB_WIDTH_OF_MODEL: all are one. Pure. O(matrices). */
size_t sb_items_of(const sb_arch *arch, sb_width_scope scope, uint32_t *item);

/* Number within its layer of the first matrix that matrix `m` of the layer is fused with; m where
 * it is the first, or alone. Pure. O(matrices of the layer). */
size_t sb_tied_to(const sb_arch *arch, size_t layer, size_t m);

#endif
