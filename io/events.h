/* The events of a run as JSON lines: one object per line, written at once, for other programs to
 * follow. Each has "event"; those of training "step", too, the number of steps done.
 * docs/architecture.md lists them. Called on rank 0; with NULL nothing happens. Local. */
#ifndef SB_IO_EVENTS_H
#define SB_IO_EVENTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

typedef struct sb_events sb_events;

/* Opens the file (NULL: none; "-": stdout) for a run that has done `step` steps. Step 0 makes it
 * empty, and so does every run without steps. A run that goes on keeps the lines up to its step;
 * what an attempt that was cut off wrote after that is removed, so each step has one line. A pipe
 * or character device is written as it is, from its present end (sb_stream_open): a reader that
 * falls behind holds the run up. SB_ERR_IO. O(size). */
sb_status sb_events_open(const char *path, uint64_t step, sb_events **out);
/* *events may be NULL. */
void sb_events_close(sb_events **events);
/* Appends the object, which this call takes over: NaN and infinities are null already. A write that
 * fails (a full disk, a reader that has gone) fails no run: it is warned of once, and later events
 * are dropped. SB_ERR_MEMORY. */
sb_status sb_events_write(sb_events *events, json_t *object);
/* Whether a write has failed. */
bool sb_events_lost(const sb_events *events);

/* {"event": name, "step": step}; json_object_set_new appends more. */
json_t *sb_event(const char *name, uint64_t step);
/* object[key] = value, or null where JSON has no such number. */
void sb_event_real(json_t *object, const char *key, double value);

#endif
