/* How token files are told apart: raw ids of all widths, llm.c, Megatron, and what is none. */
#include "io/tokens.h"

#include <sys/stat.h>

#include "io/bytes.h"
#include "io/npy.h"
#include "tests/support/files.h"
#include "tests/support/scratch.h"

enum { N = 4096, LONG = 200000 };

/* N or LONG ids below `vocab`, none of them 0 but where `zero` says so, in `width` bytes each. */
static size_t put_ids(const char *path, size_t count, size_t width, uint32_t vocab, size_t skip) {
  unsigned char *bytes = calloc(count, width);
  assert_non_null(bytes);
  for (size_t i = 0; i < count; i++) {
    const uint32_t id = i < skip ? 0 : (uint32_t)(1 + i * 7919u % (vocab - 1));
    if (width == 2)
      memcpy(bytes + 2 * i, &(uint16_t){(uint16_t)id}, 2);
    else
      sb_put_u32(bytes + width * i, id);
  }
  put_file(path, bytes, count * width);
  free(bytes);
  return count;
}

static void expect_width(const char *path, sb_token_width asked, size_t vocab, size_t width,
                         size_t count) {
  sb_tokens *tokens;
  uint32_t last;
  assert_ok(sb_tokens_open(path, asked, vocab, &tokens));
  assert_int_equal(sb_tokens_layout(tokens)->width, width);
  assert_int_equal(sb_tokens_count(tokens), count);
  assert_ok(sb_tokens_read(tokens, count - 1, 1, &last));
  assert_int_equal(last, 1 + (count - 1) * 7919u % (vocab - 1));
  sb_tokens_close(&tokens);
}

#define expect_refusal(path, asked, vocab, status, ...)                                            \
  do {                                                                                             \
    sb_tokens *tokens_ = NULL;                                                                     \
    assert_fails(sb_tokens_open(path, asked, vocab, &tokens_), status, __VA_ARGS__);               \
    assert_null(tokens_);                                                                          \
    assert_true(strlen(sb_message()) < 200 + strlen(path));                                        \
  } while (0)

static void one_width_is_possible(void **state) {
  const char *path = scratch_path("ids.bin");
  (void)state;
  expect_width(path, SB_TOKENS_AUTO, 512, 2, put_ids(path, N, 2, 512, 0));
  expect_width(path, SB_TOKENS_AUTO, 65536, 2, put_ids(path, N, 2, 65536, 0));
  expect_width(path, SB_TOKENS_AUTO, 65537, 4, put_ids(path, N, 4, 65537, 0));
  expect_width(path, SB_TOKENS_AUTO, 128256, 4, put_ids(path, N, 4, 128256, 0));
  /* a long file that begins with padding, and one whose text is in the middle only */
  expect_width(path, SB_TOKENS_AUTO, 512, 2, put_ids(path, LONG, 2, 512, LONG - 5000));
  expect_width(path, SB_TOKENS_AUTO, 128256, 4, put_ids(path, LONG, 4, 128256, LONG - 5000));
  /* no whole number of wider ids */
  expect_width(path, SB_TOKENS_AUTO, 512, 2, put_ids(path, 1, 2, 512, 0));
  expect_width(path, SB_TOKENS_AUTO, 128256, 4, put_ids(path, 1, 4, 128256, 0));
}

/* The two: 64-bit ids, and 16-bit ids of which every second is 0. */
static void several_widths_are_possible(void **state) {
  const char *path = scratch_path("ids.bin");
  (void)state;
  put_ids(path, N, 8, 512, 0);
  expect_refusal(path, SB_TOKENS_AUTO, 512, SB_ERR_UNSUPPORTED, "64-bit", "--token-dtype i64");
  expect_refusal(path, SB_TOKENS_AUTO, 128256, SB_ERR_UNSUPPORTED, "64-bit", "--token-dtype i64");
  expect_width(path, SB_TOKENS_I64, 512, 8, N);
  expect_width(path, SB_TOKENS_U64, 512, 8, N);
  put_ids(path, N, 8, 128256, 0);
  expect_refusal(path, SB_TOKENS_AUTO, 128256, SB_ERR_UNSUPPORTED, "64-bit or 32-bit",
                 "i64 or u32");
  expect_width(path, SB_TOKENS_I64, 128256, 8, N);
  put_ids(path, N, 4, 512, 0);
  expect_refusal(path, SB_TOKENS_AUTO, 512, SB_ERR_UNSUPPORTED, "32-bit or 16-bit", "u32 or u16");
  expect_width(path, SB_TOKENS_U32, 512, 4, N);
  expect_width(path, SB_TOKENS_I32, 512, 4, N);
  put_ids(path, N, 2, 512, N);
  expect_refusal(path, SB_TOKENS_AUTO, 512, SB_ERR_UNSUPPORTED, "--token-dtype");
  put_ids(path, N, 2, 60000, 0);
  expect_refusal(path, SB_TOKENS_AUTO, 70000, SB_ERR_UNSUPPORTED, "looks like 16-bit ids",
                 "vocabulary of 70000", "--token-dtype u16");
  expect_width(path, SB_TOKENS_U16, 60000, 2, N);
}

/* Numbers that 32-bit arithmetic would fold into the vocabulary. */
static void wide_ids(void **state) {
  static const uint64_t ids[][2] = {{7, (uint64_t)-2}, {7, (UINT64_C(1) << 32) + 7}};
  const char *path = scratch_path("wide.bin");
  uint32_t got[2];
  (void)state;
  for (int i = 0; i < 2; i++)
    for (int is_signed = 0; is_signed < 2; is_signed++) {
      sb_tokens *tokens;
      put_file(path, ids[i], sizeof ids[i]);
      assert_ok(sb_tokens_open(path, is_signed ? SB_TOKENS_I64 : SB_TOKENS_U64, 512, &tokens));
      assert_fails(sb_tokens_read(tokens, 0, 2, got), SB_ERR_RANGE, "wide.bin", "token 1",
                   i == 1      ? "4294967303"
                   : is_signed ? "is -2"
                               : "9223372036854775807");
      sb_tokens_close(&tokens);
    }
}

static unsigned char image[4096];

static size_t llmc(uint32_t magic, uint32_t version, uint32_t count, size_t width) {
  memset(image, 0, sizeof image);
  sb_put_u32(image, magic);
  sb_put_u32(image + 4, version);
  sb_put_u32(image + 8, count);
  for (uint32_t i = 0; i < count; i++) {
    const uint32_t id = 1 + i * 7919u % 511;
    memcpy(image + 1024 + width * i, &id, width); /* a little-endian machine, as all of ours */
  }
  return 1024 + count * width;
}

static void files_of_llmc(void **state) {
  const char *path = scratch_path("fineweb.bin");
  (void)state;
  put_file(path, image, llmc(20240520, 1, 100, 2));
  expect_width(path, SB_TOKENS_AUTO, 512, 2, 100);
  expect_width(path, SB_TOKENS_U16, 512, 2, 100);
  expect_refusal(path, SB_TOKENS_U32, 512, SB_ERR_UNSUPPORTED, "--token-dtype u32", "llm.c",
                 "16-bit");
  put_file(path, image, llmc(20240801, 7, 100, 4));
  expect_width(path, SB_TOKENS_AUTO, 512, 4, 100);
  put_file(path, image, llmc(20240520, 1, 100, 2) - 2);
  expect_refusal(path, SB_TOKENS_AUTO, 512, SB_ERR_FORMAT, "100 uint16", "198 bytes", "damaged");
  put_file(path, image, llmc(20240520, 2, 100, 2));
  expect_refusal(path, SB_TOKENS_AUTO, 512, SB_ERR_UNSUPPORTED, "magic 20240520, version 2");
  put_file(path, image, llmc(20240326, 3, 100, 4)); /* a model's weights */
  expect_refusal(path, SB_TOKENS_AUTO, 512, SB_ERR_UNSUPPORTED, "magic 20240326, version 3");
  put_file(path, image, llmc(20240520, 1, 0, 2));
  expect_refusal(path, SB_TOKENS_AUTO, 512, SB_ERR_FORMAT, "no tokens");
}

/* The index of two sequences of `count` ids together, as Megatron writes it. */
static size_t megatron(unsigned char code, uint32_t count, size_t width) {
  memset(image, 0, sizeof image);
  memcpy(image, "MMIDIDX\0", 9);
  sb_put_u64(image + 9, 1);
  image[17] = code;
  sb_put_u64(image + 18, 2);
  sb_put_u64(image + 26, 3);
  sb_put_u32(image + 34, 10);
  sb_put_u32(image + 38, count - 10);
  sb_put_u64(image + 42, 0);
  sb_put_u64(image + 50, 10 * width);
  sb_put_u64(image + 66, 1);
  sb_put_u64(image + 74, 2);
  return 82;
}

static void files_of_megatron(void **state) {
  const char *bin = scratch_path("corpus_text_document.bin"),
             *idx = scratch_path("corpus_text_document.idx");
  (void)state;
  put_ids(bin, N, 4, 512, 0); /* which alone are 16 or 32 bits wide */
  put_file(idx, image, megatron(4, N, 4));
  expect_width(bin, SB_TOKENS_AUTO, 512, 4, N);
  expect_width(bin, SB_TOKENS_I32, 512, 4, N);
  expect_refusal(bin, SB_TOKENS_U16, 512, SB_ERR_UNSUPPORTED, "--token-dtype u16", "Megatron",
                 "32-bit");
  expect_refusal(idx, SB_TOKENS_AUTO, 512, SB_ERR_UNSUPPORTED, "index of a Megatron", ".bin");
  put_file(idx, image, megatron(4, N + 1, 4));
  expect_refusal(bin, SB_TOKENS_AUTO, 512, SB_ERR_FORMAT, "16384 bytes", ".idx", "16388");
  put_file(idx, image, megatron(7, N, 8));
  expect_refusal(bin, SB_TOKENS_AUTO, 512, SB_ERR_UNSUPPORTED, "type double", "int32");
  put_file(idx, image, megatron(99, N, 8));
  expect_refusal(bin, SB_TOKENS_AUTO, 512, SB_ERR_UNSUPPORTED, "type unknown");
  (void)megatron(4, N, 4);
  sb_put_u64(image + 18, UINT64_MAX / 12);
  put_file(idx, image, 82);
  expect_refusal(bin, SB_TOKENS_AUTO, 512, SB_ERR_FORMAT, ".idx", "damaged");
  put_ids(bin, N, 2, 512, 0);
  put_file(idx, image, megatron(8, N, 2));
  expect_width(bin, SB_TOKENS_AUTO, 512, 2, N);
  expect_width(bin, SB_TOKENS_AUTO, 512, 2, N);
  put_ids(bin, N, 8, 512, 0);
  put_file(idx, image, megatron(5, N, 8));
  expect_width(bin, SB_TOKENS_AUTO, 512, 8, N);
  put_text(idx, "some other index, which has nothing to do with the file of tokens");
  expect_refusal(bin, SB_TOKENS_AUTO, 512, SB_ERR_UNSUPPORTED, "64-bit");
}

static void other_files(void **state) {
  static const struct {
    const char *start;
    size_t count;
    const char *is;
  } files[] = {{"PK\3\4", 4, "zip archive"},    {"\x1f\x8b\x08", 3, "gzip"},
               {"\x28\xb5\x2f\xfd", 4, "zstd"}, {"PAR1", 4, "Parquet"},
               {"ARROW1\0\0", 8, "Arrow"},      {"\x89HDF\r\n\x1a\n", 8, "HDF5"},
               {"TNTIDX\0\0", 8, "fairseq"},    {"\x80\4\x95\x10\0\0\0\0\0\0\0", 11, "pickle"}};
  static const char *const names[] = {"other.npy", "other.bin", "other.pt"};
  (void)state;
  for (size_t i = 0; i < sizeof files / sizeof *files; i++)
    for (size_t k = 0; k < 3; k++) {
      memset(image, 1, 64);
      memcpy(image, files[i].start, files[i].count);
      put_file(scratch_path(names[k]), image, 64);
      expect_refusal(scratch_path(names[k]), SB_TOKENS_AUTO, 512, SB_ERR_UNSUPPORTED, names[k],
                     files[i].is);
    }
  for (size_t i = 0; i < 2000; i++) image[i] = (unsigned char)"Once upon a time,\n"[i % 18];
  put_file(scratch_path("text.bin"), image, 2000);
  expect_refusal(scratch_path("text.bin"), SB_TOKENS_AUTO, 49152, SB_ERR_UNSUPPORTED,
                 "looks like text", ".jsonl");
  sb_tokens *tokens;
  assert_ok(sb_tokens_open(scratch_path("text.bin"), SB_TOKENS_U16, 49152, &tokens));
  sb_tokens_close(&tokens);
}

/* The bytes that numpy.save (2.2) writes for arange(1, 6, dtype="<u2"). */
static void npy_header_as_numpy(void **state) {
  static const char start[] =
      "\x93NUMPY\1\0v\0{'descr': '<u2', 'fortran_order': False, 'shape': (5,), }";
  char file[SB_NPY_HEADER + 10], expected[SB_NPY_HEADER];
  const unsigned char ids[10] = {1, 0, 2, 0, 3, 0, 4, 0, 5, 0};
  uint32_t read[5];
  sb_tokens *tokens;
  (void)state;
  memset(expected, ' ', sizeof expected);
  memcpy(expected, start, sizeof start - 1);
  expected[SB_NPY_HEADER - 1] = '\n';
  sb_npy_header(file, 2, 5);
  assert_memory_equal(file, expected, sizeof expected);
  memcpy(file + SB_NPY_HEADER, ids, sizeof ids);
  put_file(scratch_path("ours.npy"), file, sizeof file);
  assert_ok(sb_tokens_open(scratch_path("ours.npy"), SB_TOKENS_AUTO, 6, &tokens));
  assert_int_equal(sb_tokens_count(tokens), 5);
  assert_ok(sb_tokens_read(tokens, 0, 5, read));
  for (uint32_t i = 0; i < 5; i++) assert_int_equal(read[i], i + 1);
  sb_tokens_close(&tokens);
  sb_npy_header(file, 4, UINT64_MAX); /* the longest one has room */
  assert_true(memchr(file, '}', SB_NPY_HEADER) != NULL && file[SB_NPY_HEADER - 1] == '\n');
}

/* Not waited for: nobody writes into it. */
static void pipes(void **state) {
  (void)state;
  assert_int_equal(mkfifo(scratch_path("pipe.bin"), 0600), 0);
  alarm(20);
  expect_refusal(scratch_path("pipe.bin"), SB_TOKENS_AUTO, 512, SB_ERR_IO, "pipe.bin", "pipe");
  expect_refusal(scratch_path("pipe.bin"), SB_TOKENS_U16, 512, SB_ERR_IO, "pipe.bin", "pipe");
  alarm(0);
}

static void another_rank_opens_it(void **state) {
  const char *path = scratch_path("ids.bin");
  sb_tokens *first, *other;
  uint32_t id;
  (void)state;
  put_file(path, image, llmc(20240801, 7, 100, 4));
  assert_ok(sb_tokens_open(path, SB_TOKENS_AUTO, 512, &first));
  assert_ok(sb_tokens_open_as(path, sb_tokens_layout(first), 512, &other));
  assert_int_equal(sb_tokens_count(other), 100);
  assert_ok(sb_tokens_read(other, 1, 1, &id));
  assert_int_equal(id, 1 + 7919 % 511);
  sb_tokens_close(&other);
  const size_t lengths[] = {1423, 1000, 0};
  for (int i = 0; i < 3; i++) {
    put_file(path, image, lengths[i]);
    assert_fails(sb_tokens_open_as(path, sb_tokens_layout(first), 512, &other), SB_ERR_FORMAT,
                 "ids.bin", "shorter");
    assert_null(other);
  }
  sb_tokens_close(&first);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(one_width_is_possible),
      cmocka_unit_test(several_widths_are_possible),
      cmocka_unit_test(wide_ids),
      cmocka_unit_test(files_of_llmc),
      cmocka_unit_test(files_of_megatron),
      cmocka_unit_test(other_files),
      cmocka_unit_test(another_rank_opens_it),
      cmocka_unit_test(npy_header_as_numpy),
      cmocka_unit_test(pipes),
  };
  return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
