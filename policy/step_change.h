/* The real thing that a profile predicts: one step with a map of precisions beside the same step in
 * high precision, on the same tokens, weights and moments. Nothing is changed but the pass's
 * precisions, which are high again at the end. */
#ifndef SB_POLICY_STEP_CHANGE_H
#define SB_POLICY_STEP_CHANGE_H

#include "base/status.h"
#include "model/precision_map.h"
#include "policy/profile.h"
#include "train/gradient_sums.h"

typedef struct sb_step_rig {
  const sb_profile_setup *setup;
  sb_gradient_sums *sums;
  double loss;        /* of the high precision, */
  double *losses;     /* [sequences of this rank] */
  float *update;      /* [elements of this rank] over the rate; 0 outside the matrices of layers */
  double update_norm; /* of the matrices of layers */
  double *now;        /* [sequences of this rank] */
  double *squares;    /* [units of this rank] */
} sb_step_rig;

/* Measures the step in high precision. `sums` are for the pass's batch; all is borrowed.
 * SB_ERR_MEMORY, SB_ERR_NUMERIC. sb_step_rig_free also releases what a failed call has allocated.
 * Collective. One step of training. */
sb_status sb_step_rig_create(const sb_profile_setup *setup, sb_gradient_sums *sums,
                             sb_step_rig *out);
void sb_step_rig_free(sb_step_rig *rig);

typedef struct sb_step_change {
  double change; /* of the batch's loss, nats */
  double size;   /* root of the mean over sequences of the squared change of its loss */
  double weight; /* norm of the change of the update, over the update's, matrices of layers */
} sb_step_change;

/* One step with `map`. Stochastic rounding takes the bits of the pass's batch. SB_ERR_NUMERIC where
 * loss or gradient is no number. Collective. */
sb_status sb_step_rig_measure(sb_step_rig *rig, const sb_precision_map *map, sb_step_change *out);

#endif
