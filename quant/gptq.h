/* Error-compensated rounding (GPTQ, arXiv 2210.17323; the same as LDLQ of QuIP, arXiv 2307.13304) inside given blocks.
 *
 * A matrix W [rows, n] is rounded to Q so that (W - Q) H (W - Q)' is small, H = sum over calibration tokens of x x' for
 * the inputs x of the matrix: column after column, the error made in one is taken back in those still to come. Grids,
 * widths and format are those of kernels/grid.h and kernels/blockrow.h: nothing more is stored than with rounding to
 * nearest. A group's grid is chosen when its first column is reached, from the weights as they are corrected by then; where
 * `fitted`, its range is shrunk for the least sum of importance x (rounding error)^2 (kernels/grid.h), the importance of
 * column c being 1 / factor[c][c]^2, which is what an error there adds to (W - Q) H (W - Q)' after all corrections.
 *
 * All functions are local. */
#ifndef SB_QUANT_GPTQ_H
#define SB_QUANT_GPTQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "kernels/backend.h"
#include "kernels/grid.h"

typedef struct sb_gptq_repair {
  size_t dead;    /* inputs that were 0 for all tokens */
  double damping; /* what was added to the diagonal, as a share of its mean */
  double mean;    /* of the diagonal: what a dead input's element was set to before that */
  bool single;    /* factorised in single precision */
} sb_gptq_repair;

/* factor [n, n], upper triangular, with factor' factor = (H + damping)^-1. `h` [n, n], symmetric, is overwritten. Damping
 * is `least_damping` x mean diagonal, and ten times that as often as it takes to make H positive definite; *repair says
 * what was done. SB_ERR_NUMERIC when H is not finite. O(n^3), threads as OpenMP allows. */
sb_status sb_gptq_factor(float *factor, double *h, size_t n, double least_damping, sb_gptq_repair *repair);

/* Chooses the grids and codes of block row i, for sb_blockrow_pack: groups[j * rows + r], codes[r * cols + c]. `w` [rows of
 * i, grid->cols] is overwritten with what is left to round. Deterministic for any number of threads. O(rows cols^2). */
sb_status sb_gptq_blockrow(sb_group *groups, uint8_t *codes, float *w, const float *factor,
                           const sb_grid_shape *grid, size_t i, const uint8_t *bits, sb_symmetry symmetry,
                           bool fitted);

/* The same for its columns [begin, end) alone, which are whole blocks; those before `begin` have been done. So a factor can be
 * used panel by panel: element (r, c) of it, begin <= r < end, c >= begin, is panel[(r - begin) * ld + c - begin]. Bit for
 * bit what sb_gptq_blockrow does. */
sb_status sb_gptq_columns(sb_group *groups, uint8_t *codes, float *w, size_t begin, size_t end,
                          const float *panel, size_t ld, const sb_grid_shape *grid, size_t i,
                          const uint8_t *bits, sb_symmetry symmetry, bool fitted);

#endif
