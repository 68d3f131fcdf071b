/* The search on problems whose answer is known: a separable loss with exact gains, losses that
 * contradict the gains. */
#include "tests/alloc/search_problem.h"

static void test_finds_the_optimum(void **state) {
  const instance_kind kind = {500, 1, false, SB_GRID_SYMMETRIC, 1, 8};
  (void)state;
  for (unsigned start = 2; start <= 5; start++) { /* from below the budget and from above */
    instance x = instance_create(&kind, 3);
    problem p = create(&x, start);
    const uint64_t budget = instance_storage(&x, all_at(&p, 3)) + 128 * 128 * 137;
    const sb_search_options options = {.budget = budget,
                                       .start_bits = start,
                                       .strides = 3,
                                       .most_trades = 50,
                                       .first_share = 0.1,
                                       .least_share = 1e-4};
    const double best = known_optimum(&p, 1, 8, budget);
    const sb_search_result result = run(&p, &options);
    EXPECT(result.loss >= best * (1 - 1e-12));
    EXPECT(result.loss <= best * (1 + 1e-6));
    release(&p);
    instance_free(&x);
  }
  all_ranks_passed();
}

/* One stride and no trades: one gradient pass where one bit a block reaches the budget. */
static void test_one_shot(void **state) {
  const instance_kind kind = {300, 2, false, SB_GRID_ASYMMETRIC, 2, 4};
  instance x = instance_create(&kind, 4);
  problem p = create(&x, 1);
  const uint64_t budget = instance_storage(&x, all_at(&p, 3)) + 5000;
  sb_search_options options = {.budget = budget, .start_bits = 3, .strides = 1};
  sb_search_result result = run(&p, &options);
  (void)state;
  EXPECT(result.gain_passes == 1 && result.loss_passes == 1 && result.steps == 1 &&
         result.accepted == 0);
  EXPECT(result.loss < result.start_loss);
  options.start_bits = 4; /* from above */
  options.budget = instance_storage(&x, all_at(&p, 2)) + 5000;
  result = run(&p, &options);
  EXPECT(result.steps == 2); /* two bits down at most one at a time */
  release(&p);
  instance_free(&x);
  all_ranks_passed();
}

/* From far below, a path goes on until no raise fits, however few strides were asked for. */
static void test_far_below(void **state) {
  const instance_kind kind = {300, 2, false, SB_GRID_ASYMMETRIC, 2, 8};
  instance x = instance_create(&kind, 6);
  problem p = create(&x, 1);
  const uint64_t a_bit = 128 * 128 + 128; /* codes and zero points of the largest block */
  const sb_search_options options = {
      .budget = instance_storage(&x, all_at(&p, 6)) + 5000, .start_bits = 2, .strides = 1};
  const sb_search_result result = run(&p, &options);
  (void)state;
  EXPECT(result.storage <= options.budget && result.storage + a_bit > options.budget);
  EXPECT(result.steps >= 4 && result.steps <= 6 && !result.went_back);
  release(&p);
  instance_free(&x);
  all_ranks_passed();
}

/* Strides are even shares of the distance, down and up. */
static void test_schedule(void **state) {
  const instance_kind kind = {400, 1, false, SB_GRID_SYMMETRIC, 1, 8};
  (void)state;
  for (unsigned start = 2; start <= 4; start += 2) {
    instance x = instance_create(&kind, 5);
    problem p = create(&x, 8);
    const double from = (double)instance_storage(&x, all_at(&p, start)),
                 to = (double)instance_storage(&x, all_at(&p, 3));
    const sb_search_options options = {.budget = (uint64_t)to, .start_bits = start, .strides = 4};
    run(&p, &options);
    EXPECT(p.steps == 4);
    for (int i = 0; i < 4; i++)
      EXPECT(fabs((double)p.step[i].storage - (from + (to - from) * (i + 1) / 4)) <= 128 * 128);
    release(&p);
    instance_free(&x);
  }
  all_ranks_passed();
}

/* Every change makes the loss worse than it was predicted to get better: nothing is accepted, k
 * halves down to its floor on the same gains, and the path's last point stays. */
static void test_rollback(void **state) {
  const instance_kind kind = {400, 1, false, SB_GRID_SYMMETRIC, 1, 8};
  instance x = instance_create(&kind, 6);
  problem p = create(&x, 2);
  const uint64_t budget = instance_storage(&x, all_at(&p, 3)) + 128 * 128 * 40;
  sb_search_options options = {.budget = budget, .start_bits = 3, .strides = 1};
  sb_search_result result;
  int trades = 0;
  (void)state;
  p.lie = 3;
  result = run(&p, &options);
  memcpy(p.reference, p.applied, x.n);
  p.per_change = 1000;
  options.most_trades = 100;
  options.first_share = 0.08;
  options.least_share = 0.01;
  result = run(&p, &options);
  EXPECT(memcmp(p.reference, p.applied, x.n) == 0);
  EXPECT(result.accepted == 0 && result.gain_passes == 2);
  for (int i = 0; i < p.steps; i++)
    if (!p.step[i].path) {
      EXPECT(!p.step[i].accepted && p.step[i].loss > result.loss);
      EXPECT(fabs(p.step[i].share - ldexp(0.08, -trades)) < 1e-15);
      trades++;
    }
  EXPECT(trades == 4); /* 0.08, 0.04, 0.02, 0.01 */
  EXPECT(result.loss_passes == 1 + 4);

  /* Shares that bound nothing make the same batch, which is measured once. */
  options.first_share = 64;
  options.least_share = 4;
  result = run(&p, &options);
  EXPECT(memcmp(p.reference, p.applied, x.n) == 0);
  EXPECT(result.steps == 1 + 5 && result.loss_passes == 1 + 1); /* 64, 32, 16, 8, 4 */
  for (int i = 2; i < p.steps; i++)
    EXPECT(p.step[i].loss == p.step[1].loss && p.step[i].raised == p.step[1].raised &&
           !p.step[i].accepted);
  release(&p);
  instance_free(&x);
  all_ranks_passed();
}

/* From given bits: no path, and trades find the optimum from there. */
static void test_begun(void **state) {
  const instance_kind kind = {500, 1, false, SB_GRID_SYMMETRIC, 1, 8};
  instance x = instance_create(&kind, 12);
  problem p = create(&x, 9);
  uint64_t s = 5;
  (void)state;
  for (size_t k = 0; k < x.n; k++) p.reference[k] = (uint8_t)(2 + draw(&s, 3));
  const uint64_t budget = instance_storage(&x, p.reference) + 128 * 128 * 3;
  sb_search_options options = {.budget = budget, .begun = true};
  sb_search_result result = run(&p, &options);
  EXPECT(result.steps == 0 && result.gain_passes == 0 && result.loss_passes == 1);
  EXPECT(memcmp(p.applied, p.reference, x.n) == 0);
  options.most_trades = 60;
  options.first_share = 0.1;
  options.least_share = 1e-4;
  result = run(&p, &options);
  for (int i = 0; i < p.steps; i++) EXPECT(!p.step[i].path);
  EXPECT(result.loss < result.start_loss &&
         result.loss <= known_optimum(&p, 1, 8, budget) * (1 + 1e-6));
  release(&p);
  instance_free(&x);
  all_ranks_passed();
}

/* Wrong predictions, some trades good and some bad: accepted ones fall, rejected
 * ones leave no trace. */
static void test_mixed(void **state) {
  const instance_kind kind = {600, 3, false, SB_GRID_ASYMMETRIC, 1, 6};
  instance x = instance_create(&kind, 7);
  problem p = create(&x, 3);
  const uint64_t budget = instance_storage(&x, all_at(&p, 3)) + 12345;
  const sb_search_options options = {.budget = budget,
                                     .start_bits = 3,
                                     .strides = 2,
                                     .most_trades = 40,
                                     .first_share = 0.2,
                                     .least_share = 1e-3};
  sb_search_result result;
  double loss = INFINITY;
  int accepted = 0, rejected = 0;
  (void)state;
  p.lie = 2;
  result = run(&p, &options);
  for (int i = 0; i < p.steps; i++) {
    if (p.step[i].path) continue;
    EXPECT(p.step[i].accepted == (p.step[i].loss < loss) || loss == INFINITY);
    if (p.step[i].accepted) loss = p.step[i].loss;
    accepted += p.step[i].accepted;
    rejected += !p.step[i].accepted;
  }
  EXPECT(accepted > 0 && rejected > 0 && accepted == result.accepted);
  EXPECT(result.loss == loss);
  release(&p);
  instance_free(&x);
  all_ranks_passed();
}

/* A start within the budget that the path only makes worse is what comes back. */
static void test_keeps_a_better_start(void **state) {
  const instance_kind kind = {200, 1, false, SB_GRID_SYMMETRIC, 1, 8};
  instance x = instance_create(&kind, 8);
  problem p = create(&x, 4);
  const sb_search_options options = {.budget = instance_storage(&x, all_at(&p, 3)) + 128 * 128 * 20,
                                     .start_bits = 3,
                                     .strides = 2};
  sb_search_result result;
  (void)state;
  p.per_change = 1000;
  memset(p.reference, 3, x.n);
  result = run(&p, &options);
  EXPECT(result.loss == result.start_loss);
  EXPECT(memcmp(p.applied, p.reference, x.n) == 0);
  release(&p);
  instance_free(&x);
  all_ranks_passed();
}

/* Cut off after any step and gone on with, the search ends where it would have ended. */
static void test_resumes(void **state) {
  const instance_kind kind = {300, 3, false, SB_GRID_ASYMMETRIC, 1, 6};
  instance x = instance_create(&kind, 11);
  problem p = create(&x, 7);
  sb_search_options options = {.budget = instance_storage(&x, all_at(&p, 3)) - 4321,
                               .start_bits = 4,
                               .strides = 3,
                               .most_trades = 12,
                               .first_share = 0.1,
                               .least_share = 1e-3};
  uint8_t *own = NULL, *whole = NULL;
  (void)state;
  instance_alloc(&own, x.own, 1);
  instance_alloc(&whole, x.n, 1);
  p.lie = 2;
  const sb_search_result all = run(&p, &options);
  memcpy(whole, p.applied, x.n);
  EXPECT(all.steps > 6);
  instance_alloc(&p.kept_bits, x.n, 1);
  for (int cut = 0; cut < all.steps; cut++) {
    const sb_search_hooks hooks = {&p, apply, measure, gains, NULL, keep_progress};
    sb_search_result again;
    p.saves = 0;
    p.keep = cut;
    p.gains = 0;
    run(&p, &options);
    for (size_t i = 0; i < x.own; i++) own[i] = p.kept_bits[x.place[i]];
    options.resume = &p.kept;
    p.saves = INT_MIN;
    EXPECT_OK(sb_search(&world, &x.mine, &options, &hooks, own, &again));
    EXPECT(memcmp(p.applied, whole, x.n) == 0);
    EXPECT(again.loss == all.loss && again.storage == all.storage && again.steps == all.steps &&
           again.accepted == all.accepted && again.start_loss == all.start_loss);
    options.resume = NULL;
  }
  sb_free(&own);
  sb_free(&whole);
  sb_free(&p.kept_bits);
  release(&p);
  instance_free(&x);
  all_ranks_passed();
}

/* A loss that is not that of the gains decides alone, on the path too. */
static void test_other_loss(void **state) {
  const instance_kind kind = {200, 1, false, SB_GRID_SYMMETRIC, 1, 8};
  instance x = instance_create(&kind, 8);
  problem p = create(&x, 4);
  const sb_search_options options = {.budget = instance_storage(&x, all_at(&p, 3)) + 128 * 128 * 20,
                                     .start_bits = 3,
                                     .strides = 2,
                                     .other_loss = true};
  (void)state;
  p.gains_loss = -1e9; /* tempting, and wrong */
  p.per_change = 1000;
  memset(p.reference, 3, x.n);
  const sb_search_hooks hooks = {&p, apply, measure, gains, NULL, NULL};
  sb_search_result result;
  EXPECT_OK(sb_search(&world, &x.mine, &options, &hooks, x.own_bits, &result));
  EXPECT(result.loss == loss_at(&p, p.applied));
  EXPECT(memcmp(p.applied, p.reference, x.n) == 0);
  release(&p);
  instance_free(&x);
  all_ranks_passed();
}

static void test_refusals(void **state) {
  const instance_kind kind = {60, 2, false, SB_GRID_ASYMMETRIC, 2, 4};
  instance x = instance_create(&kind, 9);
  problem p = create(&x, 5);
  const sb_search_hooks hooks = {&p, apply, measure, gains, NULL, NULL};
  const uint64_t least = instance_storage(&x, all_at(&p, 2)),
                 most = instance_storage(&x, all_at(&p, 4));
  sb_search_options options = {.budget = least - 1, .start_bits = 3, .strides = 1};
  sb_search_result result;
  char text[64];
  (void)state;
  EXPECT(sb_search(&world, &x.mine, &options, &hooks, x.own_bits, &result) == SB_ERR_RANGE);
  snprintf(text, sizeof text, "%llu", (unsigned long long)least);
  EXPECT(strstr(sb_message(), text) != NULL);
  snprintf(text, sizeof text, "%llu", (unsigned long long)most);
  EXPECT(strstr(sb_message(), text) != NULL);
  options.budget = least; /* the least there is: possible */
  run(&p, &options);
  EXPECT(memcmp(p.applied, all_at(&p, 2), x.n) == 0);
  options.start_bits = 5;
  EXPECT(sb_search(&world, &x.mine, &options, &hooks, x.own_bits, &result) == SB_ERR_INTERNAL);
  options.start_bits = 3;
  p.refuse_losses = true; /* a hook's failure is the search's */
  EXPECT(sb_search(&world, &x.mine, &options, &hooks, x.own_bits, &result) == SB_ERR_NUMERIC);
  EXPECT(strstr(sb_message(), "no loss today") != NULL);
  release(&p);
  instance_free(&x);
  all_ranks_passed();
}

/* Numbers that overflow in a trade: the batch is undone, and gains that overflow end the trades;
 * what was found stays. On the path they are the search's failure. */
static void test_overflow(void **state) {
  const instance_kind kind = {500, 1, false, SB_GRID_SYMMETRIC, 1, 8};
  instance x = instance_create(&kind, 3);
  problem p = create(&x, 2);
  const uint64_t budget = instance_storage(&x, all_at(&p, 3)) + 128 * 128 * 137;
  const sb_search_options options = {.budget = budget,
                                     .start_bits = 3,
                                     .strides = 1,
                                     .most_trades = 8,
                                     .first_share = 0.1,
                                     .least_share = 1e-4};
  (void)state;
  p.lie = 1;
  const sb_search_result whole = run(&p, &options);
  EXPECT(whole.accepted > 1);
  p.lost_losses = 2; /* of the first trade */
  sb_search_result result = run(&p, &options);
  EXPECT(!p.step[1].accepted && isinf(p.step[1].loss) && result.steps == whole.steps);
  EXPECT(p.step[2].accepted && p.step[2].share == 0.5 * p.step[1].share);
  EXPECT(result.loss < result.path_loss);
  p.lost_losses = 0;
  p.lost_gains = 3; /* of the second trade */
  result = run(&p, &options);
  EXPECT(result.steps == 2 && result.accepted == 1 && result.loss == p.step[1].loss);
  p.lost_gains = 1;
  const sb_search_hooks hooks = {&p, apply, measure, gains, NULL, NULL};
  p.gains = 0;
  EXPECT(sb_search(&world, &x.mine, &options, &hooks, x.own_bits, &result) == SB_ERR_NUMERIC);
  EXPECT(strstr(sb_message(), "no gains today") != NULL);
  release(&p);
  instance_free(&x);
  all_ranks_passed();
}

/* The same bits as a world of one rank that holds all blocks. */
static void test_rank_invariance(void **state) {
  const instance_kind kind = {800, 3, false, SB_GRID_ASYMMETRIC, 1, 6};
  instance x = instance_create(&kind, 10);
  problem p = create(&x, 6);
  const uint64_t budget = instance_storage(&x, all_at(&p, 3)) - 4321;
  const sb_search_options options = {.budget = budget,
                                     .start_bits = 4,
                                     .strides = 3,
                                     .most_trades = 20,
                                     .first_share = 0.1,
                                     .least_share = 1e-3};
  const sb_search_hooks hooks = {&p, apply, measure, gains, NULL, NULL};
  const sb_world *one = world_alone();
  sb_search_result result, alone;
  (void)state;
  p.lie = 1;
  result = run(&p, &options);
  memcpy(p.reference, p.applied, x.n);
  p.alone = true;
  p.losses = p.gains = 0;
  EXPECT_OK(sb_search(one, &x.all, &options, &hooks, x.bits, &alone));
  EXPECT(memcmp(p.reference, x.bits, x.n) == 0);
  EXPECT(result.loss == alone.loss && result.storage == alone.storage &&
         result.steps == alone.steps && result.accepted == alone.accepted);
  EXPECT(result.steps > 3 && result.accepted > 0);
  release(&p);
  instance_free(&x);
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_finds_the_optimum),
    cmocka_unit_test(test_one_shot),
    cmocka_unit_test(test_far_below),
    cmocka_unit_test(test_schedule),
    cmocka_unit_test(test_rollback),
    cmocka_unit_test(test_begun),
    cmocka_unit_test(test_mixed),
    cmocka_unit_test(test_keeps_a_better_start),
    cmocka_unit_test(test_resumes),
    cmocka_unit_test(test_other_loss),
    cmocka_unit_test(test_refusals),
    cmocka_unit_test(test_overflow),
    cmocka_unit_test(test_rank_invariance),
};

RANKS_MAIN(tests)
