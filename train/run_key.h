/* The key of a training run (io/key.h): all that its weights depend on. A checkpoint of another key
 * is refused by the first entry that differs. The number of ranks is none. Collective. */
#ifndef SB_TRAIN_RUN_KEY_H
#define SB_TRAIN_RUN_KEY_H

#include "base/status.h"
#include "io/key.h"
#include "kernels/lowprec.h"
#include "train/data.h"
#include "train/trainer.h"

typedef struct sb_run_key_parts {
  sb_model *model; /* with the weights and moments that the run began with */
  const sb_backend *backend;
  sb_trainer *trainer;
  const sb_train_data *data;
  const char *precision;             /* name, or the policy's hash */
  const char *adaptive;              /* how precisions change; "": they do not */
  const sb_lowprec_options *lowprec; /* NULL: nothing is emulated */
} sb_run_key_parts;

/* Fills the key; names are static. SB_ERR_IO. Collective; all ranks get the same. */
sb_status sb_run_key_make(const sb_run_key_parts *parts, sb_key *key);

#endif
