/* Error-compensated rounding: kernels/ops/round.h has the method. A tile of rows goes through all
 * columns of the panel; one product per block corrects the columns behind it. */
#include <cblas.h>
#include <math.h>

#include "kernels/cpu/cpu_group.h"
#include "kernels/cpu/cpu_stack.h"
#include "kernels/shared/checks.h"

/* Rounds the n weights of one row of a block, and corrects the later ones for each error. u is the
 * block of the factor on the diagonal. The columns behind the block must make good error [n]. */
static sb_grid round_group(float *w, uint8_t *codes, float *error, const float *u, size_t ld,
                           size_t n, unsigned bits, sb_code_kind code_kind, bool fitted) {
  unsigned fit = 0;
  if (fitted) {
    /* the cost of an error in column k after the columns behind it are corrected (LDL' of H, as in
     * QuIP) */
    float importance[SB_GROUP_MAX];
    for (size_t k = 0; k < n; k++) importance[k] = 1.0f / (u[k * ld + k] * u[k * ld + k]);
    fit = cpu_group_fit(w, importance, n, bits, code_kind);
  }
  const sb_grid grid = cpu_grid_of(w, n, bits, code_kind, fit);
  for (size_t k = 0; k < n; k++) {
    const float *row = u + k * ld;
    const float code = sb_grid_code(&grid, w[k]);
    const float e = (w[k] - sb_grid_value(&grid, code)) / row[k];
    codes[k] = (uint8_t)code;
    error[k] = e;
    for (size_t l = k + 1; l < n; l++) w[l] = fmaf(-e, row[l], w[l]);
  }
  return grid;
}

typedef struct job {
  float *w;
  size_t begin, end;
  const float *panel;
  size_t ld;
  bool fitted;
} job;

/* error: room for CPU_STACK_TILE x block_cols. */
static void round_tile(const sb_stack *stack, const cpu_tile *tile, float *error,
                       const void *context) {
  const job *a = context;
  for (size_t j = a->begin / stack->block_cols; j * stack->block_cols < a->end; j++) {
    const size_t first = j * stack->block_cols, n = cpu_stack_cols_of(stack, j), behind = first + n;
    const float *below = a->panel + (first - a->begin) * a->ld;
    for (size_t r = tile->first; r < tile->first + tile->rows; r++) {
      const size_t at = r * stack->cols + first, group = j * stack->rows + r;
      stack->grids[group] = round_group(a->w + at, stack->codes + at, error + (r - tile->first) * n,
                                        below + first - a->begin, a->ld, n, stack->bits[group],
                                        stack->code_kind, a->fitted);
    }
    if (behind < stack->cols)
      cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)tile->rows,
                  (int)(stack->cols - behind), (int)n, -1.0f, error, (int)n,
                  below + behind - a->begin, (int)a->ld, 1.0f,
                  a->w + tile->first * stack->cols + behind, (int)stack->cols);
  }
}

sb_status sb_cpu_round_columns(sb_backend *backend, sb_stream stream, const sb_stack *stack,
                               float *w, size_t begin, size_t end, const float *panel, size_t ld,
                               bool fitted) {
  const job a = {w, begin, end, panel, ld, fitted};
  (void)stream;
  SB_TRY(sb_check_stack("round_columns", stack, begin, end));
  return cpu_stack_each(backend, stack, CPU_STACK_TILE * stack->block_cols, round_tile, &a);
}
