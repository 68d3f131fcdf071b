#include "quant/gptq.h"

#include <cblas.h>
#include <math.h>

#include "base/memory.h"
#include "kernels/cpu/cpu_group.h"

enum { ROW_TILE = 16 }; /* rows corrected together: by shape alone, so that bits do not depend on threads */

/* LAPACK, column-major; in OpenBLAS. */
void dpotrf_(const char *uplo, const int *n, double *a, const int *lda, int *info);
void dtrtri_(const char *uplo, const char *diag, const int *n, double *a, const int *lda, int *info);

/* Element (row, column) of a reversed matrix, row <= column: column-major, as LAPACK's upper triangle. */
static size_t reversed(size_t n, size_t row, size_t col) {
  return (n - 1 - row) * n + n - 1 - col;
}

/* a = the reversed factor (quant/factor_scalapack.h says how); its other triangle is left as it was. */
static bool try_factor(double *a, const double *h, size_t n, double added) {
  const int order = (int)n;
  int info = 0;
  /* h is symmetric: read backwards, each triangle is the other one reversed */
#pragma omp parallel for schedule(static)
  for (size_t k = 0; k < n * n; k++) a[k] = h[n * n - 1 - k];
  for (size_t i = 0; i < n; i++) a[i * n + i] += added;
  dpotrf_("U", &order, a, &order, &info);
  if (info == 0) dtrtri_("U", "N", &order, a, &order, &info);
  return info == 0;
}

sb_status sb_gptq_factor(float *factor, double *h, size_t n, double least_damping, sb_gptq_repair *repair) {
  enum { TRIES = 8 };
  double mean = 0, damping = least_damping, *a = NULL;
  *repair = (sb_gptq_repair){0};
  if (n > INT32_MAX) return sb_fail(SB_ERR_RANGE, "a matrix with %zu inputs is too wide to be factorised", n);
  for (size_t i = 0; i < n; i++) {
    if (h[i * n + i] == 0) repair->dead++;
    mean += h[i * n + i] / (double)n;
  }
  if (!isfinite(mean)) return sb_fail(SB_ERR_NUMERIC, "the inputs of a matrix overflow");
  if (mean == 0) mean = 1;
  repair->mean = mean;
  for (size_t i = 0; i < n; i++)
    if (h[i * n + i] == 0) h[i * n + i] = mean;
  SB_TRY(sb_alloc_raw(&a, n * n, sizeof *a, "Cholesky factor"));
  bool done = false;
  for (int i = 0; i < TRIES && !done; i++, damping *= done ? 1 : 10) {
    repair->damping = damping;
    done = try_factor(a, h, n, damping * mean);
  }
  if (done) {
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < n; i++)
      for (size_t j = 0; j < n; j++) factor[i * n + j] = j >= i ? (float)a[reversed(n, i, j)] : 0.0f;
  }
  sb_free(&a);
  return done ? SB_OK
              : sb_fail(SB_ERR_NUMERIC, "the second moments of a matrix' inputs cannot be factorised");
}

/* Rounds columns [first, first + n) of one row and corrects those of them still to come; error[k] is what the columns
 * behind the block must make good. */
static sb_group round_group(float *w, uint8_t *codes, float *error, const float *factor, size_t cols,
                            size_t first, size_t n, unsigned bits, sb_symmetry symmetry, bool fitted) {
  unsigned fit = 0;
  if (fitted) {
    /* what an error in a column costs that the columns behind it cannot make good (QuIP's LDL' of H) */
    float importance[SB_GROUP_MAX];
    for (size_t k = 0; k < n; k++) {
      const float u = factor[(first + k) * cols + first + k];
      importance[k] = 1.0f / (u * u);
    }
    fit = cpu_group_fit(w, importance, n, bits, symmetry);
  }
  const sb_group group = cpu_group_of(w, n, bits, symmetry, fit);
  for (size_t k = 0; k < n; k++) {
    const float *u = factor + (first + k) * cols + first;
    const float code = sb_group_code(&group, w[k]);
    const float e = (w[k] - sb_group_value(&group, code)) / u[k];
    codes[k] = (uint8_t)code;
    error[k] = e;
    for (size_t l = k + 1; l < n; l++) w[l] -= e * u[l];
  }
  return group;
}

sb_status sb_gptq_columns(sb_group *groups, uint8_t *codes, float *w, size_t begin, size_t end,
                          const float *panel, size_t ld, const sb_grid_shape *grid, size_t i,
                          const uint8_t *bits, sb_symmetry symmetry, bool fitted) {
  const size_t rows = sb_grid_rows_of(grid, i), cols = grid->cols;
  float *errors = NULL;
  SB_TRY(sb_alloc(&errors, rows * grid->block_cols, sizeof *errors, "rounding errors"));
#pragma omp parallel for schedule(dynamic, 1)
  for (size_t tile = 0; tile < rows; tile += ROW_TILE) {
    const size_t count = sb_min_size(ROW_TILE, rows - tile);
    for (size_t j = begin / grid->block_cols; j * grid->block_cols < end; j++) {
      const size_t first = j * grid->block_cols, n = sb_grid_cols_of(grid, j), behind = first + n;
      float *error = errors + tile * grid->block_cols;
      for (size_t r = tile; r < tile + count; r++)
        groups[j * rows + r] =
            round_group(w + r * cols + first, codes + r * cols + first, error + (r - tile) * n, panel, ld,
                        first - begin, n, bits[j], symmetry, fitted);
      if (behind < cols)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)count, (int)(cols - behind), (int)n,
                    -1.0f, error, (int)n, panel + (first - begin) * ld + behind - begin, (int)ld, 1.0f,
                    w + tile * cols + behind, (int)cols);
    }
  }
  sb_free(&errors);
  return SB_OK;
}

sb_status sb_gptq_blockrow(sb_group *groups, uint8_t *codes, float *w, const float *factor,
                           const sb_grid_shape *grid, size_t i, const uint8_t *bits, sb_symmetry symmetry,
                           bool fitted) {
  return sb_gptq_columns(groups, codes, w, 0, grid->cols, factor, grid->cols, grid, i, bits, symmetry,
                         fitted);
}
