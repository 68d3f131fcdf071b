/* Checkpoint of training: the scales and Adam's state after some steps. A later run, on any number
 * of ranks, resumes at the next step and ends with the same bits.
 *
 * Two files (folders/checkpoint_files.h). PATH has the key, the progress and a checksum of its
 * half; PATH.scales has the state of every number that is trained (quant/scales.h) in two halves.
 * The half that PATH describes stays until the other one is complete. */
#ifndef SB_QUANT_TUNE_CHECKPOINT_H
#define SB_QUANT_TUNE_CHECKPOINT_H

#include "base/status.h"
#include "io/key.h"
#include "quant/scales.h"

typedef struct sb_tune_checkpoint sb_tune_checkpoint;

typedef struct sb_tune_checkpoint_progress {
  size_t steps;  /* done */
  double before; /* the divergence before the first step (quant/tune_scales.h) */
} sb_tune_checkpoint_progress;

/* Opens the checkpoint at `path`. If it exists, restores `scales` and *progress from it; otherwise
 * *progress is 0 and `scales` stay. `scales` and `key` are borrowed until sb_tune_checkpoint_close.
 * SB_ERR_FORMAT names the difference between the files and this run, or the damage. Collective; all
 * ranks fail together. */
sb_status sb_tune_checkpoint_open(const char *path, const sb_key *key, const sb_world *world,
                                  sb_scales *scales, sb_tune_checkpoint_progress *progress,
                                  sb_tune_checkpoint **out);
/* Saves scales and progress, if it is time to: at the first call, then so seldom that saving takes
 * 2% of the time. SB_ERR_IO. Collective. */
sb_status sb_tune_checkpoint_offer(sb_tune_checkpoint *checkpoint,
                                   const sb_tune_checkpoint_progress *progress);
void sb_tune_checkpoint_close(sb_tune_checkpoint **checkpoint); /* local; the files stay */

/* Removes both files, on rank 0, if they exist. Local. */
void sb_tune_checkpoint_remove(const sb_world *world, const char *path);

#endif
