/* Trellis-coded matrices on a device (shared/trellis.h, shared/transform.h).
 *
 * A matrix W [rows, cols], in its stored order, is
 *
 *   W = diag(row_factors) H' S H'' diag(col_factors)
 *
 * with S the matrix in transformed coordinates, which codes stand for, and H', H'' the Hadamard
 * transforms of the rows and the columns of every block. Both are orthogonal and symmetric, so the
 * same transforms lead there and back. Factors are fp16 numbers, other than 0. */
#ifndef SB_KERNELS_OPS_TRELLIS_H
#define SB_KERNELS_OPS_TRELLIS_H

#include "kernels/ops/blocks.h"
#include "kernels/ops/common.h"
#include "kernels/ops/round.h"

#define SB_TRELLIS_OPS(OP)                                                                         \
  OP(hadamard)                                                                                     \
  OP(trellis_transform)                                                                            \
  OP(trellis_quantize)                                                                             \
  OP(trellis_round)

/* dst[T, n] = after o ((before o src) H): every row of src times `before` [n] (fp16, or NULL), then
 * transformed in blocks of `block` channels, then times `after` [n] (fp16, or NULL). In place is
 * allowed. Of type `dtype`; sums are in f32. O(T n log block). */
typedef sb_status sb_hadamard_fn(sb_backend *, sb_stream, void *dst, const void *src,
                                 sb_dtype dtype, size_t T, size_t n, size_t block,
                                 const uint16_t *before, const uint16_t *after);

/* S f32 [rows, cols] of a matrix w, and its row factors (fp16 [rows], written), by
 * sb_trellis_row_factor (shared/trellis_scale.h) with the sign sb_transform_sign(row_key, row).
 * first_row: number in its matrix of w's first row, a bound of block rows. The result of a block
 * row depends on its rows alone. w->bits[0] is read for EXL3 alone, whose matrices have one width;
 * NULL: as width 0. */
typedef sb_status sb_trellis_transform_fn(sb_backend *, sb_stream, float *s, uint16_t *row_factors,
                                          const sb_block_weights *w, size_t first_row,
                                          uint64_t row_key, const uint16_t *col_factors);

/* out[rows, cols] (out_dtype) = w with every block at its width `bits`, to the nearest codes; width
 * 0: as it is. The round trip of encoding and decoding, without feedback. */
typedef sb_status sb_trellis_quantize_fn(sb_backend *, sb_stream, void *out, sb_dtype out_dtype,
                                         const sb_block_weights *w, uint64_t row_key,
                                         const uint16_t *col_factors);

/* round_columns (ops/round.h) for trellis codes (LDLQ by groups of columns, as QTIP does it, arXiv
 * 2406.11235). w [rows, cols] is S, and the factor is that of the second moments of transformed
 * inputs. All columns of a tile are coded at once, to the nearest walk, then all later columns are
 * corrected for their errors E: by E U^-1 times the rows of the factor, with U its square of these
 * columns on the diagonal.
 *
 * The scale of a block follows from its weights as they are when its first column is reached
 * (shared/trellis_scale.h). Writes grids, of which `scale` alone means something, the block's scale
 * (fp16) in all its rows; and codes, the K new bits of each weight.
 * O(rows (end - begin) (cols + 2^L)). */
typedef sb_status sb_trellis_round_fn(sb_backend *, sb_stream, const sb_stack *, float *w,
                                      size_t begin, size_t end, const float *panel, size_t ld);

#endif
