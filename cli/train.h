/* The inside of `shardbits train`: the state of a command, and what comes before the first step.
 * All functions are collective. */
#ifndef SB_CLI_TRAIN_H
#define SB_CLI_TRAIN_H

#include <jansson.h>
#include <stdint.h>

#include "base/status.h"
#include "cli/train_precision.h"
#include "cli/train_request.h"
#include "folders/destination.h"
#include "io/key.h"
#include "kernels/backend.h"
#include "model/model.h"
#include "train/run.h"

typedef struct sb_train_command {
  const sb_world *world;
  sb_train_request *r;
  json_t *report;
  sb_backend *backend;
  sb_model *model;
  sb_destination out;
  sb_train_data *data, *heldout;
  sb_trainer *trainer;
  sb_train_precisions precisions;
  sb_key key;
  sb_checkpoints *checkpoints;
  sb_events *events;
  sb_adapt *adapt; /* NULL: precisions stay as they are */
  json_t *extra;   /* of the checkpoint that this attempt begins at: whoever steers knows it */
  uint64_t step;   /* where this attempt begins */
  double seconds;  /* of training before it */
  double loss;     /* of the last step before it; NaN: not known */
  sb_run_result result;
} sb_train_command;

/* Opens all that a run needs: OUT, the model, data, the trainer, the newest checkpoint, events.
 * What stands in the way of the result is found now, not after hours. After a failure too,
 * sb_train_release frees what there is. */
sb_status sb_train_prepare(sb_train_command *command);
void sb_train_release(sb_train_command *command);

/* The precisions of the trainer's pass: those of training, or high. */
sb_status sb_train_set_precisions(sb_train_command *command, bool as_trained);

#endif
