#include "quant/gptq.h"

#include <math.h>

#include "base/memory.h"

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
