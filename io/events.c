#include "io/events.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/memory.h"
#include "io/atomic.h"
#include "io/file.h"

struct sb_events {
  char path[SB_PATH_MAX];
  int fd;
  bool stream; /* stdout, a pipe or a device: written at its end, and never read */
  bool lost;   /* a write failed: nothing is written any more */
  uint64_t bytes;
};

static const size_t most_bytes = (size_t)1 << 32;

/* Whether the line is an event of a step up to `step`. */
static bool stays(const char *line, size_t bytes, uint64_t step) {
  json_error_t error;
  json_t *event = json_loadb(line, bytes, 0, &error);
  const json_t *number = json_object_get(event, "step");
  const bool yes = json_is_integer(number) && (uint64_t)json_integer_value(number) <= step;
  json_decref(event);
  return yes;
}

/* *bytes of the lines that stay: up to the first that does not. */
static sb_status measure(const char *path, uint64_t step, uint64_t *bytes) {
  char *text;
  size_t all;
  *bytes = 0;
  SB_TRY(sb_file_read_all(path, most_bytes, &text, &all));
  for (const char *line = text, *end; (end = memchr(line, '\n', all - *bytes)); line = end + 1) {
    if (!stays(line, (size_t)(end - line), step)) break;
    *bytes = (uint64_t)(end + 1 - text);
  }
  sb_free(&text);
  return SB_OK;
}

static sb_status open_file(sb_events *e, uint64_t step) {
  const bool goes_on = step > 0 && access(e->path, F_OK) == 0;
  if (!goes_on) return sb_file_create_again(e->path, &e->fd);
  SB_TRY(measure(e->path, step, &e->bytes));
  SB_TRY(sb_file_open_update(e->path, &e->fd));
  if (ftruncate(e->fd, (off_t)e->bytes) == 0) return SB_OK;
  return sb_fail(SB_ERR_IO, "%s: cannot be cut to the events of step %llu: %s", e->path,
                 (unsigned long long)step, strerror(errno));
}

static sb_status open_path(sb_events *e, uint64_t step) {
  struct stat info;
  const bool exists = stat(e->path, &info) == 0;
  e->stream = exists && (S_ISFIFO(info.st_mode) || S_ISCHR(info.st_mode));
  if (e->stream) return sb_stream_open(e->path, &e->fd);
  /* /dev/stdout: a name of an open file, which leads elsewhere in each rank */
  if (exists && (strncmp(e->path, "/dev/", 5) == 0 || strncmp(e->path, "/proc/", 6) == 0))
    return sb_fail(SB_ERR_IO, "%s: leads to a file; give that file's own name, or - for stdout",
                   e->path);
  return open_file(e, step);
}

sb_status sb_events_open(const char *path, uint64_t step, sb_events **out) {
  *out = NULL;
  if (!path) return SB_OK;
  if (strlen(path) >= SB_PATH_MAX)
    return sb_fail(SB_ERR_IO, "%.64s...: the name is too long", path);
  SB_TRY(sb_alloc(out, 1, sizeof **out, "events"));
  sb_events *e = *out;
  const bool to_stdout = strcmp(path, "-") == 0;
  snprintf(e->path, sizeof e->path, "%s", to_stdout ? "stdout" : path);
  e->fd = to_stdout ? STDOUT_FILENO : -1;
  e->stream = to_stdout;
  const sb_status status = to_stdout ? SB_OK : open_path(e, step);
  if (status != SB_OK) sb_events_close(out);
  return status;
}

void sb_events_close(sb_events **events) {
  if (*events && (*events)->fd >= 0 && (*events)->fd != STDOUT_FILENO) close((*events)->fd);
  sb_free(events);
}

/* 0, or the errno of what failed. */
static int put(const sb_events *e, const char *line, size_t bytes) {
  for (size_t done = 0; done < bytes;) {
    const ssize_t count = e->stream
                              ? write(e->fd, line + done, bytes - done)
                              : pwrite(e->fd, line + done, bytes - done, (off_t)(e->bytes + done));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return count < 0 ? errno : ENOSPC;
    done += (size_t)count;
  }
  return 0;
}

/* A log must not cost a run: what cannot be written is warned of once. */
static void append(sb_events *e, const char *line, size_t bytes) {
  const int error = put(e, line, bytes);
  e->lost = error != 0;
  e->bytes += bytes;
  if (e->lost)
    sb_log_line("warning: %s: %s; no more events are written, and the run goes on", e->path,
                strerror(error));
}

sb_status sb_events_write(sb_events *e, json_t *object) {
  const size_t flags = JSON_REAL_PRECISION(9) | JSON_ENSURE_ASCII; /* terminals obey others */
  char *text = e && !e->lost ? json_dumps(object, flags) : NULL;
  const bool fails = e && !e->lost && !text;
  json_decref(object);
  if (fails) return sb_fail(SB_ERR_MEMORY, "%s: not enough memory for an event", e->path);
  if (!text) return SB_OK;
  const size_t bytes = strlen(text);
  text[bytes] = '\n'; /* in the place of its end */
  append(e, text, bytes + 1);
  free(text);
  return SB_OK;
}

bool sb_events_lost(const sb_events *e) {
  return e && e->lost;
}

json_t *sb_event(const char *name, uint64_t step) {
  return json_pack("{s:s, s:I}", "event", name, "step", (json_int_t)step);
}

void sb_event_real(json_t *object, const char *key, double value) {
  json_object_set_new(object, key, isfinite(value) ? json_real(value) : json_null());
}
