/* One width per item, against trying every combination of legal widths, and against itself on one
 * rank. */
#include "loss_table.h"

#include "alloc/choose_items.h"

enum { MOST_MATRICES = 6, ALL_WIDTHS = 0x1fe };

typedef struct problem {
  instance x;
  loss_table t;
  size_t matrices;
  uint32_t *matrix, *own_matrix;
} problem;

static problem create(const instance_kind *kind, size_t matrices, uint64_t seed) {
  problem p = {.x = instance_create(kind, seed), .matrices = matrices};
  instance_alloc(&p.matrix, p.x.n, sizeof *p.matrix);
  instance_alloc(&p.own_matrix, p.x.n, sizeof *p.own_matrix);
  for (size_t k = 0; k < p.x.n; k++) p.matrix[k] = (uint32_t)(mix(k / 3 + seed) % matrices);
  for (size_t i = 0; i < p.x.own; i++) p.own_matrix[i] = p.matrix[p.x.place[i]];
  return p;
}

/* Once p does not move any more. */
static void add_table(problem *p, uint64_t seed) {
  p->t = loss_table_create(&p->x, seed);
}

static void release(problem *p) {
  loss_table_free(&p->t);
  sb_free(&p->matrix);
  sb_free(&p->own_matrix);
  instance_free(&p->x);
}

static void uniform_in_matrices(const problem *p, const uint8_t *width, uint8_t *bits) {
  for (size_t k = 0; k < p->x.n; k++) bits[k] = width[p->matrix[k]];
}

static double loss_of(const problem *p, const uint8_t *bits) {
  double sum = 0;
  for (size_t k = 0; k < p->x.n; k++) sum += p->t.all[k][bits[k]];
  return sum;
}

static unsigned legal = ALL_WIDTHS; /* widths that may be chosen */

static sb_status choose(const sb_world *w, const sb_blocks *blocks, const sb_losses *losses,
                        const uint32_t *matrix, size_t matrices, uint64_t budget, uint8_t *bits,
                        sb_choose_result *result) {
  const sb_item_part part = {blocks, losses, matrix, matrices, legal, bits};
  return sb_choose_items(w, &part, 1, budget, result);
}

/* The least loss of all combinations within the budget. */
static double by_trying(problem *p, uint64_t budget, uint8_t *width, size_t m, uint8_t *scratch) {
  double best = INFINITY;
  if (m == p->matrices) {
    uniform_in_matrices(p, width, scratch);
    return instance_storage(&p->x, scratch) <= budget ? loss_of(p, scratch) : INFINITY;
  }
  for (unsigned bits = p->x.all.min_bits; bits <= p->x.all.max_bits; bits++) {
    if (!(legal >> bits & 1u)) continue;
    width[m] = (uint8_t)bits;
    best = fmin(best, by_trying(p, budget, width, m + 1, scratch));
  }
  return best;
}

static uint64_t storage_at(problem *p, unsigned bits, uint8_t *scratch) {
  memset(scratch, (int)bits, p->x.n);
  return instance_storage(&p->x, scratch);
}

static void test_against_trying(void **state) {
  const instance_kind kinds[] = {{40, 3, false, SB_GRID_ASYMMETRIC, 2, 5},
                                 {60, 2, false, SB_GRID_SYMMETRIC, 1, 4},
                                 {30, 1, false, SB_GRID_ASYMMETRIC, 1, 4},
                                 {25, 3, false, SB_GRID_ASYMMETRIC, 1, 3}};
  const unsigned sets[] = {ALL_WIDTHS, 1u << 2 | 1u << 4, ALL_WIDTHS & ~(1u << 3)};
  const double shares[] = {0, 0.1, 0.35, 0.6, 0.85, 1};
  const sb_world *one = world_alone();
  (void)state;
  for (uint64_t i = 0; i < 12; i++) {
    problem p = create(&kinds[i % 4], 1 + i % MOST_MATRICES, 300 + i);
    legal = sets[i / 4];
    unsigned least_width = p.x.all.min_bits, most_width = p.x.all.max_bits;
    while (!(legal >> least_width & 1u)) least_width++;
    while (!(legal >> most_width & 1u)) most_width--;
    uint8_t *own = NULL, *bits = NULL, *scratch = NULL, width[MOST_MATRICES];
    add_table(&p, i);
    instance_alloc(&own, p.x.n, 1);
    instance_alloc(&bits, p.x.n, 1);
    instance_alloc(&scratch, p.x.n, 1);
    for (int b = 0; b < 6; b++) {
      const uint64_t least = storage_at(&p, least_width, scratch),
                     most = storage_at(&p, most_width, scratch);
      const uint64_t budget = least + (uint64_t)(shares[b] * (double)(most - least));
      sb_choose_result result = {0}, alone = {0}, blocks = {0};
      EXPECT_OK(choose(&world, &p.x.mine, p.t.own, p.own_matrix, p.matrices, budget, own, &result));
      instance_collect(&p.x, own, bits);
      EXPECT_OK(sb_choose_blocks(&world, &p.x.mine, p.t.own, budget, own, &blocks));
      if (world.rank != 0) continue;
      for (size_t k = 0; k < p.x.n; k++)
        for (size_t l = 0; l < k; l++) EXPECT(p.matrix[k] != p.matrix[l] || bits[k] == bits[l]);
      for (size_t k = 0; k < p.x.n; k++) EXPECT(legal >> bits[k] & 1u);
      const double best = by_trying(&p, budget, width, 0, scratch), loss = loss_of(&p, bits);
      EXPECT(instance_storage(&p.x, bits) == result.storage && result.storage <= budget);
      EXPECT(fabs(result.loss - loss) <=
             1e-12 * loss); /* sums of tens of doubles in another order */
      EXPECT(fabs(result.loss - best) <= 1e-12 * best); /* so few matrices are all in the core */
      EXPECT(blocks.loss <= result.loss * (1 + 1e-12)); /* free widths are no worse */
      EXPECT_OK(choose(one, &p.x.all, p.t.all, p.matrix, p.matrices, budget, scratch, &alone));
      EXPECT(memcmp(bits, scratch, p.x.n) == 0);
      EXPECT(result.loss == alone.loss && result.storage == alone.storage &&
             result.gap == alone.gap);
    }
    sb_free(&own);
    sb_free(&bits);
    sb_free(&scratch);
    release(&p);
  }
  legal = ALL_WIDTHS;
  all_ranks_passed();
}

static uint64_t least_of_sides(double loss, double price, uint64_t cost) {
  return (uint64_t)(1e6 * (loss + price * (double)cost));
}

/* Each item has the width with the least of loss and price * cost. */
static void check_price(problem *p, const sb_item_part *part, double price, unsigned set,
                        uint8_t *bits) {
  sb_choose_result one = {0};
  EXPECT_OK(sb_choose_items_at_price(&world, part, price, &one));
  instance_collect(&p->x, part->bits, bits);
  for (size_t m = 0; world.rank == 0 && m < p->matrices; m++) {
    uint64_t best = UINT64_MAX, here = UINT64_MAX;
    for (unsigned w = 2; w <= 8; w++) {
      double loss = 0;
      uint64_t cost = 0;
      for (size_t k = 0; k < p->x.n; k++)
        if (p->matrix[k] == m) {
          loss += p->t.all[k][w];
          cost += sb_blocks_cost(&p->x.all, k, w);
          if (bits[k] == w) here = 0;
        }
      const uint64_t sum = least_of_sides(loss, price, cost);
      if (!(set >> w & 1u)) continue; /* here stays 0 where it is chosen */
      if (here == 0) here = sum;
      if (sum < best) best = sum;
    }
    EXPECT(here > 0 && here <= best + 1);
  }
}

/* Two parts under one budget, each with widths of its own; and one at a price. */
static void test_parts_and_price(void **state) {
  const instance_kind kind = {60, 2, false, SB_GRID_ASYMMETRIC, 2, 8};
  problem p[2] = {create(&kind, 3, 41), create(&kind, 2, 42)};
  const unsigned sets[2] = {1u << 2 | 1u << 4 | 1u << 8, 1u << 3 | 1u << 6};
  uint8_t *own[2] = {NULL, NULL}, *bits[2] = {NULL, NULL};
  sb_item_part parts[2];
  (void)state;
  for (int k = 0; k < 2; k++) {
    add_table(&p[k], 40 + (uint64_t)k);
    instance_alloc(&own[k], p[k].x.n, 1);
    instance_alloc(&bits[k], p[k].x.n, 1);
    parts[k] =
        (sb_item_part){&p[k].x.mine, p[k].t.own, p[k].own_matrix, p[k].matrices, sets[k], own[k]};
  }
  const uint64_t budget = storage_at(&p[0], 4, bits[0]) + storage_at(&p[1], 3, bits[1]);
  sb_choose_result both = {0};
  EXPECT_OK(sb_choose_items(&world, parts, 2, budget, &both));
  for (int k = 0; k < 2; k++) instance_collect(&p[k].x, own[k], bits[k]);
  if (world.rank == 0) {
    uint8_t *scratch = NULL, width[MOST_MATRICES];
    instance_alloc(&scratch, p[0].x.n, 1);
    const double loss = loss_of(&p[0], bits[0]) + loss_of(&p[1], bits[1]);
    double best = INFINITY; /* part 1 by all its combinations, part 0 by the rest of the budget */
    for (int c = 0; c < 4; c++) {
      const uint8_t of_one[2] = {c & 1 ? 6 : 3, c & 2 ? 6 : 3};
      uniform_in_matrices(&p[1], of_one, scratch);
      const uint64_t used = instance_storage(&p[1].x, scratch);
      const double loss_of_one = loss_of(&p[1], scratch);
      legal = sets[0];
      if (used <= budget)
        best = fmin(best, loss_of_one + by_trying(&p[0], budget - used, width, 0, scratch));
    }
    legal = ALL_WIDTHS;
    EXPECT(fabs(loss - best) <= 1e-12 * best);
    EXPECT(fabs(both.loss - best) <= 1e-12 * best);
    sb_free(&scratch);
  }
  check_price(&p[0], &parts[0], both.loss / (double)budget, sets[0], bits[0]);
  for (int k = 0; k < 2; k++) {
    sb_free(&own[k]);
    sb_free(&bits[k]);
    release(&p[k]);
  }
  all_ranks_passed();
}

/* A model's worth of matrices: the same on any ranks, however large or small the losses are. */
static void test_many_matrices(void **state) {
  const instance_kind kind = {5000, 2, false, SB_GRID_ASYMMETRIC, 1, 8};
  const sb_world *one = world_alone();
  problem p = create(&kind, 210, 5);
  uint8_t *own = NULL, *bits = NULL, *alone = NULL;
  (void)state;
  add_table(&p, 5);
  instance_alloc(&own, p.x.n, 1);
  instance_alloc(&bits, p.x.n, 1);
  instance_alloc(&alone, p.x.n, 1);
  for (int power = -60; power <= 60; power += 60) {
    const uint64_t budget = storage_at(&p, 3, bits) + 12345;
    sb_choose_result result = {0}, by_one = {0};
    for (size_t k = 0; k < p.x.n; k++)
      for (int w = 1; w < SB_WIDTHS; w++)
        p.t.all[k][w] = ldexp(p.t.all[k][w], power == -60 ? -60 : 60);
    for (size_t i = 0; i < p.x.own; i++) memcpy(p.t.own[i], p.t.all[p.x.place[i]], sizeof *p.t.own);
    EXPECT_OK(choose(&world, &p.x.mine, p.t.own, p.own_matrix, p.matrices, budget, own, &result));
    instance_collect(&p.x, own, bits);
    if (world.rank != 0) continue;
    EXPECT_OK(choose(one, &p.x.all, p.t.all, p.matrix, p.matrices, budget, alone, &by_one));
    EXPECT(memcmp(bits, alone, p.x.n) == 0 && result.loss == by_one.loss);
    EXPECT(result.storage <= budget && result.storage > budget - budget / 1000);
    EXPECT(fabs(result.loss - loss_of(&p, bits)) <= 1e-12 * result.loss);
    EXPECT(result.gap <= 1e-3 * result.loss);
    EXPECT(memchr(bits, 2, p.x.n) && memchr(bits, 4, p.x.n)); /* not simply uniform */
  }
  sb_free(&own);
  sb_free(&bits);
  sb_free(&alone);
  release(&p);
  all_ranks_passed();
}

static void test_refusals(void **state) {
  const instance_kind kind = {40, 2, false, SB_GRID_ASYMMETRIC, 2, 4};
  problem p = create(&kind, 4, 6);
  sb_choose_result result;
  char text[64];
  (void)state;
  add_table(&p, 6);
  const uint64_t least = storage_at(&p, 2, p.x.bits);
  EXPECT(choose(&world, &p.x.mine, p.t.own, p.own_matrix, 4, least - 1, p.x.own_bits, &result) ==
         SB_ERR_RANGE);
  snprintf(text, sizeof text, "%llu", (unsigned long long)least);
  EXPECT(strstr(sb_message(), text) != NULL);
  EXPECT(choose(&world, &p.x.mine, p.t.own, p.own_matrix, 3, least, p.x.own_bits, &result) ==
         SB_ERR_INTERNAL);
  EXPECT(strstr(sb_message(), "of matrix 3 of 3") != NULL);
  if (world.rank == 0) p.t.own[1][2] = NAN;
  EXPECT(choose(&world, &p.x.mine, p.t.own, p.own_matrix, 4, least, p.x.own_bits, &result) ==
         SB_ERR_NUMERIC);
  release(&p);
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_against_trying),
    cmocka_unit_test(test_parts_and_price),
    cmocka_unit_test(test_many_matrices),
    cmocka_unit_test(test_refusals),
};

RANKS_MAIN(tests)
