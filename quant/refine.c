#include "quant/refine.h"

#include <cblas.h>
#include <math.h>
#include <string.h>

#include "base/memory.h"

enum {
  ROW_TILE = 16
}; /* rows that go through GEMM together: by shape alone, so that bits do not depend on threads */

/* One row of a block, and the block of H on the diagonal. */
typedef struct part {
  float *residual; /* [n], of the columns of the block alone */
  float *change;   /* [n], what the pass has added to Q */
  const float *h;  /* row k at h + k * ld */
  size_t n, ld;
} part;

static void add(const part *p, size_t k, float d) {
  const float *row = p->h + k * p->ld;
  p->change[k] += d;
  for (size_t l = 0; l < p->n; l++) p->residual[l] += d * row[l];
}

static void add_along(const part *p, const float *v, float d) {
  for (size_t k = 0; k < p->n; k++)
    if (v[k] != 0) add(p, k, d * v[k]);
}

/* The best step along v; 0 where there is none. v H is summed row by row: sums along rows would not fill vectors. */
static float best_step(const part *p, const float *v) {
  float along[SB_GROUP_MAX];
  double slope = 0, curvature = 0;
  memset(along, 0, p->n * sizeof *along);
  for (size_t k = 0; k < p->n; k++) {
    const float *row = p->h + k * p->ld;
    if (v[k] == 0) continue;
    for (size_t l = 0; l < p->n; l++) along[l] += v[k] * row[l];
  }
  for (size_t k = 0; k < p->n; k++) {
    curvature += (double)v[k] * (double)along[k];
    slope += (double)v[k] * (double)p->residual[k];
  }
  return curvature > 0 ? (float)(-slope / curvature) : 0.0f;
}

/* Both parameters are fp16 numbers: the nearest one to the best. It is taken only where it is closer to the best than the one
 * there is, so that the error never grows. */
static bool closer(float candidate, float now, float best) {
  return fabsf(candidate - best) < fabsf(now - best);
}

static void refit_scale(const part *p, sb_group *group, const uint8_t *codes, unsigned bits) {
  float v[SB_GROUP_MAX];
  for (size_t k = 0; k < p->n; k++) v[k] = (float)codes[k] - group->center;
  const float best = group->scale + best_step(p, v), scale = best > 0 ? sb_grid_step(best) : 0.0f;
  if (!(scale > 0) || !(group->scale > 0) || !closer(scale, group->scale, best)) return;
  add_along(p, v, scale - group->scale);
  *group = sb_group_make(scale, group->center, group->base, bits);
}

static void refit_base(const part *p, sb_group *group) {
  float v[SB_GROUP_MAX];
  for (size_t k = 0; k < p->n; k++) v[k] = 1.0f;
  const float best = group->base + best_step(p, v), base = sb_grid_fp16(best);
  if (!closer(base, group->base, best)) return;
  add_along(p, v, base - group->base);
  group->base = base;
}

static void recode(const part *p, const sb_group *group, uint8_t *codes) {
  for (size_t k = 0; k < p->n; k++) {
    const float now = sb_group_value(group, (float)codes[k]);
    const float code = sb_group_code(group, now - p->residual[k] / p->h[k * p->ld + k]);
    if (code == (float)codes[k]) continue;
    add(p, k, sb_group_value(group, code) - now);
    codes[k] = (uint8_t)code;
  }
}

static void refine_group(const part *p, sb_group *group, uint8_t *codes, unsigned bits,
                         sb_symmetry symmetry) {
  refit_scale(p, group, codes, bits);
  if (bits == 1 && symmetry == SB_ASYMMETRIC) refit_base(p, group);
  recode(p, group, codes);
}

sb_status sb_refine_residual(float *residual, const sb_group *groups, const uint8_t *codes, const float *w,
                             size_t begin, size_t end, const float *panel, const sb_grid_shape *grid,
                             size_t i) {
  const size_t rows = sb_grid_rows_of(grid, i), cols = grid->cols, n = end - begin;
  float *errors = NULL;
  SB_TRY(sb_alloc_raw(&errors, rows * n, sizeof *errors, "rounding errors"));
#pragma omp parallel for schedule(dynamic, 1)
  for (size_t tile = 0; tile < rows; tile += ROW_TILE) {
    const size_t count = sb_min_size(ROW_TILE, rows - tile);
    for (size_t r = tile; r < tile + count; r++)
      for (size_t c = begin; c < end; c++) {
        const sb_group *group = &groups[c / grid->block_cols * rows + r];
        errors[r * n + c - begin] = sb_group_value(group, (float)codes[r * cols + c]) - w[r * cols + c];
      }
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)count, (int)cols, (int)n, 1.0f,
                errors + tile * n, (int)n, panel, (int)cols, 1.0f, residual + tile * cols, (int)cols);
  }
  sb_free(&errors);
  return SB_OK;
}

/* Block j of the rows [tile, tile + count); change [count, columns of the block]. */
static void refine_block(sb_group *groups, uint8_t *codes, const float *residual, float *change, size_t tile,
                         size_t count, const float *h, const sb_grid_shape *grid, size_t i, size_t j,
                         unsigned bits, sb_symmetry symmetry) {
  const size_t rows = sb_grid_rows_of(grid, i), cols = grid->cols, first = j * grid->block_cols;
  const size_t n = sb_grid_cols_of(grid, j);
  float local[SB_GROUP_MAX];
  memset(change, 0, count * n * sizeof *change);
  for (size_t r = tile; r < tile + count; r++) {
    const part p = {local, change + (r - tile) * n, h, n, cols};
    memcpy(local, residual + r * cols + first, n * sizeof *local);
    refine_group(&p, &groups[j * rows + r], codes + r * cols + first, bits, symmetry);
  }
}

sb_status sb_refine_columns(sb_group *groups, uint8_t *codes, float *residual, size_t begin, size_t end,
                            const float *panel, const sb_grid_shape *grid, size_t i, const uint8_t *bits,
                            sb_symmetry symmetry) {
  const size_t rows = sb_grid_rows_of(grid, i), cols = grid->cols;
  float *changes = NULL;
  SB_TRY(sb_alloc_raw(&changes, rows * grid->block_cols, sizeof *changes, "changes of a block"));
#pragma omp parallel for schedule(dynamic, 1)
  for (size_t tile = 0; tile < rows; tile += ROW_TILE) {
    const size_t count = sb_min_size(ROW_TILE, rows - tile);
    float *change = changes + tile * grid->block_cols;
    for (size_t j = begin / grid->block_cols; j * grid->block_cols < end; j++) {
      const size_t first = j * grid->block_cols, n = sb_grid_cols_of(grid, j);
      const float *below = panel + (first - begin) * cols;
      refine_block(groups, codes, residual, change, tile, count, below + first, grid, i, j, bits[j],
                   symmetry);
      cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)count, (int)cols, (int)n, 1.0f, change,
                  (int)n, below, (int)cols, 1.0f, residual + tile * cols, (int)cols);
    }
  }
  sb_free(&changes);
  return SB_OK;
}
