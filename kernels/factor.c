#include "kernels/factor.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"

/* LAPACK, column-major; in OpenBLAS. */
void dpotrf_(const char *uplo, const int *n, double *a, const int *lda, int *info);
void dtrtri_(const char *uplo, const char *diag, const int *n, double *a, const int *lda,
             int *info);

enum { TRIES = 8 };

sb_status sb_factor_mend(double *diagonal, size_t n, sb_factor_repair *repair) {
  double mean = 0;
  *repair = (sb_factor_repair){0};
  for (size_t i = 0; i < n; i++) {
    repair->dead += diagonal[i] == 0;
    mean += diagonal[i] / (double)n;
  }
  if (!isfinite(mean)) return sb_fail(SB_ERR_NUMERIC, "the inputs of a matrix overflow");
  repair->mean = mean == 0 ? 1 : mean;
  for (size_t i = 0; i < n; i++)
    if (diagonal[i] == 0) diagonal[i] = repair->mean;
  return SB_OK;
}

sb_status sb_factor_damp(double least, sb_factor_attempt attempt, void *context,
                         sb_factor_repair *repair) {
  bool done = false;
  repair->damping = least;
  for (int i = 0; i < TRIES; i++, repair->damping *= 10) {
    SB_TRY(attempt(context, repair->damping * repair->mean, &done));
    if (done) return SB_OK;
  }
  return sb_fail(SB_ERR_NUMERIC, "the second moments of a matrix' inputs cannot be factorised");
}

typedef struct work {
  const double *h;
  double *a;
  size_t n;
} work;

/* a = the reversed factor (quant/factor_scalapack.h says how); its other triangle is left as it
 * was. */
static sb_status attempt(void *context, double added, bool *done) {
  const work *w = context;
  const size_t n = w->n;
  const int order = (int)n;
  int info = 0;
  /* h is symmetric: read backwards, each triangle is the other one reversed */
#pragma omp parallel for schedule(static)
  for (size_t k = 0; k < n * n; k++) w->a[k] = w->h[n * n - 1 - k];
  for (size_t i = 0; i < n; i++) w->a[i * n + i] += added;
  dpotrf_("U", &order, w->a, &order, &info);
  if (info == 0) dtrtri_("U", "N", &order, w->a, &order, &info);
  *done = info == 0;
  return SB_OK;
}

/* Element (row, column) of a reversed matrix, row <= column: column-major, as LAPACK's upper
 * triangle. */
static size_t reversed(size_t n, size_t row, size_t col) {
  return (n - 1 - row) * n + n - 1 - col;
}

static sb_status factorise(float *factor, double *h, double *diagonal, double *a, size_t n,
                           double least, sb_factor_repair *repair) {
  work w = {h, a, n};
  for (size_t i = 0; i < n; i++) diagonal[i] = h[i * n + i];
  SB_TRY(sb_factor_mend(diagonal, n, repair));
  for (size_t i = 0; i < n; i++) h[i * n + i] = diagonal[i];
  SB_TRY(sb_factor_damp(least, attempt, &w, repair));
#pragma omp parallel for schedule(static)
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j < n; j++) factor[i * n + j] = j >= i ? (float)a[reversed(n, i, j)] : 0.0f;
  return SB_OK;
}

sb_status sb_factor_lapack(float *factor, double *h, size_t n, double least_damping,
                           sb_factor_repair *repair) {
  double *a = NULL, *diagonal = NULL;
  *repair = (sb_factor_repair){0};
  if (n > INT32_MAX)
    return sb_fail(SB_ERR_RANGE, "a matrix with %zu inputs is too wide to be factorised", n);
  sb_status status = sb_alloc_raw(&a, n * n, sizeof *a, "Cholesky factor");
  SB_THEN(sb_alloc_raw(&diagonal, n, sizeof *diagonal, "diagonal of second moments"));
  SB_THEN(factorise(factor, h, diagonal, a, n, least_damping, repair));
  sb_free(&a);
  sb_free(&diagonal);
  return status;
}

void sb_factor_real(void *sums, size_t count, double quantum) {
  double *h = sums; /* both have 8 bytes */
  for (size_t k = 0; k < count; k++) {
    int64_t whole;
    memcpy(&whole, h + k, sizeof whole);
    h[k] = (double)whole * quantum;
  }
}
