/* Unfinished files and folders, which are removed when a run is interrupted.
 *
 * SIGINT and SIGTERM end the process at once, from the signal handler: rank 0 writes one line,
 * every rank removes the paths it has registered, and the process leaves with 128 + signal. The
 * handler calls only what POSIX allows there (unlink, rmdir, write, _exit); everything it needs
 * lies prepared in static memory. That memory is this file's deliberate exception to "no global
 * state": a signal handler receives no argument.
 *
 * Files go first, then folders, the longest path first, so a folder is removed after its content. A
 * folder that several ranks write into is registered by all of them: whoever is last finds it empty
 * and removes it. A folder that holds anything unregistered stays. A rank killed by SIGKILL removes
 * nothing. Where that matters, rank 0 registers the other ranks' files too: MPI launchers end it by
 * SIGTERM then. All functions are local and may be called from any thread. */
#ifndef SB_BASE_CLEANUP_H
#define SB_BASE_CLEANUP_H

#include "base/status.h"

enum { SB_CLEANUP_SLOTS = 1024 }; /* paths registered at a time */

/* Installs the handlers. Rank 0 is the one that speaks: "shardbits: interrupted
 * by SIGTERM; MESSAGE". */
sb_status sb_cleanup_install(int rank, const char *message);
/* Replaces the message. */
void sb_cleanup_message(const char *message);

/* From here on the output `path` is complete: the message says so, and so does the line of any
 * failure that comes later. */
void sb_cleanup_complete(const char *path);
/* "; PATH is complete", to end such a line; "" where nothing is. */
const char *sb_cleanup_completed(void);

/* Between these two a signal waits: for the few steps after which another message is true, and
 * other paths are unfinished. sb_cleanup_release acts on a signal that came meanwhile. Not nested;
 * called by one thread. */
void sb_cleanup_hold(void);
void sb_cleanup_release(void);

/* Registers a file or folder, which need not exist yet; *slot = its slot. The path is copied.
 * Relative paths are resolved when they are removed. SB_ERR_RANGE when the path is too long,
 * SB_ERR_INTERNAL when all slots are taken; *slot is then -1. */
sb_status sb_cleanup_add(const char *path, int *slot);
/* Forgets a path, because it is complete or already gone. A slot of -1 is ignored. */
void sb_cleanup_drop(int slot);
/* Removes all registered paths and forgets them: for the way out after an ordinary error. */
void sb_cleanup_now(void);

#endif
