/* quantize_blocks against kernels/shared/grid.h applied one weight at a time: the same bits. */
#include "tests/kernels/blocks.h"
#include "tests/support/grid_kinds.h"

typedef struct data {
  sb_backend *backend;
  sb_tiling tiling;
  size_t n;
  float *w, *expected, *out;
  uint16_t *w16, *out16;
  uint8_t *bits;
} data;

static data create(size_t shape) {
  data d = {.tiling = shapes[shape], .n = shapes[shape].rows * shapes[shape].cols};
  assert_ok(sb_backend_cpu_create(SB_COMPUTE_F32, 0, &d.backend));
  assert_ok(sb_alloc(&d.w, d.n, 4, "w"));
  assert_ok(sb_alloc(&d.expected, d.n, 4, "expected"));
  assert_ok(sb_alloc(&d.out, d.n, 4, "out"));
  assert_ok(sb_alloc(&d.w16, d.n, 2, "w16"));
  assert_ok(sb_alloc(&d.out16, d.n, 2, "out16"));
  assert_ok(sb_alloc(&d.bits, block_count(&d.tiling), 1, "bits"));
  fill_awkward(d.w, d.tiling.rows, d.tiling.cols, shape);
  fill_bits(d.bits, block_count(&d.tiling), 0, 8, shape);
  return d;
}

static void release(data *d) {
  d->backend->op->destroy(d->backend);
  sb_free(&d->w);
  sb_free(&d->expected);
  sb_free(&d->out);
  sb_free(&d->w16);
  sb_free(&d->out16);
  sb_free(&d->bits);
}

static void quantize(data *d, void *out, sb_dtype out_dtype, const void *w, sb_dtype w_dtype,
                     sb_code_kind code_kind) {
  assert_ok(d->backend->op->quantize_blocks(
      d->backend, NULL, out, out_dtype,
      &(sb_block_weights){
          .w = w, .dtype = w_dtype, .tiling = &d->tiling, .bits = d->bits, .code_kind = code_kind},
      NULL));
}

static void test_same_bits(void **state) {
  (void)state;
  for (size_t i = 0; i < SHAPES; i++)
    for (int turn = 0; turn < KIND_TURNS; turn++) {
      const sb_code_kind code_kind = kind_of_turn(i, turn);
      data d = create(i);
      scalar_quantize(d.expected, d.w, &d.tiling, d.bits, code_kind);
      for (int threads = 1; threads <= 5; threads += 2) {
        omp_set_num_threads(threads);
        memset(d.out, 0xff, d.n * 4);
        quantize(&d, d.out, SB_F32, d.w, SB_F32, code_kind);
        assert_memory_equal(d.out, d.expected, d.n * 4);
      }
      quantize(&d, d.w, SB_F32, d.w, SB_F32, code_kind); /* in place */
      assert_memory_equal(d.w, d.expected, d.n * 4);
      release(&d);
    }
}

/* Weights of 16 bits are the same as the floats they stand for; results are
 * rounded to the nearest. */
static void test_types(void **state) {
  const sb_dtype types[2] = {SB_BF16, SB_F16};
  (void)state;
  for (size_t i = 0; i < SHAPES; i++)
    for (int t = 0; t < 2; t++) {
      data d = create(i);
      for (size_t e = 0; e < d.n; e++)
        if (fabsf(d.w[e]) > 60000.0f) d.w[e] = 1000.0f; /* fp16 has no more */
      sb_from_f32(d.w16, types[t], d.w, d.n);
      sb_to_f32(d.w, d.w16, types[t], d.n);
      scalar_quantize(d.expected, d.w, &d.tiling, d.bits, SB_GRID_ASYMMETRIC);
      quantize(&d, d.out, SB_F32, d.w16, types[t], SB_GRID_ASYMMETRIC);
      assert_memory_equal(d.out, d.expected, d.n * 4);
      quantize(&d, d.out16, types[t], d.w16, types[t], SB_GRID_ASYMMETRIC);
      sb_from_f32(d.w16, types[t], d.expected, d.n);
      assert_memory_equal(d.out16, d.w16, d.n * 2);
      release(&d);
    }
}

static void test_refusals(void **state) {
  data d = create(1);
  (void)state;
  d.bits[3] = 9;
  assert_int_equal(
      d.backend->op->quantize_blocks(d.backend, NULL, d.out, SB_F32,
                                     &(sb_block_weights){.w = d.w,
                                                         .dtype = SB_F32,
                                                         .tiling = &d.tiling,
                                                         .bits = d.bits,
                                                         .code_kind = SB_GRID_ASYMMETRIC},
                                     NULL),
      SB_ERR_INTERNAL);
  assert_non_null(strstr(sb_message(), "block 3 has 9 bits"));
  d.tiling = (sb_tiling){1, 2000, 1, 1025};
  assert_int_equal(
      d.backend->op->quantize_blocks(d.backend, NULL, d.out, SB_F32,
                                     &(sb_block_weights){.w = d.w,
                                                         .dtype = SB_F32,
                                                         .tiling = &d.tiling,
                                                         .bits = d.bits,
                                                         .code_kind = SB_GRID_ASYMMETRIC},
                                     NULL),
      SB_ERR_UNSUPPORTED);
  assert_non_null(strstr(sb_message(), "1024"));
  release(&d);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_same_bits),
      cmocka_unit_test(test_types),
      cmocka_unit_test(test_refusals),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
