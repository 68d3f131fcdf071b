/* The folder of checkpoints: which is the newest, what rotation removes, what killed runs left, and
 * that it belongs to one run. */
#include "train/checkpoint_dir.h"

#include <sys/stat.h>

#include "io/unfinished.h"
#include "tests/support/files.h"
#include "tests/support/scratch.h"

static sb_checkpoint_dir dir;

static void make(const char *name, const char *file) {
  char path[SB_PATH_MAX + 64];
  snprintf(path, sizeof path, "%s/%s", dir.path, name);
  assert_int_equal(mkdir(path, 0777), 0);
  if (!file) return;
  snprintf(path, sizeof path, "%s/%s/%s", dir.path, name, file);
  put_text(path, "{}");
}

static bool is_there(const char *name) {
  char path[SB_PATH_MAX + 64];
  snprintf(path, sizeof path, "%s/%s", dir.path, name);
  return access(path, F_OK) == 0;
}

static void test_newest_and_rotation(void **state) {
  size_t count;
  uint64_t step = 0;
  (void)state;
  assert_ok(sb_checkpoint_dir_open(scratch_path("saved"), &dir));
  assert_ok(sb_checkpoint_dir_newest(&dir, &count, &step));
  assert_int_equal(count, 0);
  make("step-00000100", SB_CHECKPOINT_STATE);
  make("step-00000200", SB_CHECKPOINT_STATE);
  make("step-00000250", SB_CHECKPOINT_STATE);
  make("step-00010000", SB_CHECKPOINT_STATE);
  make("step-00020000", "model.safetensors"); /* another program's */
  make("step-20001", SB_CHECKPOINT_STATE);
  make("step-00000300x", SB_CHECKPOINT_STATE);
  assert_ok(sb_checkpoint_dir_newest(&dir, &count, &step));
  assert_true(count > 0 && step == 10000);
  assert_ok(sb_checkpoint_dir_rotate(&dir, 0, 0));
  assert_true(is_there("step-00000100"));
  assert_ok(sb_checkpoint_dir_rotate(&dir, 2, 200));
  assert_false(is_there("step-00000100"));
  assert_true(is_there("step-00000200") && is_there("step-00000250") && is_there("step-00010000"));
  assert_ok(sb_checkpoint_dir_rotate(&dir, 1, 0));
  assert_false(is_there("step-00000200") || is_there("step-00000250"));
  assert_true(is_there("step-00010000") && is_there("step-00020000") && is_there("step-20001"));
  assert_ok(sb_checkpoint_dir_remove(&dir, 10000));
  assert_ok(sb_checkpoint_dir_remove(&dir, 10000)); /* it is not there */
  assert_ok(sb_checkpoint_dir_newest(&dir, &count, &step));
  assert_int_equal(count, 0);
  sb_checkpoint_dir_close(&dir);
  assert_false(is_there("lock"));
  assert_true(is_there("step-00020000"));
}

/* What a run that was killed while it wrote, or removed, a checkpoint left. */
static void test_unfinished(void **state) {
  char path[SB_PATH_MAX], name[SB_PATH_MAX];
  struct stat info;
  (void)state;
  assert_ok(sb_checkpoint_dir_open(scratch_path("killed"), &dir));
  assert_ok(sb_checkpoint_dir_name(&dir, 42, path));
  assert_string_equal(path, scratch_path("killed/step-00000042"));
  snprintf(path + strlen(path), 16, ".partial-");
  assert_ok(sb_unfinished_name(path, name));
  assert_int_equal(mkdir(name, 0777), 0);
  sb_checkpoint_dir_close(&dir);
  assert_int_equal(stat(name, &info), 0);
  assert_ok(sb_checkpoint_dir_open(scratch_path("killed"), &dir));
  assert_int_not_equal(stat(name, &info), 0);
  sb_checkpoint_dir_close(&dir);
  assert_int_not_equal(stat(scratch_path("killed"), &info), 0); /* empty: it went with the lock */
}

static void test_refused(void **state) {
  sb_checkpoint_dir other;
  (void)state;
  assert_ok(sb_checkpoint_dir_open(scratch_path("one"), &dir));
  assert_fails(sb_checkpoint_dir_open(scratch_path("one"), &other), SB_ERR_IO,
               "one: is in use by process");
  sb_checkpoint_dir_close(&other);
  assert_true(is_there("lock"));
  sb_checkpoint_dir_close(&dir);
  assert_fails(sb_checkpoint_dir_open(scratch_path("none/at/all"), &other), SB_ERR_IO,
               "none/at/all: cannot be created for checkpoints");
  put_text(scratch_path("file"), "");
  assert_fails(sb_checkpoint_dir_open(scratch_path("file"), &other), SB_ERR_IO, "file");
}

/* What a run will have on the disk, against saving and rotating in turn. */
static void expect_room(sb_checkpoint_plan p, uint64_t most, int64_t last) {
  uint64_t got;
  int64_t end;
  assert_ok(sb_checkpoint_dir_expect(&dir, &p, &got, &end));
  assert_int_equal(got, most);
  assert_int_equal(end, last);
}

static void test_room(void **state) {
  (void)state;
  assert_ok(sb_checkpoint_dir_open(scratch_path("room"), &dir));
  expect_room((sb_checkpoint_plan){0, 100, 1000, 2, 0}, 1, 1); /* one, at the end */
  expect_room((sb_checkpoint_plan){0, 100, 10, 2, 0}, 3, 2);   /* two, and one in writing */
  expect_room((sb_checkpoint_plan){0, 100, 10, 0, 0}, 10, 10); /* all stay */
  expect_room((sb_checkpoint_plan){0, 105, 10, 0, 0}, 11, 11); /* and one at the end */
  expect_room((sb_checkpoint_plan){0, 100, 10, 2, 30}, 5, 4);  /* 30, 60; 80 goes when 100 comes */
  expect_room((sb_checkpoint_plan){100, 100, 10, 2, 0}, 0, 0); /* nothing is left to do */
  make("step-00000010", SB_CHECKPOINT_STATE);
  make("step-00000020", SB_CHECKPOINT_STATE);
  expect_room((sb_checkpoint_plan){20, 100, 10, 2, 0}, 1, 0);
  expect_room((sb_checkpoint_plan){20, 100, 10, 1, 0}, 1, 0);
  sb_checkpoint_dir_close(&dir);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_newest_and_rotation),
                                     cmocka_unit_test(test_room), cmocka_unit_test(test_unfinished),
                                     cmocka_unit_test(test_refused)};
  return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
