/* Operations on trellis codes on the device against the CPU backend, which is tested against plain
 * loops: the same bits, since transforms have one order of operations and walks are found in whole
 * numbers. */
#include "kernels/blockrow.h"
#include "tests/gpu/device.h"
#include "tests/gpu/trellis_blocks.h"
#include "tests/kernels/blocks.h"

static const sb_dtype types[3] = {SB_F32, SB_BF16, SB_F16};

/* Fails unless what is on the device is `want`, to the bit. */
static void same(const char *what, const void *got_dev, const void *want, size_t bytes) {
  uint8_t *got = trellis_make(bytes, 1);
  gpu_get(got, got_dev, bytes);
  for (size_t i = 0; i < bytes; i++)
    if (got[i] != ((const uint8_t *)want)[i])
      fail_msg("%s: byte %zu of %zu differs", what, i, bytes);
  sb_free(&got);
}

/* ---- activations ---- */

/* Runs of 128 and of less, blocks with several of them, and ragged ends. */
static const struct {
  size_t T, n, block;
} rows_of[] = {{3, 256, 128}, {1, 1, 128}, {2, 300, 100}, {5, 77, 77}, {1, 700, 300}, {2, 130, 64}};

static void hadamard_is_the_same(void **state) {
  (void)state;
  for (size_t k = 0; k < 3 * sizeof rows_of / sizeof *rows_of; k++) {
    const size_t T = rows_of[k / 3].T, n = rows_of[k / 3].n, block = rows_of[k / 3].block;
    const sb_dtype dtype = types[k % 3];
    const size_t bytes = T * n * sb_dtype_size(dtype);
    uint64_t seed = k + 1;
    float *x = trellis_make(T * n, 4);
    void *source = trellis_make(bytes, 1), *want = trellis_make(bytes, 1);
    for (size_t i = 0; i < T * n; i++) x[i] = uniform(&seed);
    sb_from_f32(source, dtype, x, T * n);
    uint16_t *factors = trellis_factors(n, 0.0f, k);
    const void *source_dev = gpu_put(source, bytes);
    void *got_dev = gpu_put(want, bytes), *in_place_dev = gpu_put(source, bytes);
    const uint16_t *factors_dev = gpu_put(factors, 2 * n);
    for (int way = 0; way < 3; way++) {
      const uint16_t *before = way != 1 ? factors : NULL, *after = way != 0 ? factors : NULL;
      const uint16_t *before_dev = before ? factors_dev : NULL,
                     *after_dev = after ? factors_dev : NULL;
      assert_ok(cpu->op->hadamard(cpu, NULL, want, source, dtype, T, n, block, before, after));
      assert_ok(gpu->op->hadamard(gpu, NULL, got_dev, source_dev, dtype, T, n, block, before_dev,
                                  after_dev));
      same("transformed rows", got_dev, want, bytes);
    }
    assert_ok(gpu->op->hadamard(gpu, NULL, in_place_dev, in_place_dev, dtype, T, n, block,
                                factors_dev, factors_dev));
    same("rows transformed in place", in_place_dev, want, bytes);
    gpu_drop();
    sb_free(&x);
    sb_free(&source);
    sb_free(&want);
    sb_free(&factors);
  }
}

/* ---- weights ---- */

typedef struct data {
  sb_tiling tiling;
  size_t n, blocks;
  uint8_t *bits;
  void *w;
  const void *w_dev;
  uint16_t *col_factors;
  const uint16_t *col_factors_dev;
} data;

static data create(const sb_tiling *tiling, sb_dtype dtype, unsigned least, unsigned most,
                   uint64_t seed) {
  data d = {.tiling = *tiling, .n = tiling->rows * tiling->cols, .blocks = block_count(tiling)};
  float *w = trellis_make(d.n, 4);
  d.w = trellis_make(d.n, 4);
  d.bits = trellis_make(d.blocks, 1);
  fill_awkward(w, tiling->rows, tiling->cols, seed);
  for (size_t i = 0; dtype == SB_F16 && i < d.n; i++)
    if (fabsf(w[i]) > 60000.0f) w[i] = 1000.0f;
  sb_from_f32(d.w, dtype, w, d.n);
  fill_bits(d.bits, d.blocks, least, most, seed);
  d.col_factors = trellis_factors(tiling->cols, seed % 2 ? 0.5f : 0.0f, seed);
  d.w_dev = gpu_put(d.w, d.n * 4);
  d.col_factors_dev = gpu_put(d.col_factors, 2 * tiling->cols);
  sb_free(&w);
  return d;
}

static void release(data *d) {
  gpu_drop();
  sb_free(&d->w);
  sb_free(&d->bits);
  sb_free(&d->col_factors);
}

static void coordinates_are_the_same(void **state) {
  (void)state;
  for (size_t shape = 0; shape < SHAPES; shape++) {
    const sb_dtype dtype = types[shape % 3];
    data d = create(&shapes[shape], dtype, 1, 8, shape);
    float *want = trellis_make(d.n, 4);
    uint16_t *want_rows = trellis_make(d.tiling.rows, 2);
    float *got_dev = gpu_put(want, d.n * 4);
    uint16_t *rows_dev = gpu_put(want_rows, d.tiling.rows * 2);
    const sb_block_weights on_cpu = {d.w, dtype, &d.tiling, NULL, SB_TRELLIS_12},
                           on_gpu = {d.w_dev, dtype, &d.tiling, NULL, SB_TRELLIS_12};
    assert_ok(cpu->op->trellis_transform(cpu, NULL, want, want_rows, &on_cpu, 640, 17 + shape,
                                         d.col_factors));
    assert_ok(gpu->op->trellis_transform(gpu, NULL, got_dev, rows_dev, &on_gpu, 640, 17 + shape,
                                         d.col_factors_dev));
    same("row factors", rows_dev, want_rows, d.tiling.rows * 2);
    same("transformed weights", got_dev, want, d.n * 4);
    sb_free(&want);
    sb_free(&want_rows);
    release(&d);
  }
}

/* All kinds, widths, and states: the codes are random. */
static void unpacking_is_the_same(void **state) {
  (void)state;
  for (size_t k = 0; k < SHAPES * TRELLIS_KINDS; k++) {
    const sb_code_kind kind = trellis_kinds[k % TRELLIS_KINDS];
    const sb_dtype to = types[k % 3];
    trellis_matrix m = trellis_random(&shapes[k / TRELLIS_KINDS], kind, 1, 8, k % 5, k);
    const size_t n = m.tiling.rows * m.tiling.cols, size = sb_dtype_size(to);
    void *want = trellis_make(n, size), *got_dev = gpu_put(want, n * size);
    assert_ok(cpu->op->unpack_blocks(cpu, NULL, want, to, m.packed, m.offsets, &m.tiling, m.bits,
                                     kind, m.col_factors));
    assert_ok(gpu->op->unpack_blocks(
        gpu, NULL, got_dev, to, (uint8_t *)gpu_put(m.memory, m.bytes) + m.skew, m.offsets,
        &m.tiling, m.bits, kind, gpu_put(m.col_factors, 2 * m.tiling.cols)));
    same("unpacked weights", got_dev, want, n * size);
    sb_free(&want);
    gpu_drop();
    trellis_release(&m);
  }
}

/* Every width of every kind. The stand-in takes seconds for a tile of 2^16 states: there each kind
 * but the first gets a tile or two. */
static const struct {
  sb_tiling tiling;
  sb_code_kind kind;
  unsigned least, most;
} nearest[] = {
    {{64, 32, 64, 4}, SB_TRELLIS_12, 1, 8},      {{130, 14, 128, 8}, SB_TRELLIS_12, 1, 4},
    {{64, 8, 64, 4}, SB_TRELLIS_12, 0, 1},       {{64, 8, 64, 4}, SB_TRELLIS_14, 2, 5},
    {{64, 4, 64, 4}, SB_TRELLIS_16, 2, 2},       {{16, 16, 16, 16}, SB_TRELLIS_EXL3, 3, 3},
#ifndef SB_ON_STAND_IN
    {{256, 512, 128, 128}, SB_TRELLIS_12, 1, 8}, {{256, 512, 64, 64}, SB_TRELLIS_14, 1, 8},
    {{256, 128, 64, 16}, SB_TRELLIS_16, 1, 8},   {{128, 128, 16, 16}, SB_TRELLIS_EXL3, 1, 8},
#endif
};

static void nearest_codes_are_the_same(void **state) {
  (void)state;
  for (size_t k = 0; k < sizeof nearest / sizeof *nearest; k++) {
    const sb_dtype dtype = types[k % 3], to = types[k % 2];
    data d = create(&nearest[k].tiling, dtype, nearest[k].least, nearest[k].most, k);
    for (size_t i = 0; i < d.blocks; i++) /* each width that may be, in turn */
      d.bits[i] = (uint8_t)(nearest[k].least + i % (nearest[k].most - nearest[k].least + 1));
    const size_t bytes = d.n * sb_dtype_size(to);
    void *want = trellis_make(bytes, 1), *got_dev = gpu_put(want, bytes);
    const sb_block_weights on_cpu = {d.w, dtype, &d.tiling, d.bits, nearest[k].kind},
                           on_gpu = {d.w_dev, dtype, &d.tiling, d.bits, nearest[k].kind};
    assert_ok(cpu->op->trellis_quantize(cpu, NULL, want, to, &on_cpu, 3 + k, d.col_factors));
    assert_ok(gpu->op->trellis_quantize(gpu, NULL, got_dev, to, &on_gpu, 3 + k, d.col_factors_dev));
    same("rounded weights", got_dev, want, bytes);
    sb_free(&want);
    release(&d);
  }
}

/* Weights so far out that the costs of walks go to their limit: eight of them unless they are
 * normalised in between, more in any case. */
static void far_targets_are_the_same(void **state) {
  enum { ROWS = 64, COLS = 16, N = ROWS * COLS };
  static const size_t starts[] = {0, ROWS};
  (void)state;
  for (size_t count = 8; count <= 32; count *= 2) {
    uint8_t bits[ROWS], codes[N] = {0}, got[N];
    sb_grid grids[ROWS] = {{0}};
    float w[N], factor[COLS * COLS] = {0};
    for (size_t i = 0; i < ROWS; i++) bits[i] = count == 32 ? 5 : 2;
    for (size_t i = 0; i < COLS; i++) factor[i * COLS + i] = 1.0f;
    for (size_t i = 0; i < N; i++) w[i] = 1e-6f * (float)(mix(i) % 1000);
    for (size_t k = 0; k < count; k++) w[2 * k * COLS] = k % 3 == 0 ? -1.0f : 1.0f;
    const sb_stack host = {ROWS, COLS, COLS, 1, starts, SB_TRELLIS_12, bits, grids, codes};
    sb_stack dev = host;
    dev.bits = gpu_put(bits, sizeof bits);
    dev.grids = gpu_put(grids, sizeof grids);
    dev.codes = gpu_put(codes, sizeof codes);
    float *w_dev = gpu_put(w, sizeof w);
    assert_ok(cpu->op->trellis_round(cpu, NULL, &host, w, 0, COLS, factor, COLS));
    assert_ok(gpu->op->trellis_round(gpu, NULL, &dev, w_dev, 0, COLS,
                                     gpu_put(factor, sizeof factor), COLS));
    gpu_get(got, dev.codes, sizeof got);
    assert_memory_equal(got, codes, sizeof codes);
    same("scales", dev.grids, grids, sizeof grids);
    gpu_drop();
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(hadamard_is_the_same),     cmocka_unit_test(coordinates_are_the_same),
      cmocka_unit_test(unpacking_is_the_same),    cmocka_unit_test(nearest_codes_are_the_same),
      cmocka_unit_test(far_targets_are_the_same),
  };
  return GPU_RUN(tests, GPU_F32);
}
