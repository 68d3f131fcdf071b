/* Rounding by second moments on the device against the CPU backend, which is tested against the
 * textbook: where a row is one block, the same bits; where products carry corrections from block to
 * block, sums of another order let a weight that lies in the middle of two levels fall to the other
 * side now and then, and what follows in its row with it. */
#include "tests/gpu/device.h"
#include "tests/kernels/blocks.h"
#include "tests/support/grid_kinds.h"

/* Block rows of 1 to 40 rows; rows of one block and of several, up to the widest, whole and not. */
static const struct {
  size_t cols, block_cols;
} shapes_of_rows[] = {{16, 16},  {33, 33},   {128, 128}, {200, 200}, {1000, 1024},
                      {100, 32}, {300, 128}, {300, 256}, {20, 8}};
enum { SHAPES_OF_ROWS = sizeof shapes_of_rows / sizeof *shapes_of_rows, BLOCK_ROWS = 4 };
static const size_t starts[BLOCK_ROWS + 1] = {0, 17, 18, 58, 61};

/* A stack on the CPU, the same on the device, and what both are rounded by. */
typedef struct pair {
  sb_stack host, dev;
  size_t groups, weights;
  float *w, *factor, *h, *left, *residual;
  float *left_dev, *residual_dev;
  const float *w_dev, *factor_dev, *h_dev;
} pair;

static void *make(size_t count, size_t size) {
  void *out = NULL;
  assert_ok(sb_alloc(&out, count, size, "test"));
  return out;
}

/* An upper triangle as a factor has it: off the diagonal an eighth of it. */
static void fill_factor(float *factor, size_t n, uint64_t seed) {
  for (size_t i = 0; i < n; i++)
    for (size_t j = i; j < n; j++)
      factor[i * n + j] = i == j ? 1.0f + 0.5f * uniform(&seed) : 0.125f * uniform(&seed);
}

/* Symmetric, its diagonal large enough to be positive definite. */
static void fill_moments(float *h, size_t n, uint64_t seed) {
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j <= i; j++)
      h[i * n + j] = h[j * n + i] = i == j ? 0.6f * (float)n : uniform(&seed);
}

static pair create(size_t shape, sb_code_kind code_kind) {
  pair p = {0};
  const size_t n = shapes_of_rows[shape].cols, block = shapes_of_rows[shape].block_cols;
  const size_t rows = starts[BLOCK_ROWS], columns = sb_div_up(n, block);
  uint8_t *bits = make(columns * rows, 1);
  uint64_t seed = 11 + shape;
  p.groups = columns * rows;
  p.weights = rows * n;
  for (size_t j = 0; j < columns; j++)
    for (size_t i = 0; i < BLOCK_ROWS; i++)
      memset(bits + j * rows + starts[i], (int)(1 + mix(seed * 31 + j * BLOCK_ROWS + i) % 8),
             starts[i + 1] - starts[i]);
  p.host = (sb_stack){rows,
                      n,
                      block,
                      BLOCK_ROWS,
                      starts,
                      code_kind,
                      bits,
                      make(p.groups, sizeof(sb_grid)),
                      make(p.weights, 1)};
  p.w = make(p.weights, 4);
  p.left = make(p.weights, 4);
  p.residual = make(p.weights, 4);
  p.factor = make(n * n, 4);
  p.h = make(n * n, 4);
  for (size_t k = 0; k < p.weights; k++) p.w[k] = p.left[k] = uniform(&seed);
  fill_factor(p.factor, n, seed);
  fill_moments(p.h, n, seed + 1);
  p.dev = p.host;
  p.dev.bits = gpu_put(bits, p.groups);
  p.dev.grids = gpu_put(p.host.grids, p.groups * sizeof(sb_grid));
  p.dev.codes = gpu_put(p.host.codes, p.weights);
  p.w_dev = gpu_put(p.w, p.weights * 4);
  p.left_dev = gpu_put(p.left, p.weights * 4);
  p.residual_dev = gpu_put(p.residual, p.weights * 4);
  p.factor_dev = gpu_put(p.factor, n * n * 4);
  p.h_dev = gpu_put(p.h, n * n * 4);
  return p;
}

static void release(pair *p) {
  void *host[] = {(void *)p->host.bits, p->host.grids, p->host.codes, p->w, p->left,
                  p->residual,          p->factor,     p->h};
  gpu_drop();
  for (size_t k = 0; k < sizeof host / sizeof *host; k++) sb_free(&host[k]);
}

/* Rows whose codes or grids differ. */
static size_t rows_that_differ(const pair *p) {
  const size_t rows = p->host.rows, n = p->host.cols;
  uint8_t *codes = make(p->weights, 1);
  sb_grid *grids = make(p->groups, sizeof *grids);
  size_t differ = 0;
  gpu_get(codes, p->dev.codes, p->weights);
  gpu_get(grids, p->dev.grids, p->groups * sizeof *grids);
  for (size_t r = 0; r < rows; r++) {
    bool same = memcmp(codes + r * n, p->host.codes + r * n, n) == 0;
    for (size_t k = r; k < p->groups; k += rows)
      same = same && memcmp(&grids[k], &p->host.grids[k], sizeof *grids) == 0;
    differ += !same;
  }
  sb_free(&codes);
  sb_free(&grids);
  return differ;
}

static void check(const pair *p, const char *what) {
  const size_t differ = rows_that_differ(p),
               allowed = p->host.cols > p->host.block_cols ? p->host.rows / 20 : 0;
  if (differ > allowed)
    fail_msg("%s, %zu columns in blocks of %zu: %zu of %zu rows differ, %zu may", what,
             p->host.cols, p->host.block_cols, differ, p->host.rows, allowed);
}

/* Both start with the same codes again. */
static void level(const pair *p) {
  sb_backend *b = gpu;
  assert_ok(b->op->upload(b, NULL, p->dev.codes, p->host.codes, p->weights));
  assert_ok(b->op->upload(b, NULL, p->dev.grids, p->host.grids, p->groups * sizeof(sb_grid)));
  assert_ok(b->op->upload(b, NULL, p->residual_dev, p->residual, p->weights * 4));
  assert_ok(b->op->sync(b, NULL));
}

/* Sums of n products of errors of at most 1 with H: to its largest element, in float. */
static void check_residuals(const pair *p, const char *what) {
  float *got = make(p->weights, 4);
  const double most = 2e-6 * (double)p->host.cols;
  gpu_get(got, p->residual_dev, p->weights * 4);
  for (size_t k = 0; k < p->weights; k++)
    if (!(fabs((double)got[k] - (double)p->residual[k]) <= most))
      fail_msg("%s: residual %zu is %g, %g on the CPU", what, k, (double)got[k],
               (double)p->residual[k]);
  sb_free(&got);
}

#define EACH_PAIR(p)                                                                               \
  for (size_t c_ = 0; c_ < 2 * SHAPES_OF_ROWS + 4; c_++)                                           \
    for (int once_ = 1; once_;)                                                                    \
      for (pair p = create(c_ % SHAPES_OF_ROWS, kind_of_turn(c_, (int)(c_ / SHAPES_OF_ROWS)));     \
           once_; once_ = 0, release(&p))

/* In panels of two blocks, with a gap between their rows. */
static void round_both(pair *p, bool fitted) {
  const size_t n = p->host.cols, width = 2 * p->host.block_cols;
  for (size_t begin = 0; begin < n; begin += width) {
    const size_t end = sb_min_size(n, begin + width), at = begin * n + begin;
    assert_ok(cpu->op->round_columns(cpu, NULL, &p->host, p->left, begin, end, p->factor + at, n,
                                     fitted));
    assert_ok(gpu->op->round_columns(gpu, NULL, &p->dev, p->left_dev, begin, end,
                                     p->factor_dev + at, n, fitted));
  }
  assert_ok(gpu->op->sync(gpu, NULL));
}

static void rounding(void **state) {
  (void)state;
  for (int fitted = 0; fitted < 2; fitted++) EACH_PAIR(p) {
      round_both(&p, fitted);
      check(&p, fitted ? "rounded, fitted" : "rounded");
    }
}

static void refining(void **state) {
  (void)state;
  EACH_PAIR(p) {
    const size_t n = p.host.cols, width = 2 * p.host.block_cols;
    size_t moved = 0;
    round_both(&p, true);
    level(&p);
    for (size_t a = 0; a < n; a += width) {
      const size_t end = sb_min_size(n, a + width);
      assert_ok(cpu->op->refine_residual(cpu, NULL, &p.host, p.residual, p.w, a, end, p.h + a * n));
      assert_ok(gpu->op->refine_residual(gpu, NULL, &p.dev, p.residual_dev, p.w_dev, a, end,
                                         p.h_dev + a * n));
    }
    assert_ok(gpu->op->sync(gpu, NULL));
    check_residuals(&p, "at the start");
    for (int pass = 0; pass < 3; pass++) {
      uint8_t *before = make(p.weights, 1);
      memcpy(before, p.host.codes, p.weights);
      level(&p);
      for (size_t a = 0; a < n; a += width) {
        const size_t end = sb_min_size(n, a + width);
        assert_ok(cpu->op->refine_columns(cpu, NULL, &p.host, p.residual, a, end, p.h + a * n));
        assert_ok(
            gpu->op->refine_columns(gpu, NULL, &p.dev, p.residual_dev, a, end, p.h_dev + a * n));
      }
      assert_ok(gpu->op->sync(gpu, NULL));
      check(&p, "refined");
      for (size_t k = 0; k < p.weights; k++) moved += before[k] != p.host.codes[k];
      sb_free(&before);
    }
    assert_true(moved > 0);
  }
}

/* Trellis codes: a walk goes through all rows of a tile, so each block column starts from the same
 * weights on both sides. Its codes and scales are the same then, and what is left of the weights
 * behind it is close: n products of errors below 4 with an eighth, in float. */
static const struct {
  size_t shape;
  sb_code_kind kind;
} trellis_rows[] = {
    {SHAPES_OF_ROWS - 1, SB_TRELLIS_12},
    {1, SB_TRELLIS_12},
#ifndef SB_ON_STAND_IN
    {6, SB_TRELLIS_14},
    {7, SB_TRELLIS_16},
    {0, SB_TRELLIS_EXL3},
    {5, SB_TRELLIS_EXL3},
#endif
};

static void check_left(const pair *p) {
  float *got = make(p->weights, 4);
  gpu_get(got, p->left_dev, p->weights * 4);
  for (size_t k = 0; k < p->weights; k++)
    if (!(fabs((double)got[k] - (double)p->left[k]) <= 1e-6 * (double)p->host.block_cols))
      fail_msg("what is left of weight %zu is %g, %g on the CPU", k, (double)got[k],
               (double)p->left[k]);
  sb_free(&got);
}

static void rounding_to_trellises(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof trellis_rows / sizeof *trellis_rows; i++) {
    pair p = create(trellis_rows[i].shape, trellis_rows[i].kind);
    const size_t n = p.host.cols, block = p.host.block_cols;
    for (size_t begin = 0; begin < n; begin += block) {
      const size_t end = sb_min_size(n, begin + block), at = begin * n + begin;
      assert_ok(gpu->op->upload(gpu, NULL, p.left_dev, p.left, p.weights * 4));
      assert_ok(gpu->op->sync(gpu, NULL));
      assert_ok(cpu->op->trellis_round(cpu, NULL, &p.host, p.left, begin, end, p.factor + at, n));
      assert_ok(
          gpu->op->trellis_round(gpu, NULL, &p.dev, p.left_dev, begin, end, p.factor_dev + at, n));
      assert_int_equal(rows_that_differ(&p), 0);
      check_left(&p);
    }
    release(&p);
  }
}

static void bad_arguments_are_refused(void **state) {
  (void)state;
  pair p = create(5, SB_GRID_ASYMMETRIC);
  assert_int_equal(
      gpu->op->round_columns(gpu, NULL, &p.dev, p.left_dev, 0, 40, p.factor_dev, 100, false),
      SB_ERR_INTERNAL);
  assert_int_equal(gpu->op->refine_columns(gpu, NULL, &p.dev, p.residual_dev, 16, 64, p.h_dev),
                   SB_ERR_INTERNAL);
  p.dev.cols = p.dev.block_cols = 2000;
  assert_int_equal(gpu->op->refine_columns(gpu, NULL, &p.dev, p.residual_dev, 0, 2000, p.h_dev),
                   SB_ERR_UNSUPPORTED);
  release(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(rounding), cmocka_unit_test(refining),
                                     cmocka_unit_test(rounding_to_trellises),
                                     cmocka_unit_test(bad_arguments_are_refused)};
  return GPU_RUN(tests, GPU_F32);
}
