/* Another program, run to its end: what it writes to stdout as data, what it writes to stderr as
 * lines.
 *
 * Started by posix_spawn, which does not copy this process: memory that a network card writes to
 * for MPI must not become copied on write, and this process waits until the child has its own
 * program (ibv_fork_init(3) has the reason). The child inherits the environment, an empty stdin,
 * the default for all signals, and no open file. Local; called by one thread. */
#ifndef SB_IO_CHILD_H
#define SB_IO_CHILD_H

#include <stddef.h>

#include "base/status.h"

enum { SB_CHILD_LINE = 1024 }; /* bytes of a line; the rest of a longer one is left out */

/* Who is told what the child writes, in the order of each stream. */
typedef struct sb_child_ears {
  void *context;
  /* The next bytes of stdout. A failure ends the child. */
  sb_status (*data)(void *context, const void *bytes, size_t count);
  void (*line)(void *context, const char *line); /* of stderr, without the newline */
} sb_child_ears;

/* Runs argv[0] (looked for in PATH) with the arguments argv[1 ..], NULL behind the last, and waits
 * for its end and that of both streams. *exit_code is what it returned, or 128 + the signal that
 * ended it. SB_ERR_ABSENT where there is no such program; SB_ERR_IO; the failure of ears->data. */
sb_status sb_child_run(char *const *argv, const sb_child_ears *ears, int *exit_code);

#endif
