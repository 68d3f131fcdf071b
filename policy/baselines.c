#include "policy/baselines.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "base/text.h"

const char *const sb_baseline_names[] = {
    "none",        "uniform-fp8", "uniform-fp4", "least-absolute", "least-relative", "by-type",
    "by-position", "random",      "all-mlp",     "last-high",      "fp8-forward",    NULL};

bool sb_baseline_has_target(sb_baseline baseline) {
  return baseline == SB_BASELINE_LEAST_ABSOLUTE || baseline == SB_BASELINE_LEAST_RELATIVE ||
         baseline == SB_BASELINE_BY_TYPE || baseline == SB_BASELINE_BY_POSITION ||
         baseline == SB_BASELINE_RANDOM;
}

/* Types in the order in which they go low; a type that is not here comes last. */
static const char *const types[] = {"gate_proj", "up_proj", "down_proj", "o_proj",
                                    "v_proj",    "k_proj",  "q_proj"};
enum { TYPES = sizeof types / sizeof *types, MLP_TYPES = 3, HIGH_PERCENT = 15 };

typedef struct rule {
  const char *path;
  const sb_profile *profile;
  const sb_choose_options *options;
  sb_decisions decisions; /* by linear */
  sb_precision low, high;
  sb_precision *forced; /* [decisions] */
  uint64_t *key;        /* [decisions] in whose order they go low */
  size_t *order;        /* [decisions] */
} rule;

static size_t type_of(const sb_linear *linear) {
  size_t t = 0;
  while (t < TYPES && strcmp(types[t], sb_linear_kind(linear)) != 0) t++;
  return t;
}

static const sb_linear *linear_of(const rule *r, size_t decision) {
  return &r->profile->model.linears[r->decisions.linear[decision]];
}

/* The first candidate of so many bits. */
static sb_status candidate_of(const sb_choose_options *options, unsigned bits, sb_precision *out) {
  for (size_t c = 0; c < options->candidate_count; c++)
    if (sb_precision_bits(options->candidates[c]) == bits) {
      *out = options->candidates[c];
      return SB_OK;
    }
  return sb_fail(SB_ERR_RANGE, "the baseline needs a precision of %u bits among the candidates",
                 bits);
}

static void find_extremes(const sb_choose_options *options, sb_precision *low, sb_precision *high) {
  *low = *high = options->candidates[0];
  for (size_t c = 1; c < options->candidate_count; c++) {
    const sb_precision p = options->candidates[c];
    if (sb_precision_bits(p) < sb_precision_bits(*low)) *low = p;
    if (sb_precision_bits(p) > sb_precision_bits(*high)) *high = p;
  }
}

static void set(sb_policy *policy, size_t linear, sb_precision precision) {
  for (int g = 0; g < SB_GEMM_KINDS; g++) policy->choices[linear].gemm[g] = precision;
}

/* All linears of a decision. */
static void set_decision(const rule *r, size_t decision, sb_precision precision, sb_policy *out) {
  for (size_t i = 0; i < out->model.count; i++)
    if (r->decisions.of[i] == decision) set(out, i, precision);
}

/* ---- rules that do not look at the target ---- */

static sb_status set_fixed(const rule *r, sb_baseline baseline, sb_policy *out) {
  const sb_linears *model = &r->profile->model;
  const size_t kept = (model->layers * HIGH_PERCENT + 99) / 100;
  sb_precision fp8 = r->high, fp4 = r->low;
  if (baseline == SB_BASELINE_UNIFORM_FP8 || baseline == SB_BASELINE_FP8_FORWARD)
    SB_TRY(candidate_of(r->options, 8, &fp8));
  if (baseline == SB_BASELINE_UNIFORM_FP4 || baseline == SB_BASELINE_FP8_FORWARD)
    SB_TRY(candidate_of(r->options, 4, &fp4));
  for (size_t i = 0; i < model->count; i++) {
    const sb_linear *leader = linear_of(r, r->decisions.of[i]);
    bool high = baseline == SB_BASELINE_UNIFORM_FP8;
    if (baseline == SB_BASELINE_ALL_MLP) high = type_of(leader) >= MLP_TYPES;
    if (baseline == SB_BASELINE_LAST_HIGH) high = leader->layer >= model->layers - kept;
    set(out, i, high ? fp8 : fp4);
    if (baseline == SB_BASELINE_FP8_FORWARD) out->choices[i].gemm[SB_FPROP] = fp8;
  }
  return SB_OK;
}

/* ---- rules that go on until the target is met ---- */

static int compare_keys(const void *left, const void *right, void *context) {
  const size_t a = *(const size_t *)left, b = *(const size_t *)right;
  const uint64_t *key = context;
  if (key[a] != key[b]) return key[a] < key[b] ? -1 : 1;
  return (a > b) - (a < b);
}

static void order(const rule *r, sb_baseline baseline, uint64_t seed) {
  for (size_t d = 0; d < r->decisions.count; d++) {
    r->order[d] = d;
    r->key[d] = baseline == SB_BASELINE_BY_TYPE       ? type_of(linear_of(r, d))
                : baseline == SB_BASELINE_BY_POSITION ? linear_of(r, d)->layer
                                                      : sb_mix64_with(seed, d);
  }
  qsort_r(r->order, r->decisions.count, sizeof *r->order, compare_keys, r->key);
}

static sb_status set_until_target(const rule *r, sb_baseline baseline, uint64_t seed,
                                  sb_policy *out) {
  const double target = r->options->target;
  char text[SB_TEXT_SIZE];
  double share = sb_policy_share(out, 4);
  order(r, baseline, seed);
  for (size_t k = 0; k < r->decisions.count && share < target * (1 - 1e-14); k++) {
    const size_t d = r->order[k];
    if (r->forced[d] != SB_PRECISION_FREE) continue;
    set_decision(r, d, r->low, out);
    share = sb_policy_share(out, 4);
  }
  if (share >= target * (1 - 1e-14)) return SB_OK;
  sb_text_limit(text, sizeof text, share > 0 ? share : 1, false);
  return sb_fail(SB_ERR_RANGE,
                 "%s: a share of %g in FP4 is out of reach of %s: at most %s is possible; lower "
                 "--target, or force less",
                 r->path, target, sb_baseline_names[baseline], share > 0 ? text : "0");
}

/* ---- the whole ---- */

static void force(const rule *r, sb_policy *out) {
  for (size_t d = 0; d < r->decisions.count; d++)
    if (r->forced[d] != SB_PRECISION_FREE) set_decision(r, d, r->forced[d], out);
}

static sb_status apply(rule *r, sb_baseline baseline, uint64_t seed, sb_policy *out) {
  SB_TRY(sb_decisions_create(&r->profile->model, r->options->tie, SB_BY_LINEAR, &r->decisions));
  SB_TRY(sb_alloc(&r->key, r->decisions.count, sizeof *r->key, "baseline"));
  SB_TRY(sb_alloc(&r->order, r->decisions.count, sizeof *r->order, "baseline"));
  SB_TRY(sb_alloc(&r->forced, r->decisions.count, sizeof *r->forced, "baseline"));
  SB_TRY(sb_decisions_force(&r->profile->model, &r->decisions, r->options->forced, r->forced));
  if (!sb_baseline_has_target(baseline)) {
    SB_TRY(set_fixed(r, baseline, out));
    force(r, out);
    return SB_OK;
  }
  for (size_t i = 0; i < out->model.count; i++) set(out, i, r->high);
  force(r, out);
  return set_until_target(r, baseline, seed, out);
}

static sb_status least_error(const char *path, const sb_profile *profile, sb_scores_kind kind,
                             const sb_choose_options *options, sb_policy *out) {
  sb_choose_options local = *options;
  sb_choose_result result;
  local.scoring.kind = kind;
  local.by = SB_BY_LINEAR;
  return sb_choose(path, profile, &local, out, &result);
}

sb_status sb_baseline_choose(const char *path, const sb_profile *profile, sb_baseline baseline,
                             const sb_choose_options *options, uint64_t seed, sb_policy *out) {
  rule r = {.path = path, .profile = profile, .options = options};
  *out = (sb_policy){0};
  if (baseline == SB_BASELINE_LEAST_ABSOLUTE)
    return least_error(path, profile, SB_SCORES_ABSOLUTE, options, out);
  if (baseline == SB_BASELINE_LEAST_RELATIVE)
    return least_error(path, profile, SB_SCORES_RELATIVE, options, out);
  find_extremes(options, &r.low, &r.high);
  SB_TRY(sb_policy_create(&profile->model, out));
  const sb_status status = apply(&r, baseline, seed, out);
  sb_decisions_free(&r.decisions);
  sb_free(&r.key);
  sb_free(&r.order);
  sb_free(&r.forced);
  if (status != SB_OK) sb_policy_free(out);
  return status;
}
