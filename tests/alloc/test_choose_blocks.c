/* Allocation from a table of losses against dynamic programming, and against itself on one rank. */
#include "loss_table.h"

#include "tests/support/optimum.h"

/* bits[] of all blocks by all ranks together; checks that rank 0 alone chooses the same, and what
 * always holds. */
static sb_choose_result allocate(loss_table *t, uint64_t budget, uint8_t *bits) {
  const sb_world *one = world_alone();
  instance *x = t->x;
  sb_choose_result result = {0}, alone = {0};
  uint8_t *own = NULL, *by_one = NULL;
  instance_alloc(&own, x->own, 1);
  instance_alloc(&by_one, x->n, 1);
  EXPECT_OK(sb_choose_blocks(&world, &x->mine, t->own, budget, own, &result));
  instance_collect(x, own, bits);
  if (world.rank == 0) {
    double sum = 0;
    EXPECT_OK(sb_choose_blocks(one, &x->all, t->all, budget, by_one, &alone));
    EXPECT(memcmp(bits, by_one, x->n) == 0);
    EXPECT(result.storage == alone.storage && result.loss == alone.loss && result.gap == alone.gap);
    EXPECT(result.storage <= budget && result.storage == instance_storage(x, bits));
    for (size_t k = 0; k < x->n; k++) {
      sum += t->all[k][bits[k]];
      EXPECT(bits[k] >= loss_table_least(x, k) && bits[k] <= x->all.max_bits);
      for (unsigned b = loss_table_least(x, k); b < bits[k]; b++) /* nothing is spent for nothing */
        EXPECT(t->all[k][b] > t->all[k][bits[k]]);
    }
    EXPECT(fabs(result.loss - sum) <= 1e-12 * sum); /* sums of thousands of doubles */
  }
  sb_free(&own);
  sb_free(&by_one);
  return result;
}

static const double shares[] = {0, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98, 1};
enum { SHARES = sizeof shares / sizeof *shares };

/* Symmetric blocks of 128 x 128, 64 x 128 and 128 x 64 weights: costs in units of 8192 bits. */
static void test_near_the_optimum(void **state) {
  const size_t sizes[] = {1000, 200, 30, 3};
  double worst = 0;
  (void)state;
  for (uint64_t i = 0; i < 8; i++) {
    const instance_kind kind = {sizes[i % 4], 2, false, SB_GRID_SYMMETRIC, i < 4 ? 1 : 2,
                                i < 4 ? 8 : 5};
    instance x = instance_create(&kind, 100 + i);
    loss_table t = loss_table_create(&x, i);
    const sb_knapsack blocks = loss_table_knapsack(&t);
    uint8_t *bits = NULL, *chosen = NULL;
    instance_alloc(&bits, x.n, 1);
    instance_alloc(&chosen, x.n, 1);
    for (size_t b = 0; b < SHARES; b++) {
      const uint64_t budget = loss_table_budget(&t, shares[b]);
      const sb_choose_result result = allocate(&t, budget, bits);
      sb_optimum best = {0};
      if (world.rank != 0) continue;
      EXPECT_OK(sb_optimum_dp(&blocks, budget, chosen, &best));
      for (size_t k = 0; k < x.n; k++) chosen[k] = (uint8_t)(chosen[k] + loss_table_least(&x, k));
      const double loss = loss_table_above(&t, bits), optimum = loss_table_above(&t, chosen);
      EXPECT(result.loss >= best.loss * (1 - 1e-12) &&
             result.loss - result.gap <= best.loss * (1 + 1e-12));
      EXPECT(loss <=
             optimum * (1 + 1e-3) + 1e-12 * best.loss); /* the promise, and rounding of the sums */
      if (optimum > 1e-9 * best.loss) worst = fmax(worst, loss / optimum - 1);
    }
    sb_free(&bits);
    sb_free(&chosen);
    loss_table_free(&t);
    instance_free(&x);
  }
  if (world.rank == 0) print_message("at most %.5f%% from the optimum\n", 100 * worst);
  all_ranks_passed();
}

/* Blocks of any shape, narrow ones too; the proven gap is within 0.1% of what is left to lose. */
static void test_ragged(void **state) {
  const instance_kind kinds[] = {{3000, 3, false, SB_GRID_ASYMMETRIC, 1, 8},
                                 {3000, 2, false, SB_GRID_ASYMMETRIC, 2, 8},
                                 {20, 3, false, SB_GRID_ASYMMETRIC, 1, 8},
                                 {50, 3, false, SB_GRID_ASYMMETRIC, 1, 1}};
  (void)state;
  for (uint64_t i = 0; i < 4; i++) {
    instance x = instance_create(&kinds[i], 200 + i);
    loss_table t = loss_table_create(&x, 7 + i);
    uint8_t *bits = NULL;
    instance_alloc(&bits, x.n, 1);
    for (size_t b = 0; b < SHARES; b++) {
      const sb_choose_result result = allocate(&t, loss_table_budget(&t, shares[b]), bits);
      if (world.rank == 0 && x.n >= 1000 && shares[b] <= 0.75)
        EXPECT(result.gap <= 1e-3 * loss_table_above(&t, bits));
    }
    sb_free(&bits);
    loss_table_free(&t);
    instance_free(&x);
  }
  all_ranks_passed();
}

/* Two kinds of blocks, as layers and tables are, joined for the optimum. */
typedef struct pair {
  instance x[2];
  loss_table t[2];
  uint64_t *id; /* of both, the second's behind the first's */
} pair;

static unsigned pair_choices(void *context, size_t k, sb_choice *out) {
  pair *p = context;
  const size_t which = k >= p->x[0].n;
  return loss_table_choices(&p->t[which], which ? k - p->x[0].n : k, out);
}

static void pair_create(pair *p, size_t first, size_t second, uint64_t seed) {
  const instance_kind kinds[] = {{first, 2, false, SB_GRID_SYMMETRIC, 1, 8},
                                 {second, 2, false, SB_GRID_SYMMETRIC, 2, 6}};
  instance_alloc(&p->id, first + second, sizeof *p->id);
  for (int i = 0; i < 2; i++) {
    p->x[i] = instance_create(&kinds[i], seed + (uint64_t)i);
    p->t[i] = loss_table_create(&p->x[i], seed + 50 + (uint64_t)i);
  }
  for (size_t k = 0; k < second; k++) p->x[1].id[k] += 3 * first;
  for (size_t k = 0; k < p->x[1].own; k++) p->x[1].own_id[k] += 3 * first;
  memcpy(p->id, p->x[0].id, first * sizeof *p->id);
  memcpy(p->id + first, p->x[1].id, second * sizeof *p->id);
}

static void pair_free(pair *p) {
  for (int i = 0; i < 2; i++) {
    loss_table_free(&p->t[i]);
    instance_free(&p->x[i]);
  }
  sb_free(&p->id);
}

/* Storage of both kinds with every block where `price` puts it. Collective. */
static uint64_t storage_at(pair *p, double price) {
  uint64_t storage = 0;
  for (int i = 0; i < 2; i++) {
    uint8_t *bits = NULL;
    instance_alloc(&bits, p->x[i].n, 1);
    sb_choose_result result;
    double sum = 0;
    EXPECT_OK(
        sb_choose_at_price(&world, &p->x[i].mine, p->t[i].own, price, p->x[i].own_bits, &result));
    instance_collect(&p->x[i], p->x[i].own_bits, bits);
    for (size_t k = 0; k < p->x[i].n; k++) { /* the least of all widths, and no other as cheap */
      const double(*t)[SB_WIDTHS] = (const double(*)[SB_WIDTHS])p->t[i].all;
      const double here = t[k][bits[k]] + price * (double)instance_cost(&p->x[i], k, bits[k]);
      for (unsigned b = loss_table_least(&p->x[i], k); b <= p->x[i].all.max_bits; b++)
        EXPECT(t[k][b] + price * (double)instance_cost(&p->x[i], k, b) >= here * (1 - 1e-12));
    }
    for (size_t k = 0; k < p->x[i].n; k++) sum += p->t[i].all[k][bits[k]];
    EXPECT(fabs(result.loss - sum) <= 1e-12 * sum);
    EXPECT(result.storage == instance_storage(&p->x[i], bits));
    storage += result.storage;
    sb_free(&bits);
  }
  return storage;
}

static void test_two_kinds(void **state) {
  (void)state;
  for (uint64_t i = 0; i < 4; i++) {
    pair p;
    pair_create(&p, i % 2 ? 40 : 400, i < 2 ? 120 : 15, 300 + 10 * i);
    const size_t n = p.x[0].n + p.x[1].n;
    const sb_knapsack items = {n, p.id, SB_CHOICES, &p, pair_choices};
    uint8_t *bits[2] = {NULL, NULL}, *chosen = NULL;
    instance_alloc(&chosen, n, 1);
    for (int k = 0; k < 2; k++) instance_alloc(&bits[k], p.x[k].n, 1);
    for (size_t b = 0; b < SHARES; b++) {
      const uint64_t budget =
          loss_table_budget(&p.t[0], shares[b]) + loss_table_budget(&p.t[1], shares[b]);
      const sb_choose_part parts[] = {{&p.x[0].mine, p.t[0].own, p.x[0].own_bits},
                                      {&p.x[1].mine, p.t[1].own, p.x[1].own_bits}};
      sb_choose_result result = {0};
      sb_optimum best = {0};
      double sum = 0;
      EXPECT_OK(sb_choose_parts(&world, parts, 2, budget, &result));
      for (int k = 0; k < 2; k++) instance_collect(&p.x[k], p.x[k].own_bits, bits[k]);
      if (result.price > 0) {
        EXPECT(storage_at(&p, result.price * (1 + 1e-9)) <= budget);
        EXPECT(storage_at(&p, result.price * (1 - 1e-9)) > budget);
      }
      if (world.rank != 0) continue;
      for (int k = 0; k < 2; k++)
        for (size_t j = 0; j < p.x[k].n; j++) sum += p.t[k].all[j][bits[k][j]];
      EXPECT(fabs(result.loss - sum) <= 1e-12 * sum);
      EXPECT(result.storage ==
                 instance_storage(&p.x[0], bits[0]) + instance_storage(&p.x[1], bits[1]) &&
             result.storage <= budget);
      EXPECT_OK(sb_optimum_dp(&items, budget, chosen, &best));
      EXPECT(result.loss >= best.loss * (1 - 1e-12) && result.loss <= best.loss * (1 + 1e-3) &&
             result.loss - result.gap <= best.loss * (1 + 1e-12));
    }
    for (int k = 0; k < 2; k++) sb_free(&bits[k]);
    sb_free(&chosen);
    pair_free(&p);
  }
  all_ranks_passed();
}

static void test_refusals(void **state) {
  const instance_kind kind = {60, 2, false, SB_GRID_ASYMMETRIC, 2, 4};
  instance x = instance_create(&kind, 9);
  loss_table t = loss_table_create(&x, 9);
  const uint64_t least = loss_table_budget(&t, 0);
  sb_choose_result result;
  char text[64];
  (void)state;
  EXPECT(sb_choose_blocks(&world, &x.mine, t.own, least - 1, x.own_bits, &result) == SB_ERR_RANGE);
  snprintf(text, sizeof text, "%llu", (unsigned long long)least);
  EXPECT(strstr(sb_message(), text) != NULL);
  snprintf(text, sizeof text, "%llu", (unsigned long long)loss_table_budget(&t, 1));
  EXPECT(strstr(sb_message(), text) != NULL);
  if (world.rank == 0) t.own[3][1] = NAN; /* a width that is not asked for */
  EXPECT_OK(sb_choose_blocks(&world, &x.mine, t.own, least, x.own_bits, &result));
  for (size_t i = 0; i < x.own; i++) EXPECT(x.own_bits[i] == 2);
  if (world.rank == 0) t.own[3][3] = INFINITY;
  EXPECT(sb_choose_blocks(&world, &x.mine, t.own, least, x.own_bits, &result) == SB_ERR_NUMERIC);
  EXPECT(strstr(sb_message(), "at 3 bits is inf") != NULL);
  x.mine.max_bits = 9;
  EXPECT(sb_choose_blocks(&world, &x.mine, t.own, least, x.own_bits, &result) == SB_ERR_INTERNAL);
  loss_table_free(&t);
  instance_free(&x);
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_near_the_optimum),
    cmocka_unit_test(test_ragged),
    cmocka_unit_test(test_two_kinds),
    cmocka_unit_test(test_refusals),
};

RANKS_MAIN(tests)
