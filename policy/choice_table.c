#include "policy/choice_table.h"

#include <math.h>
#include <stdio.h>

#include "base/memory.h"

static const char what[] = "table of choices";

void sb_choice_table_free(sb_choice_table *t) {
  sb_decisions_free(&t->decisions);
  sb_free(&t->forced);
  sb_free(&t->precision);
  sb_free(&t->score);
  sb_free(&t->loss);
  sb_free(&t->low);
  sb_free(&t->time);
  sb_free(&t->high_time);
}

static sb_status check_precision(const char *path, const sb_profile *profile,
                                 sb_precision precision) {
  char measured[128] = "";
  if (precision == SB_PRECISION_HIGH || sb_profile_find(profile, precision) != SB_NONE)
    return SB_OK;
  for (size_t p = 0, at = 0; p < profile->precision_count; p++)
    at += (size_t)snprintf(measured + at, sizeof measured - at, p ? ", %s" : "%s",
                           sb_precision_names[profile->precisions[p]]);
  return sb_fail(SB_ERR_RANGE, "%s: %s was not measured; it has %s", path,
                 sb_precision_names[precision], measured);
}

static sb_status check(const char *path, const sb_profile *profile, const sb_choose_options *o) {
  SB_TRY(sb_scoring_check(path, profile, &o->scoring, o->by == SB_BY_GEMM));
  for (size_t c = 0; c < o->candidate_count; c++)
    SB_TRY(check_precision(path, profile, o->candidates[c]));
  for (size_t i = 0; o->forced && i < profile->model.count; i++)
    if (o->forced[i] != SB_PRECISION_FREE) SB_TRY(check_precision(path, profile, o->forced[i]));
  return SB_OK;
}

static sb_status allocate(const sb_profile *profile, const sb_choose_options *o,
                          sb_choice_table *t) {
  SB_TRY(sb_decisions_create(&profile->model, o->tie, o->by, &t->decisions));
  t->choices = o->candidate_count;
  const size_t count = t->decisions.count, all = count * t->choices;
  SB_TRY(sb_alloc(&t->forced, count, sizeof *t->forced, what));
  SB_TRY(sb_alloc(&t->precision, all, sizeof *t->precision, what));
  SB_TRY(sb_alloc(&t->score, all, sizeof *t->score, what));
  SB_TRY(sb_alloc(&t->loss, all, sizeof *t->loss, what));
  SB_TRY(sb_alloc(&t->low, all, sizeof *t->low, what));
  if (!o->rates) return SB_OK;
  SB_TRY(sb_alloc(&t->time, all, sizeof *t->time, what));
  return sb_alloc(&t->high_time, count, sizeof *t->high_time, what);
}

/* Adds one part of a linear to all choices of a decision. `gemms` of its GEMMs take the time and
 * FLOPs. */
static sb_status add_part(const sb_profile *profile, const sb_choose_options *o, size_t linear,
                          int part, size_t d, uint64_t gemms, sb_choice_table *t) {
  const sb_linear *l = &profile->model.linears[linear];
  uint64_t time, sum;
  for (size_t j = 0; j < t->choices; j++) {
    const size_t at = d * t->choices + j;
    const sb_precision precision = t->precision[at];
    t->score[at] += sb_scoring_score(profile, &o->scoring, linear, part, precision);
    if (sb_precision_bits(precision) == 4) t->low[at] += gemms * sb_linear_work(l);
    if (!o->rates) continue;
    SB_TRY(sb_rates_time(o->rates, l, precision, &time));
    if (__builtin_mul_overflow(time, gemms, &sum) ||
        __builtin_add_overflow(t->time[at], sum, &t->time[at]))
      return sb_fail(SB_ERR_RANGE, "%s: too large for a predicted time", l->name);
  }
  if (!o->rates) return SB_OK;
  SB_TRY(sb_rates_time(o->rates, l, SB_PRECISION_HIGH, &time));
  t->high_time[d] += gemms * time;
  return SB_OK;
}

static sb_status add_linear(const sb_profile *profile, const sb_choose_options *o, size_t i,
                            sb_choice_table *t) {
  if (o->by == SB_BY_LINEAR)
    return add_part(profile, o, i, SB_PART_ALL, t->decisions.of[i], SB_GEMM_KINDS, t);
  for (int g = 0; g < SB_GEMM_KINDS; g++)
    SB_TRY(add_part(profile, o, i, g, sb_decision_of(&t->decisions, i, g), 1, t));
  return SB_OK;
}

/* The cost of leaving the present precisions of a linear's GEMMs. */
static void add_switch(const sb_choose_options *o, const sb_linear *linear, size_t i, double total,
                       sb_choice_table *t) {
  for (int g = 0; g < SB_GEMM_KINDS; g++) {
    const size_t first = sb_decision_of(&t->decisions, i, g) * t->choices;
    for (size_t at = first; at < first + t->choices; at++)
      if (t->precision[at] != o->present->choices[i].gemm[g])
        t->score[at] += o->switch_cost * (double)sb_linear_work(linear) / total;
  }
}

/* Whole numbers from the scores: their ranges over the choices add up to less than 2^60. */
static sb_status round_scores(sb_choice_table *t) {
  const size_t n = t->choices;
  double ranges = 0;
  int exponent;
  for (size_t d = 0; d < t->decisions.count; d++) {
    double low = INFINITY, high = -INFINITY;
    for (size_t at = d * n; at < (d + 1) * n; at++) {
      low = fmin(low, t->score[at]);
      high = fmax(high, t->score[at]);
    }
    ranges += high - low;
    t->base += low;
  }
  if (!isfinite(ranges) || !isfinite(t->base))
    return sb_fail(SB_ERR_NUMERIC, "%s: the sum of the profile's divergences is not finite", what);
  frexp(ranges, &exponent); /* ranges < 2^exponent */
  t->exponent = ranges > 0 ? 59 - exponent : 0;
  for (size_t d = 0; d < t->decisions.count; d++) {
    double low = INFINITY;
    for (size_t at = d * n; at < (d + 1) * n; at++) low = fmin(low, t->score[at]);
    for (size_t at = d * n; at < (d + 1) * n; at++)
      t->loss[at] = llrint(ldexp(t->score[at] - low, t->exponent));
  }
  return SB_OK;
}

/* Sums of times stay within what knapsacks take (policy/relaxation.h). */
static sb_status check_times(const sb_choice_table *t) {
  const uint64_t most = (uint64_t)1 << 61;
  uint64_t sum = 0, high = 0;
  for (size_t d = 0; t->time && d < t->decisions.count; d++) {
    uint64_t longest = 0;
    for (size_t at = d * t->choices; at < (d + 1) * t->choices; at++)
      if (t->time[at] > longest) longest = t->time[at];
    if (longest > most - sum || t->high_time[d] > most - high)
      return sb_fail(SB_ERR_RANGE, "%s: the model is too large for a predicted time", what);
    sum += longest;
    high += t->high_time[d];
  }
  return SB_OK;
}

static sb_status fill(const sb_profile *profile, const sb_choose_options *o, sb_choice_table *t) {
  const sb_linears *model = &profile->model;
  double total = 0;
  SB_TRY(sb_decisions_force(model, &t->decisions, o->forced, t->forced));
  for (size_t d = 0; d < t->decisions.count; d++) {
    total += (double)t->decisions.work[d];
    for (size_t j = 0; j < t->choices; j++)
      t->precision[d * t->choices + j] =
          t->forced[d] == SB_PRECISION_FREE ? o->candidates[j] : t->forced[d];
  }
  for (size_t i = 0; i < model->count; i++) {
    SB_TRY(add_linear(profile, o, i, t));
    if (o->present) add_switch(o, &model->linears[i], i, total, t);
  }
  SB_TRY(check_times(t));
  return round_scores(t);
}

sb_status sb_choice_table_create(const char *path, const sb_profile *profile,
                                 const sb_choose_options *o, sb_choice_table *out) {
  *out = (sb_choice_table){0};
  SB_TRY(check(path, profile, o));
  sb_status status = allocate(profile, o, out);
  SB_THEN(fill(profile, o, out));
  if (status != SB_OK) sb_choice_table_free(out);
  return status;
}
