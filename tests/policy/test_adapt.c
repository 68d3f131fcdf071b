/* Adaptive precision: choices come at the steps where they are due, are the solver's for the
 * profile that a trainer alone has there, and are the same on any number of ranks and after a
 * resume; monitors lower the share, and nothing else changes the training. */
#include "policy/adapt.h"
#include <math.h>

#include "tests/train/runs.h"

#include "policy/profile.h"
#include "tests/support/scratch.h"

enum { EVERY = 3, STEPS = 8 };

typedef struct adaptive {
  run r;
  sb_precision_map map;
  sb_lowprec_options lowprec;
  sb_adapt *adapt;
} adaptive;

static sb_status read_batch(void *context, uint64_t step, uint32_t *tokens) {
  run *r = context;
  const size_t count = sb_pass_local(r->world, r->options.batch) * r->options.seqlen;
  memcpy(tokens, run_tokens(r, (size_t)step), count * sizeof *tokens);
  return SB_OK;
}

/* The one format that carries any shape; beside it the high precision. */
static const sb_adapt_options usual = {.every = EVERY,
                                       .share = 0.75,
                                       .precision_count = 1,
                                       .precisions = {SB_PRECISION_FP4_128},
                                       .forward_high_from = UINT64_MAX};

/* Steers a run from where it stands; `events` is NULL but on rank 0. */
static sb_status adaptive_steer(adaptive *a, const sb_adapt_options *options, sb_events *events) {
  const sb_adapt_setup setup = {.trainer = a->r.trainer,
                                .model = a->r.model,
                                .backend = a->r.backend,
                                .lowprec = &a->lowprec,
                                .map = &a->map,
                                .read = read_batch,
                                .context = &a->r,
                                .events = events};
  return sb_adapt_create(&setup, options, &a->adapt);
}

static sb_status adaptive_open(adaptive *a, const sb_world *of, const sb_adapt_options *options) {
  *a = (adaptive){.lowprec = sb_lowprec_options_default()};
  run_open(&a->r, of, "untied", 1, 0);
  EXPECT_OK(sb_precision_map_create(&a->r.model->arch, SB_PRECISION_HIGH, &a->map));
  return adaptive_steer(a, options, NULL);
}

static void adaptive_close(adaptive *a) {
  sb_adapt_free(&a->adapt);
  sb_precision_map_free(&a->map);
  run_close(&a->r);
}

static sb_step_report adaptive_step(adaptive *a, sb_flop_shares *shares) {
  EXPECT_OK(sb_adapt_before(a->adapt, sb_trainer_progress_of(a->r.trainer).step, shares));
  const sb_step_report report = run_step(&a->r);
  EXPECT_OK(sb_adapt_after(a->adapt, &report));
  return report;
}

static bool same_map(const sb_precision_map *a, const sb_precision_map *b) {
  return a->count == b->count && memcmp(a->gemms, b->gemms, a->count * sizeof *a->gemms) == 0;
}

static double number(const adaptive *a, const char *key) {
  json_t *object = sb_adapt_state(a->adapt);
  const double value = json_number_value(json_object_get(object, key));
  json_decref(object);
  return value;
}

/* Weights and moments of all units of `from`, and its progress, become those of `to`. */
static void move_run(run *to, const run *from) {
  const sb_optimizer *a = sb_trainer_optimizer(from->trainer),
                     *b = sb_trainer_optimizer(to->trainer);
  for (size_t i = 0; i < a->shares->count; i++) {
    const sb_optimizer_unit x = sb_optimizer_unit_at(a, i), y = sb_optimizer_unit_at(b, i);
    const size_t bytes = a->shares->units[i].count * sizeof(float);
    memcpy(y.master, x.master, bytes);
    memcpy(y.m, x.m, bytes);
    memcpy(y.v, x.v, bytes);
  }
  const sb_trainer_progress progress = sb_trainer_progress_of(from->trainer);
  sb_trainer_resume(to->trainer, &progress);
}

/* A run on all ranks, another alone, and a third that takes over from the first before each step:
 * losses, norms, shares and precisions are equal all along. */
static void same_bits(void **state) {
  (void)state;
  adaptive a, alone, next;
  sb_adapt_options options = usual;
  options.noise = SB_ADAPT_NOISE;
  EXPECT_OK(adaptive_open(&a, &world, &options));
  EXPECT_OK(adaptive_open(&alone, world_alone(), &options));
  for (uint64_t step = 0; step < STEPS; step++) {
    sb_flop_shares shares[3];
    EXPECT_OK(adaptive_open(&next, &world, &options));
    move_run(&next.r, &a.r);
    json_t *object = sb_adapt_state(a.adapt);
    EXPECT_OK(sb_adapt_resume(next.adapt, object));
    json_decref(object);
    const sb_step_report x = adaptive_step(&a, &shares[0]), y = adaptive_step(&alone, &shares[1]),
                         z = adaptive_step(&next, &shares[2]);
    EXPECT(x.loss == y.loss && x.norm == y.norm && x.loss == z.loss && x.norm == z.norm);
    EXPECT(memcmp(&shares[0], &shares[1], sizeof *shares) == 0);
    EXPECT(memcmp(&shares[0], &shares[2], sizeof *shares) == 0);
    EXPECT(same_map(&a.map, &alone.map) && same_map(&a.map, &next.map));
    EXPECT(sb_precision_map_is_low(&a.map) == (step >= EVERY));
    EXPECT(step < EVERY || shares[0].fp4 >= number(&a, "share"));
    adaptive_close(&next);
  }
  EXPECT(sb_adapt_profiles(a.adapt) == (STEPS - 1) / EVERY);
  adaptive_close(&alone);
  adaptive_close(&a);
  all_ranks_passed();
}

/* The choice is the solver's for the profile measured at that step by hand; until then, and in its
 * weights, the run is one that nobody steers. */
static void chooses_by_profile(void **state) {
  (void)state;
  adaptive a;
  run plain;
  sb_flop_shares shares;
  sb_profile_measured measured;
  sb_policy policy;
  sb_choose_result result;
  const sb_lowprec_options lowprec = sb_lowprec_options_default();
  EXPECT_OK(adaptive_open(&a, &world, &usual));
  run_open(&plain, &world, "untied", 1, 0);
  for (size_t step = 0; step < EVERY; step++) {
    const sb_step_report x = adaptive_step(&a, &shares), y = run_step(&plain);
    EXPECT(x.loss == y.loss && x.norm == y.norm);
    EXPECT(shares.fp4 == 0 && shares.fp8 == 0);
  }
  sb_pass *pass = sb_trainer_pass(plain.trainer);
  sb_pass_set_batch(pass, run_tokens(&plain, EVERY), 0);
  const sb_profile_setup setup = {.pass = pass,
                                  .model = plain.model,
                                  .backend = plain.backend,
                                  .optimizer = sb_trainer_optimizer(plain.trainer),
                                  .adamw = plain.options.adamw,
                                  .step = EVERY,
                                  .precisions = usual.precisions,
                                  .precision_count = 1,
                                  .lowprec = &lowprec,
                                  .seed = EVERY};
  EXPECT_OK(sb_profile_measure(&setup, &measured));
  const sb_choose_options question = {.scoring = {SB_SCORES_EXACT, measured.profile.combine, 1},
                                      .candidate_count = 2,
                                      .candidates = {SB_PRECISION_FP4_128, SB_PRECISION_HIGH},
                                      .target = 0.75};
  EXPECT_OK(sb_choose("test", &measured.profile, &question, &policy, &result));
  EXPECT_OK(sb_adapt_before(a.adapt, EVERY, &shares));
  for (size_t i = 0; i < a.map.count; i++)
    EXPECT(memcmp(a.map.gemms[i], policy.choices[i].gemm, sizeof a.map.gemms[i]) == 0);
  EXPECT(shares.fp4 == sb_policy_share(&policy, 4) && shares.fp4 >= 0.75 && shares.fp4 < 1);
  sb_policy_free(&policy);
  sb_profile_measured_free(&measured);
  run_close(&plain);
  adaptive_close(&a);
  all_ranks_passed();
}

/* A loss above all before it: a profile before the next step; after the second one, a lower share.
 */
static void spikes(void **state) {
  (void)state;
  adaptive a;
  sb_flop_shares shares;
  sb_adapt_options options = usual;
  options.every = 1000;
  options.spike = 5;
  EXPECT_OK(adaptive_open(&a, &world, &options));
  sb_step_report report = adaptive_step(&a, &shares);
  sb_adapt_free(&a.adapt);
  EXPECT_OK(adaptive_steer(&a, &options, NULL));
  /* A window of losses, as after many steps. */
  sb_trainer_progress progress = sb_trainer_progress_of(a.r.trainer);
  for (size_t i = 0; i < SB_SKIP_WINDOW; i++)
    sb_skip_enter(&progress.losses, report.loss + 0.01 * (double)(i % 5));
  sb_trainer_resume(a.r.trainer, &progress);
  EXPECT_OK(sb_adapt_before(a.adapt, 1, &shares)); /* moments, and no profile so far: it begins */
  EXPECT(sb_adapt_profiles(a.adapt) == 1 && shares.fp4 >= 0.75);
  report.step = 1;
  EXPECT_OK(sb_trainer_step(a.r.trainer, run_tokens(&a.r, 1), &report));
  EXPECT_OK(sb_adapt_after(a.adapt, &report));
  EXPECT_OK(sb_adapt_before(a.adapt, 2, &shares));
  EXPECT(sb_adapt_profiles(a.adapt) == 1);
  for (uint64_t spike = 1; spike <= 2; spike++) {
    report = (sb_step_report){.step = 1 + spike, .loss = 50};
    EXPECT_OK(sb_trainer_step(a.r.trainer, run_tokens(&a.r, 1 + spike), &(sb_step_report){0}));
    EXPECT_OK(sb_adapt_after(a.adapt, &report));
    EXPECT(number(&a, "spikes") == (double)spike);
    EXPECT(number(&a, "share") == (spike == 1 ? 0.75 : 0.75 * 0.875));
    EXPECT_OK(sb_adapt_before(a.adapt, 2 + spike, &shares));
    EXPECT(sb_adapt_profiles(a.adapt) == 1 + spike);
    EXPECT(shares.fp4 >= number(&a, "share"));
  }
  EXPECT_OK(sb_adapt_after(a.adapt, &report));
  adaptive_close(&a);
  all_ranks_passed();
}

/* Where rounding noise is more than the gradient's norm over sqrt(3), the share goes down by an
 * eighth, and so does what the next step has; elsewhere it stays. As the events say it. */
static void noise(void **state) {
  (void)state;
  adaptive a;
  sb_flop_shares shares;
  sb_events *events = NULL;
  sb_adapt_options options = usual;
  options.every = 1;
  options.noise = SB_ADAPT_NOISE;
  EXPECT_OK(adaptive_open(&a, &world, &options));
  sb_adapt_free(&a.adapt);
  if (world.rank == 0)
    EXPECT(scratch_create() && sb_events_open(scratch_path("noise"), 0, &events) == SB_OK);
  EXPECT_OK(adaptive_steer(&a, &options, events));
  for (int step = 0; step < STEPS; step++) (void)adaptive_step(&a, &shares);
  sb_events_close(&events);
  if (world.rank == 0) {
    FILE *f = fopen(scratch_path("noise"), "r");
    double share = options.share;
    int lowered = 0, heard = 0;
    char line[4096];
    EXPECT(f != NULL);
    while (fgets(line, sizeof line, f)) {
      json_t *event = json_loads(line, 0, NULL);
      const char *name = json_string_value(json_object_get(event, "event"));
      if (strcmp(name, "noise") == 0) {
        const bool low = json_number_value(json_object_get(event, "gradient_norm")) <
                         SB_ADAPT_NOISE * json_number_value(json_object_get(event, "noise_norm"));
        if (low) share *= 0.875;
        lowered += low;
        heard++;
      } else {
        EXPECT(json_number_value(json_object_get(event, "target")) == share);
        EXPECT(json_number_value(json_object_get(event, "fp4_share")) >= share);
      }
      json_decref(event);
    }
    fclose(f);
    EXPECT(scratch_remove());
    EXPECT(heard == STEPS / 2 && lowered > 0); /* at every second profile */
    EXPECT(number(&a, "share") == share);
  }
  adaptive_close(&a);
  all_ranks_passed();
}

/* From a step on the forward pass is high, also where nothing is measured, and after a resume. */
static void high_forward(void **state) {
  (void)state;
  adaptive a, later;
  sb_flop_shares shares;
  const sb_adapt_options options = {.forward_high_from = 2};
  EXPECT_OK(adaptive_open(&a, &world, &options));
  sb_adapt_free(&a.adapt);
  sb_precision_map_set_layers(&a.map, &a.r.model->arch, 0, a.r.model->config.layers,
                              SB_PRECISION_NVFP4);
  EXPECT_OK(adaptive_steer(&a, &options, NULL));
  for (uint64_t step = 0; step < 4; step++) {
    (void)adaptive_step(&a, &shares);
    EXPECT(fabs(shares.fp4 - (step < 2 ? 1 : 2.0 / 3)) < 1e-12);
  }
  EXPECT_OK(adaptive_open(&later, &world, &options));
  json_t *object = sb_adapt_state(a.adapt);
  EXPECT_OK(sb_adapt_resume(later.adapt, object));
  json_decref(object);
  EXPECT_OK(sb_adapt_before(later.adapt, 3, &shares));
  EXPECT(same_map(&a.map, &later.map));
  adaptive_close(&later);
  adaptive_close(&a);
  all_ranks_passed();
}

static void refusals(void **state) {
  (void)state;
  adaptive a;
  sb_adapt_options options = usual;
  options.keep_first = 1;
  EXPECT_OK(adaptive_open(&a, &world, &usual));
  EXPECT_OK(sb_adapt_check(&a.r.model->arch, &usual));
  EXPECT(sb_adapt_check(&a.r.model->arch, &options) == SB_ERR_RANGE);
  EXPECT(strstr(sb_message(), "--adapt-target") != NULL);
  json_t *object = sb_adapt_state(a.adapt);
  json_array_remove(json_object_get(object, "precisions"), 0);
  EXPECT(sb_adapt_resume(a.adapt, object) == SB_ERR_FORMAT);
  json_object_del(object, "share");
  EXPECT(sb_adapt_resume(a.adapt, object) == SB_ERR_FORMAT);
  json_decref(object);
  adaptive_close(&a);
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(same_bits), cmocka_unit_test(chooses_by_profile), cmocka_unit_test(spikes),
    cmocka_unit_test(noise),     cmocka_unit_test(high_forward),       cmocka_unit_test(refusals)};
RANKS_MAIN(tests)
