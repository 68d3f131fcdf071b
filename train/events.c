#include "train/events.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/text.h"
#include "io/file.h"

struct sb_events {
  char path[SB_PATH_MAX];
  int fd; /* -1: stdout */
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

sb_status sb_events_open(const char *path, uint64_t step, sb_events **out) {
  *out = NULL;
  if (!path) return SB_OK;
  if (strlen(path) >= SB_PATH_MAX)
    return sb_fail(SB_ERR_IO, "%.64s...: the name is too long", path);
  SB_TRY(sb_alloc(out, 1, sizeof **out, "events"));
  snprintf((*out)->path, sizeof(*out)->path, "%s", path);
  (*out)->fd = -1;
  if (strcmp(path, "-") == 0) return SB_OK;
  const sb_status status = open_file(*out, step);
  if (status != SB_OK) sb_events_close(out);
  return status;
}

void sb_events_close(sb_events **events) {
  if (*events && (*events)->fd >= 0) close((*events)->fd);
  sb_free(events);
}

static sb_status append(sb_events *e, const char *text) {
  char *line;
  const size_t bytes = strlen(text) + 1;
  if (e->fd < 0) {
    sb_text_print(stdout, "%s", text);
    return fflush(stdout) == 0 ? SB_OK : sb_fail(SB_ERR_IO, "stdout: %s", strerror(errno));
  }
  SB_TRY(sb_alloc_raw(&line, bytes, 1, "event"));
  memcpy(line, text, bytes - 1);
  line[bytes - 1] = '\n';
  const sb_status status = sb_file_write_at(e->fd, e->path, e->bytes, line, bytes, 0);
  e->bytes += bytes;
  sb_free(&line);
  return status;
}

sb_status sb_events_write(sb_events *e, json_t *object) {
  char *text = e ? json_dumps(object, JSON_REAL_PRECISION(9)) : NULL;
  sb_status status = SB_OK;
  if (e)
    status = text ? append(e, text)
                  : sb_fail(SB_ERR_MEMORY, "%s: not enough memory for an event", e->path);
  free(text);
  json_decref(object);
  return status;
}

json_t *sb_event(const char *name, uint64_t step) {
  return json_pack("{s:s, s:I}", "event", name, "step", (json_int_t)step);
}

void sb_event_real(json_t *object, const char *key, double value) {
  json_object_set_new(object, key, isfinite(value) ? json_real(value) : json_null());
}
