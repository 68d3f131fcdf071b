/* Measures a profile: what each low precision would cost a training step, linear by linear
 * (`shardbits profile`, `train --adapt`). Two steps in high precision, beside the training:
 *
 *   noise   the weights move a little along random directions that the optimizer's state scales;
 *           kept is what becomes of x and dy (policy/probe.h)
 *   errors  the weights are back; at each linear the errors of all precisions meet the gradients,
 *           and what the noise changed (policy/error_step.h)
 *
 * Then policy/divergence.h makes the two metrics of the sums. Masters have the same bits before and
 * after; moments are only read. The profile has the same bits on any number of ranks. */
#ifndef SB_POLICY_PROFILE_H
#define SB_POLICY_PROFILE_H

#include "base/status.h"
#include "policy/divergence.h"
#include "policy/profile_file.h"

enum {
  SB_PROFILE_TOKENS = 2048 /* sampled of a batch, at least, if it has as many */
};

typedef struct sb_profile_setup {
  sb_pass *pass;                 /* with gradients, of the batch to measure, all precisions high */
  sb_model *model;               /* f32 in the store, the pass's */
  sb_backend *backend;           /* the pass's */
  const sb_optimizer *optimizer; /* at least one update; its shares are the model's */
  sb_adamw adamw;
  uint64_t step;                  /* of the run, for the profile */
  const sb_precision *precisions; /* low ones, each once */
  size_t precision_count;         /* at least 1 */
  const sb_lowprec_options *lowprec;
  uint64_t seed;
} sb_profile_setup;

typedef struct sb_profile_measured {
  sb_profile profile;
  double *changes;    /* [linears, precisions] signed (sb_expected_change) */
  double update_norm; /* of the last update over its rate, of all matrices of layers */
  size_t sample;      /* tokens sampled of each sequence */
  double noise_loss;  /* of the moved weights */
  double slope_seconds, noise_seconds, error_seconds;
} sb_profile_measured;

/* SB_ERR_UNSUPPORTED for a precision that a matrix's shape cannot carry; SB_ERR_NUMERIC for
 * moments without a finite update, or where a loss is no number; SB_ERR_MEMORY. Release with
 * sb_profile_measured_free. Equal on all ranks but for seconds. Collective; all ranks fail
 * together. Some four steps of training with two precisions. */
sb_status sb_profile_measure(const sb_profile_setup *setup, sb_profile_measured *out);
void sb_profile_measured_free(sb_profile_measured *measured);

#endif
