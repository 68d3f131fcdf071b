/* What a run must know to go on, beside weights and moments, as the JSON object of a checkpoint
 * (train/checkpoint.h). Local. */
#ifndef SB_TRAIN_RUN_STATE_H
#define SB_TRAIN_RUN_STATE_H

#include <jansson.h>

#include "base/status.h"
#include "train/trainer.h"

typedef struct sb_run_state {
  sb_trainer_progress progress;
  double seconds; /* of training so far, all attempts together */
  double loss;    /* of the last step; NaN: not known */
  json_t *extra;  /* an object of whoever steers the run, or NULL; owned */
} sb_run_state;

/* The state as an object, which the caller owns; numbers are written so that reading gives the same
 * bits. NULL when memory is short. */
json_t *sb_run_state_json(const sb_run_state *state);
/* Reads such an object. SB_ERR_FORMAT by key for what is missing or cannot be. `out->extra` is the
 * caller's to release with json_decref. */
sb_status sb_run_state_parse(const json_t *object, sb_run_state *out);

#endif
