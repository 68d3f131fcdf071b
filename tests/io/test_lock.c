/* Locks on names where the file system has locks, and where it has none. */
#include "io/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "tests/support/files.h"
#include "tests/support/scratch.h"

/* In place of the C library's, so that a file system without locks can be played. */
static bool no_locks;
static int call(int fd, int command, void *argument) {
  if (no_locks && command == F_OFD_SETLK) {
    errno = ENOLCK;
    return -1;
  }
  return (int)syscall(SYS_fcntl, fd, command, argument);
}
/* NOLINTNEXTLINE(readability-redundant-declaration): not in every header */
int fcntl(int fd, int command, ...);
int fcntl(int fd, int command, ...) {
  va_list arguments;
  va_start(arguments, command);
  void *argument = va_arg(arguments, void *);
  va_end(arguments);
  return call(fd, command, argument);
}
int fcntl64(int fd, int command, ...) __attribute__((alias("fcntl")));

/* The list of mounts, in place of the system's, if there is one. */
static const char *mounts;
FILE *setmntent(const char *name, const char *mode) {
  return fopen(mounts ? mounts : name, mode);
}

static bool exists(const char *name) {
  return access(scratch_path(name), F_OK) == 0;
}

static sb_status take(const char *name, sb_lock *lock) {
  return sb_lock_take(scratch_path(name), "OUT", lock);
}

/* A line as a process of another host, or a dead one of this, leaves it. */
static void leave(const char *name, const char *host, long pid) {
  char line[512];
  snprintf(line, sizeof line, "process %ld on %s since 2026-11-30 10:00:00 UTC\n", pid, host);
  put_text(scratch_path(name), line);
}

static void this_host(char host[256]) {
  memset(host, 0, 256);
  assert_int_equal(gethostname(host, 255), 0);
}

static void taken_and_given_back(void **state) {
  (void)state;
  sb_lock mine, theirs;
  assert_ok(take("a.lock", &mine));
  assert_fails(take("a.lock", &theirs), SB_ERR_IO, "OUT: is in use by process", "since 20",
               "choose another name");
  assert_int_equal(theirs.fd, -1);
  sb_lock_release(&theirs); /* not held: nothing happens */
  assert_true(exists("a.lock"));
  sb_lock_release(&mine);
  sb_lock_release(&mine);
  assert_false(exists("a.lock"));
  assert_ok(take("a.lock", &theirs));
  sb_lock_release(&theirs);
  /* somebody has removed the file by hand: the next one's is left alone */
  assert_ok(take("a.lock", &mine));
  unlink(scratch_path("a.lock"));
  assert_ok(take("a.lock", &theirs));
  sb_lock_release(&mine);
  assert_true(exists("a.lock"));
  sb_lock_release(&theirs);
  assert_false(exists("a.lock"));
}

static void a_killed_process_holds_up_nobody(void **state) {
  (void)state;
  sb_lock lock;
  int ready[2];
  char go;
  assert_int_equal(pipe(ready), 0);
  const pid_t child = fork();
  if (child == 0) {
    if (take("killed.lock", &lock) != SB_OK || write(ready[1], "x", 1) != 1) _exit(1);
    for (;;) pause();
  }
  assert_int_equal(read(ready[0], &go, 1), 1);
  assert_fails(take("killed.lock", &lock), SB_ERR_IO, "is in use");
  kill(child, SIGKILL);
  waitpid(child, NULL, 0);
  assert_true(exists("killed.lock"));
  assert_ok(take("killed.lock", &lock));
  sb_lock_release(&lock);
  assert_false(exists("killed.lock"));
}

/* The file decides: its holder is dead for sure, or the message says what to remove. */
static void without_locks(void **state) {
  (void)state;
  sb_lock lock, other;
  char host[256];
  this_host(host);
  const pid_t child = fork();
  if (child == 0) _exit(0);
  waitpid(child, NULL, 0); /* its number belongs to nobody now */
  no_locks = true;
  assert_ok(take("b.lock", &lock));
  assert_fails(take("b.lock", &other), SB_ERR_IO, host, "if that has ended, remove", "b.lock");
  sb_lock_release(&lock);
  assert_false(exists("b.lock"));
  leave("dead.lock", host, child);
  assert_ok(take("dead.lock", &lock));
  sb_lock_release(&lock);
  leave("far.lock", "another-host", child);
  assert_fails(take("far.lock", &lock), SB_ERR_IO, "another-host", "if that has ended, remove");
  leave("alive.lock", host, getpid());
  assert_fails(take("alive.lock", &lock), SB_ERR_IO, "if that has ended, remove");
  put_text(scratch_path("empty.lock"), "");
  assert_fails(take("empty.lock", &lock), SB_ERR_IO, "another process");
  no_locks = false;
}

/* A lock that only one host sees says nothing of holders elsewhere. */
static void locks_of_one_host(void **state) {
  (void)state;
  char host[256], list[2048];
  static const char *const options[] = {"nfs rw,nolock,vers=3", "nfs4 rw,local_lock=all",
                                        "lustre rw,localflock", "beegfs rw"};
  sb_lock lock;
  this_host(host);
  leave("far2.lock", "another-host", 1);
  assert_ok(
      take("far2.lock", &lock)); /* the kernel's lock can be had, so that host has given it up */
  sb_lock_release(&lock);
  for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
    snprintf(list, sizeof list, "proc /proc proc rw 0 0\nserver:/x %s %s 0 0\n", scratch,
             options[i]);
    put_text(scratch_path("mounts"), list);
    mounts = scratch_path("mounts");
    leave("far2.lock", "another-host", 1);
    assert_fails(take("far2.lock", &lock), SB_ERR_IO, "another-host", "if that has ended, remove");
    leave("far2.lock", host, 1); /* of this host the lock tells */
    assert_ok(take("far2.lock", &lock));
    sb_lock_release(&lock);
    mounts = NULL;
  }
}

static void no_file(void **state) {
  (void)state;
  sb_lock lock;
  assert_fails(take("no/c.lock", &lock), SB_ERR_IO, "OUT: cannot be locked", "No such file");
  assert_int_equal(symlink(scratch_path("elsewhere"), scratch_path("link.lock")), 0);
  assert_fails(take("link.lock", &lock), SB_ERR_IO, "cannot be locked");
  assert_false(exists("elsewhere"));
  assert_int_equal(mkfifo(scratch_path("pipe.lock"), 0600), 0);
  assert_fails(take("pipe.lock", &lock), SB_ERR_IO, "is not a regular file; remove it");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(taken_and_given_back), cmocka_unit_test(a_killed_process_holds_up_nobody),
      cmocka_unit_test(without_locks), cmocka_unit_test(locks_of_one_host),
      cmocka_unit_test(no_file)};
  return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
