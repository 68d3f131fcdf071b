#include "io/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { OUT, ERR, STREAMS };

typedef struct child {
  pid_t process;
  struct pollfd streams[STREAMS];
  char line[SB_CHILD_LINE];
  size_t length; /* of the line that has begun */
} child;

/* ---- start ---- */

/* What this process ignores or waits with (base/cleanup.h) is not the child's. */
static void set_signals(posix_spawnattr_t *attributes) {
  sigset_t all, none;
  sigfillset(&all);
  sigemptyset(&none);
  posix_spawnattr_setsigdefault(attributes, &all);
  posix_spawnattr_setsigmask(attributes, &none);
  posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
}

static int spawn(char *const *argv, const int ends[STREAMS], pid_t *process) {
  posix_spawn_file_actions_t files;
  posix_spawnattr_t attributes;
  int error = posix_spawn_file_actions_init(&files);
  if (error) return error;
  error = posix_spawnattr_init(&attributes);
  if (error) {
    posix_spawn_file_actions_destroy(&files);
    return error;
  }
  set_signals(&attributes);
  posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&files, ends[OUT], STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&files, ends[ERR], STDERR_FILENO);
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 34) /* elsewhere what is not close-on-exec stays */
  posix_spawn_file_actions_addclosefrom_np(&files, STDERR_FILENO + 1);
#endif
  error = posix_spawnp(process, argv[0], &files, &attributes, argv, environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
  return error;
}

static sb_status start(char *const *argv, child *c) {
  int pipes[STREAMS][2];
  *c = (child){.streams = {{-1, POLLIN, 0}, {-1, POLLIN, 0}}};
  if (pipe2(pipes[OUT], O_CLOEXEC) != 0)
    return sb_fail(SB_ERR_IO, "%s: cannot be started: %s", argv[0], strerror(errno));
  if (pipe2(pipes[ERR], O_CLOEXEC) != 0) {
    const int error = errno;
    close(pipes[OUT][0]);
    close(pipes[OUT][1]);
    return sb_fail(SB_ERR_IO, "%s: cannot be started: %s", argv[0], strerror(error));
  }
  const int ends[STREAMS] = {pipes[OUT][1], pipes[ERR][1]};
  const int error = spawn(argv, ends, &c->process);
  for (int s = 0; s < STREAMS; s++) {
    close(pipes[s][1]);
    c->streams[s].fd = pipes[s][0];
  }
  if (!error) return SB_OK;
  for (int s = 0; s < STREAMS; s++) close(c->streams[s].fd);
  return sb_fail(error == ENOENT ? SB_ERR_ABSENT : SB_ERR_IO, "%s: cannot be started: %s", argv[0],
                 strerror(error));
}

/* ---- what it writes ---- */

static void end_line(child *c, const sb_child_ears *ears) {
  c->line[c->length] = 0;
  if (c->length > 0) ears->line(ears->context, c->line);
  c->length = 0;
}

static void hear_lines(child *c, const sb_child_ears *ears, const char *text, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (text[i] == '\n')
      end_line(c, ears);
    else if (c->length + 1 < sizeof c->line)
      c->line[c->length++] = text[i];
  }
}

/* One piece of stream s, or its end. */
static sb_status hear(child *c, int s, const char *name, const sb_child_ears *ears) {
  char piece[65536];
  const ssize_t count = read(c->streams[s].fd, piece, sizeof piece);
  if (count < 0 && errno == EINTR) return SB_OK;
  if (count < 0) return sb_fail(SB_ERR_IO, "%s: cannot be read from: %s", name, strerror(errno));
  if (count == 0) {
    close(c->streams[s].fd);
    c->streams[s].fd = -1; /* poll passes over it */
    return SB_OK;
  }
  if (s == OUT) return ears->data(ears->context, piece, (size_t)count);
  hear_lines(c, ears, piece, (size_t)count);
  return SB_OK;
}

static sb_status hear_all(child *c, const char *name, const sb_child_ears *ears) {
  while (c->streams[OUT].fd >= 0 || c->streams[ERR].fd >= 0) {
    if (poll(c->streams, STREAMS, -1) < 0) {
      if (errno == EINTR) continue;
      return sb_fail(SB_ERR_IO, "%s: cannot be waited for: %s", name, strerror(errno));
    }
    for (int s = 0; s < STREAMS; s++)
      if (c->streams[s].fd >= 0 && c->streams[s].revents) SB_TRY(hear(c, s, name, ears));
  }
  end_line(c, ears);
  return SB_OK;
}

sb_status sb_child_run(char *const *argv, const sb_child_ears *ears, int *exit_code) {
  child c;
  int how;
  *exit_code = 0;
  SB_TRY(start(argv, &c));
  const sb_status status = hear_all(&c, argv[0], ears);
  if (status != SB_OK) kill(c.process, SIGKILL);
  for (int s = 0; s < STREAMS; s++)
    if (c.streams[s].fd >= 0) close(c.streams[s].fd);
  while (waitpid(c.process, &how, 0) < 0)
    if (errno != EINTR)
      return sb_fail(SB_ERR_IO, "%s: cannot be waited for: %s", argv[0], strerror(errno));
  *exit_code = WIFSIGNALED(how) ? 128 + WTERMSIG(how) : WEXITSTATUS(how);
  return status;
}
