#include "tests/kernels/check.h"

#include <omp.h>
#include <string.h>

enum { T = 37, H = 70, VOCAB = 29 };

static void ids_of(uint32_t *ids) {
  for (uint32_t t = 0; t < T; t++) ids[t] = (t * t * 7u + 3u * t) % VOCAB; /* with repetitions */
}

/* Chunk by chunk, every row is written exactly once, and with the table's own numbers. */
static void chunks_gather_all_rows(void **state) {
  sb_backend *be = *state;
  uint32_t ids[T];
  uint16_t half[VOCAB * H];
  float *table = check_random(VOCAB * H, 1.0f, 1);
  ids_of(ids);
  for (int type = 0; type < 3; type++) {
    sb_dtype dtype = (sb_dtype[]){SB_F32, SB_BF16, SB_F16}[type];
    float *seen = check_zeros(VOCAB * H), *x = check_zeros(T * H);
    const void *source = dtype == SB_F32 ? (const void *)table : half;
    if (dtype != SB_F32) sb_from_f32(half, dtype, table, VOCAB * H);
    sb_to_f32(seen, source, dtype, VOCAB * H);
    for (size_t t = 0; t < T * H; t++) x[t] = 99.0f;
    for (size_t v0 = 0; v0 < VOCAB; v0 += 10) {
      size_t nv = VOCAB - v0 < 10 ? VOCAB - v0 : 10;
      const char *chunk = (const char *)source + v0 * H * sb_dtype_size(dtype);
      assert_ok(be->op->embed(be, NULL, x, ids, chunk, dtype, T, H, v0, nv));
      for (size_t t = 0; t < T; t++) /* rows outside the chunks so far are left alone */
        if (ids[t] >= v0 + nv)
          assert_true(x[t * H] == 99.0f);
        else
          check_same("embedding", x + t * H, seen + ids[t] * H, H);
    }
  }
  check_done();
}

static void back_adds_rows_of_equal_tokens(void **state) {
  sb_backend *be = *state;
  uint32_t ids[T];
  float *dx = check_random(T * H, 1.0f, 2), *start = check_random(VOCAB * H, 1.0f, 3), *got[4];
  double *want = check_double(start, VOCAB * H);
  int threads = omp_get_max_threads();
  ids_of(ids);
  for (size_t t = 0; t < T; t++)
    for (size_t i = 0; i < H; i++) want[ids[t] * H + i] += (double)dx[t * H + i];
  for (int n = 1; n <= 3; n++) {
    got[n] = check_random(VOCAB * H, 1.0f, 3);
    omp_set_num_threads(n);
    for (size_t v0 = 0; v0 < VOCAB; v0 += 12)
      assert_ok(be->op->embed_back(be, NULL, got[n] + v0 * H, ids, dx, T, H, v0,
                                   VOCAB - v0 < 12 ? VOCAB - v0 : 12));
    check_close("gradient of the table", got[n], want, VOCAB * H, 1e-6,
                1.0); /* at most T roundings */
    check_same("gradient of the table", got[n], got[1], VOCAB * H);
  }
  omp_set_num_threads(threads);
  check_done();
}

static int setup(void **state) {
  *state = check_backend(SB_COMPUTE_F32);
  return 0;
}

static int teardown(void **state) {
  sb_backend *be = *state;
  be->op->destroy(be);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(chunks_gather_all_rows),
                                     cmocka_unit_test(back_adds_rows_of_equal_tokens)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
