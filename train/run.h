/* A training run: steps, held-out loss, checkpoints, log and events, from where the trainer stands
 * to the end or to where it is to stop. */
#ifndef SB_TRAIN_RUN_H
#define SB_TRAIN_RUN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "mpi/world.h"
#include "train/checkpoint.h"
#include "train/data.h"
#include "io/events.h"
#include "train/run_state.h"
#include "train/trainer.h"

/* Shares of the FLOPs of all linear layers, forward and backward, that run in few bits. */
typedef struct sb_flop_shares {
  double fp4, fp8;
} sb_flop_shares;

/* Whoever steers the run. NULL functions do nothing. */
typedef struct sb_run_steering {
  void *context;
  /* Before step `step` (counted from 0) is made: may change what the steps are made with. *shares
   * is what events say from then on. Collective. */
  sb_status (*before)(void *context, uint64_t step, sb_flop_shares *shares);
  /* After it. Collective. */
  sb_status (*after)(void *context, const sb_step_report *report);
  /* Before and after each measurement of held-out loss. Collective. */
  sb_status (*evaluates)(void *context, bool begins);
  /* On rank 0: what a checkpoint must hold to go on (sb_run_state.extra), or NULL. */
  json_t *(*extra)(void *context);
} sb_run_steering;

typedef struct sb_run_setup {
  const sb_world *world;
  sb_trainer *trainer;
  const sb_train_data *data;
  const sb_train_data
      *heldout; /* its first `heldout_seqs` samples, of the same batch; NULL: none */
  uint64_t heldout_seqs;
  sb_checkpoints *checkpoints; /* NULL: none */
  sb_events *events;           /* rank 0's */
  uint64_t stop_at;            /* steps after which the run ends, at most those of the schedule */
  uint64_t save_every, eval_every, log_every; /* steps; 0: only at the end */
  bool resumed;                               /* the trainer stands where a checkpoint is */
  double seconds;                             /* of training before this attempt */
  double loss;           /* of the last step before it; NaN: there is none, or it is not known */
  sb_flop_shares shares; /* that events say, at the beginning */
  sb_run_steering steering;
} sb_run_setup;

typedef struct sb_run_result {
  uint64_t step;    /* steps done, all attempts together */
  uint64_t skipped; /* of this attempt */
  double loss;      /* of the last step made; NaN: this attempt made none */
  double heldout;   /* at the end; NaN: not measured */
  double seconds;   /* of training, all attempts together */
  double step_seconds, steer_seconds, data_seconds, eval_seconds,
      save_seconds; /* of this attempt */
  bool asked;       /* it stopped because SIGUSR1 came */
} sb_run_result;

/* Runs. Every save_every steps and at the end the state is saved; held-out loss is measured before
 * the first step, every eval_every steps and at the end. SIGUSR1 to any rank ends the run after the
 * present step, with a checkpoint: for jobs that are told of their end. Where a step fails because
 * loss or gradient is no number, a checkpoint under way is finished first, and the message names
 * the last good one. Collective; all ranks fail together. */
sb_status sb_train_run(const sb_run_setup *setup, sb_run_result *result);

#endif
