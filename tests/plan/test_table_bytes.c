/* The `_bytes()` of statistics and costs of embedding and LM head, against the most that is really
 * allocated: on tiny models, byte by byte. */
#include "tests/support/golden.h"

#include "model/sizes.h"
#include "quant/table_stats.h"
#include "sensitivity/table_costs.h"
#include "tests/support/compare_bytes.h"

enum { LEAST = 1, MOST = 8 };

static size_t largest_chunk(const sb_model *m) {
  size_t most = 0;
  for (size_t i = 0; i < m->table_count; i++)
    for (size_t g = 0; g < m->tables[i].count; g++)
      most = sb_max_size(most, m->places[m->group_place[m->tables[i].group + g]].rows);
  return most;
}

static void measure(golden *g, bool whole, sb_table_stats **out) {
  const sb_pass_hooks hooks = {.begin_layer = golden_begin_layer,
                               .end_sequence = golden_end_sequence,
                               .end_layer = golden_end_layer};
  double loss;
  sb_pass_forget(g->pass);
  EXPECT_OK(sb_table_stats_create(g->model, g->backend, g->sequences.seqlen, whole, out));
  sb_pass_tell_tables(g->pass, sb_table_stats_hooks(*out));
  EXPECT_OK(sb_pass_gradients(g->pass, &hooks, &loss));
  sb_pass_tell_tables(g->pass, NULL);
  EXPECT_OK(sb_table_stats_finish(*out, &g->sequences));
}

/* Ranks do not own the same share of blocks: of the costs, only what all have is held to the byte,
 * and one block row more than an even share is let pass. */
static void check(const char *name, bool whole) {
  golden g;
  sb_table_stats *stats = NULL;
  golden_open(&g, &(golden_setup){.name = name, .gradients = true, GOLDEN_DEFAULTS});
  sb_model *m = g.model;
  for (size_t i = 0; i < m->table_count; i++) m->tables[i].coded = true;
  sb_losses *losses = calloc(sb_model_owned_table_count(m) + 1, sizeof *losses);
  for (int warm = 1; warm >= 0; warm--) { /* the backend keeps the scratch of its kernels */
    const size_t before = sb_test_live_bytes();
    sb_test_peak_begin();
    measure(&g, whole, &stats);
    if (!warm)
      compare("statistics of tables", sb_table_stats_bytes(&m->arch, &m->blocking, whole),
              sb_test_peak_bytes() - before, 0);
    const size_t beside = sb_test_live_bytes();
    sb_test_peak_begin();
    EXPECT_OK(sb_table_costs(m, g.backend, stats, LEAST, MOST, losses));
    const sb_sizes sizes = sb_model_sizes(m);
    const size_t row = sb_tiling_block_cols(&m->tables[0].matrix.tiling) * sizeof(sb_losses);
    if (!warm)
      compare("costs of tables", sb_table_costs_bytes(&sizes, largest_chunk(m)),
              sb_test_peak_bytes() - beside, world.size > 1 ? row : 0);
    EXPECT(sb_test_live_bytes() == beside || warm);
    sb_table_stats_free(&stats);
    EXPECT(sb_test_live_bytes() <= before || warm);
  }
  free(losses);
  golden_close(&g);
}

static void statistics_and_costs(void **state) {
  (void)state;
  check("gqa-tied", true);
  check("gqa-tied", false);
  check("mha-untied", true);
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(statistics_and_costs)};
RANKS_MAIN(tests)
