/* The search on problems whose answer is known: a separable loss with exact gains, losses that
 * contradict the gains. */
#include "instance.h"

#include <limits.h>

#include "alloc/search.h"
#include "base/clock.h"

typedef struct problem {
  instance *x;
  double *curvature; /* of block k: the loss is the sum of curvature / 4^bits */
  double lie;        /* predictions are exact but for a random factor of up to e^lie */
  double per_change; /* added to the loss for every block away from the reference: what predictions
                        do not see */
  uint8_t *reference;
  uint8_t *applied, *scratch; /* [n], of all ranks */
  int losses, gains, steps;
  bool refuse_losses;
  double gains_loss; /* what the gains hook calls the loss, where not 0 */
  bool alone;        /* this rank holds all blocks */
  sb_search_step step[200];
  int saves, keep; /* the save that is kept */
  sb_search_progress kept;
  uint8_t *kept_bits; /* [n]; NULL: none is */
} problem;

static double loss_at(const problem *p, const uint8_t *bits) {
  double sum = 0;
  for (size_t k = 0; k < p->x->n; k++) {
    sum += p->curvature[k] * ldexp(1, -2 * bits[k]);
    if (p->per_change > 0 && bits[k] != p->reference[k]) sum += p->per_change;
  }
  return sum;
}

static sb_status apply(void *context, const uint8_t *bits) {
  problem *p = context;
  if (p->alone)
    memcpy(p->applied, bits, p->x->n);
  else
    instance_collect(p->x, bits, p->applied);
  return SB_OK;
}

static sb_status measure(void *context, double *loss) {
  problem *p = context;
  p->losses++;
  if (p->refuse_losses) return sb_fail(SB_ERR_NUMERIC, "no loss today");
  *loss = loss_at(p, p->applied);
  return SB_OK;
}

static sb_status gains(void *context, double *raise, double *cut, double *loss) {
  problem *p = context;
  p->gains++;
  for (size_t i = 0; i < (p->alone ? p->x->n : p->x->own); i++) {
    const size_t k = p->alone ? i : p->x->place[i];
    const double here = p->curvature[k] * ldexp(1, -2 * p->applied[k]);
    uint64_t s = k * 31 + p->applied[k]; /* the same at the same point */
    raise[i] = 0.75 * here * exp(p->lie * ((double)draw(&s, 1000) / 1000 - 0.5));
    cut[i] = 3 * here * exp(p->lie * ((double)draw(&s, 1000) / 1000 - 0.5));
  }
  *loss = p->gains_loss != 0 ? p->gains_loss : loss_at(p, p->applied);
  return SB_OK;
}

static void report(void *context, const sb_search_step *step) {
  problem *p = context;
  EXPECT(step->step == p->steps);
  if (p->steps < 200) p->step[p->steps] = *step;
  p->steps++;
}

/* Keeps the progress and bits of the step after which the search is to be cut off. */
static sb_status keep_progress(void *context, const sb_search_progress *progress) {
  problem *p = context;
  if (p->kept_bits && p->saves++ == p->keep) {
    p->kept = *progress;
    memcpy(p->kept_bits, p->applied, p->x->n);
  }
  return SB_OK;
}

static problem create(instance *x, uint64_t seed) {
  problem p = {.x = x};
  uint64_t s = seed;
  instance_alloc(&p.curvature, x->n, sizeof *p.curvature);
  instance_alloc(&p.reference, x->n, 1);
  instance_alloc(&p.applied, x->n, 1);
  instance_alloc(&p.scratch, x->n, 1);
  for (size_t k = 0; k < x->n; k++) p.curvature[k] = lognormal(&s);
  return p;
}

static void release(problem *p) {
  sb_free(&p->curvature);
  sb_free(&p->reference);
  sb_free(&p->applied);
  sb_free(&p->scratch);
}

static const uint8_t *all_at(problem *p, unsigned bits) {
  memset(p->scratch, (int)bits, p->x->n);
  return p->scratch;
}

/* Runs the search and checks what always holds: the result is within the budget, it is what is
 * applied, its loss and storage are as reported, no better point within the budget was seen. */
static sb_search_result run(problem *p, const sb_search_options *options) {
  const sb_search_hooks hooks = {p, apply, measure, gains, report, keep_progress};
  sb_search_result result;
  uint8_t *own = NULL;
  instance_alloc(&own, p->x->own, 1);
  for (size_t i = 0; i < p->x->own && options->begun; i++) own[i] = p->reference[p->x->place[i]];
  p->steps = p->losses = p->gains = 0;
  EXPECT_OK(sb_search(&world, &p->x->mine, options, &hooks, own, &result));
  instance_collect(p->x, own, p->scratch);
  EXPECT(memcmp(p->scratch, p->applied, p->x->n) == 0);
  EXPECT(result.storage == instance_storage(p->x, p->applied));
  EXPECT(result.storage <= options->budget);
  EXPECT(result.loss == loss_at(p, p->applied));
  EXPECT(result.gain_passes == p->gains && result.loss_passes == p->losses &&
         result.steps == p->steps);
  for (int i = 0; i < p->steps && i < 200; i++)
    if (!p->step[i].path)
      EXPECT(p->step[i].loss >= result.loss && p->step[i].storage <= options->budget);
  EXPECT(options->most_trades > 0 ? result.path_loss >= result.loss
                                  : result.path_loss == result.loss);
  EXPECT(result.start_loss ==
         loss_at(p, options->begun ? p->reference : all_at(p, options->start_bits)));
  sb_free(&own);
  return result;
}

/* Equal blocks, so the optimum is known: raise the block with the largest marginal gain, from the
 * bottom, while bits last. */
static double known_optimum(problem *p, unsigned least, unsigned most, uint64_t budget) {
  uint8_t *bits = p->scratch;
  const uint64_t a_bit = 128 * 128;
  uint64_t used;
  memset(bits, (int)least, p->x->n);
  used = instance_storage(p->x, bits);
  for (; used + a_bit <= budget; used += a_bit) {
    size_t best = 0;
    double gain = -1;
    for (size_t k = 0; k < p->x->n; k++) {
      const double g = 0.75 * p->curvature[k] * ldexp(1, -2 * bits[k]);
      if (bits[k] < most && g > gain) {
        best = k;
        gain = g;
      }
    }
    if (gain <= 0) break;
    bits[best]++;
  }
  return loss_at(p, bits);
}

static void test_finds_the_optimum(void **state) {
  const instance_kind kind = {500, 1, false, SB_SYMMETRIC, 1, 8};
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
  const instance_kind kind = {300, 2, false, SB_ASYMMETRIC, 2, 4};
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

/* Strides are even shares of the distance, down and up. */
static void test_schedule(void **state) {
  const instance_kind kind = {400, 1, false, SB_SYMMETRIC, 1, 8};
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
  const instance_kind kind = {400, 1, false, SB_SYMMETRIC, 1, 8};
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
  const instance_kind kind = {500, 1, false, SB_SYMMETRIC, 1, 8};
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

/* Wrong predictions, some trades good and some bad: accepted ones fall, rejected ones leave no
 * trace. */
static void test_mixed(void **state) {
  const instance_kind kind = {600, 3, false, SB_ASYMMETRIC, 1, 6};
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
  const instance_kind kind = {200, 1, false, SB_SYMMETRIC, 1, 8};
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
  const instance_kind kind = {300, 3, false, SB_ASYMMETRIC, 1, 6};
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
  const instance_kind kind = {200, 1, false, SB_SYMMETRIC, 1, 8};
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
  const instance_kind kind = {60, 2, false, SB_ASYMMETRIC, 2, 4};
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

/* The same bits as a world of one rank that holds all blocks. */
static void test_rank_invariance(void **state) {
  const instance_kind kind = {800, 3, false, SB_ASYMMETRIC, 1, 6};
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
    cmocka_unit_test(test_schedule),
    cmocka_unit_test(test_rollback),
    cmocka_unit_test(test_begun),
    cmocka_unit_test(test_mixed),
    cmocka_unit_test(test_keeps_a_better_start),
    cmocka_unit_test(test_resumes),
    cmocka_unit_test(test_other_loss),
    cmocka_unit_test(test_refusals),
    cmocka_unit_test(test_rank_invariance),
};

RANKS_MAIN(tests)
