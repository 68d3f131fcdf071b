/* Checkpoints of a training run: folders that appear complete in the folder of checkpoints
 * (train/checkpoint_dir.h), written while training goes on.
 *
 *   config.json, tokenizer ...   side files of the model
 *   model.safetensors            the master weights, f32: with the side files a Hugging Face model
 *   optimizer.safetensors        the moments (train/optimizer_file.h)
 *   training.json                the state: key of the run, what it must know to go on, and a
 *                                checksum of the weights and moments (io/seal.h)
 *
 * Every rank copies what it owns and writes the copy from a thread of its own: 12 bytes per element
 * beside the state itself. Without room for that, or where it is asked not to, training waits. The
 * checkpoint gets its name when all ranks have written; one that fails, for want of space say,
 * leaves the one before it as it is. */
#ifndef SB_TRAIN_CHECKPOINT_H
#define SB_TRAIN_CHECKPOINT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "folders/destination.h"
#include "io/key.h"
#include "mpi/world.h"
#include "train/checkpoint_dir.h"
#include "train/optimizer.h"
#include "train/optimizer_file.h"

typedef struct sb_checkpoints sb_checkpoints;

typedef struct sb_checkpoints_setup {
  const sb_world *world;
  sb_optimizer *optimizer; /* its shares hold the masters */
  const sb_key *key;       /* all that the run's results depend on */
  const char *path;        /* folder of checkpoints */
  const char *side_files;  /* folder that has them */
  size_t keep;             /* newest ones that stay; 0: all */
  uint64_t keep_every;     /* those at multiples stay too; 0: none */
  bool wait;               /* training waits for the disk */
} sb_checkpoints_setup;

/* Opens the folder of checkpoints. All that the setup points at is borrowed. SB_ERR_IO. Collective;
 * all ranks fail together. */
sb_status sb_checkpoints_open(const sb_checkpoints_setup *setup, sb_checkpoints **out);
/* Waits for threads; a checkpoint that is not finished goes. Local; *checkpoints may be NULL. */
void sb_checkpoints_close(sb_checkpoints **checkpoints);

/* Loads the newest checkpoint into masters and moments, no group of the store being held. *state =
 * what sb_checkpoints_begin was given for it, on every rank, which the caller releases with
 * json_decref; NULL: there is none, and nothing has changed. Older ones go as after a saving.
 * SB_ERR_FORMAT: of another run, by the first entry of the key that differs; or damaged, and which
 * folder to remove to go on from the one before. Collective. */
sb_status sb_checkpoints_load(sb_checkpoints *checkpoints, json_t **state);

/* SB_ERR_IO where the disk has no room for the checkpoints that a run saves by this plan, those
 * that rotate out counted off; then, where `out` (NULL: none) is on the same disk, for `out_bytes`
 * of output. After sb_checkpoints_load. Collective. */
sb_status sb_checkpoints_require(const sb_checkpoints *checkpoints, const sb_checkpoint_plan *plan,
                                 const sb_destination *out, uint64_t out_bytes);

/* Begins to save the present state as `info->step`; waits for the one before. `state` is an object
 * on rank 0, which this call takes over, and NULL elsewhere. Weights may change when the call
 * returns. SB_ERR_IO. Collective. */
sb_status sb_checkpoints_begin(sb_checkpoints *checkpoints, const sb_optimizer_info *info,
                               json_t *state);
/* Finishes the one being saved if all ranks have written it, or `wait`s until they have. *saved: it
 * is complete now; *path, valid until the next call, names it. Costs a small all-reduce while one
 * is being saved, else nothing. SB_ERR_IO. Collective. */
sb_status sb_checkpoints_poll(sb_checkpoints *checkpoints, bool wait, bool *saved,
                              const char **path);

#endif
