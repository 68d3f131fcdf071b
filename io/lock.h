/* A lock on a name: an output folder, or a checkpoint, that one job at a time may write.
 *
 * A lock is a file that names its holder (process, host, since when), and on which the holder has
 * an advisory lock of the kernel. The kernel drops that lock with the process, however it ends, so
 * a file that a dead process left blocks nobody: the next one takes it over. Between hosts the lock
 * is the file system's: NFS, GPFS and Lustre pass it on. Where the file system has no locks, or is
 * mounted so that only one host sees them (nolock, local_lock, localflock, BeeGFS), the holder
 * named in the file decides: one on this host that no longer runs is dead; one on another host
 * cannot be asked, so the message says which file to remove. The holder removes the file at the
 * end, also when interrupted (base/cleanup.h). All functions are local. */
#ifndef SB_IO_LOCK_H
#define SB_IO_LOCK_H

#include "base/status.h"
#include "io/file.h"

typedef struct sb_lock {
  char path[SB_PATH_MAX]; /* of the lock's file */
  int fd;                 /* -1: not held */
  int slot;               /* of base/cleanup.h */
} sb_lock;
#define SB_NO_LOCK ((sb_lock){.fd = -1, .slot = -1})

/* Takes the lock whose file is `path` (shorter than SB_PATH_MAX). `what` is locked, for messages.
 * SB_ERR_IO: another process has it, which the message names; or the file cannot be made. Does not
 * wait. */
sb_status sb_lock_take(const char *path, const char *what, sb_lock *out);
/* Removes the file and gives the lock back. Does nothing where it is not held. */
void sb_lock_release(sb_lock *lock);

#endif
