/* What is not finished yet has a temporary name: PATH.partial-HOST-RANDOM, a mark of the host and
 * 64 random bits. No two runs meet, and nobody can plant a link under such a name.
 *
 * A file is made here with O_EXCL, follows no link, and is registered for removal before it exists
 * (base/cleanup.h), so a signal leaves nothing. What SIGKILL or a lost machine leave is removed by
 * the next run with the same PATH if it is surely dead: whoever makes the file holds a lock on it
 * (flock) until it is finished. The system drops the lock when the process ends, however it ends. A
 * lock that can be had therefore proves that the owner is gone, where the owner's lock would have
 * been seen: always on a file system of this machine, and on a network file system if the mark says
 * that the owner ran on this host. Locks of other hosts may not be visible there (mounts with
 * nolock or localflock), so what another host left stays until a run on that host, or a person,
 * removes it. Temporary folders are the business of io/outdir.h, whose lock on OUT proves the same.
 *
 * All functions are local. */
#ifndef SB_IO_UNFINISHED_H
#define SB_IO_UNFINISHED_H

#include <stdbool.h>

#include "base/status.h"
#include "io/file.h"

enum {
  SB_UNFINISHED_MARK = 25,
  SB_UNFINISHED_SUFFIX = 34
}; /* bytes of HOST-RANDOM, and with ".partial-" */

/* out[SB_PATH_MAX] = START HOST-RANDOM: a name that nothing has. SB_ERR_IO when it is too long. */
sb_status sb_unfinished_name(const char *start, char *out);
/* Whether `name` is START HOST-RANDOM. *here: it has this host's mark. */
bool sb_unfinished_is(const char *name, const char *start, bool *here);
/* Whether locks in `folder` are seen by every process that can see it: its file system is one of
 * this machine, not of a network. False where that is not known. */
bool sb_unfinished_dies_here(const char *folder);

typedef struct sb_unfinished {
  char path[SB_PATH_MAX]; /* "": none */
  int fd;                 /* open for reading and writing; has the lock. -1: none */
  int slot;               /* of base/cleanup.h */
} sb_unfinished;
#define SB_NO_UNFINISHED ((sb_unfinished){.fd = -1, .slot = -1})

/* A new, empty file beside what will be `path`. SB_ERR_IO names `path` and the reason. */
sb_status sb_unfinished_create(const char *path, sb_unfinished *out);
/* It has its final name: forgets it and closes the descriptor. No-op for SB_NO_UNFINISHED. */
void sb_unfinished_release(sb_unfinished *unfinished);
/* Removes it and forgets it. No-op for SB_NO_UNFINISHED. */
void sb_unfinished_abandon(sb_unfinished *unfinished);
/* Removes the files of this user that runs left beside `path`, if they are surely dead. Reads the
 * folder once, so it is called once a run for each path. What cannot be removed stays. */
void sb_unfinished_clear(const char *path);

#endif
