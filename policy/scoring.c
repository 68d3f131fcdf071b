#include "policy/scoring.h"

#include <math.h>

const char *const sb_scores_names[] = {"exact", "norms", "truth", "absolute", "relative", NULL};

static bool is_metric(sb_scores_kind kind) {
  return kind == SB_SCORES_EXACT || kind == SB_SCORES_NORMS;
}

static sb_metric metric_of(sb_scores_kind kind) {
  return kind == SB_SCORES_EXACT ? SB_METRIC_EXACT : SB_METRIC_NORMS;
}

sb_status sb_scoring_check(const char *path, const sb_profile *profile, const sb_scoring *scoring,
                           bool by_gemm) {
  const char *name = sb_scores_names[scoring->kind];
  if (is_metric(scoring->kind) && !profile->has_metric[metric_of(scoring->kind)])
    return sb_fail(SB_ERR_RANGE, "%s: has no metric %s; choose another one, or profile again", path,
                   name);
  if (scoring->kind == SB_SCORES_TRUTH && !profile->has_truth)
    return sb_fail(SB_ERR_RANGE, "%s: has no measured truth; shardbits profile --truth measures it",
                   path);
  if (by_gemm && !is_metric(scoring->kind))
    return sb_fail(SB_ERR_RANGE,
                   "%s: %s is known of whole linears, not of their GEMMs; choose a metric, or "
                   "--by linear",
                   path, name);
  return SB_OK;
}

sb_divergence sb_scoring_divergence(const sb_profile *profile, const sb_scoring *scoring,
                                    size_t linear, int part, sb_precision precision) {
  if (precision == SB_PRECISION_HIGH) return (sb_divergence){0, 0};
  const sb_profile_entry *entry =
      sb_profile_at(profile, linear, sb_profile_find(profile, precision));
  switch (scoring->kind) {
  case SB_SCORES_TRUTH:
    return entry->truth;
  case SB_SCORES_ABSOLUTE:
    return (sb_divergence){0, entry->abs_error};
  case SB_SCORES_RELATIVE:
    return (sb_divergence){0, entry->rel_error};
  default:
    return entry->parts[metric_of(scoring->kind)][part];
  }
}

/* The term of a part in the sum that predicts a policy: the number itself, or its square. */
static sb_divergence term_of(const sb_profile *profile, const sb_scoring *scoring, size_t linear,
                             int part, sb_precision precision) {
  sb_divergence d = sb_scoring_divergence(profile, scoring, linear, part, precision);
  if (scoring->combine == SB_COMBINE_SQUARES)
    d = (sb_divergence){d.loss * d.loss, d.weight * d.weight};
  return d;
}

static double score_of(const sb_scoring *scoring, sb_divergence term) {
  const double f = scoring->loss_factor;
  return (scoring->combine == SB_COMBINE_SQUARES ? f * f : f) * term.loss + term.weight;
}

double sb_scoring_score(const sb_profile *profile, const sb_scoring *scoring, size_t linear,
                        int part, sb_precision precision) {
  return score_of(scoring, term_of(profile, scoring, linear, part, precision));
}

sb_divergence sb_scoring_predict(const sb_profile *profile, const sb_scoring *scoring,
                                 const sb_policy *policy, double *score) {
  sb_divergence sum = {0, 0};
  for (size_t i = 0; i < policy->model.count; i++) {
    const sb_policy_choice *choice = &policy->choices[i];
    const bool uniform = sb_policy_choice_is_uniform(choice);
    for (int part = uniform ? SB_PART_ALL : 0; part < (uniform ? SB_PARTS : SB_GEMM_KINDS);
         part++) {
      const sb_precision precision = choice->gemm[uniform ? SB_FPROP : part];
      const sb_divergence term = term_of(profile, scoring, i, part, precision);
      sum.loss += term.loss;
      sum.weight += term.weight;
    }
  }
  *score = score_of(scoring, sum);
  if (scoring->combine == SB_COMBINE_SQUARES)
    sum = (sb_divergence){sqrt(sum.loss), sqrt(sum.weight)};
  return sum;
}
