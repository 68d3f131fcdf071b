#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "tests/support/assertions.h"
#include "tests/support/scratch.h"

static void touch(const char *path) {
  const int file = open(path, O_CREAT | O_WRONLY, 0600);
  if (file < 0) abort();
  close(file);
}

static bool exists(const char *path) {
  struct stat about;
  return lstat(path, &about) == 0;
}

/* A child as `rank` makes out/a, out/sub/b and done/c, registers folders before files, completes c,
 * and is sent the signal while it computes. Returns its wait status and what it wrote to stderr. */
static int interrupted_child(int rank, int number, char *said, size_t room) {
  int speech[2], ready[2], status = 0, slot;
  size_t length = 0;
  ssize_t n;
  char go;
  pid_t child;
  assert_int_equal(pipe(speech), 0);
  assert_int_equal(pipe(ready), 0);
  child = fork();
  if (child == 0) {
    volatile double work = 1;
    dup2(speech[1], STDERR_FILENO);
    if (sb_cleanup_install(rank, "first text") != SB_OK) _exit(9);
    if (mkdir(scratch_path("out"), 0700) || mkdir(scratch_path("out/sub"), 0700) ||
        mkdir(scratch_path("done"), 0700))
      _exit(8);
    if (sb_cleanup_add(scratch_path("out"), &slot) != SB_OK ||
        sb_cleanup_add(scratch_path("out/sub"), &slot) != SB_OK)
      _exit(7);
    if (sb_cleanup_add(scratch_path("out/a"), &slot) != SB_OK ||
        sb_cleanup_add(scratch_path("out/sub/b"), &slot) != SB_OK)
      _exit(6);
    if (sb_cleanup_add(scratch_path("out/not made yet"), &slot) != SB_OK) _exit(5);
    if (sb_cleanup_add(scratch_path("done"), &slot) != SB_OK) _exit(4); /* holds c: stays */
    if (sb_cleanup_add(scratch_path("done/c"), &slot) != SB_OK) _exit(3);
    touch(scratch_path("out/a"));
    touch(scratch_path("out/sub/b"));
    touch(scratch_path("done/c"));
    sb_cleanup_drop(slot);
    sb_cleanup_drop(-1);
    sb_cleanup_message("nothing was written to OUT");
    if (write(ready[1], "x", 1) != 1) _exit(2);
    for (;;) work = work * 1.0000001 + 1e-9;
  }
  close(speech[1]);
  assert_int_equal(read(ready[0], &go, 1), 1);
  kill(child, number);
  while (length + 1 < room && (n = read(speech[0], said + length, room - 1 - length)) > 0)
    length += (size_t)n;
  said[length] = 0;
  waitpid(child, &status, 0);
  close(speech[0]);
  close(ready[0]);
  close(ready[1]);
  return status;
}

static void check_removal(void) {
  assert_false(exists(scratch_path("out/a")));
  assert_false(exists(scratch_path("out/sub/b")));
  assert_false(exists(scratch_path("out")));
  assert_true(exists(scratch_path("done/c")));
}

static void rank_0_says_one_line(void **state) {
  char said[2048];
  const int term = interrupted_child(0, SIGTERM, said, sizeof said);
  (void)state;
  assert_true(WIFEXITED(term));
  assert_int_equal(WEXITSTATUS(term), 128 + SIGTERM);
  assert_string_equal(said, "shardbits: interrupted by SIGTERM; nothing was written to OUT\n");
  check_removal();
}

static void sigint_has_its_own_name_and_code(void **state) {
  char said[2048];
  const int interrupt = interrupted_child(0, SIGINT, said, sizeof said);
  (void)state;
  assert_int_equal(WEXITSTATUS(interrupt), 128 + SIGINT);
  assert_string_equal(said, "shardbits: interrupted by SIGINT; nothing was written to OUT\n");
  check_removal();
}

static void other_ranks_say_nothing(void **state) {
  char said[2048];
  const int term = interrupted_child(3, SIGTERM, said, sizeof said);
  (void)state;
  assert_int_equal(WEXITSTATUS(term), 128 + SIGTERM);
  assert_string_equal(said, "");
  check_removal();
}

/* A signal that comes while one is on the way from one state to the next waits for the end of that,
 * and the line tells the state after it. */
static void a_signal_waits(void **state) {
  int speech[2], status = 0, slot;
  char said[256] = "";
  (void)state;
  assert_int_equal(pipe(speech), 0);
  const pid_t child = fork();
  if (child == 0) {
    dup2(speech[1], STDERR_FILENO);
    if (sb_cleanup_install(0, "OUT is as it was") != SB_OK) _exit(9);
    touch(scratch_path("new"));
    if (sb_cleanup_add(scratch_path("new"), &slot) != SB_OK) _exit(8);
    sb_cleanup_hold();
    raise(SIGTERM);
    if (!exists(scratch_path("new")) || sb_cleanup_completed()[0]) _exit(7);
    sb_cleanup_drop(slot);
    sb_cleanup_complete("OUT");
    if (strcmp(sb_cleanup_completed(), "; OUT is complete") != 0) _exit(6);
    sb_cleanup_release();
    _exit(5);
  }
  close(speech[1]);
  assert_true(read(speech[0], said, sizeof said - 1) > 0);
  waitpid(child, &status, 0);
  close(speech[0]);
  assert_int_equal(WEXITSTATUS(status), 128 + SIGTERM);
  assert_string_equal(said, "shardbits: interrupted by SIGTERM; OUT is complete\n");
  assert_true(exists(scratch_path("new")));
}

/* A tree goes with all that others have put into it. */
static void trees(void **state) {
  int slot;
  (void)state;
  assert_int_equal(sb_cleanup_add_tree(scratch_path("tree"), &slot),
                   SB_OK); /* before it is there */
  assert_int_equal(mkdir(scratch_path("tree"), 0700) | mkdir(scratch_path("tree/sub"), 0700), 0);
  touch(scratch_path("tree/a"));
  touch(scratch_path("tree/sub/b"));
  touch(scratch_path("kept"));
  assert_int_equal(symlink(scratch_path("kept"), scratch_path("tree/sub/link")), 0);
  sb_cleanup_now();
  assert_false(exists(scratch_path("tree")));
  assert_true(exists(scratch_path("kept")));
}

/* What is ignored from the start stays so: SIGHUP under nohup. SIGTERM does not. */
static void ignored_signals(void **state) {
  int status = 0;
  (void)state;
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGHUP, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    if (sb_cleanup_install(1, "nothing was written") != SB_OK) _exit(9);
    raise(SIGHUP);
    raise(SIGPIPE);
    raise(SIGXFSZ);
    raise(SIGTERM);
    _exit(8);
  }
  waitpid(child, &status, 0);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 128 + SIGTERM);
}

static void cleanup_after_an_ordinary_error(void **state) {
  int slot;
  (void)state;
  assert_int_equal(mkdir(scratch_path("out"), 0700), 0);
  touch(scratch_path("out/a"));
  touch(scratch_path("kept"));
  assert_int_equal(sb_cleanup_add(scratch_path("out"), &slot), SB_OK);
  assert_int_equal(sb_cleanup_add(scratch_path("out/a"), &slot), SB_OK);
  assert_int_equal(sb_cleanup_add(scratch_path("kept"), &slot), SB_OK);
  sb_cleanup_drop(slot);
  sb_cleanup_now();
  assert_false(exists(scratch_path("out")));
  assert_true(exists(scratch_path("kept")));
  touch(scratch_path("out")); /* forgotten: a second time removes nothing */
  sb_cleanup_now();
  assert_true(exists(scratch_path("out")));
}

static void limits_are_reported(void **state) {
  int slots[SB_CLEANUP_SLOTS], extra;
  char *path = malloc(PATH_MAX + 1);
  (void)state;
  memset(path, 'p', PATH_MAX);
  path[PATH_MAX] = 0;
  assert_int_equal(sb_cleanup_add(path, &extra), SB_ERR_RANGE);
  assert_int_equal(extra, -1);
  free(path);
  for (int i = 0; i < SB_CLEANUP_SLOTS; i++)
    assert_int_equal(sb_cleanup_add("/nowhere/x", &slots[i]), SB_OK);
  assert_int_equal(sb_cleanup_add("/nowhere/y", &extra), SB_ERR_INTERNAL);
  assert_int_equal(extra, -1);
  sb_cleanup_drop(slots[17]);
  assert_int_equal(sb_cleanup_add("/nowhere/y", &extra), SB_OK);
  assert_int_equal(extra, slots[17]);
  sb_cleanup_now();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(rank_0_says_one_line, scratch_setup, scratch_teardown),
      cmocka_unit_test_setup_teardown(sigint_has_its_own_name_and_code, scratch_setup,
                                      scratch_teardown),
      cmocka_unit_test_setup_teardown(other_ranks_say_nothing, scratch_setup, scratch_teardown),
      cmocka_unit_test_setup_teardown(trees, scratch_setup, scratch_teardown),
      cmocka_unit_test(ignored_signals),
      cmocka_unit_test_setup_teardown(a_signal_waits, scratch_setup, scratch_teardown),
      cmocka_unit_test_setup_teardown(cleanup_after_an_ordinary_error, scratch_setup,
                                      scratch_teardown),
      cmocka_unit_test(limits_are_reported),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
