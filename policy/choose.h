/* The solver: which precision every linear, or every GEMM, gets. The least sum of scores
 * (policy/scoring.h) with a share of the FLOPs in FP4, or within a predicted time, found exactly
 * (policy/exact_knapsack.h) with its certificate. Local, equal on all machines.
 *
 * Share. At least `target` of the FLOPs of the linears' GEMMs run in 4 bits: one knapsack, whose
 * weights are the FLOPs that do not.
 * Speedup. The GEMMs take at most 1/target of their time in bf16 (policy/rates.h): one knapsack,
 * whose weights are times.
 *
 * Stages of a pipeline (policy/stages.h) ask this of every stage, one knapsack each.
 * SB_SCOPE_BALANCED asks it of the slowest stage instead: speedup  every stage takes at most
 * 1/target of what the slowest one takes in bf16 share    every stage takes at most T, where T is
 * the longest time for which every policy that keeps it has the target share of the whole model's
 * FLOPs. T is found by bisection over the least FP4 FLOPs that the stages need.
 *
 * Sums are exact. Scores are rounded to whole multiples of 2^-59 of the sum of their ranges; the
 * certificate is about these. */
#ifndef SB_POLICY_CHOOSE_H
#define SB_POLICY_CHOOSE_H

#include <stdbool.h>

#include "policy/choose_options.h"

typedef struct sb_choose_result {
  double score;       /* of the policy, cost of switching included */
  double bound;       /* proven: no policy that meets the targets has a lower score */
  bool optimal;       /* score and bound are equal, in whole multiples */
  double relaxed;     /* bound of the linear relaxation */
  uint64_t solutions; /* partial ones that were looked at */
  size_t decisions;
  double seconds;
} sb_choose_result;

/* The candidates where nobody names them: these low precisions, and the high one where all of them
 * have 4 bits, so that there is a choice. Pure. */
void sb_choose_candidates(const sb_precision *low, size_t count, sb_choose_options *options);
/* *out = the policy; release with sb_policy_free. SB_ERR_RANGE where no policy meets the target,
 * with the range that is possible (and the stage), for tied linears that are forced to different
 * precisions, and for precisions that the profile or the rates do not have. `path` names the
 * profile in messages. SB_ERR_MEMORY. */
sb_status sb_choose(const char *path, const sb_profile *profile, const sb_choose_options *options,
                    sb_policy *out, sb_choose_result *result);

#endif
