/* What a policy amounts to: shares of FLOPs, predicted time and divergence; and the members of its
 * file that say how it was made. Local. */
#ifndef SB_POLICY_OUTCOME_H
#define SB_POLICY_OUTCOME_H

#include "policy/choose.h"

/* Of a stage, or of the model. */
typedef struct sb_outcome {
  double fp4, fp8; /* share of the FLOPs of its linears' GEMMs */
  double time;     /* of these GEMMs, over the slowest stage's in bf16; 0: not known */
  double speedup;  /* against its own time in bf16; 0: not known */
} sb_outcome;

/* Of the layers from `first` on, `end` excluded; `rates` may be NULL. Rates that are not known
 * leave time and speedup 0. `slowest` is the time of the slowest stage in bf16
 * (sb_outcome_slowest). O(linears patterns). */
sb_outcome sb_outcome_of(const sb_policy *policy, const sb_rates *rates, size_t first, size_t end,
                         double slowest);
double sb_outcome_slowest(const sb_policy *policy, const sb_rates *rates, const sb_stages *stages);
/* The speed of the pipeline, whose slowest stage sets the pace, against all in bf16; 0: not known.
 */
double sb_outcome_speedup(const sb_policy *policy, const sb_rates *rates, const sb_stages *stages);

/* policy->about = how it was made: "method" (`method`: a baseline, or "exact"), "target",
 * "predicted" and "profile"; with `result` (NULL for a baseline) "certificate", without its
 * seconds: equal runs write equal files. SB_ERR_MEMORY. */
sb_status sb_outcome_describe(const char *method, const char *path, const sb_profile *profile,
                              const sb_choose_options *options, const sb_choose_result *result,
                              sb_policy *policy);

#endif
