/* Rounding by second moments: the codes are not the nearest ones, but the outputs lose less.
 *
 * H [cols, cols] is the same for all rows of a stack. A call gets its rows [begin, end), as
 * `panel`; begin and end are bounds of blocks. On the CPU the result of a row depends on its block
 * row alone. On a GPU it depends on the whole stack, since a library that multiplies may choose its
 * method by the number of rows. */
#ifndef SB_KERNELS_OPS_ROUND_H
#define SB_KERNELS_OPS_ROUND_H

#include "kernels/ops/common.h"
#include "kernels/shared/grid_types.h"

#define SB_ROUND_OPS(OP)                                                                           \
  OP(round_columns)                                                                                \
  OP(refine_residual)                                                                              \
  OP(refine_columns)

/* Block rows of matrices with the same inputs, one under another. Arrays are on the device except
 * `starts`. Each row of a block is a group. */
typedef struct sb_stack {
  size_t rows, cols, block_cols;
  size_t count;         /* block rows */
  const size_t *starts; /* host [count + 1]: the first row of each block row, and `rows` */
  sb_code_kind code_kind;
  const uint8_t *bits; /* [block columns, rows]: the width of each group, 1 .. 8 */
  sb_grid *grids;      /* [block columns, rows] */
  uint8_t *codes;      /* [rows, cols] */
} sb_stack;

/* Error-compensated rounding (GPTQ, arXiv 2210.17323; the same as LDLQ of QuIP, arXiv 2307.13304):
 * finds Q for W so that (W - Q) H (W - Q)' is small. It rounds column after column, and corrects
 * the later columns for the error of each.
 *
 * panel has rows of the factor of H: upper triangular, factor' factor = H^-1. For c >= begin,
 *
 *   factor(r, c) = panel[(r - begin) * ld + c - begin]
 *
 * The grid of a group is chosen when its first column is reached, from the weights corrected so
 * far. `fitted` shrinks its range for the least sum of importance x (rounding error)^2. The
 * importance of column c is 1 / factor(c, c)^2: the cost of its error after all corrections.
 *
 * Writes grids and codes of the columns. w [rows, cols] holds the weights left to round; its
 * columns before `begin` have been done. O(rows (end - begin) cols). */
typedef sb_status sb_round_columns_fn(sb_backend *, sb_stream, const sb_stack *, float *w,
                                      size_t begin, size_t end, const float *panel, size_t ld,
                                      bool fitted);

/* Coordinate descent on the same error, once a stack has codes (QuantEase, arXiv 2309.01885).
 *
 * With E = Q - W and R = E H, moving row r of Q by d along a vector v of columns changes the error
 * of the row by
 *
 *   2 d v R_r' + d^2 v H v'
 *
 * So with all else fixed, the best value of an element is Q_rc - R_rc / H_cc, and its best code is
 * the nearest level. The scale of a group has a best value too, with v = its codes minus their
 * center. So has the base of an asymmetric 1-bit group, with v = ones. Here panel
 * [end - begin, cols] has rows of H itself, symmetric and positive definite.
 *
 * refine_residual: residual [rows, cols] += (Q - W)[:, begin .. end) panel. w [rows, cols] is the
 * matrix before rounding. */
typedef sb_status sb_refine_residual_fn(sb_backend *, sb_stream, const sb_stack *, float *residual,
                                        const float *w, size_t begin, size_t end,
                                        const float *panel);
/* refine_columns: one pass over the columns [begin, end), in order: first scale and base of a
 * group, then its codes. Keeps residual up to date. The packed size stays the same and the error
 * never grows. O(rows (end - begin) cols). */
typedef sb_status sb_refine_columns_fn(sb_backend *, sb_stream, const sb_stack *, float *residual,
                                       size_t begin, size_t end, const float *panel);

#endif
