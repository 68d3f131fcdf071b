/* Files that appear complete or not at all: written in pieces, given up, interrupted; and what a
 * path may lead to. */
#include "io/atomic.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
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
  char partial[SB_PATH_MAX];
  const char *path = scratch_path("pieces");
  assert_ok(sb_file_write_atomic(path, "old", 3));
  assert_ok(sb_atomic_file_begin(path, &file));
  assert_ok(sb_atomic_file_append(&file, "one, ", 5, 0));
  assert_ok(sb_atomic_file_append(&file, "two", 3, 0));
  strcpy(partial, file.partial.path);
  assert_true(holds(path, "old"));
  assert_true(holds(file.partial.path, "one, two"));
  assert_ok(sb_atomic_file_commit(&file));
  assert_true(holds(path, "one, two"));
  assert_int_not_equal(access(partial, F_OK), 0);
  sb_atomic_file_abandon(&file); /* nothing is begun any more */
  assert_true(holds(path, "one, two"));
}

static void abandoned(void **state) {
  (void)state;
  char partial[SB_PATH_MAX];
  sb_atomic_file file, none = SB_NO_ATOMIC_FILE;
  const char *path = scratch_path("abandoned");
  sb_atomic_file_abandon(&none);
  assert_ok(sb_atomic_file_begin(path, &file));
  assert_ok(sb_atomic_file_append(&file, "half", 4, 8));
  strcpy(partial, file.partial.path);
  sb_atomic_file_abandon(&file);
  assert_int_not_equal(access(path, F_OK), 0);
  assert_int_not_equal(access(partial, F_OK), 0);
  assert_int_equal(sb_atomic_file_begin(scratch_path("nowhere/f"), &file), SB_ERR_IO);
  assert_int_equal(file.partial.fd, -1);
}

/* Names in the scratch folder that begin with `start`. */
static int names(const char *start) {
  DIR *folder = opendir(scratch);
  int n = 0;
  for (struct dirent *e; (e = readdir(folder));) n += strncmp(e->d_name, start, strlen(start)) == 0;
  closedir(folder);
  return n;
}

/* A process that writes half a file and raises the signal. Returns its wait status. */
static int ended_by(int number, const char *path) {
  int how;
  const pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    sb_atomic_file file;
    if (sb_cleanup_install(1, "nothing was written") != SB_OK) _exit(1);
    if (sb_atomic_file_begin(path, &file) != SB_OK) _exit(2);
    if (sb_atomic_file_append(&file, "half", 4, 0) != SB_OK) _exit(3);
    raise(number);
    _exit(sb_atomic_file_append(&file, " and the rest", 13, 0) == SB_OK &&
                  sb_atomic_file_commit(&file) == SB_OK
              ? 0
              : 4);
  }
  assert_int_equal(waitpid(child, &how, 0), child);
  return how;
}

/* Whatever signal ends a process, its partial file goes with it; two signals end nothing. */
static void interrupted(void **state) {
  (void)state;
  static const int ends[] = {SIGTERM, SIGINT,  SIGHUP,  SIGQUIT,   SIGXCPU, SIGALRM,
                             SIGUSR1, SIGUSR2, SIGPROF, SIGVTALRM, SIGPOLL, SIGSTKFLT};
  const char *path = scratch_path("interrupted");
  for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
    const int how = ended_by(ends[i], path);
    assert_true(WIFEXITED(how));
    assert_int_equal(WEXITSTATUS(how), 128 + ends[i]);
    assert_int_equal(names("interrupted"), 0);
  }
  const int realtime = ended_by(SIGRTMIN + 3, path), crash = ended_by(SIGABRT, path);
  assert_int_equal(WEXITSTATUS(realtime), 128 + SIGRTMIN + 3);
  assert_true(WIFSIGNALED(crash) && WTERMSIG(crash) == SIGABRT);
  assert_int_equal(names("interrupted"), 0);
  assert_int_equal(ended_by(SIGPIPE, path), 0);
  assert_int_equal(ended_by(SIGXFSZ, path), 0);
  assert_true(holds(path, "half and the rest"));
  assert_int_equal(names("interrupted"), 1);
}

/* At any moment: a process that writes one file after the other is ended after a while. */
static void interrupted_anywhere(void **state) {
  (void)state;
  char path[1024];
  snprintf(path, sizeof path, "%s", scratch_path("anywhere"));
  for (int i = 0; i < 80; i++) {
    int ready[2], how;
    char go;
    assert_int_equal(pipe(ready), 0);
    const pid_t child = fork();
    if (child == 0) {
      if (sb_cleanup_install(1, "nothing was written") != SB_OK) _exit(1);
      alarm(60); /* where the parent fails */
      for (bool first = true;; first = false) {
        if (sb_file_write_atomic(path, "whole", 5) != SB_OK) _exit(2);
        if (first && write(ready[1], "x", 1) != 1) _exit(3);
      }
    }
    assert_int_equal(read(ready[0], &go, 1), 1);
    usleep((useconds_t)(i * 13 % 400));
    kill(child, SIGTERM);
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFEXITED(how));
    assert_int_equal(WEXITSTATUS(how), 128 + SIGTERM);
    close(ready[0]);
    close(ready[1]);
    assert_int_equal(names("anywhere"), 1);
    assert_true(holds(path, "whole"));
  }
}

static mode_t kind_of(const char *path) {
  struct stat info;
  assert_int_equal(lstat(path, &info), 0);
  return info.st_mode & S_IFMT;
}

/* A device is written to and stays one. */
static void devices(void **state) {
  (void)state;
  const char *null = scratch_path("null"), *full = scratch_path("full");
  if (mknod(null, S_IFCHR | 0666, makedev(1, 3)) != 0 ||
      mknod(full, S_IFCHR | 0666, makedev(1, 7)) != 0)
    skip(); /* for root alone */
  const int usable = open(null, O_WRONLY);
  if (usable < 0) skip(); /* a file system without devices */
  close(usable);
  assert_ok(sb_file_check_target(null));
  assert_ok(sb_file_write_atomic(null, "gone", 4));
  assert_int_equal(kind_of(null), S_IFCHR);
  assert_fails(sb_file_write_atomic(full, "no", 2), SB_ERR_IO, "full", "No space left");
  assert_int_equal(kind_of(full), S_IFCHR);
  const char *link = scratch_path("null-link");
  assert_int_equal(symlink("null", link), 0);
  assert_ok(sb_file_write_atomic(link, "gone", 4));
  assert_int_equal(kind_of(link), S_IFLNK);
  assert_int_equal(kind_of(null), S_IFCHR);
  assert_int_equal(names("null"), 2);
}

/* What is written to a pipe arrives; one without a reader is refused at once. */
static void pipes(void **state) {
  (void)state;
  const char *path = scratch_path("pipe");
  char got[16] = "";
  assert_int_equal(mkfifo(path, 0666), 0);
  alarm(20); /* so that a wait is a failure */
  assert_ok(sb_file_check_target(path));
  assert_fails(sb_file_write_atomic(path, "x", 1), SB_ERR_IO, "pipe", "nobody reads");
  const int reader = open(path, O_RDONLY | O_NONBLOCK);
  assert_ok(sb_file_write_atomic(path, "through", 7));
  assert_int_equal(read(reader, got, sizeof got), 7);
  assert_string_equal(got, "through");
  close(reader);
  alarm(0);
  assert_int_equal(kind_of(path), S_IFIFO);
  assert_int_equal(names("pipe"), 1);
}

/* /dev/stdout and the like: links that no path can follow. */
static void descriptors(void **state) {
  (void)state;
  int ends[2];
  char path[64], got[16] = "";
  assert_int_equal(pipe(ends), 0);
  snprintf(path, sizeof path, "/dev/fd/%d", ends[1]);
  assert_ok(sb_file_write_atomic(path, "through", 7));
  assert_int_equal(read(ends[0], got, sizeof got), 7);
  close(ends[0]);
  close(ends[1]);
  const int file = open(scratch_path("unnamed"), O_RDWR | O_CREAT, 0600);
  snprintf(path, sizeof path, "/dev/fd/%d", file);
  assert_ok(sb_file_write_atomic(path, "named", 5));
  assert_true(holds(scratch_path("unnamed"), "named"));
  const int gone = open(scratch_path("unnamed"), O_RDWR);
  unlink(scratch_path("unnamed"));
  snprintf(path, sizeof path, "/dev/fd/%d", gone);
  assert_fails(sb_file_write_atomic(path, "x", 1), SB_ERR_IO, path, "no name any more");
  assert_int_equal(names("unnamed"), 0);
  close(file);
  close(gone);
}

static void links(void **state) {
  (void)state;
  assert_int_equal(mkdir(scratch_path("far"), 0700), 0);
  assert_ok(sb_file_write_atomic(scratch_path("far/real"), "old", 3));
  assert_int_equal(symlink("real", scratch_path("far/near")), 0);
  assert_int_equal(symlink("far/near", scratch_path("link")), 0);
  assert_ok(sb_file_check_target(scratch_path("link")));
  assert_ok(sb_file_write_atomic(scratch_path("link"), "new", 3));
  assert_int_equal(kind_of(scratch_path("link")), S_IFLNK);
  assert_int_equal(kind_of(scratch_path("far/near")), S_IFLNK);
  assert_true(holds(scratch_path("far/real"), "new"));
  assert_int_equal(symlink("far/to-be", scratch_path("dangling")), 0);
  assert_ok(sb_file_write_atomic(scratch_path("dangling"), "made", 4));
  assert_true(holds(scratch_path("far/to-be"), "made"));
  assert_int_equal(symlink("no/such", scratch_path("nowhere")), 0);
  assert_fails(sb_file_check_target(scratch_path("nowhere")), SB_ERR_IO, "nowhere", "no: No such");
  assert_int_equal(symlink("round", scratch_path("round")), 0);
  assert_fails(sb_file_check_target(scratch_path("round")), SB_ERR_IO, "round", "circle");
}

/* A link that somebody else has put into /tmp, or a folder like it, is not followed. */
static void planted_links(void **state) {
  (void)state;
  if (geteuid() != 0) skip();
  assert_int_equal(mkdir(scratch_path("shared"), 0777) | chmod(scratch_path("shared"), 01777), 0);
  assert_ok(sb_file_write_atomic(scratch_path("precious"), "old", 3));
  assert_int_equal(symlink("../precious", scratch_path("shared/report")), 0);
  assert_ok(sb_file_write_atomic(scratch_path("shared/report"), "mine", 4)); /* one's own */
  assert_int_equal(lchown(scratch_path("shared/report"), 65534, 65534), 0);
  assert_fails(sb_file_check_target(scratch_path("shared/report")), SB_ERR_IO, "shared/report",
               "somebody else's");
  assert_int_equal(sb_file_write_atomic(scratch_path("shared/report"), "new", 3), SB_ERR_IO);
  assert_true(holds(scratch_path("precious"), "mine"));
}

static void refused(void **state) {
  (void)state;
  struct sockaddr_un name = {.sun_family = AF_UNIX};
  char text[400];
  assert_int_equal(mkdir(scratch_path("folder"), 0700), 0);
  assert_fails(sb_file_check_target(scratch_path("folder")), SB_ERR_IO, "folder", "is a folder");
  assert_int_equal(sb_file_write_atomic(scratch_path("folder"), "x", 1), SB_ERR_IO);
  snprintf(name.sun_path, sizeof name.sun_path, "%s", scratch_path("socket"));
  const int listens = socket(AF_UNIX, SOCK_STREAM, 0);
  assert_int_equal(bind(listens, (const void *)&name, sizeof name), 0);
  assert_fails(sb_file_check_target(scratch_path("socket")), SB_ERR_IO, "socket", "is a socket");
  assert_int_equal(sb_file_write_atomic(scratch_path("socket"), "x", 1), SB_ERR_IO);
  assert_int_equal(kind_of(scratch_path("socket")), S_IFSOCK);
  close(listens);
  memset(text, 'n', sizeof text);
  text[255 - SB_UNFINISHED_SUFFIX] = 0;
  assert_ok(sb_file_check_target(scratch_path(text)));
  assert_ok(sb_file_write_atomic(scratch_path(text), "x", 1));
  text[255 - SB_UNFINISHED_SUFFIX] = 'n', text[256 - SB_UNFINISHED_SUFFIX] = 0;
  assert_fails(sb_file_check_target(scratch_path(text)), SB_ERR_IO, "longer than 221 bytes");
}

/* Said before the work, not after it: what could not be replaced at the end. */
static void not_to_be_replaced(void **state) {
  (void)state;
  if (geteuid() != 0) skip();
  assert_int_equal(chmod(scratch, 0755), 0);
  assert_int_equal(mkdir(scratch_path("sticky"), 0777) | chmod(scratch_path("sticky"), 01777), 0);
  put_text(scratch_path("sticky/theirs"), "old");
  assert_int_equal(mkdir(scratch_path("closed"), 0755), 0);
  assert_int_equal(seteuid(65534), 0);
  const sb_status sticky = sb_file_check_target(scratch_path("sticky/theirs"));
  const bool says = strstr(sb_message(), "sticky/theirs: may not be replaced") != NULL;
  const sb_status free_name = sb_file_check_target(scratch_path("sticky/mine"));
  const sb_status closed = sb_file_check_target(scratch_path("closed/report"));
  const bool says_closed = strstr(sb_message(), "closed: Permission denied") != NULL;
  assert_int_equal(seteuid(0), 0);
  assert_int_equal(sticky, SB_ERR_IO);
  assert_true(says && says_closed);
  assert_int_equal(free_name, SB_OK);
  assert_int_equal(closed, SB_ERR_IO);
  assert_true(holds(scratch_path("sticky/theirs"), "old"));
  put_text(scratch_path("source"), "mounted");
  put_text(scratch_path("mounted"), "below");
  if (mount(scratch_path("source"), scratch_path("mounted"), NULL, MS_BIND, NULL) != 0) return;
  const sb_status mounted = sb_file_check_target(scratch_path("mounted"));
  assert_int_equal(umount(scratch_path("mounted")), 0);
  assert_fails(mounted, SB_ERR_IO, "mounted: is a mount point");
  assert_int_equal(names("mounted"), 1);
}

/* Nobody can know the name of the neighbour, and a killed run's is removed by the next one. */
static void neighbours(void **state) {
  (void)state;
  sb_atomic_file one, other;
  char start[SB_PATH_MAX], dead[SB_PATH_MAX], path[1024];
  bool here;
  snprintf(path, sizeof path, "%s", scratch_path("report"));
  assert_ok(sb_atomic_file_begin(path, &one));
  assert_ok(sb_atomic_file_begin(path, &other));
  assert_string_not_equal(one.partial.path, other.partial.path);
  assert_int_equal(strlen(one.partial.path), strlen(path) + SB_UNFINISHED_SUFFIX);
  snprintf(start, sizeof start, "%s.partial-", path);
  assert_true(sb_unfinished_is(one.partial.path, start, &here) && here);
  assert_ok(sb_unfinished_name(start, dead));
  put_file(dead, "left by SIGKILL", 15);
  put_file(scratch_path("report.partial-4711"), "nobody's", 8);
  put_file(scratch_path("report.partial-00c0ffee-0123456789abcdeg"), "nobody's", 8);
  assert_int_equal(mkdir(scratch_path("report.partial-00c0ffee-0123456789abcdef"), 0700), 0);
  assert_int_equal(symlink("nobody's", scratch_path("report.partial-00c0ffee-0000000000000000")),
                   0);
  assert_int_equal(names("report.partial-"), 7);
  assert_ok(sb_file_check_target(path));
  assert_int_not_equal(access(dead, F_OK), 0);
  assert_int_equal(names("report.partial-"), 6); /* two that live, and what is no such file */
  assert_ok(sb_atomic_file_append(&one, "one", 3, 0));
  assert_ok(sb_atomic_file_commit(&one));
  sb_atomic_file_abandon(&other);
  assert_true(holds(path, "one"));
  assert_int_equal(names("report.partial-"), 4);
}

/* A run that clears may meet a file between its creation and its lock: it is made again then. */
static void made_and_cleared_at_once(void **state) {
  (void)state;
  char path[1024];
  int how;
  snprintf(path, sizeof path, "%s", scratch_path("race"));
  const pid_t child = fork();
  if (child == 0) {
    alarm(60); /* where the parent fails */
    for (;;) sb_unfinished_clear(path);
  }
  for (int i = 0; i < 100; i++) {
    assert_ok(sb_file_write_atomic(path, "whole", 5));
    assert_true(holds(path, "whole"));
  }
  kill(child, SIGKILL);
  assert_int_equal(waitpid(child, &how, 0), child);
  assert_int_equal(names("race"), 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(pieces),
      cmocka_unit_test(abandoned),
      cmocka_unit_test(interrupted),
      cmocka_unit_test(interrupted_anywhere),
      cmocka_unit_test(devices),
      cmocka_unit_test(pipes),
      cmocka_unit_test(descriptors),
      cmocka_unit_test(links),
      cmocka_unit_test(planted_links),
      cmocka_unit_test(refused),
      cmocka_unit_test(not_to_be_replaced),
      cmocka_unit_test(neighbours),
      cmocka_unit_test(made_and_cleared_at_once),
  };
  return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
