/* What the tests of rounding by second moments share: moments, errors by them, and block rows as
 * stacks on the CPU backend. */
#ifndef SB_TESTS_KERNELS_STACKS_H
#define SB_TESTS_KERNELS_STACKS_H

#include "tests/kernels/blocks.h"

/* Second moments of `tokens` correlated inputs. */
static inline double *correlated_moments(size_t n, size_t tokens, uint64_t seed) {
  double *h = calloc(n * n, sizeof *h);
  float *x = calloc(n, sizeof *x);
  uint64_t s = seed;
  for (size_t t = 0; t < tokens; t++) {
    const float common = uniform(&s);
    for (size_t i = 0; i < n; i++)
      x[i] = uniform(&s) + common * (float)(i % 3) + (i ? 0.5f * x[i - 1] : 0.0f);
    for (size_t i = 0; i < n; i++)
      for (size_t j = 0; j < n; j++) h[i * n + j] += (double)x[i] * (double)x[j];
  }
  free(x);
  return h;
}

/* a = a^-1 by Gauss-Jordan; a is positive definite. */
static inline void invert(double *a, size_t n) {
  for (size_t p = 0; p < n; p++) {
    const double pivot = a[p * n + p];
    a[p * n + p] = 1;
    for (size_t j = 0; j < n; j++) a[p * n + j] /= pivot;
    for (size_t i = 0; i < n; i++) {
      if (i == p) continue;
      const double f = a[i * n + p];
      a[i * n + p] = 0;
      for (size_t j = 0; j < n; j++) a[i * n + j] -= f * a[p * n + j];
    }
  }
}

/* (w - q) H (w - q)' */
static inline double error_of(const float *w, const float *q, const double *h, size_t n) {
  double sum = 0;
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j < n; j++)
      sum += ((double)w[i] - (double)q[i]) * h[i * n + j] * ((double)w[j] - (double)q[j]);
  return sum;
}

static sb_backend *cpu;

static int stack_open(void **state) {
  (void)state;
  return sb_backend_cpu_create(SB_COMPUTE_F32, 0, &cpu) != SB_OK;
}
static int stack_close(void **state) {
  (void)state;
  cpu->op->destroy(cpu);
  return 0;
}

typedef struct stack_of {
  sb_stack stack;
  size_t *starts;
  uint8_t *bits;
} stack_of;

/* Block row 0 of the grid, block column j at bits[j]; groups and codes
 * as sb_blockrow_pack takes them. */
static stack_of stack_make(const sb_tiling *tiling, const uint8_t *bits, sb_code_kind code_kind,
                           sb_grid *grids, uint8_t *codes) {
  const size_t rows = sb_tiling_rows_of(tiling, 0), columns = sb_tiling_block_cols(tiling);
  stack_of s = {.starts = calloc(2, sizeof *s.starts), .bits = malloc(columns * rows)};
  s.starts[1] = rows;
  for (size_t j = 0; j < columns; j++) memset(s.bits + j * rows, bits[j], rows);
  s.stack = (sb_stack){rows,  tiling->cols, tiling->block_cols, 1, s.starts, code_kind, s.bits,
                       grids, codes};
  return s;
}
static void stack_drop(stack_of *s) {
  free(s->starts);
  free(s->bits);
}

#endif
