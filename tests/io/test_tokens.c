/* Token files: raw and NumPy, good and bad. NumPy headers are spelled out as NumPy writes them. */
#include "io/tokens.h"

#include "tests/support/files.h"
#include "tests/support/scratch.h"

static void put_npy(const char *path, int version, const char *dict, const void *data,
                    size_t bytes) {
  unsigned char image[512] = {0x93, 'N', 'U', 'M', 'P', 'Y', (unsigned char)version, 0};
  size_t prefix = version == 1 ? 10 : 12, length = strlen(dict);
  image[8] = (unsigned char)length;
  memcpy(image + prefix, dict, length);
  if (bytes) memcpy(image + prefix + length, data, bytes);
  put_file(path, image, prefix + length + bytes);
}

static void expect_tokens(const char *path, sb_token_width width, size_t vocab,
                          const uint32_t *want, size_t n) {
  sb_tokens *tokens;
  uint32_t got[16];
  assert_ok(sb_tokens_open(path, width, vocab, &tokens));
  assert_int_equal(sb_tokens_count(tokens), n);
  assert_ok(sb_tokens_read(tokens, 0, n, got));
  assert_memory_equal(got, want, n * sizeof *got);
  if (n > 1) {
    assert_ok(sb_tokens_read(tokens, n - 1, 1, got));
    assert_int_equal(got[0], want[n - 1]);
  }
  assert_fails(sb_tokens_read(tokens, n, 1, got), SB_ERR_INTERNAL, path);
  sb_tokens_close(&tokens);
  assert_null(tokens);
}

static const uint16_t ids16[] = {5, 300, 49151, 0, 7};
static const uint32_t ids32[] = {5, 300, 49151, 0, 7};
static const int64_t ids64[] = {5, 300, 49151, 0, 7};

static void raw_files(void **state) {
  (void)state;
  static const uint32_t large[] = {5, 128255, 70000};
  put_file(scratch_path("16.bin"), ids16, sizeof ids16);
  put_file(scratch_path("32.bin"), ids32, sizeof ids32);
  put_file(scratch_path("large.bin"), large, sizeof large);
  put_file(scratch_path("any"), ids16, sizeof ids16);
  expect_tokens(scratch_path("16.bin"), SB_TOKENS_AUTO, 49152, ids32, 5);
  expect_tokens(scratch_path("16.bin"), SB_TOKENS_U16, 49152, ids32, 5);
  expect_tokens(scratch_path("32.bin"), SB_TOKENS_U32, 49152, ids32, 5);
  expect_tokens(scratch_path("large.bin"), SB_TOKENS_AUTO, 128256, large,
                3);                                               /* the vocabulary needs 32 bits */
  expect_tokens(scratch_path("any"), SB_TOKENS_U16, 0, ids32, 5); /* a given width takes any name */
}

static void numpy_files(void **state) {
  (void)state;
  static const struct {
    int version;
    const char *dict;
    const void *data;
    size_t bytes;
  } files[] = {
      {1, "{'descr': '<u2', 'fortran_order': False, 'shape': (5,), }           \n", ids16,
       sizeof ids16},
      {2, "{'descr': '<u4', 'fortran_order': False, 'shape': (5,), }\n", ids32, sizeof ids32},
      {3, "{'descr': '<i4', 'fortran_order': False, 'shape': (1, 5), }\n", ids32, sizeof ids32},
      {1, "{'descr': '<i8', 'fortran_order': True, 'shape': (5,), }\n", ids64, sizeof ids64},
      {1, "{'descr': '<u8', 'fortran_order': False, 'shape': (5,), }\n", ids64, sizeof ids64},
      {1, "{'descr': '<i2', 'fortran_order': False, 'shape': (2,), }\n", ids16, 4},
      {1, "{\"shape\": (5, 1), \"fortran_order\":False, \"descr\":\"<i8\"}\n", ids64, sizeof ids64},
  };
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
    put_npy(scratch_path("good.npy"), files[i].version, files[i].dict, files[i].data,
            files[i].bytes);
    expect_tokens(scratch_path("good.npy"), SB_TOKENS_AUTO, 49152, ids32,
                  files[i].bytes == 4 ? 2 : 5);
  }
}

static void bad_numpy_files(void **state) {
  (void)state;
  static const struct {
    int version;
    const char *dict;
    size_t bytes;
    sb_status status;
    const char *says;
  } files[] = {
      {1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n", 8, SB_ERR_UNSUPPORTED,
       "f4"},
      {1, "{'descr': '|u1', 'fortran_order': False, 'shape': (8,), }\n", 8, SB_ERR_UNSUPPORTED,
       "u1"},
      {1, "{'descr': '<U1', 'fortran_order': False, 'shape': (2,), }\n", 8, SB_ERR_UNSUPPORTED,
       "<U1: text; save it as a .txt"},
      {1, "{'descr': '|O', 'fortran_order': False, 'shape': (2,), }\n", 9, SB_ERR_UNSUPPORTED,
       "|O: Python objects"},
      {1, "{'descr': '|b1', 'fortran_order': False, 'shape': (8,), }\n", 8, SB_ERR_UNSUPPORTED,
       "astype('uint32')"},
      {1, "{'descr': '<M8[s]', 'fortran_order': False, 'shape': (1,), }\n", 8, SB_ERR_UNSUPPORTED,
       "M8[s]"},
      {1, "{'descr': '>u4', 'fortran_order': False, 'shape': (2,), }\n", 8, SB_ERR_UNSUPPORTED,
       "big-endian"},
      {1, "{'descr': [('a', '<u4')], 'fortran_order': False, 'shape': (2,), }\n", 8,
       SB_ERR_UNSUPPORTED, "structured"},
      {1, "{'descr': '<u4', 'fortran_order': False, 'shape': (), }\n", 4, SB_ERR_UNSUPPORTED,
       "0 dimensions"},
      {1, "{'descr': '<u4', 'fortran_order': False, 'shape': (1, 1, 2), }\n", 8, SB_ERR_UNSUPPORTED,
       "3 dimensions"},
      {1, "{'descr': '<u4', 'fortran_order': True, 'shape': (1, 2), }\n", 8, SB_ERR_UNSUPPORTED,
       "Fortran"},
      {1, "{'descr': '<u4', 'fortran_order': False, 'shape': (3,), }\n", 8, SB_ERR_FORMAT,
       "3 elements"},
      {1, "{'descr': '<u4', 'fortran_order': False, 'shape': (1,), }\n", 8, SB_ERR_FORMAT,
       "1 elements"},
      {1, "{'descr': '<u4', 'fortran_order': False, 'shape': (0,), }\n", 0, SB_ERR_FORMAT,
       "no tokens"},
      {1, "{'descr': '<u4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }\n", 8,
       SB_ERR_FORMAT, "overflow"},
      {1, "{'descr': '<u4', 'fortran_order': False, 'shape': (99999999999999999999), }\n", 8,
       SB_ERR_FORMAT, "overflow"},
      {1, "{'descr': '<u4', 'fortran_order': False, 'shape': (-3,), }\n", 8, SB_ERR_FORMAT,
       "shape"},
      {1, "{'descr': '<u4', 'fortran_order': False, 'shape': (2", 0, SB_ERR_FORMAT, "shape"},
      {1, "{'descr': '<u4', 'fortran_order': False}\n", 8, SB_ERR_FORMAT, "shape"},
      {1, "{'descr': '<u4', 'shape': (2,)}\n", 8, SB_ERR_FORMAT, "fortran_order"},
      {1, "{'descr': '<u", 0, SB_ERR_FORMAT, "descr"},
      {4, "{'descr': '<u4', 'fortran_order': False, 'shape': (2,), }\n", 8, SB_ERR_UNSUPPORTED,
       "version 4"},
  };
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
    sb_tokens *tokens;
    put_npy(scratch_path("bad.npy"), files[i].version, files[i].dict, ids32, files[i].bytes);
    assert_fails(sb_tokens_open(scratch_path("bad.npy"), SB_TOKENS_AUTO, 100, &tokens),
                 files[i].status, scratch_path("bad.npy"), files[i].says);
    assert_null(tokens);
  }
}

static void bad_files(void **state) {
  (void)state;
  sb_tokens *tokens;
  static const unsigned char long_header[] = {0x93, 'N', 'U',  'M',  'P', 'Y',
                                              1,    0,   0xff, 0xff, '{', '}'};
  assert_fails(sb_tokens_open(scratch_path("none.bin"), SB_TOKENS_AUTO, 9, &tokens), SB_ERR_IO,
               "none.bin", "No such file");
  put_file(scratch_path("e.bin"), "", 0);
  assert_fails(sb_tokens_open(scratch_path("e.bin"), SB_TOKENS_AUTO, 9, &tokens), SB_ERR_FORMAT,
               "e.bin", "empty");
  put_file(scratch_path("odd.bin"), "abc", 3);
  assert_fails(sb_tokens_open(scratch_path("odd.bin"), SB_TOKENS_AUTO, 9, &tokens), SB_ERR_FORMAT,
               "odd.bin", "3 bytes", "uint16");
  put_file(scratch_path("six.bin"), "abcdef", 6);
  assert_fails(sb_tokens_open(scratch_path("six.bin"), SB_TOKENS_AUTO, 70000, &tokens),
               SB_ERR_FORMAT, "six.bin", "6 bytes", "uint32");
  put_file(scratch_path("text.txt"), "hello world!", 12);
  assert_fails(sb_tokens_open(scratch_path("text.txt"), SB_TOKENS_AUTO, 9, &tokens),
               SB_ERR_UNSUPPORTED, "text.txt", ".bin", ".npy");
  put_file(scratch_path("not.npy"), "hello world!", 12);
  assert_fails(sb_tokens_open(scratch_path("not.npy"), SB_TOKENS_U16, 9, &tokens), SB_ERR_FORMAT,
               "not.npy");
  put_file(scratch_path("short.npy"), long_header, sizeof long_header);
  assert_fails(sb_tokens_open(scratch_path("short.npy"), SB_TOKENS_AUTO, 9, &tokens), SB_ERR_FORMAT,
               "short.npy", "65535");
  put_file(scratch_path("stub.npy"), long_header, 8);
  assert_fails(sb_tokens_open(scratch_path("stub.npy"), SB_TOKENS_AUTO, 9, &tokens), SB_ERR_FORMAT,
               "stub.npy", "truncated");
}

/* The position is counted in the file, also beyond the chunks that are read at a time. */
static void bad_ids(void **state) {
  (void)state;
  enum { N = 20000 };
  static uint16_t ids[N];
  static uint32_t got[N];
  static const int64_t negative[] = {1, -2};
  sb_tokens *tokens;
  for (size_t i = 0; i < N; i++) ids[i] = (uint16_t)(i % 512);
  ids[17001] = 512;
  put_file(scratch_path("ids.bin"), ids, sizeof ids);
  assert_ok(sb_tokens_open(scratch_path("ids.bin"), SB_TOKENS_AUTO, 512, &tokens));
  assert_ok(sb_tokens_read(tokens, 1000, 16001, got));
  for (size_t i = 0; i < 16001; i++) assert_int_equal(got[i], (i + 1000) % 512);
  assert_fails(sb_tokens_read(tokens, 1000, 16002, got), SB_ERR_RANGE, "ids.bin", "token 17001",
               "id 512", "512 ids", "another model");
  sb_tokens_close(&tokens);
  put_npy(scratch_path("n.npy"), 1, "{'descr': '<i8', 'fortran_order': False, 'shape': (2,), }\n",
          negative, sizeof negative);
  assert_ok(sb_tokens_open(scratch_path("n.npy"), SB_TOKENS_AUTO, 0, &tokens));
  assert_fails(sb_tokens_read(tokens, 0, 2, got), SB_ERR_RANGE, "n.npy", "token 1", "-2");
  sb_tokens_close(&tokens);
}

static void sequences(void **state) {
  (void)state;
  sb_tokens *tokens;
  size_t n;
  put_file(scratch_path("s.bin"), ids16, sizeof ids16);
  assert_ok(sb_tokens_open(scratch_path("s.bin"), SB_TOKENS_AUTO, 0, &tokens));
  assert_ok(sb_tokens_sequences(tokens, 2, 0, &n));
  assert_int_equal(n, 2);
  assert_ok(sb_tokens_sequences(tokens, 2, 1, &n));
  assert_int_equal(n, 1);
  assert_ok(sb_tokens_sequences(tokens, 5, 100, &n));
  assert_int_equal(n, 1);
  assert_fails(sb_tokens_sequences(tokens, 6, 0, &n), SB_ERR_RANGE, "s.bin", "5 tokens", "6",
               "--seqlen");
  assert_fails(sb_tokens_sequences(tokens, 0, 0, &n), SB_ERR_USAGE, "sequence length");
  sb_tokens_close(&tokens);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(raw_files), cmocka_unit_test(numpy_files), cmocka_unit_test(bad_numpy_files),
      cmocka_unit_test(bad_files), cmocka_unit_test(bad_ids),     cmocka_unit_test(sequences),
  };
  return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
