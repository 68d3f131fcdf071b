/* Policies by rule, to compare the solver with. The paper compares with uniform precisions, local
 * errors, layer types, layer positions and chance; its exact rules are not known, so types and
 * positions are reconstructed. Local, equal on all machines.
 *
 * `low` is the candidate of fewest bits, `high` the one of most (the first of several).
 *
 *   uniform-fp8     every GEMM at the candidate of 8 bits
 *   uniform-fp4     every GEMM at the candidate of 4 bits
 *   least-absolute  exact, with the norm of the quantization error as the score
 *   least-relative  the same over the norm of the operand
 *   by-type         whole types of linears go low until the target is met: first gate, then up,
 *                   down, o, v, k, q
 *   by-position     layers go low from the first one on until the target is met: the last ones are
 *                   known to be sensitive
 *   random          linears in a seeded order go low until the target is met
 *   all-mlp         gate, up and down low, the rest high
 *   last-high       the last 15% of the layers high, the rest low
 *   fp8-forward     fprop at 8 bits, dgrad and wgrad at 4
 *
 * Those by error, type and position and `random` look at the target; the others are as they are.
 * Forced precisions and ties hold for all. */
#ifndef SB_POLICY_BASELINES_H
#define SB_POLICY_BASELINES_H

#include <stdint.h>

#include "policy/choose.h"

typedef enum sb_baseline {
  SB_BASELINE_NONE, /* the solver */
  SB_BASELINE_UNIFORM_FP8,
  SB_BASELINE_UNIFORM_FP4,
  SB_BASELINE_LEAST_ABSOLUTE,
  SB_BASELINE_LEAST_RELATIVE,
  SB_BASELINE_BY_TYPE,
  SB_BASELINE_BY_POSITION,
  SB_BASELINE_RANDOM,
  SB_BASELINE_ALL_MLP,
  SB_BASELINE_LAST_HIGH,
  SB_BASELINE_FP8_FORWARD,
  SB_BASELINE_KINDS
} sb_baseline;
extern const char *const sb_baseline_names[]; /* "none", "uniform-fp8", ... */
/* Whether a rule looks at the target. Pure. */
bool sb_baseline_has_target(sb_baseline baseline);

/* *out = the policy of a rule, for the options of the solver (linears decide, whatever `by` says).
 * The target is a share of the model's FLOPs. Release with sb_policy_free. SB_ERR_RANGE where the
 * target cannot be met, with the most that is possible, or the candidates lack what the rule needs.
 */
sb_status sb_baseline_choose(const char *path, const sb_profile *profile, sb_baseline baseline,
                             const sb_choose_options *options, uint64_t seed, sb_policy *out);

#endif
