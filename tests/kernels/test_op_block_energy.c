/* block_energy against what it promises: the expected cost of white noise in transformed
 * coordinates, by transforms written out as matrices in double. */
#include <math.h>

#include "base/dtype.h"
#include "base/memory.h"
#include "kernels/shared/transform.h"
#include "tests/kernels/check.h"

/* A lane adds up at most 1024 / 16 squares of f32, which are rounded twice each. */
static const double tolerance = 70 * 0x1p-24;

typedef struct problem {
  sb_tiling tiling;
  size_t ldg;
  float *w, *g;
  uint16_t *factors; /* [cols], or NULL */
} problem;

static double factor_of(const problem *p, size_t c) {
  return p->factors ? (double)sb_f16_to_f32(p->factors[c]) : 1.0;
}

static double row_square(const problem *p, size_t r) {
  double sum = 0;
  for (size_t c = 0; c < p->tiling.cols; c++)
    sum += pow((double)p->w[r * p->tiling.cols + c] / factor_of(p, c), 2);
  /* The square of the factor: a root of the row's size, fp16 and not 0. */
  const double size = sqrt(sqrt(sum / (double)p->tiling.cols));
  return pow((double)sb_f16_to_f32(sb_f32_to_f16((float)fmax(size, 0x1p-24))), 2);
}

/* Entry (i, j) of the transform of a side of n channels. */
static double transform(size_t n, size_t i, size_t j) {
  size_t from = 0, run = sb_hadamard_run(n);
  for (; i >= from + run; run = sb_hadamard_run(n - from)) from += run;
  if (j < from || j >= from + run) return 0;
  return (__builtin_popcountll((i - from) & (j - from)) & 1 ? -1 : 1) / sqrt((double)run);
}

/* The mean square of S = H' (w / factors) H'' over the block. */
static double square_of_transformed(const problem *p, size_t row, size_t rows, size_t col,
                                    size_t cols) {
  double *left = calloc(rows * cols, sizeof *left), sum = 0;
  assert_non_null(left);
  for (size_t i = 0; i < rows; i++)
    for (size_t k = 0; k < rows; k++) {
      const double h = transform(rows, i, k) / sqrt(row_square(p, row + k));
      for (size_t c = 0; c < cols && h != 0; c++)
        left[i * cols + c] +=
            h * (double)p->w[(row + k) * p->tiling.cols + col + c] / factor_of(p, col + c);
    }
  for (size_t i = 0; i < rows; i++)
    for (size_t j = 0; j < cols; j++) {
      double s = 0;
      for (size_t c = 0; c < cols; c++) s += left[i * cols + c] * transform(cols, c, j);
      sum += s * s;
    }
  free(left);
  return sum / (double)(rows * cols);
}

static double energy_of(const problem *p, size_t k) {
  const sb_tiling *t = &p->tiling;
  const size_t across = sb_tiling_block_cols(t), row = k / across * t->block_rows,
               col = k % across * t->block_cols, rows = sb_tiling_rows_of(t, k / across),
               cols = sb_tiling_cols_of(t, k % across);
  double sum = 0;
  for (size_t r = row; r < row + rows; r++)
    for (size_t c = col; c < col + cols; c++)
      sum += row_square(p, r) * pow(factor_of(p, c) * (double)p->g[r * p->ldg + c], 2);
  return sum * square_of_transformed(p, row, rows, col, cols);
}

static void holds(sb_backend *be, const problem *p, const void *w, sb_dtype dtype) {
  const size_t blocks = sb_tiling_block_rows(&p->tiling) * sb_tiling_block_cols(&p->tiling);
  double *energy = calloc(blocks, sizeof *energy);
  assert_non_null(energy);
  assert_ok(be->op->block_energy(be, NULL, energy, p->g, p->ldg,
                                 &(sb_block_weights){.w = w, .dtype = dtype, .tiling = &p->tiling},
                                 p->factors));
  assert_ok(be->op->sync(be, NULL));
  for (size_t k = 0; k < blocks; k++) {
    const double want = energy_of(p, k);
    if (!(fabs(energy[k] - want) <= tolerance * want))
      fail_msg("block %zu of %zux%zu: %.9g instead of %.9g", k, p->tiling.rows, p->tiling.cols,
               energy[k], want);
  }
  free(energy);
}

static problem create(sb_tiling tiling, bool factors, uint64_t seed) {
  problem p = {.tiling = tiling, .ldg = tiling.cols + seed % 3};
  const size_t n = tiling.rows * tiling.cols;
  p.w = check_random(n, 0.05f, seed);
  p.g = check_random(tiling.rows * p.ldg, 3, seed + 1);
  for (size_t c = 0; c < tiling.cols; c++) p.w[tiling.rows / 2 * tiling.cols + c] = 0;
  p.w[n / 3] *= 40; /* an outlier */
  if (!factors) return p;
  const float *sizes = check_random(tiling.cols, 2, seed + 2);
  assert_ok(sb_alloc(&p.factors, tiling.cols, sizeof *p.factors, "factors"));
  for (size_t c = 0; c < tiling.cols; c++)
    p.factors[c] = sb_f32_to_f16(sizes[c] < 0 ? sizes[c] - 0.1f : sizes[c] + 0.1f);
  return p;
}

static void is_the_cost_of_white_noise(void **state) {
  static const sb_tiling shapes[] = {{1, 1, 128, 128},     {7, 129, 3, 128},   {100, 200, 64, 64},
                                     {33, 17, 16, 5},      {140, 96, 128, 96}, {6, 300, 4, 300},
                                     {128, 128, 128, 128}, {3, 40, 2, 7}};
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
    for (int factors = 0; factors < 2; factors++) {
      problem p = create(shapes[i], factors, i + 7);
      const size_t n = shapes[i].rows * shapes[i].cols;
      uint16_t *w16 = NULL;
      holds(*state, &p, p.w, SB_F32);
      assert_ok(sb_alloc(&w16, n, sizeof *w16, "weights"));
      sb_from_f32(w16, SB_BF16, p.w, n);
      sb_to_f32(p.w, w16, SB_BF16, n);
      holds(*state, &p, w16, SB_BF16);
      sb_free(&w16);
      sb_free(&p.factors);
      check_done();
    }
}

static int make(void **state) {
  *state = check_backend(SB_COMPUTE_F32);
  return 0;
}
static int destroy(void **state) {
  sb_backend *be = *state;
  be->op->destroy(be);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(is_the_cost_of_white_noise)};
  return cmocka_run_group_tests(tests, make, destroy);
}
