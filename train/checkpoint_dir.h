/* The folder that holds the checkpoints of a training run: `step-00000500`, each a folder that
 * appears complete (io/outdir.h), newest last. Whoever opens it has it for himself (io/lock.h).
 *
 * A checkpoint has the file SB_CHECKPOINT_STATE; other folders of such a name are left alone. One
 * that is removed first gets an unfinished name, so a removal that was cut off leaves nothing that
 * counts, and the next run removes the rest.
 *
 * Called on rank 0. All functions are local. */
#ifndef SB_TRAIN_CHECKPOINT_DIR_H
#define SB_TRAIN_CHECKPOINT_DIR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "io/lock.h"

#define SB_CHECKPOINT_STATE "training.json"

typedef struct sb_checkpoint_dir {
  char path[SB_PATH_MAX];
  sb_lock lock;
  int slot; /* of base/cleanup.h: an interrupted run leaves no empty folder */
} sb_checkpoint_dir;
#define SB_NO_CHECKPOINT_DIR ((sb_checkpoint_dir){.lock = SB_NO_LOCK, .slot = -1})

/* Makes the folder where it is missing (its parent must be there), locks it, and removes what
 * killed runs left unfinished. SB_ERR_IO: in use by another run, which the message names; not
 * writable; no folder. */
sb_status sb_checkpoint_dir_open(const char *path, sb_checkpoint_dir *out);
/* Gives the lock back, and removes the folder if it is empty. No-op for SB_NO_CHECKPOINT_DIR. */
void sb_checkpoint_dir_close(sb_checkpoint_dir *dir);

/* out[SB_PATH_MAX] = the name of the checkpoint at `step`, below 10^8. SB_ERR_IO: too long. */
sb_status sb_checkpoint_dir_name(const sb_checkpoint_dir *dir, uint64_t step, char *out);
/* How many checkpoints there are, and the newest of them, if any. SB_ERR_IO. */
sb_status sb_checkpoint_dir_newest(const sb_checkpoint_dir *dir, size_t *count, uint64_t *step);
/* Removes the checkpoint at `step` if it is there. SB_ERR_IO. */
sb_status sb_checkpoint_dir_remove(const sb_checkpoint_dir *dir, uint64_t step);
/* Removes all checkpoints but the newest `keep` (0: all stay) and those at multiples of
 * `every` (0: none). SB_ERR_IO for the first that cannot be removed. */
sb_status sb_checkpoint_dir_rotate(const sb_checkpoint_dir *dir, size_t keep, uint64_t every);

/* When a run saves, and what stays. */
typedef struct sb_checkpoint_plan {
  uint64_t from, stop_at, save_every; /* steps; saved at multiples of save_every, and at stop_at */
  size_t keep;
  uint64_t keep_every; /* as in sb_checkpoint_dir_rotate */
} sb_checkpoint_plan;

/* Checkpoints that such a run has beyond those that are there now: at most at any time, *most, the
 * one being written included; and at its end, *last, which is negative where more go than come.
 * SB_ERR_IO. O(checkpoints of the run). */
sb_status sb_checkpoint_dir_expect(const sb_checkpoint_dir *dir, const sb_checkpoint_plan *plan,
                                   uint64_t *most, int64_t *last);

#endif
