/* Opening and creating: nothing that is no regular file is opened or waited for, no link is
 * followed where a file is made. */
#include "io/file.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/memory.h"
#include "tests/support/files.h"
#include "tests/support/scratch.h"

static bool exists(const char *path) {
  struct stat info;
  return lstat(path, &info) == 0;
}

static void only_regular_files_are_opened(void **state) {
  (void)state;
  struct sockaddr_un name = {.sun_family = AF_UNIX};
  uint64_t bytes;
  int fd;
  alarm(20); /* so that a wait is a failure */
  assert_int_equal(mkfifo(scratch_path("pipe"), 0666), 0);
  assert_fails(sb_file_open(scratch_path("pipe"), &fd, &bytes), SB_ERR_IO, "pipe",
               "is a pipe, not a regular file");
  assert_int_equal(fd, -1);
  assert_fails(sb_file_open_update(scratch_path("pipe"), &fd), SB_ERR_IO, "is a pipe");
  assert_fails(sb_file_open(scratch, &fd, &bytes), SB_ERR_IO, "is a folder");
  assert_fails(sb_file_open("/dev/zero", &fd, &bytes), SB_ERR_IO, "is a device");
  assert_fails(sb_file_open(scratch_path("none"), &fd, &bytes), SB_ERR_IO, "No such file");
  snprintf(name.sun_path, sizeof name.sun_path, "%s", scratch_path("socket"));
  const int listens = socket(AF_UNIX, SOCK_STREAM, 0);
  assert_int_equal(bind(listens, (const void *)&name, sizeof name), 0);
  assert_fails(sb_file_open(scratch_path("socket"), &fd, &bytes), SB_ERR_IO, "is a socket");
  close(listens);
  put_file(scratch_path("plain"), "12345", 5);
  assert_int_equal(symlink("plain", scratch_path("link")), 0);
  assert_ok(sb_file_open(scratch_path("link"), &fd, &bytes)); /* links are for reading */
  assert_int_equal(bytes, 5);
  close(fd);
  assert_fails(sb_file_open_update(scratch_path("link"), &fd), SB_ERR_IO, "is a link");
  assert_ok(sb_file_open_update(scratch_path("plain"), &fd));
  close(fd);
  alarm(0);
}

static void what_is_there_is_not_written_to(void **state) {
  (void)state;
  int fd;
  char *data;
  size_t bytes;
  put_file(scratch_path("precious"), "old", 3);
  assert_int_equal(symlink("precious", scratch_path("planted")), 0);
  assert_int_equal(symlink("to-be", scratch_path("dangling")), 0);
  assert_fails(sb_file_create(scratch_path("precious"), &fd), SB_ERR_IO, "precious", "exists");
  assert_fails(sb_file_create(scratch_path("planted"), &fd), SB_ERR_IO, "planted", "exists");
  assert_fails(sb_file_create(scratch_path("dangling"), &fd), SB_ERR_IO, "dangling", "exists");
  assert_fails(sb_copy_file(scratch_path("precious"), scratch_path("dangling")), SB_ERR_IO,
               "dangling");
  assert_false(exists(scratch_path("to-be")));
  assert_ok(sb_file_create_again(scratch_path("planted"), &fd)); /* in place of the link */
  assert_ok(sb_file_write_at(fd, "planted", 0, "new", 3, 0));
  close(fd);
  assert_ok(sb_file_read_all(scratch_path("precious"), 10, &data, &bytes));
  assert_string_equal(data, "old");
  sb_free(&data);
  assert_ok(sb_file_create_again(scratch_path("precious"), &fd));
  close(fd);
  assert_int_equal(mkfifo(scratch_path("channel"), 0666), 0);
  assert_fails(sb_file_create_again(scratch_path("channel"), &fd), SB_ERR_IO, "is a pipe");
  assert_true(exists(scratch_path("channel")));
}

/* A tree of folders deeper than a handful and with more names than one read of a folder gives. */
static void trees_are_removed(void **state) {
  (void)state;
  char path[1024], name[64];
  put_file(scratch_path("outside"), "x", 1);
  snprintf(path, sizeof path, "%s", scratch_path("tree"));
  assert_int_equal(mkdir(path, 0700), 0);
  for (int i = 0; i < 700; i++) {
    snprintf(name, sizeof name, "tree/a-name-of-some-length-%d", i);
    put_file(scratch_path(name), "x", 1);
  }
  for (int i = 0; i < 20; i++) {
    strcat(path, "/sub");
    assert_int_equal(mkdir(path, 0700), 0);
  }
  assert_int_equal(symlink(scratch_path("outside"), scratch_path("tree/sub/link")), 0);
  assert_int_equal(symlink(scratch, scratch_path("tree/sub/folder-link")), 0);
  assert_ok(sb_remove_tree(scratch_path("tree")));
  assert_false(exists(scratch_path("tree")));
  assert_true(exists(scratch_path("outside")));
  assert_ok(sb_remove_tree(scratch_path("tree")));    /* nothing there */
  assert_ok(sb_remove_tree(scratch_path("outside"))); /* a file */
  assert_false(exists(scratch_path("outside")));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(only_regular_files_are_opened),
                                     cmocka_unit_test(what_is_there_is_not_written_to),
                                     cmocka_unit_test(trees_are_removed)};
  return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
