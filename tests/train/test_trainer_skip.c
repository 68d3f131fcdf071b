/* Steps that are skipped: the loss of a batch of noise stands out after 128 usual ones; weights and
 * moments stay, the step counts, AdamW's update does not. Options that are refused; batches of many
 * sequences. */
#include <math.h>

#include "tests/train/runs.h"

static uint64_t hash_of(const run *r) {
  const sb_optimizer *o = sb_trainer_optimizer(r->trainer);
  uint64_t hash = 0;
  for (size_t i = 0; i < o->shares->count; i++) {
    const sb_optimizer_unit u = sb_optimizer_unit_at(o, i);
    for (size_t k = 0; k < o->shares->units[i].count; k++) {
      uint32_t bits[3];
      memcpy(&bits[0], &u.master[k], 4), memcpy(&bits[1], &u.m[k], 4), memcpy(&bits[2], &u.v[k], 4);
      hash = mix(hash ^ bits[0]) + mix(bits[1]) * 3 + mix(bits[2]) * 5;
    }
  }
  return hash;
}

static void open(run *r, double skip_loss, double skip_norm) {
  run_open(r, &world, "tied", 1, 0);
  sb_trainer_free(&r->trainer);
  r->options.skip_loss = skip_loss;
  r->options.skip_norm = skip_norm;
  r->options.schedule.steps = 1000;
  EXPECT_OK(sb_trainer_create(r->model, r->backend, &r->options, &r->trainer));
  /* a window that is full of the losses and norms that such batches have */
  sb_trainer_progress p = sb_trainer_progress_of(r->trainer);
  for (size_t i = 0; i < SB_SKIP_WINDOW; i++) {
    sb_skip_enter(&p.losses, 5.95 + 0.005 * (double)(i % 5));
    sb_skip_enter(&p.norms, 3.6 + 0.2 * (double)(i % 5));
  }
  p.step = 200;
  sb_trainer_resume(r->trainer, &p);
}

/* One token over and over has a loss and gradient that stand out. */
static sb_step_report step(run *r, bool strange) {
  sb_step_report report = {0};
  uint32_t *tokens = (uint32_t *)run_tokens(r, 0);
  const size_t count = sb_pass_local(&world, r->options.batch) * r->options.seqlen;
  for (size_t i = 0; strange && i < count; i++) tokens[i] = 77;
  EXPECT_OK(sb_trainer_step(r->trainer, tokens, &report));
  return report;
}

static void check(double skip_loss, double skip_norm, sb_step_outcome expected) {
  run r;
  open(&r, skip_loss, skip_norm);
  const sb_step_report usual = step(&r, false);
  const uint64_t before = hash_of(&r);
  const sb_step_report strange = step(&r, true);
  const sb_trainer_progress p = sb_trainer_progress_of(r.trainer);
  EXPECT(usual.outcome == SB_STEP_TAKEN && isnan(usual.score));
  EXPECT(strange.outcome == expected && p.step == 202);
  EXPECT(p.losses.count == SB_SKIP_WINDOW + 2 && p.norms.count == SB_SKIP_WINDOW + 2);
  if (expected == SB_STEP_TAKEN) {
    EXPECT(hash_of(&r) != before && p.updates == 2 && isnan(strange.score));
  } else {
    EXPECT(hash_of(&r) == before && p.updates == 1 && strange.score > 6);
  }
  run_close(&r);
}

static void skipped(void **state) {
  (void)state;
  check(6, 0, SB_STEP_SKIPPED_LOSS);
  check(0, 6, SB_STEP_SKIPPED_NORM);
  check(1e9, 6, SB_STEP_SKIPPED_NORM);
  check(0, 0, SB_STEP_TAKEN);
  check(1e9, 1e9, SB_STEP_TAKEN);
  all_ranks_passed();
}

static void refused(const run *r, sb_trainer_options o, const char *text) {
  sb_trainer *trainer = NULL;
  EXPECT(sb_trainer_create(r->model, r->backend, &o, &trainer) == SB_ERR_USAGE && !trainer);
  EXPECT(strstr(sb_message(), text) != NULL);
}

static void options(void **state) {
  (void)state;
  run r;
  run_open(&r, &world, "tied", 1, 0);
  sb_trainer_options o = r.options;
  o.adamw.beta2 = 1, refused(&r, o, "--beta2 1: a number from 0 to below 1"), o = r.options;
  o.adamw.eps = 0, refused(&r, o, "--eps 0: a number above 0"), o = r.options;
  o.adamw.decay = -1, refused(&r, o, "--decay -1: a number from 0"), o = r.options;
  o.clip = -1, refused(&r, o, "clipped"), o = r.options;
  o.skip_norm = NAN, refused(&r, o, "skipped above a score"), o = r.options;
  o.batch = 0, refused(&r, o, "at least one sequence"), o = r.options;
  o.batch = 4097, refused(&r, o, "room for 4096 sequences in a batch, not 4097"), o = r.options;
  o.schedule.peak = -1, refused(&r, o, "learning rate");
  run_close(&r);
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(skipped), cmocka_unit_test(options)};
RANKS_MAIN(tests)
