/* Scales in training, on disk, so that a run that was cut off goes on with the next batch, on any number of ranks, to the same bits.
 *
 * Two files (model/saved.h): PATH has how many steps are done, PATH.scales the state of every group (model/scales.h), twice: what PATH
 * speaks of stays until the other half is complete. */
#ifndef SB_MODEL_TRAINED_H
#define SB_MODEL_TRAINED_H

#include "base/status.h"
#include "io/key.h"
#include "model/scales.h"

typedef struct sb_trained sb_trained;

typedef struct sb_trained_progress {
  size_t steps;
  double before; /* the divergence before the first step (model/tune.h) */
} sb_trained_progress;

/* `scales`, of a model in `world`, live until sb_trained_close. Where there is a PATH, they are as it has them, and *progress is what it
 * says; else that is all 0. SB_ERR_FORMAT names what differs between the files and this run, or what is wrong with them. Collective;
 * all ranks fail together. */
sb_status sb_trained_open(const char *path, const sb_key *key, const sb_world *world, sb_scales *scales,
                          sb_trained_progress *progress, sb_trained **out);
/* Saves the scales now and then: the first time it is called, then so seldom that it takes 2% of the time. SB_ERR_IO. Collective. */
sb_status sb_trained_offer(sb_trained *trained, const sb_trained_progress *progress);
void sb_trained_close(sb_trained **trained); /* local; the files stay */

/* Removes both files, on rank 0; that they are not there is no error. Local. */
void sb_trained_remove(const sb_world *world, const char *path);

#endif
