/* The events of a training run as JSON lines: one object per line, written at once, for other
 * programs to follow. Each has "event" and "step", the number of steps done; docs/architecture.md
 * lists them. Called on rank 0; with NULL nothing happens. Local. */
#ifndef SB_TRAIN_EVENTS_H
#define SB_TRAIN_EVENTS_H

#include <jansson.h>
#include <stdint.h>

#include "base/status.h"

typedef struct sb_events sb_events;

/* Opens the file (NULL: none; "-": stdout) for a run that has done `step` steps. Step 0 makes it
 * empty. A run that goes on keeps the lines up to its step; what an attempt that was cut off wrote
 * after that is removed, so each step has one line. SB_ERR_IO. O(size). */
sb_status sb_events_open(const char *path, uint64_t step, sb_events **out);
/* *events may be NULL. */
void sb_events_close(sb_events **events);
/* Appends the object, which this call takes over: NaN and infinities are null already. SB_ERR_IO.
 */
sb_status sb_events_write(sb_events *events, json_t *object);

/* {"event": name, "step": step}; json_object_set_new appends more. */
json_t *sb_event(const char *name, uint64_t step);
/* object[key] = value, or null where JSON has no such number. */
void sb_event_real(json_t *object, const char *key, double value);

#endif
