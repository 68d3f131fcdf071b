/* The solver against all policies of small models, with every kind of target, tie and force;
 * against CBC where there are too many; and on a 70B model, for its time. */
#include <math.h>

#include "base/clock.h"
#include "policy/choose.h"
#include "random_profile.h"

enum { MOST_LINEARS = 28, MOST_CHOICES = 3 };

/* One random question, with everything that its options point at. */
typedef struct question {
  sb_profile profile;
  sb_choose_options options;
  sb_stages stages;
  sb_rates rates;
  sb_policy present;
  sb_precision forced[MOST_LINEARS];
} question;

static const sb_precision three[] = {SB_PRECISION_FP8_128, SB_PRECISION_NVFP4,
                                     SB_PRECISION_FP4_128};

/* Few decisions, so that all policies can be tried: ties, or few layers. */
static const struct {
  size_t layers;
  sb_decide_by by;
  sb_tie tie;
  size_t candidates;
} shapes[] = {{1, SB_BY_LINEAR, SB_TIE_NONE, 3},  {1, SB_BY_LINEAR, SB_TIE_NONE, 2},
              {2, SB_BY_LINEAR, SB_TIE_FUSED, 2}, {4, SB_BY_LINEAR, SB_TIE_LAYER, 3},
              {3, SB_BY_GEMM, SB_TIE_LAYER, 2},   {1, SB_BY_GEMM, SB_TIE_FUSED, 2},
              {1, SB_BY_LINEAR, SB_TIE_QKV, 3},   {1, SB_BY_LINEAR, SB_TIE_GATE_UP, 3},
              {2, SB_BY_GEMM, SB_TIE_LAYER, 3}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static question ask(int round) {
  uint64_t random = (uint64_t)round * 1000 + 7;
  const size_t layers = shapes[round % SHAPES].layers;
  question q = {.profile = random_profile((llama_sizes){layers, 48, 16, 80}, three, 3, true,
                                          (uint64_t)round)};
  sb_choose_options *o = &q.options;
  o->scoring = (sb_scoring){SB_SCORES_EXACT, (sb_combine)draw(&random, 2), 0.5};
  if (shapes[round % SHAPES].by == SB_BY_LINEAR)
    o->scoring.kind = (sb_scores_kind)draw(&random, SB_SCORES_KINDS);
  o->by = shapes[round % SHAPES].by;
  o->tie = shapes[round % SHAPES].tie;
  o->candidate_count = shapes[round % SHAPES].candidates;
  const bool high = draw(&random, 2);
  for (size_t c = 0; c < o->candidate_count; c++) o->candidates[c] = three[c];
  if (high) o->candidates[0] = SB_PRECISION_HIGH;
  o->kind = (sb_target_kind)draw(&random, 2);
  o->target = o->kind == SB_TARGET_SHARE ? (double)draw(&random, 21) / 20
                                         : 1 + (double)draw(&random, 16) / 5;
  o->scope = (sb_scope)draw(&random, 3);
  return q;
}

/* The pointers, once the question has its place; and forces and a present policy for some. */
static void settle(question *q, int round) {
  uint64_t random = (uint64_t)round * 77 + 3;
  sb_choose_options *o = &q->options;
  char stages[16];
  snprintf(stages, sizeof stages, "%d", 1 + (int)draw(&random, q->profile.model.layers));
  assert_ok(sb_stages_parse(stages, q->profile.model.layers, &q->stages));
  assert_ok(sb_rates_read("theory", &q->rates));
  q->rates.rate[SB_PRECISION_FP8_128] = 1.41;
  o->stages = &q->stages;
  o->rates = &q->rates;
  for (size_t i = 0; i < q->profile.model.count; i++) q->forced[i] = SB_PRECISION_FREE;
  if (draw(&random, 3) == 0) {
    q->forced[draw(&random, q->profile.model.count)] =
        draw(&random, 2) ? SB_PRECISION_HIGH : three[1];
    o->forced = q->forced;
  }
  if (draw(&random, 3) == 0) {
    assert_ok(sb_policy_create(&q->profile.model, &q->present));
    for (size_t i = 0; i < q->profile.model.count; i++)
      for (int g = 0; g < SB_GEMM_KINDS; g++)
        q->present.choices[i].gemm[g] = three[draw(&random, 3)];
    o->present = &q->present;
    o->switch_cost = 3;
  }
}

static void question_free(question *q) {
  sb_profile_free(&q->profile);
  sb_stages_free(&q->stages);
  sb_rates_free(&q->rates);
  sb_policy_free(&q->present);
}

/* ---- what a policy is worth, written down once more ---- */

typedef struct worth {
  double score;
  uint64_t low[MOST_LINEARS], work[MOST_LINEARS], time[MOST_LINEARS],
      high[MOST_LINEARS]; /* stages */
} worth;

static double number(const question *q, size_t i, int part, sb_precision p) {
  const sb_scoring *s = &q->options.scoring;
  double loss = 0, weight = 0;
  for (size_t k = 0; k < 3; k++) {
    const sb_profile_entry *e = sb_profile_at(&q->profile, i, k);
    if (three[k] != p) continue;
    if (s->kind == SB_SCORES_ABSOLUTE) weight = e->abs_error;
    if (s->kind == SB_SCORES_RELATIVE) weight = e->rel_error;
    if (s->kind == SB_SCORES_TRUTH) loss = e->truth.loss, weight = e->truth.weight;
    if (s->kind == SB_SCORES_EXACT)
      loss = e->parts[0][part].loss, weight = e->parts[0][part].weight;
    if (s->kind == SB_SCORES_NORMS)
      loss = e->parts[1][part].loss, weight = e->parts[1][part].weight;
  }
  if (s->combine == SB_COMBINE_SUM) return 0.5 * loss + weight;
  return 0.25 * loss * loss + weight * weight;
}

static uint64_t gemm_time(const question *q, const sb_linear *l, sb_precision p) {
  return (uint64_t)llrint(65536 / q->rates.rate[p]) * l->rows * l->cols;
}

static worth worth_of(const question *q, const sb_policy *policy) {
  worth w = {0};
  double all = 0;
  const sb_linears *m = &policy->model;
  for (size_t i = 0; i < m->count; i++)
    all += 3.0 * (double)(m->linears[i].rows * m->linears[i].cols);
  for (size_t i = 0; i < m->count; i++) {
    const sb_linear *l = &m->linears[i];
    const size_t stage = sb_stages_of(&q->stages, l->layer);
    if (q->options.by == SB_BY_LINEAR)
      w.score += number(q, i, SB_PART_ALL, policy->choices[i].gemm[0]);
    for (int g = 0; g < 3; g++) {
      const sb_precision p = policy->choices[i].gemm[g];
      if (q->options.by == SB_BY_GEMM) w.score += number(q, i, g, p);
      if (q->options.present && q->present.choices[i].gemm[g] != p)
        w.score += 3 * (double)(l->rows * l->cols) / all;
      w.work[stage] += l->rows * l->cols;
      if (p == SB_PRECISION_NVFP4 || p == SB_PRECISION_FP4_128) w.low[stage] += l->rows * l->cols;
      w.time[stage] += gemm_time(q, l, p);
      w.high[stage] += gemm_time(q, l, SB_PRECISION_HIGH);
    }
  }
  return w;
}

static uint64_t sum(const uint64_t *of, size_t count) {
  uint64_t s = 0;
  for (size_t k = 0; k < count; k++) s += of[k];
  return s;
}

static uint64_t largest(const uint64_t *of, size_t count) {
  uint64_t s = 0;
  for (size_t k = 0; k < count; k++) s = of[k] > s ? of[k] : s;
  return s;
}

/* Whether it meets the target; `longest` is the time of balanced stages with a share. */
static bool meets(const question *q, const worth *w, uint64_t longest) {
  const sb_choose_options *o = &q->options;
  const size_t n = q->stages.count;
  const bool share = o->kind == SB_TARGET_SHARE;
  if (o->scope == SB_SCOPE_BALANCED && share) return largest(w->time, n) <= longest;
  if (o->scope == SB_SCOPE_BALANCED)
    return (double)largest(w->time, n) * o->target <= (double)largest(w->high, n) * (1 + 1e-12);
  for (size_t k = 0; k < (o->scope == SB_SCOPE_STAGE ? n : 1); k++) {
    const size_t first = o->scope == SB_SCOPE_STAGE ? k : 0,
                 count = o->scope == SB_SCOPE_STAGE ? 1 : n;
    const double low = (double)sum(w->low + first, count),
                 work = (double)sum(w->work + first, count),
                 time = (double)sum(w->time + first, count),
                 high = (double)sum(w->high + first, count);
    if (share ? low < o->target * work * (1 - 1e-12) : time * o->target > high * (1 + 1e-12))
      return false;
  }
  return true;
}

/* ---- all policies ---- */

static bool tied(sb_tie tie, size_t i, size_t k) { /* numbers of linears: 7 per layer, in order */
  const size_t a = i % 7, b = k % 7;
  if (i == k) return true;
  if (i / 7 != k / 7 || tie == SB_TIE_NONE) return false;
  if (tie == SB_TIE_LAYER) return true;
  return (tie != SB_TIE_GATE_UP && a < 3 && b < 3) ||
         (tie != SB_TIE_QKV && (a == 4 || a == 5) && (b == 4 || b == 5));
}

typedef void visitor(const question *q, const worth *w, void *context);

/* Calls `visit` with every policy that the ties and forces allow. */
static void all_policies(const question *q, visitor *visit, void *context) {
  const sb_choose_options *o = &q->options;
  const size_t count = q->profile.model.count, gemms = o->by == SB_BY_GEMM ? 3 : 1;
  size_t leader[MOST_LINEARS * 3], digits = 0, digit[MOST_LINEARS * 3] = {0};
  sb_policy policy;
  assert_ok(sb_policy_create(&q->profile.model, &policy));
  for (size_t i = 0; i < count; i++) {
    size_t first = 0;
    while (!tied(o->tie, first, i)) first++;
    for (size_t g = 0; g < gemms; g++)
      leader[i * gemms + g] = first == i ? digits++ : leader[first * gemms + g];
  }
  for (;;) {
    for (size_t i = 0; i < count; i++)
      for (size_t g = 0; g < 3; g++)
        policy.choices[i].gemm[g] = o->candidates[digit[leader[i * gemms + (gemms == 3 ? g : 0)]]];
    for (size_t i = 0; o->forced && i < count; i++) {
      if (q->forced[i] == SB_PRECISION_FREE) continue;
      for (size_t k = 0; k < count; k++)
        for (int g = 0; g < 3; g++)
          if (tied(o->tie, i, k)) policy.choices[k].gemm[g] = q->forced[i];
    }
    const worth w = worth_of(q, &policy);
    visit(q, &w, context);
    size_t k = 0;
    while (k < digits && ++digit[k] == o->candidate_count) digit[k++] = 0;
    if (k == digits) break;
  }
  sb_policy_free(&policy);
}

typedef struct best {
  uint64_t longest; /* of balanced stages */
  double score;
} best;

static void shorten(const question *q, const worth *w, void *context) {
  best *b = context;
  const size_t n = q->stages.count;
  const uint64_t time = largest(w->time, n);
  if ((double)sum(w->low, n) < q->options.target * (double)sum(w->work, n) * (1 - 1e-12) &&
      time <= b->longest)
    b->longest = time - 1;
}

static void improve(const question *q, const worth *w, void *context) {
  best *b = context;
  if (w->score < b->score && meets(q, w, b->longest)) b->score = w->score;
}

static void test_against_all_policies(void **state) {
  int possible = 0, impossible = 0;
  (void)state;
  for (int round = 0; round < 270; round++) {
    question q = ask(round);
    settle(&q, round);
    best b = {UINT64_MAX, INFINITY};
    sb_policy policy;
    sb_choose_result result;
    all_policies(&q, shorten, &b);
    all_policies(&q, improve, &b);
    const sb_status status = sb_choose("P.json", &q.profile, &q.options, &policy, &result);
    if (isinf(b.score)) {
      assert_int_equal(status, SB_ERR_RANGE);
      impossible++;
    } else {
      if (status != SB_OK) fail_msg("round %d: %s", round, sb_message());
      const worth w = worth_of(&q, &policy);
      assert_true(meets(&q, &w, b.longest));
      if (fabs(w.score - b.score) > 1e-12 * fabs(b.score) + 1e-15)
        fail_msg("round %d: score %.17g, best %.17g", round, w.score, b.score);
      assert_true(fabs(result.score - w.score) <= 1e-12 * fabs(b.score) + 1e-15);
      assert_true(result.optimal && result.bound == result.score);
      assert_true(result.relaxed <= result.score + 1e-12);
      possible++;
    }
    sb_policy_free(&policy);
    question_free(&q);
  }
  print_message("%d questions have an answer, %d have none\n", possible, impossible);
  assert_true(possible >= 200 && impossible >= 10);
}

/* ---- messages ---- */

/* A model of 4 layers, each of 4 + 6 units of 64 x 64, with a target that needs little. */
static void ask_plainly(question *q) {
  *q = (question){.profile = random_profile((llama_sizes){4, 64, 64, 128}, three, 2, false, 1)};
  settle(q, 0);
  sb_stages_free(&q->stages);
  assert_ok(sb_stages_parse("2", 4, &q->stages));
  q->options = (sb_choose_options){.scoring = {SB_SCORES_EXACT, SB_COMBINE_SUM, 1},
                                   .candidate_count = 2,
                                   .candidates = {SB_PRECISION_FP8_128, SB_PRECISION_NVFP4},
                                   .target = 0.1,
                                   .stages = &q->stages,
                                   .rates = &q->rates,
                                   .forced = q->forced};
}

static void test_ranges_in_messages(void **state) {
  question q;
  sb_choose_options *o = &q.options;
  sb_policy policy;
  sb_choose_result result;
  (void)state;
  ask_plainly(&q);
  o->target = 0.8;
  const sb_forced_options last = {"*.layers.0.mlp.up_proj=nvfp4", 0, 1};
  assert_ok(sb_forced_set(&q.profile.model, &last, q.forced));
  /* up alone is 2 of 40 units; all but the last layer 30 of 40 */
  assert_fails(sb_choose("P.json", &q.profile, o, &policy, &result), SB_ERR_RANGE, "P.json",
               "a share of 0.8", "0.05 to 0.75 are possible", "8 of 28 decisions forced",
               "--target");
  o->target = 0.75;
  assert_ok(sb_choose("P.json", &q.profile, o, &policy, &result));
  sb_policy_free(&policy);
  o->scope = SB_SCOPE_STAGE;
  assert_fails(sb_choose("P.json", &q.profile, o, &policy, &result), SB_ERR_RANGE,
               "in stage 1 (layers 2 to 3)", "0 to 0.5 are possible");
  o->kind = SB_TARGET_SPEEDUP;
  o->target = 2.5;
  assert_fails(sb_choose("P.json", &q.profile, o, &policy, &result), SB_ERR_RANGE,
               "a speed-up of 2.5", "in stage 1", "at most 1.6 is possible", "rates of theory");
  o->scope = SB_SCOPE_BALANCED;
  o->kind = SB_TARGET_SHARE;
  o->target = 0.74;
  assert_fails(sb_choose("P.json", &q.profile, o, &policy, &result), SB_ERR_RANGE,
               "stages cannot be balanced at a share of 0.74");
  question_free(&q);
}

static void test_what_is_not_known(void **state) {
  question q;
  sb_choose_options *o = &q.options;
  sb_policy policy;
  sb_choose_result result;
  (void)state;
  ask_plainly(&q);
  o->candidates[1] = SB_PRECISION_MXFP4;
  assert_fails(sb_choose("P.json", &q.profile, o, &policy, &result), SB_ERR_RANGE,
               "mxfp4 was not measured; it has fp8-128, nvfp4");
  o->candidates[1] = SB_PRECISION_NVFP4;
  q.rates.rate[SB_PRECISION_NVFP4] = 0;
  o->kind = SB_TARGET_SPEEDUP;
  assert_fails(sb_choose("P.json", &q.profile, o, &policy, &result), SB_ERR_RANGE,
               "theory: has no rate for nvfp4");
  o->kind = SB_TARGET_SHARE;
  o->rates = NULL;
  o->tie = SB_TIE_QKV;
  q.forced[8] = SB_PRECISION_NVFP4;
  q.forced[9] = SB_PRECISION_HIGH;
  assert_fails(sb_choose("P.json", &q.profile, o, &policy, &result), SB_ERR_RANGE,
               "layers.1.self_attn.v_proj is forced to bf16", "forced to nvfp4");
  o->tie = SB_TIE_NONE;
  o->scoring.kind = SB_SCORES_TRUTH;
  assert_fails(sb_choose("P.json", &q.profile, o, &policy, &result), SB_ERR_RANGE,
               "has no measured truth", "--truth");
  o->scoring.kind = SB_SCORES_ABSOLUTE;
  o->by = SB_BY_GEMM;
  assert_fails(sb_choose("P.json", &q.profile, o, &policy, &result), SB_ERR_RANGE, "absolute",
               "--by linear");
  question_free(&q);
}

/* ---- a large model ---- */

static double seconds_of(question *q, sb_decide_by by, size_t candidates, sb_scope scope) {
  sb_policy policy;
  sb_choose_result result;
  q->options.by = by;
  q->options.candidate_count = candidates;
  q->options.scope = scope;
  const double begin = sb_now();
  assert_ok(sb_choose("P.json", &q->profile, &q->options, &policy, &result));
  const double seconds = sb_now() - begin;
  print_message("70B, %s, %zu precisions, %s: %.3f s, %llu partial solutions\n",
                by == SB_BY_GEMM ? "GEMMs" : "linears", candidates,
                scope == SB_SCOPE_STAGE      ? "stages"
                : scope == SB_SCOPE_BALANCED ? "balanced"
                                             : "whole",
                seconds, (unsigned long long)result.solutions);
  assert_true(result.optimal);
  sb_policy_free(&policy);
  return seconds;
}

/* Llama-3-70B: 560 linears. The limits are ten times what is asked for, because other work may run
 * beside the test; docs/snip.md has the times. */
static void test_70b(void **state) {
  static const sb_precision all[] = {SB_PRECISION_FP8_128, SB_PRECISION_NVFP4, SB_PRECISION_HIGH};
  question q = {.profile =
                    random_profile((llama_sizes){80, 8192, 1024, 28672}, three, 2, false, 2)};
  (void)state;
  q.options = (sb_choose_options){.scoring = {SB_SCORES_EXACT, SB_COMBINE_SUM, 1}, .target = 0.75};
  memcpy(q.options.candidates, all, sizeof all);
  assert_ok(sb_rates_read("theory", &q.rates));
  assert_ok(sb_stages_parse("8", 80, &q.stages));
  q.options.rates = &q.rates;
  q.options.stages = &q.stages;
  for (sb_scope scope = SB_SCOPE_MODEL; scope <= SB_SCOPE_BALANCED; scope++) {
    assert_true(seconds_of(&q, SB_BY_LINEAR, 2, scope) < 1);
    q.options.kind = SB_TARGET_SPEEDUP;
    q.options.target = 2.7;
    assert_true(seconds_of(&q, SB_BY_GEMM, 3, scope) < 10);
    q.options.kind = SB_TARGET_SHARE;
    q.options.target = 0.75;
    assert_true(seconds_of(&q, SB_BY_GEMM, 3, scope) < 10);
  }
  /* measured rates, whose times share no large divisor, and stages that differ */
  q.rates.rate[SB_PRECISION_FP8_128] = 1.44;
  q.rates.rate[SB_PRECISION_NVFP4] = 2.03;
  q.options.target = 0.6;
  sb_stages_free(&q.stages);
  assert_ok(sb_stages_parse("9", 80, &q.stages));
  assert_true(seconds_of(&q, SB_BY_GEMM, 3, SB_SCOPE_BALANCED) < 10);
  question_free(&q);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_against_all_policies),
      cmocka_unit_test(test_ranges_in_messages),
      cmocka_unit_test(test_what_is_not_known),
      cmocka_unit_test(test_70b),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
