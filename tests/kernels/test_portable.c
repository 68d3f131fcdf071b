/* With this processor's widest vectors, with AVX2's and without intrinsics: the same bits. */
#include "tests/kernels/blocks.h"

#include <math.h>

#include "kernels/blockrow.h"
#include "kernels/cpu/cpu.h"
#include "tests/kernels/portable.h"

/* To the bit, but for the sign and payload of NaN, which infinite weights make. */
static void same_numbers(const double *a, const double *b, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (memcmp(a + i, b + i, sizeof *a) != 0 && !(isnan(a[i]) && isnan(b[i])))
      fail_msg("number %zu of %zu: %.17g and %.17g", i, count, a[i], b[i]);
}

/* One matrix of each shape, in each type and symmetry; results of both builds. */
typedef struct data {
  sb_backend *backend;
  sb_tiling tiling;
  size_t n, blocks, columns, groups;
  float *g, *importance, *a, *b;
  uint8_t *bits, *fits, *fits_again;
  void *w;
  sb_stored_grid *grids, *grids_again;
  double *sums[4];
  sb_block_weights m;
} data;

static void create(data *d, sb_backend *backend, size_t shape, sb_dtype type,
                   sb_code_kind code_kind) {
  float *w = NULL;
  uint64_t seed = shape;
  memset(d, 0, sizeof *d);
  d->backend = backend;
  d->tiling = shapes[shape];
  d->n = d->tiling.rows * d->tiling.cols;
  d->blocks = block_count(&d->tiling);
  d->columns = sb_tiling_block_cols(&d->tiling);
  d->groups = d->tiling.rows * d->columns;
  const size_t sums = sb_max_size(d->blocks, sb_max_size(d->tiling.rows, d->tiling.cols)),
               grids = d->groups * SB_MAX_BITS;
  assert_ok(sb_alloc(&d->fits, d->groups, 1, "fits"));
  assert_ok(sb_alloc(&d->fits_again, d->groups, 1, "fits"));
  assert_ok(sb_alloc(&d->grids, grids, sizeof *d->grids, "grids"));
  assert_ok(sb_alloc(&d->grids_again, grids, sizeof *d->grids, "grids"));
  assert_ok(sb_alloc(&d->importance, d->tiling.cols, sizeof *d->importance, "importance"));
  assert_ok(sb_alloc(&w, d->n, 4, "w"));
  assert_ok(sb_alloc(&d->w, d->n, 4, "w"));
  assert_ok(sb_alloc(&d->g, d->n, 4, "g"));
  assert_ok(sb_alloc(&d->a, d->n, 4, "a"));
  assert_ok(sb_alloc(&d->b, d->n, 4, "b"));
  assert_ok(sb_alloc(&d->bits, d->blocks, 1, "bits"));
  for (int i = 0; i < 4; i++) assert_ok(sb_alloc(&d->sums[i], sums, 8, "sums"));
  fill_awkward(w, d->tiling.rows, d->tiling.cols, shape + 100);
  for (size_t i = 0; i < d->n; i++) d->g[i] = uniform(&seed);
  /* fp16 overflows here and there: infinite weights too must agree */
  sb_from_f32(d->w, type, w, d->n);
  fill_bits(d->bits, d->blocks, 1, 8, shape);
  for (size_t i = 0; i < d->tiling.cols; i++) d->importance[i] = fabsf(uniform(&seed));
  d->m = (sb_block_weights){d->w, type, &d->tiling, d->bits, code_kind};
  sb_free(&w);
}

static void release(data *d) {
  sb_free(&d->fits);
  sb_free(&d->fits_again);
  sb_free(&d->grids);
  sb_free(&d->grids_again);
  sb_free(&d->importance);
  sb_free(&d->w);
  sb_free(&d->g);
  sb_free(&d->a);
  sb_free(&d->b);
  sb_free(&d->bits);
  for (int i = 0; i < 4; i++) sb_free(&d->sums[i]);
}

static void same_fits(data *d) {
  assert_ok(sb_cpu_fit_blocks(d->backend, NULL, d->fits, &d->m, d->importance));
  assert_ok(portable_fit_blocks(d->backend, NULL, d->fits_again, &d->m, d->importance));
  assert_memory_equal(d->fits, d->fits_again, d->groups);
}

static void same_products(data *d) {
  assert_ok(sb_cpu_group_products(d->backend, NULL, d->a, d->g, d->tiling.cols, &d->m));
  assert_ok(portable_group_products(d->backend, NULL, d->b, d->g, d->tiling.cols, &d->m));
  for (size_t k = 0; k < d->groups; k++)
    assert_true(d->a[k] == d->b[k] || (isnan(d->a[k]) && isnan(d->b[k])));
}

static void same_scores(data *d, const uint8_t *fits) {
  double **s = d->sums;
  for (int absolute = 0; absolute < 2; absolute++) {
    assert_ok(sb_cpu_channel_scores(d->backend, NULL, s[0], s[1], d->g, d->tiling.cols, &d->m, fits,
                                    absolute));
    assert_ok(portable_channel_scores(d->backend, NULL, s[2], s[3], d->g, d->tiling.cols, &d->m,
                                      fits, absolute));
    same_numbers(s[0], s[2], d->tiling.rows);
    same_numbers(s[1], s[3], d->tiling.cols);
  }
}

static void same_rounding(data *d, const uint8_t *fits) {
  assert_ok(sb_cpu_quantize_blocks(d->backend, NULL, d->a, d->m.dtype, &d->m, fits));
  assert_ok(portable_quantize_blocks(d->backend, NULL, d->b, d->m.dtype, &d->m, fits));
  assert_memory_equal(d->a, d->b, d->n * 4);
}

static void same_moves(data *d, const float *importance, const uint8_t *fits) {
  double **s = d->sums;
  assert_ok(sb_cpu_move_grids(d->backend, NULL, d->grids, &d->m, importance, fits));
  assert_ok(portable_move_grids(d->backend, NULL, d->grids_again, &d->m, importance, fits));
  assert_memory_equal(d->grids, d->grids_again, SB_MOVES * d->groups * sizeof *d->grids);
  assert_ok(sb_cpu_block_moves(d->backend, NULL, s[0], s[1], d->g, d->tiling.cols, &d->m, d->grids,
                               1, 8));
  assert_ok(portable_block_moves(d->backend, NULL, s[2], s[3], d->g, d->tiling.cols, &d->m,
                                 d->grids, 1, 8));
  same_numbers(s[0], s[2], d->blocks);
  same_numbers(s[1], s[3], d->blocks);
}

/* The tables over all widths; g stands for second moments too. */
static void same_tables(data *d, const float *importance) {
  const size_t square = d->tiling.block_cols * d->tiling.block_cols,
               rows = sb_tiling_block_rows(&d->tiling);
  double(*table[2])[SB_WIDTHS] = {NULL};
  float *grams = NULL;
  assert_ok(sb_alloc(&grams, d->columns * square, sizeof *grams, "grams"));
  for (size_t i = 0; i < d->columns * square; i++) grams[i] = d->g[i % d->n];
  for (int i = 0; i < 2; i++) assert_ok(sb_alloc(&table[i], d->blocks, sizeof **table, "table"));
  assert_ok(sb_cpu_choose_grids(d->backend, NULL, d->grids, &d->m, 1, 8, importance));
  assert_ok(portable_choose_grids(d->backend, NULL, d->grids_again, &d->m, 1, 8, importance));
  assert_memory_equal(d->grids, d->grids_again, d->groups * SB_MAX_BITS * sizeof *d->grids);
  assert_ok(sb_cpu_block_squares(d->backend, NULL, table[0], d->g, d->tiling.cols, &d->m, d->grids,
                                 1, 8));
  assert_ok(portable_block_squares(d->backend, NULL, table[1], d->g, d->tiling.cols, &d->m,
                                   d->grids, 1, 8));
  same_numbers(&table[0][0][0], &table[1][0][0], d->blocks * SB_WIDTHS);
  assert_ok(sb_cpu_block_curvature(d->backend, NULL, table[0], &d->m, 0, rows, grams, d->g, 1, 8,
                                   importance));
  assert_ok(portable_block_curvature(d->backend, NULL, table[1], &d->m, 0, rows, grams, d->g, 1, 8,
                                     importance));
  same_numbers(&table[0][0][0], &table[1][0][0], d->blocks * SB_WIDTHS);
  sb_free(&grams);
  for (int i = 0; i < 2; i++) sb_free(&table[i]);
}

/* Every low precision; infinite weights make blocks of NaN. */
static void same_lowprec(data *d) {
  sb_lowprec_options options = sb_lowprec_options_default();
  for (int i = 0; i < 2 * SB_PRECISION_COUNT * SB_GEMM_KINDS; i++) {
    options.nvfp4_two_scales = i % 2;
    sb_lowprec_args args = {.rule =
                                sb_lowprec_rule_of((sb_precision)(i / 2 / SB_GEMM_KINDS),
                                                   i % 3 ? SB_LOWPREC_DY : SB_LOWPREC_W,
                                                   (sb_gemm_kind)(i / 2 % SB_GEMM_KINDS), &options),
                            .rows = d->tiling.rows,
                            .cols = d->tiling.cols,
                            .src = d->w,
                            .src_dtype = d->m.dtype,
                            .dst = d->a,
                            .key = (uint64_t)i};
    assert_ok(sb_cpu_round_lowprec(d->backend, NULL, &args));
    args.dst = d->b;
    assert_ok(portable_round_lowprec(d->backend, NULL, &args));
    for (size_t k = 0; k < d->n; k++)
      assert_true(memcmp(d->a + k, d->b + k, sizeof *d->a) == 0 ||
                  (isnan(d->a[k]) && isnan(d->b[k])));
  }
}

static void same_block_rows(data *d, const float *importance) {
  const sb_tiling *t = &d->tiling;
  const sb_code_kind code_kind = d->m.code_kind;
  const sb_dtype type = d->m.dtype;
  for (size_t i = 0; i < sb_tiling_block_rows(t); i++) {
    const uint8_t *bits = d->bits + i * d->columns;
    const size_t bytes = sb_blockrow_bytes(t, i, bits, code_kind), zero = 0;
    const char *rows = (const char *)d->w + i * t->block_rows * t->cols * sb_dtype_size(type);
    const sb_tiling one = {sb_tiling_rows_of(t, i), t->cols, t->block_rows, t->block_cols};
    uint8_t *packed = malloc(bytes), *again = malloc(bytes);
    assert_true(packed && again);
    sb_blockrow_encode(packed, rows, type, t, i, bits, code_kind, importance);
    portable_blockrow_encode(again, rows, type, t, i, bits, code_kind, importance);
    assert_memory_equal(packed, again, bytes);
    assert_ok(sb_cpu_unpack_blocks(d->backend, NULL, d->a, type, packed, &zero, &one, bits,
                                   code_kind, NULL));
    assert_ok(portable_unpack_blocks(d->backend, NULL, d->b, type, packed, &zero, &one, bits,
                                     code_kind, NULL));
    assert_memory_equal(d->a, d->b, d->n * 4);
    free(packed);
    free(again);
  }
}

/* The first patch of the matrix, to transformed coordinates and back. */
static void same_transforms(data *d) {
  const size_t cols = d->tiling.cols;
  uint16_t *factors = malloc((d->tiling.rows + cols) * sizeof *factors);
  sb_cpu_patch *a = calloc(1, sizeof *a), *b = calloc(1, sizeof *b);
  assert_true(factors && a && b);
  for (size_t i = 0; i < d->tiling.rows + cols; i++)
    factors[i] = (uint16_t)(mix(i) & 0x83ffu) | 0x2c00u; /* 1/16 to 1/8, of both signs */
  const sb_cpu_patch_place at = {0, cols, factors + cols, factors};
  a->rows = b->rows = sb_min_size(d->tiling.rows, SB_TRELLIS_PATCH);
  a->cols = b->cols = sb_min_size(cols, SB_TRELLIS_PATCH);
  sb_cpu_patch_forward(a, d->w, d->m.dtype, &at);
  portable_patch_forward(b, d->w, d->m.dtype, &at);
  for (size_t r = 0; r < a->rows; r++)
    for (size_t c = 0; c < a->cols; c++) {
      const float x = a->x[r * SB_PATCH_LD + c], y = b->x[r * SB_PATCH_LD + c];
      assert_true(memcmp(&x, &y, sizeof x) == 0 || (isnan(x) && isnan(y)));
    }
  const double sums[] = {sb_cpu_patch_squares(a),
                         sb_cpu_row_squares(d->w, d->m.dtype, 0, cols, factors)},
               again[] = {portable_patch_squares(b),
                          portable_row_squares(d->w, d->m.dtype, 0, cols, factors)};
  same_numbers(sums, again, 2);
  sb_cpu_patch_back(a, d->a, SB_F32, &at);
  portable_patch_back(b, d->b, SB_F32, &at);
  for (size_t r = 0; r < a->rows; r++)
    for (size_t c = 0; c < a->cols; c++) {
      const float x = d->a[r * cols + c], y = d->b[r * cols + c];
      assert_true(memcmp(&x, &y, sizeof x) == 0 || (isnan(x) && isnan(y)));
    }
  free(factors);
  free(a);
  free(b);
}

static void test_same_bits(void **state) {
  const sb_dtype types[3] = {SB_F32, SB_BF16, SB_F16};
  const sb_code_kind kinds[6] = {SB_GRID_ASYMMETRIC, SB_GRID_SYMMETRIC,  SB_GRID_ASYMMETRIC,
                                 SB_GRID_SIGNED,     SB_GRID_ASYMMETRIC, SB_GRID_SIGNED_BF16};
  sb_backend *backend = NULL;
  (void)state;
  assert_ok(sb_backend_cpu_create(SB_COMPUTE_F32, 0, &backend));
  for (size_t shape = 0; shape < SHAPES; shape++)
    for (int s = 0; s < 6; s++) {
#ifdef __SANITIZE_ADDRESS__ /* slow there: a third of them, every symmetry and type among them */
      if ((shape + (size_t)s) % 3 != 0) continue;
#endif
      data d;
      create(&d, backend, shape, types[s / 2], kinds[s]);
      same_fits(&d);
      same_products(&d);
      if (s % 2 == 0) same_lowprec(&d); /* weights have no symmetry there */
      if (s % 2 == 0) same_transforms(&d);
      for (int fitted = 0; fitted < 2; fitted++) {
        const float *importance = fitted ? d.importance : NULL;
        const uint8_t *fits = fitted ? d.fits : NULL;
        same_scores(&d, fits);
        same_rounding(&d, fits);
        same_moves(&d, importance, fits);
        same_tables(&d, importance);
        same_block_rows(&d, importance);
      }
      release(&d);
    }
  backend->op->destroy(backend);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_same_bits)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
