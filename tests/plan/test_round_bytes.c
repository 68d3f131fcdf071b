/* The same as test_bytes.c for what rounding takes: byte by byte. */
#include "tests/support/golden.h"

#include "model/sizes.h"
#include "quant/gptq_tables.h"
#include "quant/moments.h"
#include "quant/round_stack.h"
#include "tests/support/compare_bytes.h"

static const golden_setup whole = {.name = "gqa-tied", GOLDEN_DEFAULTS};

static void round_stack(void **state) {
  (void)state;
  golden g;
  golden_open(&g, &whole);
  for (int i = 0; i < 3; i++) {
    const sb_round_setup setup = {.backend = g.backend,
                                  .rows = 40,
                                  .count = 3,
                                  .cols = 100,
                                  .block_cols = 32,
                                  .code_kind = i == 2 ? SB_TRELLIS_12 : SB_GRID_ASYMMETRIC,
                                  .refine = i == 1,
                                  .panels_dev = true};
    sb_round_stack *made = NULL;
    const size_t before = sb_test_live_bytes();
    EXPECT_OK(sb_round_stack_create(&setup, &made));
    compare("round stack", sb_round_stack_bytes(&setup), sb_test_live_bytes() - before, 0);
    sb_round_stack_free(&made);
  }
  golden_close(&g);
  all_ranks_passed();
}

/* Moments and their factors: of one sequence, or given ones, of one input. A kernel takes one input
 * after another with one thread. Spread over ranks, the first has most. */
static void check_moments(sb_factor_mode mode, bool keep, bool given) {
  enum { TOKENS = 48, WIDEST = 256 };
  static float x[TOKENS * WIDEST];
  static double h[WIDEST * WIDEST];
  for (size_t i = 0; i < TOKENS * WIDEST; i++) x[i] = (float)(mix(i) % 1000) / 500 - 1;
  for (size_t i = 0; i < WIDEST; i++) h[i * WIDEST + i] = 1 + (double)i;
  golden g;
  golden_open(&g, &whole);
  const sb_moments_setup setup = {.model = g.model,
                                  .width = given ? WIDEST : 0,
                                  .backend = g.backend,
                                  .seqlen = given ? 0 : TOKENS,
                                  .local = 1,
                                  .most_local = 1,
                                  .input_bytes = 1 << 20,
                                  .damping = 0.01,
                                  .keep = keep,
                                  .mode = mode};
  const sb_sizes sizes = sb_model_sizes(g.model);
  sb_moments *made = NULL;
  sb_moments_repair repair = {0};
  EXPECT(sizes.layer.widest <= WIDEST);
  const size_t before = sb_test_live_bytes();
  EXPECT_OK(sb_moments_create(&setup, &made));
  const size_t said = sb_moments_bytes(&setup, &sizes), taken = sb_test_live_bytes() - before;
  const bool part = mode == SB_FACTOR_DISTRIBUTED && world.rank > 0; /* at most that */
  compare("moments", said, taken, part ? said : 0);
  if (given) EXPECT_OK(sb_moments_give(made, NULL, h, "a table"));
  if (!given) {
    EXPECT_OK(sb_moments_begin(made, NULL, 0));
    for (size_t i = 0; i < sb_arch_inputs(&g.model->arch, 0); i++)
      EXPECT_OK(sb_moments_take(made, NULL, i, x));
    EXPECT_OK(sb_moments_end_sequence(made, NULL, 0, SB_OK));
  }
  sb_test_peak_begin();
  EXPECT_OK(sb_moments_factorise(made, NULL, &repair));
  const size_t factor = sb_moments_factor_bytes(&setup, &sizes, 1),
               scratch = (size_t)32 << 10; /* diagonals, panels of BLAS */
  compare("factors", factor + scratch, sb_test_peak_bytes() - before - taken,
          part ? factor + scratch : scratch);
  sb_moments_free(&made);
  EXPECT(sb_test_live_bytes() == before);
  golden_close(&g);
}

static void moments(void **state) {
  (void)state;
  for (int i = 0; i < 8; i++)
    check_moments(i & 1 ? SB_FACTOR_DISTRIBUTED : SB_FACTOR_REPLICATED, (i & 2) > 0, i >= 4);
  all_ranks_passed();
}

/* Both at once: the most that rounding of tables takes. Its block rows are balanced by bytes, so a
 * rank may have one more than its share. */
static void tables(void **state) {
  (void)state;
  for (int i = 0; i < 4; i++) {
    golden g;
    sb_table_stats *stats = NULL;
    sb_model *coded = NULL;
    uint8_t *bits = NULL;
    const bool refined = i & 1;
    golden_open(&g, &whole);
    sb_model *m = g.model;
    EXPECT_OK(sb_table_stats_measure(m, g.backend, &g.sequences, (size_t)1 << 30, true,
                                     SB_NO_TICKER, &stats));
    golden_mixed_bits(m, 3, 3, 7);
    golden_mixed_tables(m, 3, 3, 7);
    EXPECT_OK(sb_encode_create(m, &coded));
    EXPECT_OK(sb_model_lift_bits(m, &bits));
    sb_gptq_tables work = {.source = m,
                           .coded = coded,
                           .backend = g.backend,
                           .stats = stats,
                           .damping = 0.01,
                           .refine = refined,
                           .factor = i < 2 ? SB_FACTOR_REPLICATED : SB_FACTOR_DISTRIBUTED};
    const sb_sizes sizes = sb_model_sizes(m);
    EXPECT_OK(sb_gptq_tables_round(&work)); /* kernels keep scratch */
    const size_t before = sb_test_live_bytes();
    sb_test_peak_begin();
    EXPECT_OK(sb_gptq_tables_round(&work));
    const size_t said = sb_gptq_tables_bytes(&sizes, g.backend, m->config.vocab, work.factor,
                                             refined, 1),
                 row = m->blocking.rows * m->config.hidden * 12, scratch = (size_t)8 << 10;
    compare("tables", said + row + scratch, sb_test_peak_bytes() - before,
            world.rank > 0 ? said + row + scratch : row + 2 * scratch);
    EXPECT(sb_test_live_bytes() == before);
    sb_model_return_bits(m, &bits);
    sb_model_free(&coded);
    sb_table_stats_free(&stats);
    golden_close(&g);
  }
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(round_stack), cmocka_unit_test(moments),
                                          cmocka_unit_test(tables)};
RANKS_MAIN(tests)
