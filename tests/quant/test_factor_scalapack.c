/* The distributed factor against the one of a single rank (kernels/factor.h), which is made in
 * another way, and against what it is by definition. */
#include "tests/support/ranks.h"

#include <math.h>

#include "quant/factor_scalapack.h"

/* Second moments of `tokens` inputs, the same on every rank. Channels differ in size as real ones
 * do, and go together: little at 0.3, so that they hardly predict each other, much at 1. */
static double *moments(size_t n, size_t tokens, float together, uint64_t seed) {
  double *h = calloc(n * n, sizeof *h);
  float *x = calloc(n, sizeof *x);
  for (size_t t = 0; t < tokens; t++) {
    const float common = uniform(&seed);
    for (size_t i = 0; i < n; i++) {
      x[i] = uniform(&seed) + together * (common * (float)(i % 3) + (i ? 0.5f * x[i - 1] : 0.0f));
      if (i % 17 == 5) x[i] *= 20;
    }
    for (size_t i = 0; i < n; i++)
      for (size_t j = 0; j < n; j++) h[i * n + j] += (double)x[i] * (double)x[j];
  }
  free(x);
  return h;
}

/* This rank's part of the reversed matrix; what is not in the upper triangle is not to be read. */
static double *spread(const sb_cyclic *c, const double *h) {
  double *local = calloc(sb_cyclic_elements(c) + 1, sizeof *local);
  const size_t n = c->n;
  for (size_t j = 0; j < n; j++)
    for (size_t i = 0; i < n; i++)
      if (sb_cyclic_owner(c, i, j) == world.rank)
        local[sb_cyclic_at(c, i, j)] = i <= j ? h[(n - 1 - j) * n + n - 1 - i] : NAN;
  return local;
}

/* The factor, gathered in panels of `width` rows; the factor's memory is h's. */
static sb_status factor_of(const sb_cyclic *c, const double *h, double damping,
                           sb_factor_precision precision, size_t width, float *out,
                           sb_factor_repair *repair) {
  const size_t n = c->n;
  double *local = spread(c, h);
  float *factor = (float *)local, *panel = malloc(n * n * sizeof *panel);
  sb_status status = sb_factor_scalapack(c, &world, factor, local, damping, precision, repair);
  memset(out, 0, n * n * sizeof *out);
  for (size_t a = 0; status == SB_OK && a < n; a += width) {
    const size_t b = sb_min_size(n, a + width);
    status = sb_factor_panel(c, &world, panel, factor, a, b);
    for (size_t i = a; i < b; i++)
      for (size_t j = a; j < n; j++) out[i * n + j] = panel[(i - a) * (n - a) + j - a];
  }
  free(local);
  free(panel);
  return status;
}

/* The largest difference of two factors, against the diagonal element of its row: rounding errors
 * are made good in proportion to that quotient. */
static double difference(const float *x, const float *y, size_t n) {
  double worst = 0;
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j < n; j++) {
      const double d = fabs((double)x[i * n + j] - (double)y[i * n + j]) / (double)y[i * n + i];
      worst = d > worst || isnan(d) ? d : worst;
    }
  return worst;
}

static const struct {
  size_t n, block, width;
} shapes[] = {{1, 4, 1}, {7, 3, 2}, {30, 64, 30}, {65, 16, 17}, {150, 32, 64}, {200, 24, 200}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

/* The largest of the channels' variance inflation factors, by their definition:
 * `(H + damping)_jj (U' U)_jj`. */
static double inflation(const double *h, const float *u, size_t n, double damping) {
  double mean = 0, worst = 0;
  for (size_t i = 0; i < n; i++) mean += h[i * n + i] / (double)n;
  for (size_t j = 0; j < n; j++) {
    double sum = 0;
    for (size_t i = 0; i <= j; i++) sum += (double)u[i * n + j] * (double)u[i * n + j];
    worst = fmax(worst, sum * (h[j * n + j] + damping * mean));
  }
  return worst;
}

/* In double precision what is left is the rounding of the factor itself to float: 2^-24 of elements
 * that are up to some times their row's diagonal. In single precision what is rounded by 2^-24 is
 * multiplied by up to the root of the largest inflation factor (14) and by the quotient of sizes of
 * channels (20): 2e-5. What is more inflated is done in double. */
static void test_against_lapack(void **state) {
  (void)state;
  size_t kept = 0, left = 0;
  for (size_t s = 0; s < 2 * SHAPES; s++)
    for (int grid_rows = 1; grid_rows <= world.size; grid_rows++) {
      const size_t n = shapes[s / 2].n, block = shapes[s / 2].block, width = shapes[s / 2].width;
      sb_cyclic c;
      sb_factor_repair repair, ours;
      if (world.size % grid_rows) continue;
      EXPECT_OK(sb_cyclic_create(n, block, grid_rows, world.size, world.rank, &c));
      double *h = moments(n, 2 * n + 1, s % 2 ? 1.0f : 0.3f, 10 + s),
             *copy = malloc(n * n * sizeof *copy);
      float *expected = malloc(n * n * sizeof *expected), *got = malloc(n * n * sizeof *got);
      memcpy(copy, h, n * n * sizeof *copy);
      EXPECT_OK(sb_factor_lapack(expected, copy, n, 0.01, &repair));
      EXPECT_OK(factor_of(&c, h, 0.01, SB_FACTOR_DOUBLE, width, got, &ours));
      EXPECT(difference(got, expected, n) < 1e-6);
      EXPECT(ours.damping == 0.01 && ours.dead == 0 && !ours.single);
      EXPECT_OK(factor_of(&c, h, 0.01, SB_FACTOR_SINGLE, width, got, &ours));
      const bool stable = inflation(h, expected, n, 0.01) <= SB_FACTOR_INFLATION;
      EXPECT(ours.damping == 0.01 && ours.single == stable);
      EXPECT(difference(got, expected, n) < (stable ? 1e-4 : 1e-6));
      kept += stable;
      left += !stable;
      free(h);
      free(copy);
      free(expected);
      free(got);
    }
  EXPECT(kept > 0 && left > 0);
  all_ranks_passed();
}

/* U (H + damping) U' = 1, in double, and U is upper triangular. */
static void test_definition(void **state) {
  (void)state;
  enum { N = 90 };
  sb_cyclic c;
  sb_factor_repair repair;
  double *h = moments(N, 300, 1, 3), *half = calloc(N * N, sizeof *half), mean = 0, worst = 0;
  float *u = malloc(N * N * sizeof *u);
  EXPECT_OK(sb_cyclic_create(N, 16, 0, world.size, world.rank, &c));
  EXPECT_OK(factor_of(&c, h, 0.01, SB_FACTOR_DOUBLE, 32, u, &repair));
  for (size_t i = 0; i < N; i++) mean += h[i * N + i] / N;
  for (size_t i = 0; i < N; i++) h[i * N + i] += 0.01 * mean;
  for (size_t i = 0; i < N; i++)
    for (size_t k = 0; k < N; k++)
      for (size_t j = 0; j < N; j++) half[i * N + k] += (double)u[i * N + j] * h[j * N + k];
  for (size_t i = 0; i < N; i++)
    for (size_t j = 0; j < N; j++) {
      double sum = 0;
      for (size_t k = 0; k < N; k++) sum += half[i * N + k] * (double)u[j * N + k];
      worst = fmax(worst, fabs(sum - (i == j)));
      if (j < i) EXPECT(u[i * N + j] == 0);
    }
  EXPECT(worst < 1e-4); /* floats, times a condition of some thousands */
  free(h);
  free(half);
  free(u);
  all_ranks_passed();
}

/* What cannot be factorised as it is, is repaired as on one rank, and said. */
static void test_repairs(void **state) {
  (void)state;
  enum { N = 30 };
  static const size_t blocks[] = {4, 32};
  for (size_t b = 0; b < 2; b++)
    for (int precision = 0; precision < 2; precision++) {
      sb_cyclic c;
      sb_factor_repair repair, expected;
      float ours[N * N], theirs[N * N];
      double *h = moments(N, 4, 1, 8), *copy = malloc(N * N * sizeof *copy);
      EXPECT_OK(sb_cyclic_create(N, blocks[b], 0, world.size, world.rank, &c));
      /* fewer tokens than inputs, and a dead input */
      for (size_t i = 0; i < N; i++) h[7 * N + i] = h[i * N + 7] = 0;
      memcpy(copy, h, N * N * sizeof *copy);
      EXPECT_OK(sb_factor_lapack(theirs, copy, N, 0.01, &expected));
      EXPECT_OK(factor_of(&c, h, 0.01, (sb_factor_precision)precision, 8, ours, &repair));
      EXPECT(repair.dead == 1 && repair.damping == expected.damping);
      EXPECT(difference(ours, theirs, N) < 1e-3);
      /* nothing but dead inputs */
      memset(h, 0, N * N * sizeof *h);
      EXPECT_OK(factor_of(&c, h, 0.01, (sb_factor_precision)precision, 8, ours, &repair));
      EXPECT(repair.dead == N && repair.damping == 0.01);
      /* indefinite: more damping than asked for, the same as on one rank */
      for (size_t i = 0; i < N; i++) h[i * N + i] = 1;
      h[1] = h[N] = 1.5;
      memcpy(copy, h, N * N * sizeof *copy);
      EXPECT_OK(sb_factor_lapack(theirs, copy, N, 0.01, &expected));
      EXPECT_OK(factor_of(&c, h, 0.01, (sb_factor_precision)precision, 8, ours, &repair));
      EXPECT(repair.damping > 0.5 && repair.damping == expected.damping);
      EXPECT(difference(ours, theirs, N) < 1e-5);
      free(h);
      free(copy);
    }
  all_ranks_passed();
}

/* Singular but for a damping that single precision does not see: double precision is tried before
 * more damping. */
static void test_double_before_damping(void **state) {
  (void)state;
  enum { N = 60 };
  sb_cyclic c;
  sb_factor_repair repair;
  float u[N * N];
  double *h = moments(N, 10, 1, 21);
  EXPECT_OK(sb_cyclic_create(N, 8, 0, world.size, world.rank, &c));
  EXPECT_OK(factor_of(&c, h, 1e-11, SB_FACTOR_SINGLE, N, u, &repair));
  EXPECT(repair.damping == 1e-11 && !repair.single);
  free(h);
  all_ranks_passed();
}

/* Numbers far from 1 neither overflow single precision nor lose their place. */
static void test_scale(void **state) {
  (void)state;
  enum { N = 40 };
  sb_cyclic c;
  sb_factor_repair repair;
  float plain[N * N], scaled[N * N];
  double *h = moments(N, 100, 0.3f, 2);
  EXPECT_OK(sb_cyclic_create(N, 8, 0, world.size, world.rank, &c));
  EXPECT_OK(factor_of(&c, h, 0.01, SB_FACTOR_SINGLE, N, plain, &repair));
  for (int sign = -1; sign <= 1; sign += 2) {
    double *other = malloc(N * N * sizeof *other);
    for (size_t k = 0; k < N * N; k++)
      other[k] = ldexp(h[k], sign * 160); /* beyond float's range */
    EXPECT_OK(factor_of(&c, other, 0.01, SB_FACTOR_SINGLE, N, scaled, &repair));
    EXPECT(repair.single);
    for (size_t k = 0; k < N * N; k++) EXPECT(scaled[k] == ldexpf(plain[k], -sign * 80));
    free(other);
  }
  free(h);
  all_ranks_passed();
}

static void test_refusals(void **state) {
  (void)state;
  enum { N = 20 };
  sb_cyclic c;
  sb_factor_repair repair;
  float u[N * N];
  double *h = moments(N, 100, 0.3f, 2);
  EXPECT_OK(sb_cyclic_create(N, 4, 0, world.size, world.rank, &c));
  h[3 * N + 3] = INFINITY;
  EXPECT(factor_of(&c, h, 0.01, SB_FACTOR_DOUBLE, N, u, &repair) == SB_ERR_NUMERIC);
  EXPECT(strstr(sb_message(), "overflow") != NULL);
  h[3 * N + 3] = 1;
  h[3 * N + 9] = h[9 * N + 3] = NAN;
  EXPECT(factor_of(&c, h, 0.01, SB_FACTOR_DOUBLE, N, u, &repair) == SB_ERR_NUMERIC);
  EXPECT(factor_of(&c, h, 0.01, SB_FACTOR_SINGLE, N, u, &repair) == SB_ERR_NUMERIC);
  EXPECT(strstr(sb_message(), "cannot be factorised") != NULL);
  free(h);
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_against_lapack), cmocka_unit_test(test_definition),
    cmocka_unit_test(test_repairs),        cmocka_unit_test(test_double_before_damping),
    cmocka_unit_test(test_scale),          cmocka_unit_test(test_refusals)};
RANKS_MAIN(tests)
