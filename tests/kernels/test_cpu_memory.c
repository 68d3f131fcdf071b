#include "tests/kernels/check.h"

#include <string.h>

static void describes_itself(void **state) {
  sb_backend *be = *state;
  assert_string_equal(be->name, "cpu");
  assert_int_equal(be->act, SB_F32);
  assert_int_equal(be->operand, SB_F32);
  assert_true(be->unified);
  assert_true(be->free_bytes > (size_t)1 << 24);
}

/* Sizes around the pieces that copies are cut into. */
static void copies_and_zeroes(void **state) {
  sb_backend *be = *state;
  const size_t sizes[] = {0, 1, 4097, (1 << 20) + 3, 3 << 20};
  sb_stream stream = NULL;
  assert_ok(be->op->stream_create(be, &stream));
  assert_non_null(stream);
  for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
    size_t n = sizes[s];
    void *host, *one, *two;
    assert_ok(be->op->host_alloc(be, n, "host memory", &host));
    assert_ok(be->op->alloc(be, n, "first", &one));
    assert_ok(be->op->alloc(be, n, "second", &two));
    for (size_t i = 0; i < n; i++) ((unsigned char *)host)[i] = (unsigned char)(i * 31 + i / 255);
    assert_ok(be->op->upload(be, stream, one, host, n));
    assert_ok(be->op->copy(be, stream, two, one, n));
    assert_memory_equal(two, host, n);
    assert_ok(be->op->zero(be, stream, one, n));
    for (size_t i = 0; i < n; i++) assert_int_equal(((unsigned char *)one)[i], 0);
    assert_ok(be->op->download(be, stream, one, two, n));
    assert_ok(be->op->stream_wait(be, NULL, stream));
    assert_ok(be->op->sync(be, stream));
    assert_memory_equal(one, host, n);
    assert_ok(be->op->upload(be, stream, one, one, n)); /* unified memory: nothing to do */
    be->op->host_free(be, host);
    be->op->free(be, one);
    be->op->free(be, two);
  }
  be->op->stream_destroy(be, stream);
}

static void too_much_memory_is_an_error(void **state) {
  sb_backend *be = *state;
  void *out = be;
  assert_int_equal(be->op->alloc(be, SIZE_MAX - 8, "a model of nobody", &out), SB_ERR_MEMORY);
  assert_non_null(strstr(sb_message(), "a model of nobody"));
  assert_null(out);
}

static void refuses_negative_threads(void **state) {
  (void)state;
  sb_backend *none = NULL;
  assert_int_equal(sb_backend_cpu_create(SB_COMPUTE_F32, -2, &none), SB_ERR_USAGE);
  assert_null(none);
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
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(describes_itself), cmocka_unit_test(copies_and_zeroes),
      cmocka_unit_test(too_much_memory_is_an_error), cmocka_unit_test(refuses_negative_threads)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
