/* The inside of io/outdir.h: what a folder holds, and moving the partial folder into OUT's place.
 * All functions are local. */
#ifndef SB_IO_OUTDIR_MOVE_H
#define SB_IO_OUTDIR_MOVE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "io/file.h"
#include "io/lock.h"

typedef struct sb_outdir {
  char path[SB_PATH_MAX];    /* OUT */
  char partial[SB_PATH_MAX]; /* where to write; "" when nothing is begun */
  bool replaces;             /* OUT exists and is not empty, and `overwrite` is set */
  bool inside;               /* OUT exists and is empty */
  int slot;                  /* of `partial` in base/cleanup.h */
  sb_lock lock;
} sb_outdir;
#define SB_NO_OUTDIR ((sb_outdir){.slot = -1, .lock = SB_NO_LOCK})

/* How names begin that this program makes in an OUT that is written inside. */
#define SB_OUTDIR_HIDDEN ".shardbits-"

/* *entries: names in the folder that count as content: not . and .. , not those that begin with
 * SB_OUTDIR_HIDDEN, and not lost+found. *ours: a manifest.json or config.json is among them. */
sb_status sb_outdir_look(const char *path, size_t *entries, bool *ours);
/* Removes partial folders of OUT that killed runs left. Nobody else writes OUT, whose lock is held;
 * on a network file system, where a lock of another host may not be seen, those of other hosts stay
 * (io/unfinished.h). Best effort: what cannot be removed stays. */
sb_status sb_outdir_clear(const sb_outdir *out);
/* Tries what sb_outdir_move will do, and changes nothing but out->partial's name and slot.
 * SB_ERR_IO. */
sb_status sb_outdir_try_moves(sb_outdir *out);
/* Puts the content of out->partial in OUT's place; where OUT had content, out->partial names that
 * then. After a failure OUT has its old content, and out->partial the new one. */
sb_status sb_outdir_move(sb_outdir *out);

#endif
