/* Files that appear complete or not at all: written in pieces, given up, interrupted. */
#include "io/file.h"

#include <signal.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/memory.h"
#include "tests/support/files.h"
#include "tests/support/scratch.h"

static bool holds(const char *path, const char *text) {
  char *data;
  size_t bytes;
  assert_ok(sb_file_read_all(path, 1 << 20, &data, &bytes));
  const bool same = bytes == strlen(text) && memcmp(data, text, bytes) == 0;
  sb_free(&data);
  return same;
}

static void pieces(void **state) {
  (void)state;
  sb_atomic_file file;
  const char *path = scratch_path("pieces");
  assert_ok(sb_file_write_atomic(path, "old", 3));
  assert_ok(sb_atomic_file_begin(path, &file));
  assert_ok(sb_atomic_file_append(&file, "one, ", 5, 0));
  assert_ok(sb_atomic_file_append(&file, "two", 3, 0));
  assert_true(holds(path, "old"));
  assert_true(holds(file.partial, "one, two"));
  assert_ok(sb_atomic_file_commit(&file));
  assert_true(holds(path, "one, two"));
  assert_int_not_equal(access(file.partial, F_OK), 0);
  sb_atomic_file_abandon(&file); /* nothing is begun any more */
  assert_true(holds(path, "one, two"));
}

static void abandoned(void **state) {
  (void)state;
  sb_atomic_file file, none = SB_NO_ATOMIC_FILE;
  const char *path = scratch_path("abandoned");
  sb_atomic_file_abandon(&none);
  assert_ok(sb_atomic_file_begin(path, &file));
  assert_ok(sb_atomic_file_append(&file, "half", 4, 8));
  sb_atomic_file_abandon(&file);
  assert_int_not_equal(access(path, F_OK), 0);
  assert_int_not_equal(access(file.partial, F_OK), 0);
  assert_int_equal(sb_atomic_file_begin(scratch_path("nowhere/f"), &file), SB_ERR_IO);
  assert_int_equal(file.fd, -1);
}

/* The partial file of a process that a signal ends goes with it. */
static void interrupted(void **state) {
  (void)state;
  char path[1024], partial[1100];
  int how;
  snprintf(path, sizeof path, "%s", scratch_path("interrupted"));
  const pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    sb_atomic_file file;
    if (sb_cleanup_install(1, "nothing was written") != SB_OK) _exit(1);
    if (sb_atomic_file_begin(path, &file) != SB_OK) _exit(2);
    if (sb_atomic_file_append(&file, "half", 4, 0) != SB_OK) _exit(3);
    raise(SIGTERM);
    _exit(4);
  }
  assert_int_equal(waitpid(child, &how, 0), child);
  assert_true(WIFEXITED(how));
  assert_int_equal(WEXITSTATUS(how), 128 + SIGTERM);
  snprintf(partial, sizeof partial, "%s.partial-%ld", path, (long)child);
  assert_int_not_equal(access(partial, F_OK), 0);
  assert_int_not_equal(access(path, F_OK), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(pieces), cmocka_unit_test(abandoned),
                                     cmocka_unit_test(interrupted)};
  return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
