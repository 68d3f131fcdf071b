/* What a precision costs, as the solver counts it: the numbers of a profile made into one score for
 * each linear, GEMM and precision, and into the predicted divergence of a whole policy. Local,
 * pure.
 *
 * With divergences dL of the loss and dW of the weights, and a factor f,
 *
 *   sum      score f dL + dW         of a policy: sums of dL and of dW
 *   squares  score (f dL)^2 + dW^2   of a policy: roots of the sums of dL^2 and of dW^2
 *
 * so the least sum of scores is the least predicted divergence. The high precision costs nothing.
 * Where the three GEMMs of a linear have one precision its "all" counts, else one part each. */
#ifndef SB_POLICY_SCORING_H
#define SB_POLICY_SCORING_H

#include <stdbool.h>

#include "policy/policy_file.h"
#include "policy/profile_file.h"

/* Numbers of the profile that scores are made of. The local errors are what a quantizer sees of
 * one layer alone: rules to compare with. */
typedef enum sb_scores_kind {
  SB_SCORES_EXACT,
  SB_SCORES_NORMS,
  SB_SCORES_TRUTH,    /* as measured by profile --truth */
  SB_SCORES_ABSOLUTE, /* abs_error, counted as dW */
  SB_SCORES_RELATIVE, /* rel_error, counted as dW */
  SB_SCORES_KINDS
} sb_scores_kind;
extern const char *const sb_scores_names[]; /* "exact", "norms", "truth", "absolute", "relative" */

typedef struct sb_scoring {
  sb_scores_kind kind;
  sb_combine combine;
  double loss_factor; /* f */
} sb_scoring;

/* SB_ERR_RANGE, with the way out, where the profile (read from `path`) lacks the numbers. Only the
 * metrics tell GEMMs apart, which `by_gemm` asks for. */
sb_status sb_scoring_check(const char *path, const sb_profile *profile, const sb_scoring *scoring,
                           bool by_gemm);

/* Divergence of a part (an sb_gemm_kind, or SB_PART_ALL) of a linear at a precision, which is high
 * or in the profile. O(precisions). */
sb_divergence sb_scoring_divergence(const sb_profile *profile, const sb_scoring *scoring,
                                    size_t linear, int part, sb_precision precision);
/* Its score. */
double sb_scoring_score(const sb_profile *profile, const sb_scoring *scoring, size_t linear,
                        int part, sb_precision precision);
/* The predicted divergence of a policy; *score = the sum of scores. All its low precisions are in
 * the profile. O(linears). */
sb_divergence sb_scoring_predict(const sb_profile *profile, const sb_scoring *scoring,
                                 const sb_policy *policy, double *score);

#endif
