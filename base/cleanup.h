/* Unfinished files and folders, which are removed when a run is interrupted.
 *
 * A signal that would end the process ends it at once, from the signal handler: rank 0 writes one
 * line, every rank removes the paths it has registered, and the process leaves with 128 + signal.
 * After a crash (SIGSEGV, SIGABRT, ...) the paths are removed too, and the signal takes its course.
 * The handler calls only what POSIX allows there (unlinkat, write, _exit, Linux' getdents64);
 * everything it needs lies prepared in static memory. That memory is this file's deliberate
 * exception to "no global state": a signal handler receives no argument.
 *
 * A path is registered before it is made, so there is no moment at which a signal would leave it.
 * Its name therefore has to be one that nobody else uses (io/unfinished.h).
 *
 * Files go first, then folders, the longest path first, so a folder is removed after its content. A
 * folder that holds anything unregistered stays. A tree goes with all that is in it: it may be
 * registered by all ranks that write into it, and whoever is last removes it. A rank killed by
 * SIGKILL removes nothing, but MPI launchers end the others by SIGTERM then. All functions are
 * local and may be called from any thread. */
#ifndef SB_BASE_CLEANUP_H
#define SB_BASE_CLEANUP_H

#include "base/status.h"

enum { SB_CLEANUP_SLOTS = 1024 }; /* paths registered at a time */

/* Installs the handlers, for all signals whose default is to end the process. Those that somebody
 * has set to be ignored (SIGHUP by nohup) or handles already are left as they are, but for SIGINT
 * and SIGTERM, which are always handled. SIGPIPE and SIGXFSZ are ignored: the write that meets a
 * closed pipe or the limit on the size of files fails with a message. Rank 0 is the one that
 * speaks: "shardbits: interrupted by SIGTERM; MESSAGE". */
sb_status sb_cleanup_install(int rank, const char *message);
/* Replaces the message. It is shown escaped (base/text.h). */
void sb_cleanup_message(const char *message);

/* From here on the output `path` is complete: the message says so, and so does the line of any
 * failure that comes later. */
void sb_cleanup_complete(const char *path);
/* "; PATH is complete", to end such a line; "" where nothing is. Escaped. */
const char *sb_cleanup_completed(void);

/* Between these two a signal waits: for the few steps after which another message is true, and
 * other paths are unfinished. sb_cleanup_release acts on a signal that came meanwhile. Not nested;
 * called by one thread. */
void sb_cleanup_hold(void);
void sb_cleanup_release(void);

/* Registers a file or an empty folder, which need not exist yet; *slot = its slot. The path is
 * copied. Relative paths are resolved when they are removed. SB_ERR_RANGE when the path is too
 * long, SB_ERR_INTERNAL when all slots are taken; *slot is then -1. */
sb_status sb_cleanup_add(const char *path, int *slot);
/* The same for a folder with all that will be in it. Its name must be one that only this run uses.
 */
sb_status sb_cleanup_add_tree(const char *path, int *slot);
/* Forgets a path, because it is complete or already gone. A slot of -1 is ignored. */
void sb_cleanup_drop(int slot);
/* Removes all registered paths and forgets them: for the way out after an ordinary error. */
void sb_cleanup_now(void);

/* Removes a file, link or folder with all that is in it; follows no link. Returns 0, or the errno
 * of what could not be removed (a path that is missing is no error). Others may remove from the
 * same tree meanwhile. Async-signal-safe, at most 64 folders deep, on one file system. */
int sb_cleanup_remove_tree(const char *path);

#endif
