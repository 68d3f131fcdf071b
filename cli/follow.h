/* --events FILE of the commands other than train: JSON lines (io/events.h) that tell of a run while
 * it goes on. docs/architecture.md lists them. Rank 0 writes them; a process has one such file, as
 * it has one log. */
#ifndef SB_CLI_FOLLOW_H
#define SB_CLI_FOLLOW_H

#include <jansson.h>

#include "base/status.h"
#include "mpi/world.h"

/* Opens the file (NULL: none, "-": stdout), which becomes empty, and writes "begin". From here on
 * phases, progress and warnings (base/watch.h) are written. Collective. */
sb_status sb_follow_begin(const sb_world *world, const char *path, const char *command);
/* Whether there is such a file. Local. */
bool sb_follow_is_on(void);
/* Writes an event of a command's own; `members` is taken over, its keys follow "event" and
 * "seconds". Does nothing without a file. Local. */
void sb_follow_event(const char *name, json_t *members);
/* Writes "end" with the outcome, and closes the file. Without one it does nothing. Local. */
void sb_follow_end(sb_status status);

#endif
