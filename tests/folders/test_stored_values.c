/* Comparing stored tensors by all ranks: sparse files of several pieces, changed in single places.
 */
#include "folders/stored_values.h"

#include <unistd.h>

#include "io/safetensors_writer.h"
#include "tests/support/shared_scratch.h"

enum {
  ROWS = 5,
  COLS = 5 << 20,
  BYTES = ROWS * COLS * 2
}; /* 50 MiB: 7 pieces of 8 MiB, one ragged */

/* Two tensors of bf16 and one of another shape; all zero, but for one byte of `two` at `at`. */
static void put_tensors(const char *path, size_t at) {
  const sb_tensor_spec specs[] = {
      {.name = "one", .dtype = SB_BF16, .dims = 2, .shape = {ROWS, COLS}},
      {.name = "two", .dtype = SB_BF16, .dims = 2, .shape = {ROWS, COLS}},
      {.name = "turned", .dtype = SB_BF16, .dims = 2, .shape = {COLS, ROWS}},
      {.name = "other", .dtype = SB_F16, .dims = 2, .shape = {ROWS, COLS}}};
  sb_safetensors_writer *writer = NULL;
  EXPECT_OK(sb_safetensors_writer_create(path, specs, 4, NULL, &writer));
  if (at < BYTES) EXPECT_OK(sb_safetensors_writer_write(writer, 1, at, 1, "\x01"));
  EXPECT_OK(sb_safetensors_writer_finish(writer));
  sb_safetensors_writer_free(&writer);
}

static void equal_bytes(void **state) {
  (void)state;
  static const size_t places[] = {BYTES, 0, BYTES - 1, (8 << 20) - 1, 8 << 20, 30 << 20};
  scratch_begin();
  const char *path = scratch_path("model.safetensors");
  for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
    sb_safetensors *reader = NULL;
    bool equal = false;
    if (world.rank == 0) {
      unlink(path);
      put_tensors(path, places[i]);
    }
    EXPECT(MPI_Barrier(world.comm) == MPI_SUCCESS);
    EXPECT_OK(sb_safetensors_open(path, &reader));
    const sb_tensor_info *one = sb_safetensors_find(reader, "one");
    EXPECT_OK(sb_stored_equal(&world, reader, one, sb_safetensors_find(reader, "two"), &equal));
    EXPECT(equal == (places[i] == BYTES));
    EXPECT_OK(sb_stored_equal(&world, reader, one, sb_safetensors_find(reader, "turned"), &equal));
    EXPECT(!equal);
    EXPECT_OK(sb_stored_equal(&world, reader, one, sb_safetensors_find(reader, "other"), &equal));
    EXPECT(!equal);
    sb_safetensors_close(&reader);
    EXPECT(MPI_Barrier(world.comm) == MPI_SUCCESS);
  }
  scratch_end();
  all_ranks_passed();
}

/* 0 and -0 in all types; the last value of the second piece counts too. */
static void zeros(void **state) {
  (void)state;
  static const struct {
    sb_dtype dtype;
    size_t at;
    const char *value;
    bool zero;
  } cases[] = {{SB_F32, 0, "\0\0\0\x80", true},      {SB_F32, 4096, "\x80\0\0\0", false},
               {SB_F32, 8188, "\0\0\0\x40", false},  {SB_BF16, 8188, "\0\x80\0\x80", true},
               {SB_BF16, 4092, "\0\0\x80\0", false}, {SB_F16, 0, "\x01\0\0\0", false}};
  scratch_begin();
  for (size_t i = 0; world.rank == 0 && i < sizeof cases / sizeof *cases; i++) {
    const sb_tensor_spec spec = {.name = "b",
                                 .dtype = cases[i].dtype,
                                 .dims = 1,
                                 .shape = {8192 / sb_dtype_size(cases[i].dtype)}};
    const char *path = scratch_path("b.safetensors");
    sb_safetensors_writer *writer = NULL;
    sb_safetensors *reader = NULL;
    bool zero = !cases[i].zero;
    unlink(path);
    EXPECT_OK(sb_safetensors_writer_create(path, &spec, 1, NULL, &writer));
    EXPECT_OK(sb_safetensors_writer_write(writer, 0, cases[i].at, 4, cases[i].value));
    EXPECT_OK(sb_safetensors_writer_finish(writer));
    sb_safetensors_writer_free(&writer);
    EXPECT_OK(sb_safetensors_open(path, &reader));
    EXPECT_OK(sb_stored_zero(reader, sb_safetensors_find(reader, "b"), &zero));
    EXPECT(zero == cases[i].zero);
    sb_safetensors_close(&reader);
  }
  scratch_end();
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(equal_bytes), cmocka_unit_test(zeros)};
RANKS_MAIN(tests)
