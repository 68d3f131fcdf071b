/* The block operations of the CUDA backend against the CPU's, which has tests of its own: the same bits, except where the two sum
 * in different orders. */
#include "kernels/blockrow.h"
#include "kernels/cuda/cuda_device.h"
#include "tests/cuda_host/cuda_host.h"
#include "tests/quant/blocks.h"

typedef struct data {
  sb_backend *cpu, *gpu;
  sb_grid_shape grid;
  size_t n, ldg, blocks, groups;
  sb_dtype dtype;
  float *g, *importance;
  void *w;
  uint8_t *bits;
} data;

static void *make(size_t count, size_t size) {
  void *out = NULL;
  assert_ok(sb_alloc(&out, count, size, "test"));
  return out;
}

static data create(size_t shape, sb_dtype dtype, unsigned least) {
  data d = {.grid = shapes[shape], .n = shapes[shape].rows * shapes[shape].cols, .dtype = dtype};
  uint64_t seed = shape + 5;
  d.ldg = d.grid.cols + shape % 3;
  d.blocks = block_count(&d.grid);
  d.groups = d.grid.rows * sb_grid_block_cols(&d.grid);
  sb_cuda_host_device.eager = 1; /* host memory is handed over */
  assert_ok(sb_backend_cpu_create(SB_COMPUTE_F32, 1, &d.cpu));
  assert_ok(sb_cuda_create(SB_COMPUTE_BF16, 0, "a test", &d.gpu));
  float *w = make(d.n, 4);
  d.w = make(d.n, 4);
  d.g = make(d.grid.rows * d.ldg, 4);
  d.importance = make(d.grid.cols, 4);
  d.bits = make(d.blocks, 1);
  fill_awkward(w, d.grid.rows, d.grid.cols, shape);
  for (size_t i = 0; dtype == SB_F16 && i < d.n; i++)
    if (fabsf(w[i]) > 60000.0f) w[i] = 1000.0f;
  sb_from_f32(d.w, dtype, w, d.n);
  for (size_t i = 0; i < d.grid.rows * d.ldg; i++) d.g[i] = i % d.ldg < d.grid.cols ? uniform(&seed) : NAN;
  for (size_t i = 0; i < d.grid.cols; i++) d.importance[i] = fabsf(uniform(&seed)) + 0.01f;
  fill_bits(d.bits, d.blocks, least, 8, shape);
  sb_free(&w);
  return d;
}

static void release(data *d) {
  d->cpu->op->destroy(d->cpu);
  d->gpu->op->destroy(d->gpu);
  sb_free(&d->w);
  sb_free(&d->g);
  sb_free(&d->importance);
  sb_free(&d->bits);
}

/* Every shape with its own type and symmetry, and some with the other ones too. */
static const sb_dtype types[3] = {SB_BF16, SB_F32, SB_F16};
#define EACH_CASE(d, symmetry, least)                                                                        \
  for (size_t c_ = 0; c_ < 2 * SHAPES; c_++)                                                                 \
    for (int once_ = 1; once_;)                                                                              \
      for (sb_symmetry symmetry = (sb_symmetry)(c_ / SHAPES); once_;)                                        \
        for (data d = create(c_ % SHAPES, types[c_ % 3], least); once_; once_ = 0, release(&d))

static void same(const char *what, const void *got, const void *want, size_t bytes) {
  const uint8_t *a = got, *b = want;
  for (size_t i = 0; i < bytes; i++)
    if (a[i] != b[i]) fail_msg("%s: byte %zu of %zu differs", what, i, bytes);
}

static void fits_are_the_same(void **state) {
  (void)state;
  EACH_CASE(d, symmetry, 0) {
    uint8_t *want = make(d.groups, 1), *got = make(d.groups, 1);
    const int shift = (int)(c_ % 3) - 1;
    assert_ok(d.cpu->op->fit_blocks(d.cpu, NULL, want, d.w, d.dtype, d.importance, &d.grid, d.bits, shift,
                                    symmetry));
    assert_ok(d.gpu->op->fit_blocks(d.gpu, NULL, got, d.w, d.dtype, d.importance, &d.grid, d.bits, shift,
                                    symmetry));
    same("fits", got, want, d.groups);
    sb_free(&want);
    sb_free(&got);
  }
}

static void rounding_is_the_same(void **state) {
  (void)state;
  EACH_CASE(d, symmetry, 0) {
    const sb_dtype to = types[(c_ / 3) % 3];
    const size_t size = sb_dtype_size(to);
    void *want = make(d.n, size), *got = make(d.n, size);
    uint8_t *fits = make(d.groups, 1);
    for (size_t i = 0; i < d.groups; i++) fits[i] = (uint8_t)(mix(i) % SB_FITS);
    for (int fitted = 0; fitted < 2; fitted++) {
      const uint8_t *f = fitted ? fits : NULL;
      assert_ok(
          d.cpu->op->quantize_blocks(d.cpu, NULL, want, to, d.w, d.dtype, &d.grid, d.bits, symmetry, f));
      assert_ok(d.gpu->op->quantize_blocks(d.gpu, NULL, got, to, d.w, d.dtype, &d.grid, d.bits, symmetry, f));
      same("rounded weights", got, want, d.n * size);
    }
    sb_free(&want);
    sb_free(&got);
    sb_free(&fits);
  }
}

static void moves_are_the_same(void **state) {
  (void)state;
  EACH_CASE(d, symmetry, 1) {
    double *want = make(2 * d.blocks, 8), *got = make(2 * d.blocks, 8);
    uint8_t *fits = make(3 * d.groups, 1);
    const uint8_t *const three[3] = {fits, fits + d.groups, fits + 2 * d.groups};
    for (size_t i = 0; i < 3 * d.groups; i++) fits[i] = (uint8_t)(mix(i) % SB_FITS);
    for (int kind = 0; kind < 3; kind++) {
      const uint8_t *const *f = kind == 1 ? three : NULL;
      const void *now = kind == 2 ? (const char *)d.w : NULL; /* any weights will do */
      assert_ok(d.cpu->op->block_moves(d.cpu, NULL, want, want + d.blocks, d.g, d.ldg, d.w, d.dtype, now,
                                       d.dtype, &d.grid, d.bits, 2, 7, symmetry, f));
      assert_ok(d.gpu->op->block_moves(d.gpu, NULL, got, got + d.blocks, d.g, d.ldg, d.w, d.dtype, now,
                                       d.dtype, &d.grid, d.bits, 2, 7, symmetry, f));
      same("moves", got, want, 2 * d.blocks * 8);
    }
    sb_free(&want);
    sb_free(&got);
    sb_free(&fits);
  }
}

static void channel_scores_are_the_same(void **state) {
  (void)state;
  EACH_CASE(d, symmetry, 1) {
    const size_t count = d.grid.rows + d.grid.cols;
    double *want = make(count, 8), *got = make(count, 8);
    for (int absolute = 0; absolute < 2; absolute++) {
      assert_ok(d.cpu->op->channel_scores(d.cpu, NULL, want, want + d.grid.rows, d.g, d.ldg, d.w, d.dtype,
                                          &d.grid, d.bits, absolute, symmetry, NULL));
      assert_ok(d.gpu->op->channel_scores(d.gpu, NULL, got, got + d.grid.rows, d.g, d.ldg, d.w, d.dtype,
                                          &d.grid, d.bits, absolute, symmetry, NULL));
      same("scores", got, want, count * 8);
    }
    sb_free(&want);
    sb_free(&got);
  }
}

static void squares_are_the_same(void **state) {
  (void)state;
  EACH_CASE(d, symmetry, 1) {
    const unsigned least = 1 + (unsigned)(c_ % 3), most = 8 - (unsigned)(c_ % 4), widths = most - least + 1;
    const float *importance = c_ % 2 ? d.importance : NULL;
    sb_stored_grid *want_grids = make(d.groups * widths, sizeof *want_grids);
    sb_stored_grid *got_grids = make(d.groups * widths, sizeof *got_grids);
    double(*want)[SB_WIDTHS] = make(d.blocks, sizeof *want), (*got)[SB_WIDTHS] = make(d.blocks, sizeof *got);
    assert_ok(d.cpu->op->choose_grids(d.cpu, NULL, want_grids, d.w, d.dtype, &d.grid, least, most, symmetry,
                                      importance));
    assert_ok(d.gpu->op->choose_grids(d.gpu, NULL, got_grids, d.w, d.dtype, &d.grid, least, most, symmetry,
                                      importance));
    same("grids", got_grids, want_grids, d.groups * widths * sizeof *got_grids);
    assert_ok(d.cpu->op->block_squares(d.cpu, NULL, want, d.g, d.ldg, d.w, d.dtype, want_grids, &d.grid,
                                       least, most));
    assert_ok(d.gpu->op->block_squares(d.gpu, NULL, got, d.g, d.ldg, d.w, d.dtype, got_grids, &d.grid, least,
                                       most));
    same("squares", got, want, d.blocks * sizeof *got);
    sb_free(&want_grids);
    sb_free(&got_grids);
    sb_free(&want);
    sb_free(&got);
  }
}

/* e H e' with H positive semi-definite: no more than sum |e| |H| |e'|, of which either side's float sums of n products get n
 * roundings wrong. H = I + u u' with positive u makes the bound a small multiple of the value itself where e has one sign,
 * and the diagonal keeps it away from 0 where not. */
static void curvature_is_close(void **state) {
  (void)state;
  EACH_CASE(d, symmetry, 1) {
    const size_t side = d.grid.block_cols, columns = sb_grid_block_cols(&d.grid),
                 rows = sb_grid_block_rows(&d.grid);
    const size_t first = rows > 1 ? 1 : 0, count = rows - first;
    float *grams = make(columns * side * side, 4), *weights = make(d.grid.rows, 4);
    double(*want)[SB_WIDTHS] = make(d.blocks, sizeof *want), (*got)[SB_WIDTHS] = make(d.blocks, sizeof *got);
    const float *importance = c_ % 2 ? d.importance : NULL;
    for (size_t j = 0; j < columns; j++) {
      const size_t n = sb_grid_cols_of(&d.grid, j);
      float *gram = grams + j * side * side;
      for (size_t r = 0; r < n; r++)
        for (size_t c = 0; c < n; c++)
          gram[r * n + c] = (r == c ? 1.0f : 0.0f) + 0.01f * d.importance[r] * d.importance[c];
    }
    for (size_t r = 0; r < d.grid.rows; r++) weights[r] = (float)(1 + r % 3);
    assert_ok(d.cpu->op->block_curvature(d.cpu, NULL, want, grams, weights, d.w, d.dtype, &d.grid, first,
                                         count, 2, 6, symmetry, importance));
    assert_ok(d.gpu->op->block_curvature(d.gpu, NULL, got, grams, weights, d.w, d.dtype, &d.grid, first,
                                         count, 2, 6, symmetry, importance));
    for (size_t k = 0; k < d.blocks; k++)
      for (unsigned b = 0; b < SB_WIDTHS; b++)
        if (!(fabs(got[k][b] - want[k][b]) <= 1e-4 * fabs(want[k][b])))
          fail_msg("curvature of block %zu at %u bits: %.9g, expected %.9g", k, b, got[k][b], want[k][b]);
    sb_free(&grams);
    sb_free(&weights);
    sb_free(&want);
    sb_free(&got);
  }
}

static void unpacking_is_the_same(void **state) {
  (void)state;
  EACH_CASE(d, symmetry, 1) {
    const size_t rows = sb_grid_block_rows(&d.grid), columns = sb_grid_block_cols(&d.grid);
    const sb_dtype to = types[(c_ / 3) % 3];
    size_t *offsets = make(rows + 1, sizeof *offsets), size = sb_dtype_size(to);
    for (size_t i = 0; i < rows; i++)
      offsets[i + 1] = offsets[i] + sb_blockrow_bytes(&d.grid, i, d.bits + i * columns, symmetry) + i % 3;
    uint8_t *packed = make(offsets[rows], 1);
    void *want = make(d.n, size), *got = make(d.n, size);
    for (size_t i = 0; i < rows; i++)
      sb_blockrow_encode(packed + offsets[i],
                         (const char *)d.w + i * d.grid.block_rows * d.grid.cols * sb_dtype_size(d.dtype),
                         d.dtype, &d.grid, i, d.bits + i * columns, symmetry, NULL);
    assert_ok(d.cpu->op->unpack_blocks(d.cpu, NULL, want, to, packed, offsets, &d.grid, d.bits, symmetry));
    assert_ok(d.gpu->op->unpack_blocks(d.gpu, NULL, got, to, packed, offsets, &d.grid, d.bits, symmetry));
    same("unpacked weights", got, want, d.n * size);
    sb_free(&offsets);
    sb_free(&packed);
    sb_free(&want);
    sb_free(&got);
  }
}

static void bad_arguments_are_refused(void **state) {
  (void)state;
  data d = create(0, SB_F32, 1);
  float *out = make(d.n, 4);
  sb_grid_shape wide = {4, 4096, 4, 4096};
  d.bits[0] = 9;
  assert_int_equal(
      d.gpu->op->quantize_blocks(d.gpu, NULL, out, SB_F32, d.w, SB_F32, &d.grid, d.bits, SB_ASYMMETRIC, NULL),
      SB_ERR_INTERNAL);
  d.bits[0] = 4;
  assert_int_equal(
      d.gpu->op->quantize_blocks(d.gpu, NULL, out, SB_F32, d.w, SB_F32, &wide, d.bits, SB_ASYMMETRIC, NULL),
      SB_ERR_UNSUPPORTED);
  assert_int_equal(
      d.gpu->op->quantize_blocks(d.gpu, NULL, out, SB_F32, d.w, SB_I8, &d.grid, d.bits, SB_ASYMMETRIC, NULL),
      SB_ERR_UNSUPPORTED);
  sb_free(&out);
  release(&d);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(fits_are_the_same),     cmocka_unit_test(rounding_is_the_same),
      cmocka_unit_test(moves_are_the_same),    cmocka_unit_test(channel_scores_are_the_same),
      cmocka_unit_test(squares_are_the_same),  cmocka_unit_test(curvature_is_close),
      cmocka_unit_test(unpacking_is_the_same), cmocka_unit_test(bad_arguments_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
