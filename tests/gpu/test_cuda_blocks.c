/* The block operations of the CUDA backend against the CPU's, which has tests of its own: the same
 * bits, except where the two sum in different orders. */
#include "kernels/blockrow.h"
#include "tests/gpu/device.h"
#include "tests/kernels/blocks.h"
#include "tests/support/grid_kinds.h"

typedef struct data {
  sb_tiling tiling;
  size_t n, ldg, blocks, groups;
  sb_dtype dtype;
  float *g, *importance;
  void *w;
  const float *g_dev, *importance_dev; /* on the device */
  const void *w_dev;
  uint8_t *bits;
} data;

static void *make(size_t count, size_t size) {
  void *out = NULL;
  assert_ok(sb_alloc(&out, count, size, "test"));
  return out;
}

static data create(size_t shape, sb_dtype dtype, unsigned least) {
  data d = {.tiling = shapes[shape], .n = shapes[shape].rows * shapes[shape].cols, .dtype = dtype};
  uint64_t seed = shape + 5;
  d.ldg = d.tiling.cols + shape % 3;
  d.blocks = block_count(&d.tiling);
  d.groups = d.tiling.rows * sb_tiling_block_cols(&d.tiling);
  float *w = make(d.n, 4);
  d.w = make(d.n, 4);
  d.g = make(d.tiling.rows * d.ldg, 4);
  d.importance = make(d.tiling.cols, 4);
  d.bits = make(d.blocks, 1);
  fill_awkward(w, d.tiling.rows, d.tiling.cols, shape);
  for (size_t i = 0; dtype == SB_F16 && i < d.n; i++)
    if (fabsf(w[i]) > 60000.0f) w[i] = 1000.0f;
  sb_from_f32(d.w, dtype, w, d.n);
  for (size_t i = 0; i < d.tiling.rows * d.ldg; i++)
    d.g[i] = i % d.ldg < d.tiling.cols ? uniform(&seed) : NAN;
  for (size_t i = 0; i < d.tiling.cols; i++) d.importance[i] = fabsf(uniform(&seed)) + 0.01f;
  fill_bits(d.bits, d.blocks, least, 8, shape);
  sb_free(&w);
  d.w_dev = gpu_put(d.w, d.n * 4);
  d.g_dev = gpu_put(d.g, d.tiling.rows * d.ldg * 4);
  d.importance_dev = gpu_put(d.importance, d.tiling.cols * 4);
  return d;
}

static void release(data *d) {
  gpu_drop();
  sb_free(&d->w);
  sb_free(&d->g);
  sb_free(&d->importance);
  sb_free(&d->bits);
}

/* Every shape with its own type, on asymmetric and symmetric grids, and some on other grids. */
static const sb_dtype types[3] = {SB_BF16, SB_F32, SB_F16};
#define EACH_CASE(d, code_kind, least)                                                             \
  for (size_t c_ = 0; c_ < 2 * SHAPES + 7; c_++)                                                   \
    for (int once_ = 1; once_;)                                                                    \
      for (sb_code_kind code_kind = kind_of_turn(c_, (int)(c_ / SHAPES)); once_;)                  \
        for (data d = create(c_ % SHAPES, types[c_ % 3], least); once_; release(&d))               \
          for (__attribute__((unused)) const sb_block_weights                                      \
                   on_cpu = {d.w, d.dtype, &d.tiling, d.bits, code_kind},                          \
                   on_gpu = {d.w_dev, d.dtype, &d.tiling, d.bits, code_kind};                      \
               once_; once_ = 0)

/* Fails unless what is on the device is `want`, to the bit. */
static void same(const char *what, const void *got_dev, const void *want, size_t bytes) {
  uint8_t *got = make(bytes, 1);
  gpu_get(got, got_dev, bytes);
  for (size_t i = 0; i < bytes; i++)
    if (got[i] != ((const uint8_t *)want)[i])
      fail_msg("%s: byte %zu of %zu differs", what, i, bytes);
  sb_free(&got);
}

static void fits_are_the_same(void **state) {
  (void)state;
  EACH_CASE(d, code_kind, 0) {
    uint8_t *want = make(d.groups, 1), *got_dev = gpu_put(want, d.groups);
    assert_ok(cpu->op->fit_blocks(cpu, NULL, want, &on_cpu, d.importance));
    assert_ok(gpu->op->fit_blocks(gpu, NULL, got_dev, &on_gpu, d.importance_dev));
    same("fits", got_dev, want, d.groups);
    sb_free(&want);
  }
}

static void rounding_is_the_same(void **state) {
  (void)state;
  EACH_CASE(d, code_kind, 0) {
    const sb_dtype to = types[(c_ / 3) % 3];
    const size_t size = sb_dtype_size(to);
    void *want = make(d.n, size), *got_dev = gpu_put(want, d.n * size);
    uint8_t *fits = make(d.groups, 1);
    for (size_t i = 0; i < d.groups; i++) fits[i] = (uint8_t)(mix(i) % SB_FITS);
    for (int fitted = 0; fitted < 2; fitted++) {
      const uint8_t *f = fitted ? fits : NULL, *f_dev = fitted ? gpu_put(fits, d.groups) : NULL;
      assert_ok(cpu->op->quantize_blocks(cpu, NULL, want, to, &on_cpu, f));
      assert_ok(gpu->op->quantize_blocks(gpu, NULL, got_dev, to, &on_gpu, f_dev));
      same("rounded weights", got_dev, want, d.n * size);
    }
    sb_free(&want);
    sb_free(&fits);
  }
}

static void moves_are_the_same(void **state) {
  (void)state;
  EACH_CASE(d, code_kind, 1) {
    double *want = make(2 * d.blocks, 8), *got_dev = gpu_put(want, 2 * d.blocks * 8);
    sb_stored_grid *grids = make(SB_MOVES * d.groups, sizeof *grids);
    sb_stored_grid *grids_dev = gpu_put(grids, SB_MOVES * d.groups * sizeof *grids);
    uint8_t *fits = make(d.groups, 1);
    for (size_t i = 0; i < d.groups; i++) fits[i] = (uint8_t)(mix(i) % SB_FITS);
    const uint8_t *fits_dev = gpu_put(fits, d.groups);
    for (int fitted = 0; fitted < 2; fitted++) {
      const float *importance = fitted ? d.importance : NULL;
      const uint8_t *f = fitted ? fits : NULL, *f_dev = fitted ? fits_dev : NULL;
      assert_ok(cpu->op->move_grids(cpu, NULL, grids, &on_cpu, importance, f));
      assert_ok(gpu->op->move_grids(gpu, NULL, grids_dev, &on_gpu,
                                    importance ? d.importance_dev : NULL, f_dev));
      same("grids of moves", grids_dev, grids, SB_MOVES * d.groups * sizeof *grids);
      assert_ok(
          cpu->op->block_moves(cpu, NULL, want, want + d.blocks, d.g, d.ldg, &on_cpu, grids, 2, 7));
      assert_ok(gpu->op->block_moves(gpu, NULL, got_dev, got_dev + d.blocks, d.g_dev, d.ldg,
                                     &on_gpu, grids_dev, 2, 7));
      same("moves", got_dev, want, 2 * d.blocks * 8);
    }
    sb_free(&want);
    sb_free(&grids);
    sb_free(&fits);
  }
}

static void channel_scores_are_the_same(void **state) {
  (void)state;
  EACH_CASE(d, code_kind, 1) {
    const size_t count = d.tiling.rows + d.tiling.cols;
    double *want = make(count, 8), *got_dev = gpu_put(want, count * 8);
    for (int absolute = 0; absolute < 2; absolute++) {
      assert_ok(cpu->op->channel_scores(cpu, NULL, want, want + d.tiling.rows, d.g, d.ldg, &on_cpu,
                                        NULL, absolute));
      assert_ok(gpu->op->channel_scores(gpu, NULL, got_dev, got_dev + d.tiling.rows, d.g_dev, d.ldg,
                                        &on_gpu, NULL, absolute));
      same("scores", got_dev, want, count * 8);
    }
    sb_free(&want);
  }
}

static void products_are_the_same(void **state) {
  (void)state;
  EACH_CASE(d, code_kind, 1) {
    (void)code_kind;
    float *want = make(d.groups, 4), *got_dev = gpu_put(want, d.groups * 4);
    assert_ok(cpu->op->group_products(cpu, NULL, want, d.g, d.ldg, &on_cpu));
    assert_ok(gpu->op->group_products(gpu, NULL, got_dev, d.g_dev, d.ldg, &on_gpu));
    same("products", got_dev, want, d.groups * 4);
    sb_free(&want);
  }
}

static void squares_are_the_same(void **state) {
  (void)state;
  EACH_CASE(d, code_kind, 1) {
    const unsigned least = 1 + (unsigned)(c_ % 3), most = 8 - (unsigned)(c_ % 4),
                   widths = most - least + 1;
    const float *importance = c_ % 2 ? d.importance : NULL;
    sb_stored_grid *want_grids = make(d.groups * widths, sizeof *want_grids);
    sb_stored_grid *grids_dev = gpu_put(want_grids, d.groups * widths * sizeof *want_grids);
    double(*want)[SB_WIDTHS] = make(d.blocks, sizeof *want);
    double(*got_dev)[SB_WIDTHS] = gpu_put(want, d.blocks * sizeof *want);
    assert_ok(cpu->op->choose_grids(cpu, NULL, want_grids, &on_cpu, least, most, importance));
    assert_ok(gpu->op->choose_grids(gpu, NULL, grids_dev, &on_gpu, least, most,
                                    importance ? d.importance_dev : NULL));
    same("grids", grids_dev, want_grids, d.groups * widths * sizeof *want_grids);
    assert_ok(
        cpu->op->block_squares(cpu, NULL, want, d.g, d.ldg, &on_cpu, want_grids, least, most));
    assert_ok(gpu->op->block_squares(gpu, NULL, got_dev, d.g_dev, d.ldg, &on_gpu, grids_dev, least,
                                     most));
    same("squares", got_dev, want, d.blocks * sizeof *want);
    sb_free(&want_grids);
    sb_free(&want);
  }
}

/* e H e' with H positive semi-definite: no more than sum |e| |H| |e'|, of which either side's
 * float sums of n products get n roundings wrong. H = I + u u' with positive u makes the bound
 * a small multiple of the value itself where e has one sign, and the diagonal keeps it away
 * from 0 where not. */
static void curvature_is_close(void **state) {
  (void)state;
  EACH_CASE(d, code_kind, 1) {
    const size_t side = d.tiling.block_cols, columns = sb_tiling_block_cols(&d.tiling),
                 rows = sb_tiling_block_rows(&d.tiling);
    const size_t first = rows > 1 ? 1 : 0, count = rows - first;
    float *grams = make(columns * side * side, 4), *weights = make(d.tiling.rows, 4);
    double(*want)[SB_WIDTHS] = make(d.blocks, sizeof *want),
    (*got)[SB_WIDTHS] = make(d.blocks, sizeof *got);
    const float *importance = c_ % 2 ? d.importance : NULL;
    for (size_t j = 0; j < columns; j++) {
      const size_t n = sb_tiling_cols_of(&d.tiling, j);
      float *gram = grams + j * side * side;
      for (size_t r = 0; r < n; r++)
        for (size_t c = 0; c < n; c++)
          gram[r * n + c] = (r == c ? 1.0f : 0.0f) + 0.01f * d.importance[r] * d.importance[c];
    }
    for (size_t r = 0; r < d.tiling.rows; r++) weights[r] = (float)(1 + r % 3);
    assert_ok(cpu->op->block_curvature(cpu, NULL, want, &on_cpu, first, count, grams, weights, 2, 6,
                                       importance));
    double(*got_dev)[SB_WIDTHS] = gpu_put(got, d.blocks * sizeof *got);
    assert_ok(gpu->op->block_curvature(
        gpu, NULL, got_dev, &on_gpu, first, count, gpu_put(grams, columns * side * side * 4),
        gpu_put(weights, d.tiling.rows * 4), 2, 6, importance ? d.importance_dev : NULL));
    gpu_get(got, got_dev, d.blocks * sizeof *got);
    for (size_t k = 0; k < d.blocks; k++)
      for (unsigned b = 0; b < SB_WIDTHS; b++)
        if (!(fabs(got[k][b] - want[k][b]) <= 1e-4 * fabs(want[k][b])))
          fail_msg("curvature of block %zu at %u bits: %.9g, expected %.9g", k, b, got[k][b],
                   want[k][b]);
    sb_free(&grams);
    sb_free(&weights);
    sb_free(&want);
    sb_free(&got);
  }
}

static void unpacking_is_the_same(void **state) {
  (void)state;
  EACH_CASE(d, code_kind, 1) {
    const size_t rows = sb_tiling_block_rows(&d.tiling), columns = sb_tiling_block_cols(&d.tiling);
    const sb_dtype to = types[(c_ / 3) % 3];
    size_t *offsets = make(rows + 1, sizeof *offsets), size = sb_dtype_size(to);
    for (size_t i = 0; i < rows; i++)
      offsets[i + 1] =
          offsets[i] + sb_blockrow_bytes(&d.tiling, i, d.bits + i * columns, code_kind) + i % 3;
    uint8_t *packed = make(offsets[rows], 1);
    void *want = make(d.n, size), *got_dev = gpu_put(want, d.n * size);
    for (size_t i = 0; i < rows; i++)
      sb_blockrow_encode(packed + offsets[i],
                         (const char *)d.w +
                             i * d.tiling.block_rows * d.tiling.cols * sb_dtype_size(d.dtype),
                         d.dtype, &d.tiling, i, d.bits + i * columns, code_kind, NULL);
    assert_ok(cpu->op->unpack_blocks(cpu, NULL, want, to, packed, offsets, &d.tiling, d.bits,
                                     code_kind, NULL));
    assert_ok(gpu->op->unpack_blocks(gpu, NULL, got_dev, to, gpu_put(packed, offsets[rows]),
                                     offsets, &d.tiling, d.bits, code_kind, NULL));
    same("unpacked weights", got_dev, want, d.n * size);
    sb_free(&offsets);
    sb_free(&packed);
    sb_free(&want);
  }
}

static void bad_arguments_are_refused(void **state) {
  (void)state;
  data d = create(0, SB_F32, 1);
  float *out = make(d.n, 4);
  sb_tiling wide = {4, 4096, 4, 4096};
  d.bits[0] = 9;
  assert_int_equal(gpu->op->quantize_blocks(gpu, NULL, out, SB_F32,
                                            &(sb_block_weights){.w = d.w,
                                                                .dtype = SB_F32,
                                                                .tiling = &d.tiling,
                                                                .bits = d.bits,
                                                                .code_kind = SB_GRID_ASYMMETRIC},
                                            NULL),
                   SB_ERR_INTERNAL);
  d.bits[0] = 4;
  assert_int_equal(gpu->op->quantize_blocks(gpu, NULL, out, SB_F32,
                                            &(sb_block_weights){.w = d.w,
                                                                .dtype = SB_F32,
                                                                .tiling = &wide,
                                                                .bits = d.bits,
                                                                .code_kind = SB_GRID_ASYMMETRIC},
                                            NULL),
                   SB_ERR_UNSUPPORTED);
  assert_int_equal(gpu->op->quantize_blocks(gpu, NULL, out, SB_F32,
                                            &(sb_block_weights){.w = d.w,
                                                                .dtype = SB_I8,
                                                                .tiling = &d.tiling,
                                                                .bits = d.bits,
                                                                .code_kind = SB_GRID_ASYMMETRIC},
                                            NULL),
                   SB_ERR_UNSUPPORTED);
  sb_free(&out);
  release(&d);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(fits_are_the_same),         cmocka_unit_test(rounding_is_the_same),
      cmocka_unit_test(moves_are_the_same),        cmocka_unit_test(channel_scores_are_the_same),
      cmocka_unit_test(products_are_the_same),     cmocka_unit_test(squares_are_the_same),
      cmocka_unit_test(curvature_is_close),        cmocka_unit_test(unpacking_is_the_same),
      cmocka_unit_test(bad_arguments_are_refused),
  };
  return GPU_RUN(tests, GPU_F32);
}
