/* Coordinate descent over codes, scales and bases: kernels/ops/round.h has the method. */
#include <cblas.h>
#include <math.h>
#include <string.h>

#include "kernels/cpu/cpu_stack.h"
#include "kernels/shared/checks.h"
#include "kernels/shared/refine.h"

/* ---- one row of a block ---- */

/* One row of a block, and the block of H on the diagonal. */
typedef struct part {
  float *residual; /* [n]: the columns of the block alone */
  float *change;   /* [n]: added to Q by this pass */
  const float *h;  /* row k at h + k * ld */
  size_t n, ld;
} part;

static void add(const part *p, size_t k, float d) {
  const float *row = p->h + k * p->ld;
  p->change[k] += d;
  for (size_t l = 0; l < p->n; l++) p->residual[l] = fmaf(d, row[l], p->residual[l]);
}

static void add_along(const part *p, const float *v, float d) {
  for (size_t k = 0; k < p->n; k++)
    if (v[k] != 0) add(p, k, d * v[k]);
}

/* Adds lanes in the order of grid.h's sums, so that a GPU gets the same bits. */
static double sum_of_lanes(double *lane) {
  for (int half = SB_GROUP_LANES / 2; half > 0; half /= 2)
    for (int i = 0; i < half; i++) lane[i] += lane[i + half];
  return lane[0];
}

/* The best step along v, 0 if none is better. v H is summed row by row, because sums along rows
 * would not fill vectors. */
static float best_step(const part *p, const float *v) {
  float along[SB_GROUP_MAX];
  double slope[SB_GROUP_LANES] = {0}, curvature[SB_GROUP_LANES] = {0};
  memset(along, 0, p->n * sizeof *along);
  for (size_t k = 0; k < p->n; k++) {
    const float *row = p->h + k * p->ld;
    if (v[k] == 0) continue;
    for (size_t l = 0; l < p->n; l++) along[l] = fmaf(v[k], row[l], along[l]);
  }
  for (size_t k = 0; k < p->n; k++) {
    curvature[k % SB_GROUP_LANES] += (double)v[k] * (double)along[k];
    slope[k % SB_GROUP_LANES] += (double)v[k] * (double)p->residual[k];
  }
  return sb_refine_step(sum_of_lanes(slope), sum_of_lanes(curvature));
}

static void refit_scale(const part *p, sb_grid *grid, const uint8_t *codes, unsigned bits,
                        sb_code_kind code_kind) {
  float v[SB_GROUP_MAX];
  for (size_t k = 0; k < p->n; k++) v[k] = (float)codes[k] - grid->center;
  const float scale = sb_refine_scale(grid, best_step(p, v), code_kind);
  if (scale == grid->scale) return;
  add_along(p, v, scale - grid->scale);
  *grid = sb_grid_make(scale, grid->center, grid->base, bits);
}

static void refit_base(const part *p, sb_grid *grid, sb_code_kind code_kind) {
  float v[SB_GROUP_MAX];
  for (size_t k = 0; k < p->n; k++) v[k] = 1.0f;
  const float base = sb_refine_base(grid, best_step(p, v), code_kind);
  if (base == grid->base) return;
  add_along(p, v, base - grid->base);
  grid->base = base;
}

static void recode(const part *p, const sb_grid *grid, uint8_t *codes) {
  for (size_t k = 0; k < p->n; k++) {
    const float now = sb_grid_value(grid, (float)codes[k]);
    const float code = sb_grid_code(grid, now - p->residual[k] / p->h[k * p->ld + k]);
    if (code == (float)codes[k]) continue;
    add(p, k, sb_grid_value(grid, code) - now);
    codes[k] = (uint8_t)code;
  }
}

static void refine_group(const part *p, sb_grid *grid, uint8_t *codes, unsigned bits,
                         sb_code_kind code_kind) {
  refit_scale(p, grid, codes, bits, code_kind);
  if (sb_has_base(code_kind, bits)) refit_base(p, grid, code_kind);
  recode(p, grid, codes);
}

/* ---- refine_residual ---- */

typedef struct job {
  float *residual;
  const float *w; /* for refine_residual only */
  size_t begin, end;
  const float *panel;
} job;

/* errors: room for CPU_STACK_TILE x (end - begin). */
static void residual_of_tile(const sb_stack *stack, const cpu_tile *tile, float *errors,
                             const void *context) {
  const job *a = context;
  const size_t cols = stack->cols, n = a->end - a->begin;
  for (size_t r = 0; r < tile->rows; r++)
    for (size_t c = a->begin; c < a->end; c++) {
      const size_t row = tile->first + r, at = row * cols + c;
      const sb_grid *grid = &stack->grids[c / stack->block_cols * stack->rows + row];
      errors[r * n + c - a->begin] = sb_grid_value(grid, (float)stack->codes[at]) - a->w[at];
    }
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)tile->rows, (int)cols, (int)n, 1.0f,
              errors, (int)n, a->panel, (int)cols, 1.0f, a->residual + tile->first * cols,
              (int)cols);
}

sb_status sb_cpu_refine_residual(sb_backend *backend, sb_stream stream, const sb_stack *stack,
                                 float *residual, const float *w, size_t begin, size_t end,
                                 const float *panel) {
  const job a = {residual, w, begin, end, panel};
  (void)stream;
  SB_TRY(sb_check_stack("refine_residual", stack, begin, end));
  return cpu_stack_each(backend, stack, CPU_STACK_TILE * (end - begin), residual_of_tile, &a);
}

/* ---- refine_columns ---- */

/* Refines block column j of a tile; change [rows of the tile, columns of the block]. */
static void refine_block(const sb_stack *stack, const cpu_tile *tile, const float *residual,
                         float *change, const float *h, size_t j) {
  const size_t first = j * stack->block_cols, n = cpu_stack_cols_of(stack, j);
  float local[SB_GROUP_MAX];
  memset(change, 0, tile->rows * n * sizeof *change);
  for (size_t r = 0; r < tile->rows; r++) {
    const size_t at = (tile->first + r) * stack->cols + first,
                 group = j * stack->rows + tile->first + r;
    const part p = {local, change + r * n, h, n, stack->cols};
    memcpy(local, residual + at, n * sizeof *local);
    refine_group(&p, &stack->grids[group], stack->codes + at, stack->bits[group], stack->code_kind);
  }
}

/* change: room for CPU_STACK_TILE x block_cols. */
static void refine_tile(const sb_stack *stack, const cpu_tile *tile, float *change,
                        const void *context) {
  const job *a = context;
  const size_t cols = stack->cols;
  for (size_t j = a->begin / stack->block_cols; j * stack->block_cols < a->end; j++) {
    const size_t first = j * stack->block_cols, n = cpu_stack_cols_of(stack, j);
    const float *below = a->panel + (first - a->begin) * cols;
    refine_block(stack, tile, a->residual, change, below + first, j);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)tile->rows, (int)cols, (int)n, 1.0f,
                change, (int)n, below, (int)cols, 1.0f, a->residual + tile->first * cols,
                (int)cols);
  }
}

sb_status sb_cpu_refine_columns(sb_backend *backend, sb_stream stream, const sb_stack *stack,
                                float *residual, size_t begin, size_t end, const float *panel) {
  const job a = {residual, NULL, begin, end, panel};
  (void)stream;
  SB_TRY(sb_check_stack("refine_columns", stack, begin, end));
  return cpu_stack_each(backend, stack, CPU_STACK_TILE * stack->block_cols, refine_tile, &a);
}
