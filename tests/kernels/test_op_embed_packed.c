/* Rows of a packed table, against weights read bit by bit from the description of the format. */
#include <omp.h>

#include "tests/kernels/packed_case.h"
#include "tests/support/grid_kinds.h"

enum { T = 41 };

/* Chunk [v0, v0 + rows of the table): rows outside, some of them just beyond, are left alone. */
static void check_chunk(sb_backend *b, const packed_case *c, sb_packed w, size_t v0) {
  const size_t rows = c->tiling.rows, h = c->tiling.cols;
  uint32_t ids[T];
  float *x = check_random(T * h, 1.0f, 5), *want = check_random(T * h, 1.0f, 5);
  for (uint32_t t = 0; t < T; t++) ids[t] = (uint32_t)((t * t * 7u + 3u * t) % (v0 + 2 * rows));
  ids[0] = (uint32_t)v0;
  ids[1] = (uint32_t)(v0 + rows - 1);
  ids[2] = (uint32_t)(v0 + rows);
  ids[3] = v0 > 0 ? (uint32_t)v0 - 1 : ids[2];
  for (size_t t = 0; t < T; t++)
    for (size_t i = 0; i < h && ids[t] >= v0 && ids[t] < v0 + rows; i++)
      want[t * h + i] = (float)c->w[(ids[t] - v0) * h + i]; /* exact but for bases of 1 bit */
  assert_ok(b->op->embed_packed(b, NULL, x, ids, w, T, v0));
  assert_ok(b->op->sync(b, NULL));
  check_same("packed embedding", x, want, T * h);
}

static void every_shape(void **state) {
  sb_backend *b = *state;
  static const uint8_t mix[] = {3, 1, 8, 2, 5, 4, 7, 6};
  static const sb_tiling shapes[] = {
      {1, 1, 128, 128}, {33, 300, 128, 128}, {47, 515, 20, 64}, {70, 90, 9, 24}, {21, 7, 4, 3},
  };
  const int threads = omp_get_max_threads();
  for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
    for (int turn = 0; turn < KIND_TURNS; turn++)
      for (unsigned bits = 0; bits <= SB_MAX_BITS; bits++) { /* 0: a mix */
        const uint8_t uniform = (uint8_t)bits;
        packed_case c = {.tiling = shapes[s], .code_kind = kind_of_turn(0, turn)};
        sb_packed w = NULL;
        make_case(&c, bits ? &uniform : mix, bits ? 1 : sizeof mix, 100 + bits);
        assert_ok(b->op->packed_create(b, NULL, c.packed, c.offsets, &c.tiling, c.bits, c.code_kind,
                                       NULL, &w));
        omp_set_num_threads(1 + (int)(bits % 3));
        check_chunk(b, &c, w, 0);
        check_chunk(b, &c, w, 1000);
        b->op->packed_destroy(b, w);
        free(c.packed);
        check_done();
      }
  omp_set_num_threads(threads);
}

static int setup(void **state) {
  *state = check_backend(SB_COMPUTE_F32);
  return 0;
}

static int teardown(void **state) {
  sb_backend *b = *state;
  b->op->destroy(b);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(every_shape)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
