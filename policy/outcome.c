#include "policy/outcome.h"

#include "base/text.h"

/* Sums over GEMMs of a range of layers. */
typedef struct sums {
  double work, fp4, fp8, time, high;
  bool timed;
} sums;

static sums sums_of(const sb_policy *policy, const sb_rates *rates, size_t first, size_t end) {
  sums s = {.timed = rates != NULL};
  for (size_t i = 0; i < policy->model.count; i++) {
    const sb_linear *l = &policy->model.linears[i];
    const double work = (double)sb_linear_work(l);
    for (int g = 0; g < SB_GEMM_KINDS && l->layer >= first && l->layer < end; g++) {
      const sb_precision precision = policy->choices[i].gemm[g];
      const unsigned bits = sb_precision_bits(precision);
      uint64_t time, high;
      s.work += work;
      s.fp4 += bits == 4 ? work : 0;
      s.fp8 += bits == 8 ? work : 0;
      s.timed = s.timed && sb_rates_time(rates, l, precision, &time) == SB_OK &&
                sb_rates_time(rates, l, SB_PRECISION_HIGH, &high) == SB_OK;
      s.time += s.timed ? (double)time : 0;
      s.high += s.timed ? (double)high : 0;
    }
  }
  return s;
}

sb_outcome sb_outcome_of(const sb_policy *policy, const sb_rates *rates, size_t first, size_t end,
                         double slowest) {
  const sums s = sums_of(policy, rates, first, end);
  sb_outcome out = {0};
  if (s.work > 0) {
    out.fp4 = s.fp4 / s.work;
    out.fp8 = s.fp8 / s.work;
  }
  if (!s.timed || s.time <= 0) return out;
  out.time = slowest > 0 ? s.time / slowest : 0;
  out.speedup = s.high / s.time;
  return out;
}

double sb_outcome_slowest(const sb_policy *policy, const sb_rates *rates, const sb_stages *stages) {
  double slowest = 0;
  for (size_t k = 0; k < stages->count; k++) {
    const sums s = sums_of(policy, rates, stages->first[k], stages->first[k + 1]);
    if (!s.timed) return 0;
    slowest = s.high > slowest ? s.high : slowest;
  }
  return slowest;
}

double sb_outcome_speedup(const sb_policy *policy, const sb_rates *rates, const sb_stages *stages) {
  const double high = sb_outcome_slowest(policy, rates, stages);
  double slowest = 0;
  for (size_t k = 0; k < stages->count && high > 0; k++) {
    const sums s = sums_of(policy, rates, stages->first[k], stages->first[k + 1]);
    slowest = s.time > slowest ? s.time : slowest;
  }
  return slowest > 0 ? high / slowest : 0;
}

/* ---- how it was made ---- */

/* A path, which need not be UTF-8. */
static json_t *text_of(const char *path) {
  char text[1024];
  return json_string(sb_text_escaped(text, sizeof text, path));
}

static const char *const scopes[] = {"model", "stage", "balanced"};

static json_t *describe_target(const sb_choose_options *o) {
  const bool share = o->kind == SB_TARGET_SHARE;
  json_t *out =
      json_pack("{s:f, s:s}", share ? "share" : "speedup", o->target, "scope", scopes[o->scope]);
  json_t *layers = json_array();
  for (size_t k = 0; o->stages && k < o->stages->count; k++)
    json_array_append_new(
        layers, json_integer((json_int_t)(o->stages->first[k + 1] - o->stages->first[k])));
  json_object_set_new(out, "stages", layers);
  return out;
}

static json_t *describe_prediction(const sb_profile *profile, const sb_choose_options *o,
                                   const sb_policy *policy) {
  double score;
  const sb_divergence d = sb_scoring_predict(profile, &o->scoring, policy, &score);
  const double speedup =
      o->rates && o->stages ? sb_outcome_speedup(policy, o->rates, o->stages) : 0;
  json_t *out =
      json_pack("{s:s, s:s, s:f, s:f, s:f, s:f}", "scores", sb_scores_names[o->scoring.kind],
                "combine", sb_combine_names[o->scoring.combine], "loss_factor",
                o->scoring.loss_factor, "loss", d.loss, "weight", d.weight, "score", score);
  if (speedup > 0) {
    json_object_set_new(out, "speedup", json_real(speedup));
    json_object_set_new(out, "rates", text_of(o->rates->name));
  }
  return out;
}

static json_t *describe_certificate(const sb_choose_result *r) {
  return json_pack("{s:b, s:f, s:f, s:f, s:f, s:I}", "optimal", r->optimal, "score", r->score,
                   "bound", r->bound, "gap", r->score - r->bound, "relaxation", r->relaxed,
                   "decisions", (json_int_t)r->decisions);
}

sb_status sb_outcome_describe(const char *method, const char *path, const sb_profile *profile,
                              const sb_choose_options *options, const sb_choose_result *result,
                              sb_policy *policy) {
  json_t *source = json_pack("{s:o, s:I, s:f, s:I, s:I}", "path", text_of(path), "step",
                             (json_int_t)profile->step, "loss", profile->loss, "batch",
                             (json_int_t)profile->batch, "seqlen", (json_int_t)profile->seqlen);
  json_decref(policy->about);
  policy->about =
      json_pack("{s:s, s:o, s:o, s:o*, s:o*}", "method", method, "target", describe_target(options),
                "predicted", describe_prediction(profile, options, policy), "certificate",
                result ? describe_certificate(result) : NULL, "profile", source);
  return policy->about ? SB_OK : sb_fail(SB_ERR_MEMORY, "policy: out of memory");
}
