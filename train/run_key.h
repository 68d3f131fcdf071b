/* The key of a training run (io/key.h): what its weights depend on besides the precisions of linear
 * layers, which whoever chooses them adds. Every key has the same entries. A checkpoint of another
 * key is refused by the first entry that differs. The number of ranks is none. Collective. */
#ifndef SB_TRAIN_RUN_KEY_H
#define SB_TRAIN_RUN_KEY_H

#include "base/status.h"
#include "io/key.h"
#include "kernels/backend.h"
#include "train/data.h"
#include "train/trainer.h"

typedef struct sb_run_key_parts {
  sb_model *model; /* with the weights and moments that the run began with */
  const sb_backend *backend;
  sb_trainer *trainer;
  const sb_train_data *data;
} sb_run_key_parts;

/* Fills the key; names are static. SB_ERR_IO. Collective; all ranks get the same. */
sb_status sb_run_key_make(const sb_run_key_parts *parts, sb_key *key);

#endif
