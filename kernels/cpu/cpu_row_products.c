#include "kernels/cpu/cpu.h"

enum { EACH = 8 }; /* columns summed side by side: column c goes to sum c mod EACH */

typedef struct row_terms {
  const sb_row_products_args *args;
  size_t row;
} row_terms;

/* The terms of `count` columns from `col` on; 0 beyond them. */
static void load(const row_terms *t, size_t col, size_t count, double out[SB_ROW_TERMS][EACH]) {
  const sb_row_products_args *a = t->args;
  const size_t at = t->row * a->cols + col;
  for (size_t i = 0; i < a->term_count; i++) {
    const float *plus = a->terms[i].plus + at;
    const float *minus = a->terms[i].minus ? a->terms[i].minus + at : NULL;
    for (size_t k = 0; k < count; k++) out[i][k] = (double)(minus ? plus[k] - minus[k] : plus[k]);
    for (size_t k = count; k < EACH; k++) out[i][k] = 0;
  }
}

static void add(const row_terms *t, size_t col, size_t count, double sums[SB_ROW_PAIRS][EACH]) {
  const sb_row_products_args *a = t->args;
  double terms[SB_ROW_TERMS][EACH], weight[EACH];
  load(t, col, count, terms);
  for (size_t k = 0; k < EACH; k++)
    weight[k] = a->weight && k < count ? (double)a->weight[col + k] : 1;
  for (size_t p = 0; p < a->pair_count; p++) {
    const double *left = terms[a->pairs[p][0]], *right = terms[a->pairs[p][1]];
    for (size_t k = 0; k < EACH; k++) sums[p][k] += weight[k] * (left[k] * right[k]);
  }
}

sb_status sb_cpu_row_products(sb_backend *backend, sb_stream stream,
                              const sb_row_products_args *args) {
  (void)stream;
#pragma omp parallel for num_threads(sb_cpu_threads(backend)) schedule(static)
  for (size_t r = 0; r < args->rows; r++) {
    const row_terms t = {args, r};
    double sums[SB_ROW_PAIRS][EACH] = {{0}};
    size_t col = 0;
    for (; col + EACH <= args->cols; col += EACH) add(&t, col, EACH, sums);
    if (col < args->cols) add(&t, col, args->cols - col, sums);
    for (size_t p = 0; p < args->pair_count; p++) {
      double sum = 0;
      for (size_t k = 0; k < EACH; k++) sum += sums[p][k];
      args->out[p * args->rows + r] = sum;
    }
  }
  return SB_OK;
}
