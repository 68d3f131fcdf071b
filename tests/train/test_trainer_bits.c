/* The same bits: after some steps weights, moments, losses and norms are those of one rank alone,
 * for any number of ranks, threads and waves, and for a run that was stopped. */
#include "tests/train/runs.h"

enum { STEPS = 6 };

/* Whole tensors of one rank alone, to hold the others' units against. */
static void check_units(const run *r, const run *alone) {
  const sb_optimizer *mine = sb_trainer_optimizer(r->trainer),
                     *all = sb_trainer_optimizer(alone->trainer);
  for (size_t i = 0; i < mine->shares->count; i++) {
    const sb_share *u = &mine->shares->units[i];
    size_t k = 0;
    while (all->shares->units[k].tensor != u->tensor ||
           all->shares->units[k].first_row != u->first_row)
      k++;
    const sb_optimizer_unit a = sb_optimizer_unit_at(mine, i), b = sb_optimizer_unit_at(all, k);
    EXPECT(all->shares->units[k].count == u->count);
    EXPECT(memcmp(a.master, b.master, u->count * sizeof(float)) == 0);
    EXPECT(memcmp(a.m, b.m, u->count * sizeof(float)) == 0);
    EXPECT(memcmp(a.v, b.v, u->count * sizeof(float)) == 0);
  }
}

static void check_same(const char *name, int threads, size_t activation_bytes) {
  run r, alone;
  double loss[2];
  run_open(&r, &world, name, threads, activation_bytes);
  run_open(&alone, world_alone(), name, 1, 0);
  EXPECT(activation_bytes == 0 || sb_pass_waves(sb_trainer_pass(r.trainer)) > 1 ||
         (size_t)world.size >= r.options.batch);
  for (size_t step = 0; step < STEPS; step++) {
    const sb_step_report a = run_step(&r), b = run_step(&alone);
    EXPECT(a.loss == b.loss && a.norm == b.norm && a.factor == b.factor);
  }
  check_units(&r, &alone);
  EXPECT_OK(sb_trainer_loss(r.trainer, run_tokens(&r, 50), 3, &loss[0]));
  EXPECT_OK(sb_trainer_loss(alone.trainer, run_tokens(&alone, 50), 3, &loss[1]));
  EXPECT(loss[0] == loss[1]);
  run_close(&alone);
  run_close(&r);
}

static void ranks(void **state) {
  (void)state;
  check_same("untied", 1, 0);
  all_ranks_passed();
}

static void threads_and_waves(void **state) {
  (void)state;
  check_same("tied", 2, 1);
  check_same("untied", 3, 1);
  all_ranks_passed();
}

static void in_bf16(void **state) {
  (void)state;
  run_compute = SB_COMPUTE_BF16;
  check_same("untied", 2, 1);
  run_compute = SB_COMPUTE_F32;
  all_ranks_passed();
}

/* Emulated precisions, whose output gradients are rounded stochastically: random bits come from
 * sequence and token, not from the rank that has them. */
static void low_precision(void **state) {
  (void)state;
  static const sb_precision precisions[] = {SB_PRECISION_NVFP4, SB_PRECISION_FP4_128,
                                            SB_PRECISION_FP8_TENSOR};
  for (size_t i = 0; i < sizeof precisions / sizeof *precisions; i++) {
    run r, alone, high;
    sb_precision_map map = {0};
    run_open(&r, &world, "tied", 1, i == 0 ? 1 : 0);
    run_open(&alone, world_alone(), "tied", 2, 0);
    run_open(&high, world_alone(), "tied", 1, 0);
    EXPECT_OK(sb_precision_map_create(&r.model->arch, precisions[i], &map));
    EXPECT_OK(sb_pass_set_precisions(sb_trainer_pass(r.trainer), &map, NULL));
    EXPECT_OK(sb_pass_set_precisions(sb_trainer_pass(alone.trainer), &map, NULL));
    for (size_t step = 0; step < STEPS / 2; step++) {
      const sb_step_report a = run_step(&r), b = run_step(&alone), c = run_step(&high);
      EXPECT(a.loss == b.loss && a.norm == b.norm && a.norm != c.norm);
    }
    check_units(&r, &alone);
    sb_precision_map_free(&map);
    run_close(&high);
    run_close(&alone);
    run_close(&r);
  }
  all_ranks_passed();
}

/* Weights and moments of one run, and its progress, moved into another one in the middle. */
static void resumed(void **state) {
  (void)state;
  run r, next, alone;
  run_open(&r, &world, "tied", 1, 0);
  run_open(&next, &world, "tied", 1, 0);
  run_open(&alone, world_alone(), "tied", 1, 0);
  for (size_t step = 0; step < STEPS; step++) (void)run_step(&alone);
  for (size_t step = 0; step < STEPS / 2; step++) (void)run_step(&r);
  (void)run_step(&next); /* a forward part of other weights is forgotten */
  const sb_optimizer *from = sb_trainer_optimizer(r.trainer),
                     *to = sb_trainer_optimizer(next.trainer);
  for (size_t i = 0; i < from->shares->count; i++) {
    const sb_optimizer_unit a = sb_optimizer_unit_at(from, i), b = sb_optimizer_unit_at(to, i);
    const size_t bytes = from->shares->units[i].count * sizeof(float);
    memcpy(b.master, a.master, bytes);
    memcpy(b.m, a.m, bytes);
    memcpy(b.v, a.v, bytes);
  }
  const sb_trainer_progress progress = sb_trainer_progress_of(r.trainer);
  sb_trainer_resume(next.trainer, &progress);
  for (size_t step = STEPS / 2; step < STEPS; step++) (void)run_step(&next);
  check_units(&next, &alone);
  run_close(&alone);
  run_close(&next);
  run_close(&r);
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(ranks), cmocka_unit_test(threads_and_waves), cmocka_unit_test(in_bf16),
    cmocka_unit_test(low_precision), cmocka_unit_test(resumed)};
RANKS_MAIN(tests)
