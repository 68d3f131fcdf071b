#include "cli/profile_show.h"

#include <math.h>

#include "base/text.h"
#include "cli/table.h"

enum { WORST = 8 };

static const sb_divergence *all_of(const sb_profile *profile, size_t i, size_t p) {
  return &sb_profile_at(profile, i, p)->parts[SB_METRIC_EXACT][SB_PART_ALL];
}

/* All linears in one precision: squares add up. */
static void show_uniform(FILE *out, const sb_profile *profile, size_t p) {
  double loss = 0, weight = 0, gemms[SB_GEMM_KINDS] = {0};
  for (size_t i = 0; i < profile->model.count; i++) {
    const sb_divergence *parts = sb_profile_at(profile, i, p)->parts[SB_METRIC_EXACT];
    loss += parts[SB_PART_ALL].loss * parts[SB_PART_ALL].loss;
    weight += parts[SB_PART_ALL].weight * parts[SB_PART_ALL].weight;
    for (int g = 0; g < SB_GEMM_KINDS; g++) gemms[g] += parts[g].weight * parts[g].weight;
  }
  sb_table_row(out, sb_precision_names[profile->precisions[p]],
               "loss +%.3g%%, update %.3g%% (fprop %.3g%%, dgrad %.3g%%, wgrad %.3g%%)", 100 * loss,
               100 * sqrt(weight), 100 * sqrt(gemms[SB_FPROP]), 100 * sqrt(gemms[SB_DGRAD]),
               100 * sqrt(gemms[SB_WGRAD]));
}

/* The linear whose update suffers most among those below `limit`. */
static size_t next_worst(const sb_profile *profile, size_t p, double limit) {
  size_t worst = SB_NONE;
  for (size_t i = 0; i < profile->model.count; i++) {
    const double weight = all_of(profile, i, p)->weight;
    if (weight < limit && (worst == SB_NONE || weight > all_of(profile, worst, p)->weight))
      worst = i;
  }
  return worst;
}

static void show_worst(FILE *out, const sb_profile *profile, size_t p) {
  double limit = INFINITY;
  sb_table_head(out, "%s: linears whose update changes most",
                sb_precision_names[profile->precisions[p]]);
  for (int k = 0; k < WORST; k++) {
    const size_t i = next_worst(profile, p, limit);
    if (i == SB_NONE) return;
    const sb_divergence *d = all_of(profile, i, p);
    sb_table_row(out, profile->model.linears[i].name, "loss +%.2g%%, update %.3g%%",
                 100 * d->loss * d->loss, 100 * d->weight);
    limit = d->weight;
  }
}

void sb_profile_show(FILE *out, const sb_profile_measured *m, double step_seconds) {
  const sb_profile *profile = &m->profile;
  const double seconds = m->slope_seconds + m->noise_seconds + m->error_seconds;
  sb_table_head(out, "all linears in one precision, predicted (loss %.4f, %zu x %zu tokens)",
                profile->loss, profile->batch, profile->seqlen);
  for (size_t p = 0; p < profile->precision_count; p++) show_uniform(out, profile, p);
  for (size_t p = 0; p < profile->precision_count; p++) show_worst(out, profile, p);
  sb_table_head(out, "time");
  if (step_seconds > 0)
    sb_table_row(out, "profile", "%.2f s, %.2f training steps", seconds, seconds / step_seconds);
  else
    sb_table_row(out, "profile", "%.2f s", seconds);
}

void sb_profile_show_truth(FILE *out, const sb_profile_measured *m, const sb_truth *t) {
  double low[3] = {INFINITY, INFINITY, INFINITY}, high[3] = {0};
  static const char *const sums[] = {"expected change", "expected rise", "update"};
  sb_table_head(out, "rank correlation with the truth: %zu linears x %zu precisions",
                t->linear_count, m->profile.precision_count);
  for (int k = 0; k < SB_PREDICTORS; k++)
    sb_table_row(out, sb_predictor_names[k], "loss %.3f, update %.3f", t->ranks.loss[k],
                 t->ranks.weight[k]);
  sb_table_row(out, "signed", "change of the batch's loss %.3f", t->ranks.change);
  sb_table_row(out, "a step of truth", "%.2f s", t->step_seconds);
  if (t->policy_count == 0) return;
  for (size_t i = 0; i < t->policy_count; i++) {
    const sb_truth_policy *p = &t->policies[i];
    const double ratios[] = {p->expected / p->change.change, p->rise / p->change.change,
                             p->weight / p->change.weight};
    for (int k = 0; k < 3; k++) {
      low[k] = fmin(low[k], ratios[k]);
      high[k] = fmax(high[k], ratios[k]);
    }
  }
  sb_table_head(out, "%zu random policies: predicted over measured, rank correlation",
                t->policy_count);
  for (int k = 0; k < 3; k++)
    sb_table_row(out, sums[k], "%.2f .. %.2f, %.3f", low[k], high[k], t->policy_ranks[k]);
}
