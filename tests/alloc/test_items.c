/* Items of a model against naive loops over all of its blocks, which every rank can write down: a
 * block's widths and gains are functions of its number. */
#include "alloc/items.h"

#include <math.h>
#include <string.h>

#include "kernels/blockrow.h"
#include "model/ties.h"
#include "tests/support/golden.h"

enum { LEAST = 2, MOST = 8 };
static const sb_width_set sets[] = {1u << 2 | 1u << 3 | 1u << 4 | 1u << 8, /* gaps */
                                    1u << 1 | 1u << 4 | 1u << 7, /* 1 is below the bounds */
                                    1u << 5, 0x1fe};
static const sb_width_scope scopes[] = {SB_WIDTH_OF_MATRIX, SB_WIDTH_OF_TIE, SB_WIDTH_OF_MODEL};
enum { SETS = sizeof sets / sizeof *sets, SCOPES = sizeof scopes / sizeof *scopes };

typedef struct problem {
  golden g;
  sb_owned owned;
  sb_items items;
  uint32_t *of_block; /* [blocks of the model] its item, by the matrix it lies in */
  uint8_t *steps, *bits;
  double *raise, *cut, *item_raise, *item_cut;
} problem;

/* In place: items point at what they are of. */
static void create(problem *p, sb_width_scope scope, sb_width_set widths) {
  *p = (problem){0};
  const golden_setup setup = {.name = "gqa-tied", GOLDEN_DEFAULTS};
  golden_open(&p->g, &setup);
  const sb_model *m = p->g.model;
  uint32_t *of_matrix = NULL;
  EXPECT_OK(sb_owned_create(m, LEAST, MOST, &p->owned));
  EXPECT_OK(sb_items_create(m, &p->owned, scope, widths, &p->items));
  EXPECT_OK(sb_alloc(&of_matrix, m->arch.matrix_count, sizeof *of_matrix, "test"));
  EXPECT(sb_items_of(&m->arch, scope, of_matrix) == p->items.count);
  EXPECT_OK(sb_alloc(&p->of_block, m->blocks, sizeof *p->of_block, "test"));
  for (size_t i = 0; i < m->arch.matrix_count; i++) {
    const sb_tiling *t = &m->matrices[i].tiling;
    for (size_t k = 0; k < sb_tiling_block_rows(t) * sb_tiling_block_cols(t); k++)
      p->of_block[m->matrices[i].first_block + k] = of_matrix[i];
  }
  sb_free(&of_matrix);
  EXPECT_OK(sb_alloc(&p->steps, p->items.count, 1, "test"));
  EXPECT_OK(sb_alloc(&p->bits, p->owned.blocks.count, 1, "test"));
  EXPECT_OK(sb_alloc(&p->raise, p->owned.blocks.count, sizeof *p->raise, "test"));
  EXPECT_OK(sb_alloc(&p->cut, p->owned.blocks.count, sizeof *p->cut, "test"));
  EXPECT_OK(sb_alloc(&p->item_raise, p->items.count, sizeof *p->item_raise, "test"));
  EXPECT_OK(sb_alloc(&p->item_cut, p->items.count, sizeof *p->item_cut, "test"));
}

static void release(problem *p) {
  sb_items_free(&p->items);
  sb_owned_free(&p->owned);
  golden_close(&p->g);
  sb_free(&p->of_block);
  sb_free(&p->steps);
  sb_free(&p->bits);
  sb_free(&p->raise);
  sb_free(&p->cut);
  sb_free(&p->item_raise);
  sb_free(&p->item_cut);
}

/* The widths of the set within the bounds, by hand; returns their number. */
static unsigned widths_of(sb_width_set set, uint8_t *width) {
  unsigned n = 0;
  for (unsigned b = LEAST; b <= MOST; b++)
    if (set & 1u << b) width[++n] = (uint8_t)b;
  return n;
}

static unsigned step_for(const uint8_t *width, unsigned n, unsigned bits) {
  for (unsigned s = 1; s < n; s++)
    if (width[s] >= bits) return s;
  return n;
}

static uint64_t naive_cost(const problem *p, size_t item, unsigned bits) {
  const sb_model *m = p->g.model;
  uint64_t sum = 0;
  for (size_t i = 0; i < m->arch.matrix_count; i++) {
    const sb_tiling *t = &m->matrices[i].tiling;
    const size_t across = sb_tiling_block_cols(t);
    if (p->of_block[m->matrices[i].first_block] != item) continue;
    for (size_t k = 0; k < sb_tiling_block_rows(t) * across; k++)
      sum += 8u * (uint64_t)sb_block_bytes(sb_tiling_rows_of(t, k / across),
                                           sb_tiling_cols_of(t, k % across), bits,
                                           m->blocking.code_kind);
  }
  return sum;
}

static void test_items(void **state) {
  (void)state;
  for (size_t c = 0; c < SETS * SCOPES; c++) {
    uint8_t width[SB_WIDTHS] = {0};
    problem p;
    create(&p, scopes[c % SCOPES], sets[c / SCOPES]);
    const unsigned n = widths_of(sets[c / SCOPES], width);
    EXPECT(p.items.steps == n && memcmp(p.items.width, width, sizeof width) == 0);
    EXPECT(p.items.blocks.count == (world.rank == 0 ? p.items.count : 0));
    EXPECT(p.items.blocks.min_bits == 1 && p.items.blocks.max_bits == n);
    for (size_t i = 0; i < p.owned.blocks.count; i++)
      EXPECT(p.items.item[i] == p.of_block[p.owned.id[i]]);
    for (size_t i = 0; i < p.items.count; i++)
      for (unsigned s = 1; s <= n; s++) EXPECT(p.items.costs[i][s] == naive_cost(&p, i, width[s]));
    for (unsigned b = 1; b <= 8; b++) EXPECT(sb_items_step(&p.items, b) == step_for(width, n, b));
    release(&p);
  }
  all_ranks_passed();
}

/* Steps become widths and these the same steps; of widths that differ the widest counts. */
static void test_spread_and_gather(void **state) {
  (void)state;
  for (size_t c = 0; c < SETS * SCOPES; c++) {
    uint8_t width[SB_WIDTHS] = {0};
    problem p;
    create(&p, scopes[c % SCOPES], sets[c / SCOPES]);
    const unsigned n = widths_of(sets[c / SCOPES], width);
    for (size_t i = 0; world.rank == 0 && i < p.items.count; i++)
      p.steps[i] = (uint8_t)(1 + mix(c * 100 + i) % n);
    EXPECT_OK(sb_items_spread(&p.items, p.steps, p.bits));
    for (size_t i = 0; i < p.owned.blocks.count; i++)
      EXPECT(p.bits[i] == width[1 + mix(c * 100 + p.of_block[p.owned.id[i]]) % n]);
    memset(p.steps, 0, p.items.count);
    EXPECT_OK(sb_items_gather(&p.items, p.bits, p.steps));
    for (size_t i = 0; world.rank == 0 && i < p.items.count; i++)
      EXPECT(p.steps[i] == 1 + mix(c * 100 + i) % n);

    /* by item from 2 to at most 2 .. 8, so that the widest is not always 8 */
    for (size_t i = 0; i < p.owned.blocks.count; i++) {
      const uint64_t id = p.owned.id[i], range = 1 + mix(p.of_block[id] + 7) % 7;
      p.bits[i] = (uint8_t)(2 + mix(c * 1000 + id) % range);
    }
    EXPECT_OK(sb_items_gather(&p.items, p.bits, p.steps));
    for (size_t i = 0; world.rank == 0 && i < p.items.count; i++) {
      unsigned widest = 0;
      for (size_t id = 0; id < p.g.model->blocks; id++) {
        const unsigned bits = (unsigned)(2 + mix(c * 1000 + id) % (1 + mix(i + 7) % 7));
        if (p.of_block[id] == i && bits > widest) widest = bits;
      }
      EXPECT(p.steps[i] == step_for(width, n, widest));
    }
    release(&p);
  }
  all_ranks_passed();
}

/* A gain of block `id`. Exact: a multiple of 2^-20 below 2^10, so that sums in double are exact in
 * any order. Else over 20 powers of two, of either sign. */
static double gain_of(uint64_t id, uint64_t seed, bool exact) {
  const double value = (double)(mix(seed + 2 * id) % (1u << 30)) * 0x1p-20 - 300;
  return exact ? value : value * ldexp(1 / 3.0, (int)(mix(seed + 2 * id + 1) % 20));
}

/* What moves of one bit after another add up to, where errors fall by 4 with each bit. */
static double up_by(int bits) {
  double sum = 0;
  for (int i = 0; i < bits; i++) sum += ldexp(1, -2 * i);
  return sum;
}
static double down_by(int bits) {
  double sum = 0;
  for (int i = 0; i < bits; i++) sum += ldexp(1, 2 * i);
  return sum;
}

static void check_gains(problem *p, const uint8_t *width, unsigned n, uint64_t seed, bool exact) {
  for (size_t i = 0; i < p->owned.blocks.count; i++) {
    p->raise[i] = gain_of(p->owned.id[i], seed, exact);
    p->cut[i] = gain_of(p->owned.id[i], seed + 1000003, exact);
  }
  for (size_t i = 0; world.rank == 0 && i < p->items.count; i++)
    p->steps[i] = (uint8_t)(1 + mix(seed + i) % n);
  EXPECT_OK(sb_items_gains(&p->items, p->raise, p->cut, p->steps, p->item_raise, p->item_cut));
  for (size_t i = 0; world.rank == 0 && i < p->items.count; i++) {
    const unsigned s = p->steps[i];
    double raise = 0, cut = 0, sizes = 0;
    for (size_t id = 0; id < p->g.model->blocks; id++) {
      if (p->of_block[id] != i) continue;
      raise += gain_of(id, seed, exact);
      cut += gain_of(id, seed + 1000003, exact);
      sizes += fabs(gain_of(id, seed, exact)) + fabs(gain_of(id, seed + 1000003, exact));
    }
    /* sums of at most some thousand doubles: each addition is off by 2^-53 of the sum of sizes */
    const double off = exact ? 0 : 1e-12 * sizes;
    const double up = s < n ? up_by(width[s + 1] - width[s]) : 0,
                 down = s > 1 ? down_by(width[s] - width[s - 1]) : 0;
    EXPECT(fabs(p->item_raise[i] - raise * up) <= off * up);
    EXPECT(fabs(p->item_cut[i] - cut * down) <= off * down);
  }
}

static void test_gains(void **state) {
  (void)state;
  for (size_t c = 0; c < SETS * SCOPES; c++) {
    uint8_t width[SB_WIDTHS] = {0};
    problem p;
    create(&p, scopes[c % SCOPES], sets[c / SCOPES]);
    const unsigned n = widths_of(sets[c / SCOPES], width);
    check_gains(&p, width, n, 17 * c, true);
    check_gains(&p, width, n, 17 * c + 5, false);
    release(&p);
  }
  all_ranks_passed();
}

static void test_refusals(void **state) {
  (void)state;
  problem p;
  create(&p, SB_WIDTH_OF_TIE, 0x1fe);
  sb_items none = {0};
  EXPECT(sb_items_create(p.g.model, &p.owned, SB_WIDTH_OF_TIE, 1u << 1, &none) == SB_ERR_INTERNAL);
  EXPECT(strstr(sb_message(), "no widths to choose from") != NULL);
  sb_items_free(&none);
  memset(p.steps, 1, p.items.count);
  for (size_t i = 0; i < p.owned.blocks.count; i++)
    if (p.owned.id[i] == 3) p.cut[i] = INFINITY;
  EXPECT(sb_items_gains(&p.items, p.raise, p.cut, p.steps, p.item_raise, p.item_cut) ==
         SB_ERR_NUMERIC);
  EXPECT(strstr(sb_message(), "gain of block 3 is not finite") != NULL);
  release(&p);
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_items),
    cmocka_unit_test(test_spread_and_gather),
    cmocka_unit_test(test_gains),
    cmocka_unit_test(test_refusals),
};

RANKS_MAIN(tests)
