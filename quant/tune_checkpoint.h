/* Scales in training, on disk, so that a run that was cut off goes on with the next batch, on any
 * number of ranks, to the same bits.
 *
 * Two files (folders/checkpoint_files.h): PATH has how many steps are done, PATH.scales the state
 * of every group (quant/scales.h), twice: what PATH speaks of stays until the other half is
 * complete. */
#ifndef SB_QUANT_TUNE_CHECKPOINT_H
#define SB_QUANT_TUNE_CHECKPOINT_H

#include "base/status.h"
#include "io/key.h"
#include "quant/scales.h"

typedef struct sb_tune_checkpoint sb_tune_checkpoint;

typedef struct sb_tune_checkpoint_progress {
  size_t steps;
  double before; /* the divergence before the first step (quant/tune_scales.h) */
} sb_tune_checkpoint_progress;

/* `scales`, of a model in `world`, live until sb_tune_checkpoint_close. Where there is a PATH, they
 * are as it has them, and *progress is what it says; else that is all 0. SB_ERR_FORMAT names what
 * differs between the files and this run, or what is wrong with them. Collective; all ranks fail
 * together. */
sb_status sb_tune_checkpoint_open(const char *path, const sb_key *key, const sb_world *world,
                                  sb_scales *scales, sb_tune_checkpoint_progress *progress,
                                  sb_tune_checkpoint **out);
/* Saves the scales now and then: the first time it is called, then so seldom that it takes 2% of
 * the time. SB_ERR_IO. Collective. */
sb_status sb_tune_checkpoint_offer(sb_tune_checkpoint *trained,
                                   const sb_tune_checkpoint_progress *progress);
void sb_tune_checkpoint_close(sb_tune_checkpoint **trained); /* local; the files stay */

/* Removes both files, on rank 0; that they are not there is no error. Local. */
void sb_tune_checkpoint_remove(const sb_world *world, const char *path);

#endif
