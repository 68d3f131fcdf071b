/* How well a profile predicts (`shardbits profile --truth`). Single linears: each is quantized
 * alone, all three GEMMs, for one step; ranks of what changes are compared with the metrics' and
 * with the two rules of local error. Whole policies: some are drawn at random, and what they change
 * is compared with the sum of the predictions. */
#ifndef SB_POLICY_TRUTH_H
#define SB_POLICY_TRUTH_H

#include "base/status.h"
#include "base/ticker.h"
#include "policy/step_change.h"

/* What predicts: the metrics, then the rules. */
enum { SB_PREDICT_ABSOLUTE = SB_METRIC_COUNT, SB_PREDICT_RELATIVE, SB_PREDICTORS };
extern const char *const sb_predictor_names[]; /* "exact", "norms", "absolute", "relative" */

typedef struct sb_truth_setup {
  const sb_profile_setup *profile;
  sb_profile_measured *measured; /* gets the truth, where all linears are measured */
  sb_gradient_sums *sums;
  size_t linears;  /* a sample of so many, spread evenly over the model; 0: all */
  size_t policies; /* drawn at random; 0: none */
  double share;    /* of FLOPs that a drawn policy has in the precision of fewest bits, at most */
  sb_ticker ticker;
} sb_truth_setup;

/* Rank correlations (Spearman) over all linears that were measured, at all precisions. */
typedef struct sb_truth_ranks {
  double loss[SB_PREDICTORS];   /* with the size of the change of the loss, by sequence */
  double weight[SB_PREDICTORS]; /* with the change of the update */
  double change;                /* of the expected change with the batch's change, signed */
} sb_truth_ranks;

/* A drawn policy: what it changes, and what the exact metric says. */
typedef struct sb_truth_policy {
  sb_step_change change;
  double expected; /* sum of the expected changes, signed, nats */
  double rise;     /* sum of the expected rises, nats */
  double weight;   /* root of the sum of squares */
} sb_truth_policy;

typedef struct sb_truth {
  size_t linear_count;
  size_t *linears;         /* [linear_count] numbers through the model */
  sb_step_change *changes; /* [linear_count, precisions] */
  sb_truth_ranks ranks;
  size_t policy_count;
  sb_truth_policy *policies;
  double policy_ranks[3]; /* of expected with change, rise with change, weight with weight */
  double step_seconds;    /* of one such step */
} sb_truth;

/* SB_ERR_NUMERIC where a step has no number, by linear and precision. Release with sb_truth_free.
 * Collective. One step per linear and precision, and per policy. */
sb_status sb_truth_measure(const sb_truth_setup *setup, sb_truth *out);
void sb_truth_free(sb_truth *truth);

#endif
