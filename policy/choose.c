#include "policy/choose.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"
#include "policy/choice_table.h"
#include "policy/exact_knapsack.h"

static const char what[] = "the policy";

/* A knapsack over the decisions of one stage, or of the model: the numbers that it adds up. */
typedef enum measure { HIGH_FLOPS, LOW_FLOPS, TIME } measure;

typedef struct range {
  size_t first, end; /* decisions */
  size_t stage;      /* SB_NONE: the whole model */
} range;

typedef struct solver {
  const char *path;
  const sb_choose_options *options;
  sb_choice_table table;
  uint8_t *chosen;        /* [decisions] */
  sb_exact_choice *items; /* [decisions, choices]: room for one knapsack */
  sb_choose_result *result;
  int64_t loss, bound; /* sums over stages */
} solver;

static uint64_t measure_of(const sb_choice_table *t, measure m, size_t d, size_t j) {
  const size_t at = d * t->choices + j;
  return m == TIME ? t->time[at] : m == LOW_FLOPS ? t->low[at] : t->decisions.work[d] - t->low[at];
}

/* The knapsack of a range: weights by `weight`, losses from the scores, or from FP4 FLOPs. */
static sb_exact_items items_of(const solver *s, const range *r, measure weight, bool scores) {
  const sb_choice_table *t = &s->table;
  for (size_t d = r->first; d < r->end; d++)
    for (size_t j = 0; j < t->choices; j++) {
      const size_t at = d * t->choices + j;
      s->items[at - r->first * t->choices] = (sb_exact_choice){
          measure_of(t, weight, d, j), scores ? t->loss[at] : (int64_t)t->low[at]};
    }
  return (sb_exact_items){r->end - r->first, t->choices, s->items};
}

/* Sums over a range. */
static uint64_t work_of(const solver *s, const range *r) {
  uint64_t sum = 0;
  for (size_t d = r->first; d < r->end; d++) sum += s->table.decisions.work[d];
  return sum;
}

static uint64_t high_time_of(const solver *s, const range *r) {
  uint64_t sum = 0;
  for (size_t d = r->first; d < r->end; d++) sum += s->table.high_time[d];
  return sum;
}

/* FLOPs that a share asks for; a product's rounding must not ask for one more. */
static uint64_t share_of(double share, uint64_t work) {
  return (uint64_t)ceil(share * (double)work * (1 - 1e-14));
}

/* ---- targets that cannot be met ---- */

static const char *place(const range *r, const solver *s, char *text, size_t size) {
  text[0] = 0;
  if (r->stage == SB_NONE) return text;
  const size_t *first = s->options->stages->first;
  snprintf(text, size, " in stage %zu (layers %zu to %zu)", r->stage, first[r->stage],
           first[r->stage + 1] - 1);
  return text;
}

static size_t forced_in(const solver *s, const range *r) {
  size_t forced = 0;
  for (size_t d = r->first; d < r->end; d++) forced += s->table.forced[d] != SB_PRECISION_FREE;
  return forced;
}

static bool offers_fp4(const sb_choose_options *o) {
  for (size_t c = 0; c < o->candidate_count; c++)
    if (sb_precision_bits(o->candidates[c]) == 4) return true;
  return false;
}

static sb_status no_share(const solver *s, const range *r) {
  const sb_exact_items low = items_of(s, r, LOW_FLOPS, true);
  const double work = (double)work_of(s, r), most = (double)sb_exact_most(&low) / work;
  char text[SB_TEXT_SIZE], where[96];
  if (most <= 0 && !offers_fp4(s->options))
    return sb_fail(
        SB_ERR_RANGE,
        "%s: a share of %g in FP4 is out of reach: no precision to choose from has 4 bits", s->path,
        s->options->target);
  sb_text_limit(text, sizeof text, most > 0 ? most : 1, false);
  return sb_fail(SB_ERR_RANGE,
                 "%s: a share of %g in FP4 is out of reach%s: %.4g to %s are possible, with %zu of "
                 "%zu decisions forced; lower --target, or force less",
                 s->path, s->options->target, place(r, s, where, sizeof where),
                 (double)sb_exact_least(&low) / work, most > 0 ? text : "0", forced_in(s, r),
                 r->end - r->first);
}

static sb_status no_speedup(const solver *s, const range *r, double high) {
  const sb_exact_items times = items_of(s, r, TIME, true);
  char text[SB_TEXT_SIZE], where[96];
  sb_text_limit(text, sizeof text, high / (double)sb_exact_least(&times), false);
  return sb_fail(SB_ERR_RANGE,
                 "%s: a speed-up of %g is out of reach%s: at most %s is possible by the rates of "
                 "%s, with %zu of %zu decisions forced; lower --speedup, or force less",
                 s->path, s->options->target, place(r, s, where, sizeof where), text,
                 s->options->rates->name, forced_in(s, r), r->end - r->first);
}

/* ---- one knapsack ---- */

static sb_status solve_range(solver *s, const range *r, measure weight, uint64_t capacity) {
  const sb_exact_items items = items_of(s, r, weight, true);
  sb_exact_result result;
  SB_TRY(sb_exact_solve(&items, capacity, s->chosen + r->first, &result));
  s->loss += result.loss;
  s->bound += result.bound;
  s->result->relaxed += result.relaxed;
  s->result->solutions += result.solutions;
  return SB_OK;
}

static sb_status solve_share(solver *s, const range *r) {
  const uint64_t work = work_of(s, r), need = share_of(s->options->target, work);
  const sb_exact_items items = items_of(s, r, HIGH_FLOPS, true);
  if (need > work || work - need < sb_exact_least(&items)) return no_share(s, r);
  return solve_range(s, r, HIGH_FLOPS, work - need);
}

/* Within 1/target of `high`, a time in bf16. */
static sb_status solve_time(solver *s, const range *r, uint64_t high) {
  const uint64_t capacity = (uint64_t)floor((double)high / s->options->target * (1 + 1e-14));
  const sb_exact_items items = items_of(s, r, TIME, true);
  if (capacity < sb_exact_least(&items)) return no_speedup(s, r, (double)high);
  return solve_range(s, r, TIME, capacity);
}

/* ---- balanced stages ---- */

/* Ties lie within layers, so the decisions of a stage follow each other. */
static range stage_range(const solver *s, const sb_linears *model, size_t stage) {
  const size_t *first = s->options->stages->first;
  const sb_decisions *d = &s->table.decisions;
  range r = {0, 0, stage};
  for (size_t k = 0; k < d->count; k++) {
    const size_t layer = model->linears[d->linear[k]].layer;
    r.first += layer < first[stage];
    r.end += layer < first[stage + 1];
  }
  return r;
}

/* The least FP4 FLOPs with which all stages take at most `time`, which is possible. */
static sb_status least_low(solver *s, const range *ranges, uint64_t time, uint64_t *low) {
  *low = 0;
  for (size_t k = 0; k < s->options->stages->count; k++) {
    const sb_exact_items items = items_of(s, &ranges[k], TIME, false);
    sb_exact_result result;
    SB_TRY(sb_exact_solve(&items, time, s->chosen, &result));
    *low += (uint64_t)result.loss;
  }
  return SB_OK;
}

/* Bounds of that number from the relaxations of the stages, whose times are within `time`. Needs
 * s->chosen for a moment. */
static sb_status bound_low(solver *s, const range *ranges, uint64_t time, uint64_t *least,
                           uint64_t *most) {
  *least = *most = 0;
  for (size_t k = 0; k < s->options->stages->count; k++) {
    const sb_exact_items items = items_of(s, &ranges[k], TIME, false);
    sb_relaxation relaxed;
    SB_TRY(sb_relaxation_create(&items, time, &relaxed));
    *least += (uint64_t)(relaxed.loss + sb_relaxation_bound(&relaxed, 0));
    *most += (uint64_t)(relaxed.loss + sb_relaxation_fill(&relaxed, s->chosen));
    sb_relaxation_free(&relaxed);
  }
  return SB_OK;
}

/* Whether stages that take at most `time`, which is possible, have `need` FP4 FLOPs in any case.
 * Relaxations answer for most times; knapsacks are solved for those between. */
static sb_status has_low(solver *s, const range *ranges, uint64_t time, uint64_t need, bool *has) {
  uint64_t least, most;
  SB_TRY(bound_low(s, ranges, time, &least, &most));
  *has = least >= need;
  if (*has || most < need) return SB_OK;
  SB_TRY(least_low(s, ranges, time, &least));
  *has = least >= need;
  return SB_OK;
}

/* What all times are multiples of. */
static uint64_t time_unit(const sb_choice_table *t) {
  uint64_t unit = 0;
  for (size_t at = 0; at < t->decisions.count * t->choices; at++)
    for (uint64_t rest = t->time[at]; rest != 0;) {
      const uint64_t next = unit % rest;
      unit = rest;
      rest = next;
    }
  return unit;
}

/* *time = the longest for which all policies that keep it have the target share. Between a time
 * that has it and one that has not: bisection. */
static sb_status balanced_time(solver *s, const range *ranges, uint64_t *time) {
  const range all = {0, s->table.decisions.count, SB_NONE};
  const uint64_t work = work_of(s, &all), need = share_of(s->options->target, work);
  uint64_t low, shortest = 0, longest = 0;
  char text[SB_TEXT_SIZE];
  for (size_t k = 0; k < s->options->stages->count; k++) {
    const sb_exact_items items = items_of(s, &ranges[k], TIME, true);
    const uint64_t least = sb_exact_least(&items), most = sb_exact_most(&items);
    shortest = least > shortest ? least : shortest;
    longest = most > longest ? most : longest;
  }
  *time = longest;
  SB_TRY(least_low(s, ranges, longest, &low));
  if (low >= need) return SB_OK;
  SB_TRY(least_low(s, ranges, shortest, &low));
  if (low < need) {
    sb_text_limit(text, sizeof text, (double)low / (double)work, false);
    return sb_fail(SB_ERR_RANGE,
                   "%s: stages cannot be balanced at a share of %g: the slowest one is at its "
                   "limit with %s; lower --target, cut other stages, or force less",
                   s->path, s->options->target, low > 0 ? text : "0");
  }
  const uint64_t unit = time_unit(&s->table);
  while (longest - shortest > unit) { /* both are multiples */
    const uint64_t middle = shortest + (longest - shortest) / unit / 2 * unit;
    bool has;
    SB_TRY(has_low(s, ranges, middle, need, &has));
    if (has)
      shortest = middle;
    else
      longest = middle;
  }
  *time = shortest;
  return SB_OK;
}

static sb_status solve_balanced(solver *s, const range *ranges) {
  const size_t stages = s->options->stages->count;
  uint64_t high = 0, time;
  for (size_t k = 0; k < stages; k++) {
    const uint64_t own = high_time_of(s, &ranges[k]);
    high = own > high ? own : high;
  }
  if (s->options->kind == SB_TARGET_SPEEDUP) {
    for (size_t k = 0; k < stages; k++) SB_TRY(solve_time(s, &ranges[k], high));
    return SB_OK;
  }
  SB_TRY(balanced_time(s, ranges, &time));
  for (size_t k = 0; k < stages; k++) SB_TRY(solve_range(s, &ranges[k], TIME, time));
  return SB_OK;
}

/* ---- the whole ---- */

void sb_choose_candidates(const sb_precision *low, size_t count, sb_choose_options *options) {
  bool all_fp4 = true;
  options->candidate_count = 0;
  for (size_t p = 0; p < count; p++) {
    options->candidates[options->candidate_count++] = low[p];
    all_fp4 = all_fp4 && sb_precision_bits(low[p]) == 4;
  }
  if (all_fp4) options->candidates[options->candidate_count++] = SB_PRECISION_HIGH;
}

static sb_status solve_stages(solver *s, const sb_linears *model) {
  const size_t stages = s->options->stages->count;
  range *ranges = NULL;
  sb_status status;
  SB_GO(sb_alloc(&ranges, stages, sizeof *ranges, what));
  for (size_t k = 0; k < stages; k++) ranges[k] = stage_range(s, model, k);
  if (s->options->scope == SB_SCOPE_BALANCED) SB_GO(solve_balanced(s, ranges));
  for (size_t k = 0; k < stages && s->options->scope == SB_SCOPE_STAGE; k++)
    SB_GO(s->options->kind == SB_TARGET_SHARE
              ? solve_share(s, &ranges[k])
              : solve_time(s, &ranges[k], high_time_of(s, &ranges[k])));
done:
  sb_free(&ranges);
  return status;
}

static sb_status solve(solver *s, const sb_linears *model) {
  const range all = {0, s->table.decisions.count, SB_NONE};
  if (s->options->scope != SB_SCOPE_MODEL) return solve_stages(s, model);
  if (s->options->kind == SB_TARGET_SHARE) return solve_share(s, &all);
  return solve_time(s, &all, high_time_of(s, &all));
}

/* The policy from the choices, and what is proven of it in units of scores. */
static sb_status conclude(solver *s, const sb_profile *profile, sb_policy *out) {
  const sb_choice_table *t = &s->table;
  SB_TRY(sb_policy_create(&profile->model, out));
  for (size_t i = 0; i < profile->model.count; i++)
    for (int g = 0; g < SB_GEMM_KINDS; g++) {
      const size_t d = sb_decision_of(&t->decisions, i, g);
      out->choices[i].gemm[g] = t->precision[d * t->choices + s->chosen[d]];
    }
  s->result->decisions = t->decisions.count;
  for (size_t d = 0; d < t->decisions.count; d++)
    s->result->score += t->score[d * t->choices + s->chosen[d]];
  s->result->optimal = s->bound == s->loss;
  s->result->bound = s->result->score - ldexp((double)(s->loss - s->bound), -t->exponent);
  s->result->relaxed = t->base + ldexp(s->result->relaxed, -t->exponent);
  return SB_OK;
}

sb_status sb_choose(const char *path, const sb_profile *profile, const sb_choose_options *options,
                    sb_policy *out, sb_choose_result *result) {
  const double begin = sb_now();
  solver s = {.path = path, .options = options, .result = result};
  sb_status status;
  *out = (sb_policy){0};
  *result = (sb_choose_result){0};
  SB_TRY(sb_choice_table_create(path, profile, options, &s.table));
  SB_GO(sb_alloc(&s.chosen, s.table.decisions.count, 1, what));
  SB_GO(sb_alloc(&s.items, s.table.decisions.count * s.table.choices, sizeof *s.items, what));
  SB_GO(solve(&s, &profile->model));
  SB_GO(conclude(&s, profile, out));
  result->seconds = sb_now() - begin;
done:
  sb_choice_table_free(&s.table);
  sb_free(&s.chosen);
  sb_free(&s.items);
  return status;
}
