/* Better codes and scales for a matrix that is rounded already: coordinate descent on the error (Q - W) H (Q - W)' that
 * error-compensated rounding (quant/gptq.h) makes small in one go.
 *
 * With E = Q - W and R = E H, moving row r of Q by d along a vector v of columns changes its error by
 * 2 d v R_r' + d^2 v H v'. So all else as it is, the best value of one element is Q_rc - R_rc / H_cc, and the level nearest
 * to that its best code; and a group's scale has a best value, along the vector of its codes less their center, and the base of an
 * asymmetric 1-bit group one along ones. Columns are taken in order, a group's scale and base before its codes. What is
 * stored keeps its size. (Descent over codes: QuantEase, arXiv 2309.01885.)
 *
 * H comes in panels of rows: `panel` is rows [begin, end) of it, whole blocks, [end - begin, n], symmetric and positive definite
 * as a whole. All functions are local, and deterministic for any number of threads. */
#ifndef SB_QUANT_REFINE_H
#define SB_QUANT_REFINE_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "kernels/backend.h"
#include "kernels/grid.h"

/* residual [rows of block row i, n] += (Q - W)[:, begin .. end) panel, Q as groups[j * rows + r] and codes[r * n + c] have it, W
 * the matrix that was rounded, w [rows, n]. O(rows (end - begin) n). */
sb_status sb_refine_residual(float *residual, const sb_group *groups, const uint8_t *codes, const float *w,
                             size_t begin, size_t end, const float *panel, const sb_grid_shape *grid,
                             size_t i);

/* One pass over the columns [begin, end): better groups and codes; the residual follows. O(rows (end - begin) n). */
sb_status sb_refine_columns(sb_group *groups, uint8_t *codes, float *residual, size_t begin, size_t end,
                            const float *panel, const sb_grid_shape *grid, size_t i, const uint8_t *bits,
                            sb_symmetry symmetry);

#endif
