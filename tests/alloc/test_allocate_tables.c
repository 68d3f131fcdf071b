/* Widths of embedding and head beside the layers': within the size and near the optimum of dynamic
 * programming, at the price of the layers' storage, the same on any number of ranks; given widths
 * stay. */
#include "alloc/allocate_tables.h"

#include <math.h>

#include "alloc/budget.h"
#include "alloc/choose_blocks.h"
#include "alloc/owned.h"
#include "sensitivity/loss_table.h"
#include "sensitivity/table_costs.h"
#include "tests/support/golden.h"
#include "tests/support/optimum.h"

static void open_model(golden *g, const char *name, sb_code_kind kind, const sb_world *of) {
  golden_open(g, &(golden_setup){.name = name,
                                 .world = of,
                                 .gradients = true,
                                 .threads = 1,
                                 .blocking = {32, 16, kind},
                                 .activation_bytes = (size_t)1 << 30});
}

static sb_allocate_tables_options options_of(const golden *g, uint64_t size, double bits) {
  (void)g;
  return (sb_allocate_tables_options){.size = {size, "MB"},
                                      .bits = bits,
                                      .min_bits = 1,
                                      .max_bits = 8,
                                      .scope = SB_WIDTH_OF_BLOCK,
                                      .activation_bytes = (size_t)1 << 30};
}

/* The size that is a share of the way from the smallest file to the largest. */
static uint64_t size_at(const golden *g, double share) {
  const sb_file_shape s = sb_file_shape_of(g->model, SB_REORDER_NONE);
  const sb_size_budget b = {
      .size = {1, "MB"}, .min_bits = 1, .max_bits = 8, .scope = SB_WIDTH_OF_BLOCK};
  uint64_t least, most;
  sb_size_range(&s, &b, &least, &most);
  return least + (uint64_t)(share * (double)(most - least));
}

static sb_allocate_tables_result allocate(golden *g, const sb_allocate_tables_options *o) {
  sb_allocate_tables_result r = {0};
  memset(g->model->bits, 0, g->model->all_blocks);
  EXPECT_OK(sb_allocate_tables(g->model, g->backend, &g->sequences, o, &r));
  return r;
}

/* ---- an account of its own, on one rank ---- */

typedef struct costs {
  sb_owned of[2]; /* layers, tables */
  sb_losses *loss[2];
  uint64_t *id;
  size_t count;
} costs;

static void measure(golden *g, costs *c) {
  sb_model *m = g->model;
  sb_table_stats *stats = NULL;
  sb_loss_table *table = NULL;
  double loss;
  for (size_t i = 0; i < m->table_count; i++) sb_size_set_table(m, i, 4);
  EXPECT_OK(sb_owned_create(m, 1, 8, &c->of[0]));
  EXPECT_OK(sb_owned_create_tables(m, 1, 8, &c->of[1]));
  c->count = c->of[0].blocks.count + c->of[1].blocks.count;
  EXPECT(c->count == m->all_blocks);
  EXPECT_OK(sb_alloc(&c->id, c->count, sizeof *c->id, "test"));
  for (size_t i = 0; i < c->count; i++) {
    const size_t layers = c->of[0].blocks.count;
    c->id[i] = i < layers ? c->of[0].id[i] : c->of[1].id[i - layers];
    EXPECT(c->id[i] == i);
  }
  for (int p = 0; p < 2; p++)
    EXPECT_OK(sb_alloc(&c->loss[p], c->of[p].blocks.count, sizeof *c->loss[p], "test"));
  EXPECT_OK(sb_loss_table_create(m, g->backend, SB_ESTIMATOR_DIAGONAL, 1, 8, &table));
  EXPECT_OK(sb_loss_table_measure(table, g->pass, true, &loss));
  memcpy(c->loss[0], sb_loss_table_losses(table), c->of[0].blocks.count * sizeof *c->loss[0]);
  memset(m->bits, 0, m->all_blocks);
  EXPECT_OK(sb_table_stats_measure(m, g->backend, &g->sequences, (size_t)1 << 30, false,
                                   (sb_ticker){0}, &stats));
  EXPECT_OK(sb_table_costs(m, g->backend, stats, 1, 8, c->loss[1]));
  sb_loss_table_free(&table);
  sb_table_stats_free(&stats);
}

static void costs_free(costs *c) {
  for (int p = 0; p < 2; p++) {
    sb_owned_free(&c->of[p]);
    sb_free(&c->loss[p]);
  }
  sb_free(&c->id);
}

static unsigned choices(void *context, size_t i, sb_choice *out) {
  costs *c = context;
  const int p = i >= c->of[0].blocks.count;
  const size_t k = p ? i - c->of[0].blocks.count : i;
  const unsigned least = sb_blocks_least(&c->of[p].blocks, k);
  for (unsigned bits = least; bits <= 8; bits++)
    out[bits - least] = (sb_choice){sb_blocks_cost(&c->of[p].blocks, k, bits), c->loss[p][k][bits]};
  return 9 - least;
}

/* ---- by size ---- */

static void check_size(golden *g, costs *c, double share) {
  sb_model *m = g->model;
  sb_allocate_tables_options o = options_of(g, size_at(g, share), 0);
  sb_allocate_tables_result r = allocate(g, &o);
  const sb_knapsack items = {c->count, c->id, SB_CHOICES, c, choices};
  sb_optimum best;
  uint8_t *chosen = NULL;
  EXPECT(r.measured && r.chosen && r.bytes <= o.size.bytes);
  EXPECT(r.bytes + 8 > o.size.bytes || share >= 1); /* layers get all that tables leave */
  for (size_t i = 0; i < m->table_count; i++)
    EXPECT(m->tables[i].coded && r.table_bytes[i] == sb_table_bytes(m, &m->tables[i]));
  /* within the proven gap of the optimum of both */
  EXPECT_OK(sb_alloc(&chosen, c->count, 1, "test"));
  const sb_size_budget b = {.size = o.size, .min_bits = 1, .max_bits = 8};
  EXPECT_OK(sb_optimum_dp(&items, sb_size_room(m, &b), chosen, &best));
  EXPECT(r.predicted >= best.loss * (1 - 1e-9) &&
         r.predicted <= best.loss + r.gap * (1 + 1e-9) + best.loss * 1e-9);
  EXPECT(r.predicted <= best.loss * (1 + 1e-3));
  sb_free(&chosen);
  /* the budget of the layers, spent by widths of their own, makes a file within the size */
  const sb_budget of_layers = {r.bits, 1, 8, SB_WIDTH_OF_BLOCK};
  EXPECT_OK(sb_budget_check(&m->arch, &m->blocking, m->orders.mode, &of_layers));
  sb_choose_result layers;
  uint8_t *bits = NULL;
  EXPECT_OK(sb_alloc(&bits, c->of[0].blocks.count, 1, "test"));
  EXPECT_OK(sb_choose_blocks(m->world, &c->of[0].blocks, c->loss[0],
                             sb_budget_storage(m, &of_layers), bits, &layers));
  EXPECT_OK(sb_model_set_bits(m, bits));
  const uint64_t bytes = sb_file_bytes(m);
  EXPECT(bytes <= o.size.bytes && (double)bytes > 0.995 * (double)o.size.bytes);
  sb_free(&bits);
}

static void by_size(void **state) {
  static const char *const names[] = {"gqa-tied", "mha-untied"};
  static const sb_code_kind kinds[] = {SB_GRID_ASYMMETRIC, SB_GRID_SYMMETRIC};
  static const double shares[] = {0.02, 0.2, 0.4, 0.7, 1};
  (void)state;
  for (int i = 0; i < 2; i++)
    for (int kind = 0; kind < 2; kind++) {
      golden g;
      costs c = {0};
      open_model(&g, names[i], kinds[kind], world_alone());
      measure(&g, &c);
      for (int s = 0; s < 5; s++) check_size(&g, &c, shares[s]);
      costs_free(&c);
      golden_close(&g);
    }
  all_ranks_passed();
}

/* ---- by bits ---- */

static void by_price(void **state) {
  static const double budgets[] = {2.8, 3.5, 5};
  (void)state;
  golden g;
  costs c = {0};
  open_model(&g, "mha-untied", SB_GRID_ASYMMETRIC, world_alone());
  measure(&g, &c);
  sb_model *m = g.model;
  double before = INFINITY;
  for (int i = 0; i < 3; i++) {
    const double bits = sb_model_uniform_bits(m, 2) + budgets[i] - 2.5;
    const sb_allocate_tables_options o = options_of(&g, 0, bits);
    const sb_allocate_tables_result r = allocate(&g, &o);
    EXPECT(r.bits == bits && r.price > 0 && r.price < before);
    before = r.price;
    for (size_t k = 0; k < c.of[1].blocks.count; k++) {
      const unsigned width = m->bits[c.of[1].id[k]];
      const double here =
          c.loss[1][k][width] + r.price / 8 * (double)sb_blocks_cost(&c.of[1].blocks, k, width);
      for (unsigned b = sb_blocks_least(&c.of[1].blocks, k); b <= 8; b++)
        EXPECT(c.loss[1][k][b] + r.price / 8 * (double)sb_blocks_cost(&c.of[1].blocks, k, b) >=
               here * (1 - 1e-9));
    }
  }
  costs_free(&c);
  golden_close(&g);
  all_ranks_passed();
}

/* ---- given widths, ranks ---- */

static bool all_have(const sb_model *m, size_t table, unsigned bits) {
  const sb_matrix *matrix = &m->tables[table].matrix;
  const size_t count =
      sb_tiling_block_rows(&matrix->tiling) * sb_tiling_block_cols(&matrix->tiling);
  for (size_t k = 0; k < count; k++)
    if (m->bits[matrix->first_block + k] != bits) return false;
  return true;
}

static void given_widths(void **state) {
  (void)state;
  golden g;
  open_model(&g, "mha-untied", SB_GRID_ASYMMETRIC, NULL);
  sb_model *m = g.model;
  sb_allocate_tables_options o = options_of(&g, size_at(&g, 0.4), 0);
  o.table_bits[0] = 5;
  sb_allocate_tables_result r = allocate(&g, &o);
  EXPECT(r.chosen && all_have(m, 0, 5) && r.table_mean_bits[0] == 5);
  EXPECT(m->tables[1].coded && !all_have(m, 1, 0) && r.table_mean_bits[1] <= 8);
  EXPECT(r.bytes <= o.size.bytes && r.bytes + 8 > o.size.bytes && r.stats);
  sb_table_stats_free(&r.stats);
  o.table_bits[1] = SB_SOURCE_BITS; /* no pass at all */
  o.size.bytes += 260 * 48 * 2;
  r = allocate(&g, &o);
  EXPECT(!r.measured && !r.stats && all_have(m, 0, 5) && !m->tables[1].coded);
  EXPECT(r.bytes <= o.size.bytes && r.bytes + 8 > o.size.bytes);
  o.statistics = o.fitted = true;
  r = allocate(&g, &o);
  EXPECT(r.measured && !r.chosen && r.stats && m->table_importance);
  sb_table_stats_free(&r.stats);
  o.size.bytes = 100;
  EXPECT(sb_allocate_tables(m, g.backend, &g.sequences, &o, &r) == SB_ERR_RANGE);
  EXPECT(strstr(sb_message(), "--size") != NULL && !r.stats);
  o.size.bytes = 0;
  o.bits = 100;
  EXPECT(sb_allocate_tables(m, g.backend, &g.sequences, &o, &r) == SB_ERR_RANGE);
  EXPECT(strstr(sb_message(), "--bits") != NULL);
  golden_close(&g);
  all_ranks_passed();
}

static void same_on_any_ranks(void **state) {
  static const sb_code_kind kinds[] = {SB_GRID_ASYMMETRIC, SB_TRELLIS_12};
  (void)state;
  for (int i = 0; i < 4; i++) {
    golden g, alone;
    open_model(&g, "gqa-tied", kinds[i % 2], NULL);
    open_model(&alone, "gqa-tied", kinds[i % 2], world_alone());
    sb_allocate_tables_options o =
        options_of(&g, i < 2 ? size_at(&g, 0.35) : 0, sb_model_uniform_bits(g.model, 3));
    o.fitted = i < 2;
    sb_allocate_tables_result r = allocate(&g, &o), r1 = allocate(&alone, &o);
    EXPECT(r.bits == r1.bits && r.price == r1.price && r.predicted == r1.predicted &&
           r.gap == r1.gap && r.loss == r1.loss && r.bytes == r1.bytes);
    EXPECT(memcmp(g.model->bits, alone.model->bits, g.model->all_blocks) == 0);
    sb_table_stats_free(&r.stats);
    sb_table_stats_free(&r1.stats);
    golden_close(&g);
    golden_close(&alone);
  }
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(by_size), cmocka_unit_test(by_price),
                                          cmocka_unit_test(given_widths),
                                          cmocka_unit_test(same_on_any_ranks)};
RANKS_MAIN(tests)
