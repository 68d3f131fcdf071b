/* Tables of losses have the same bits on all ranks together as on one alone, with any threads and waves. */
#include "tests/model/golden.h"

#include <math.h>

#include "sensitivity/table.h"

enum { LEAST = 2, MOST = 6, T = 19, SEQUENCES = 5 };

/* Losses of all blocks of the model that this world's rank owns, at their place in the model; 0 elsewhere. */
static sb_losses *measure(const char *name, sb_estimator estimator, bool full_precision, const sb_world *of,
                          int threads, size_t activation_bytes, size_t *blocks, double *loss) {
  golden g;
  sb_sequences sequences = {0};
  sb_pass *pass = NULL;
  sb_table *table = NULL;
  char path[2048];
  golden_open(&g, &(golden_setup){.name = name,
                                  .world = of,
                                  .threads = threads,
                                  .blocking = {16, 32, SB_ASYMMETRIC},
                                  .activation_bytes = activation_bytes});
  golden_path(&g, "tokens.bin", path);
  EXPECT_OK(sb_sequences_read(of, path, SB_TOKENS_U16, g.model->config.vocab, T, 0, 0, &sequences));
  EXPECT(sequences.count == SEQUENCES);
  golden_mixed_bits(g.model, LEAST, MOST, 21);
  const sb_pass_setup setup = {.model = g.model,
                               .backend = g.backend,
                               .tokens = sequences.tokens,
                               .sequences = SEQUENCES,
                               .seqlen = T,
                               .gradients = true,
                               .activation_bytes = activation_bytes};
  EXPECT_OK(sb_pass_create(&setup, &pass));
  EXPECT_OK(sb_table_create(g.model, g.backend, estimator, LEAST, MOST, &table));
  EXPECT_OK(sb_table_measure(table, pass, full_precision, loss));
  *blocks = g.model->blocks;
  sb_losses *out = calloc(*blocks, sizeof *out), *again = calloc(*blocks, sizeof *out);
  const sb_losses *owned = sb_table_losses(table);
  memcpy(again, owned, sb_model_owned_count(g.model) * sizeof *again);
  for (size_t layer = 0; layer < g.model->config.layers; layer++) {
    size_t first, end;
    sb_model_owned_blocks(g.model, layer, of->rank, &first, &end);
    memcpy(out + first, owned, (end - first) * sizeof *out);
    owned += end - first;
  }
  EXPECT_OK(sb_table_measure(table, pass, full_precision, loss)); /* nothing is left of the first time */
  EXPECT(memcmp(again, sb_table_losses(table), sb_model_owned_count(g.model) * sizeof *again) == 0);
  free(again);
  sb_table_free(&table);
  sb_pass_free(&pass);
  sb_sequences_free(&sequences);
  golden_close(&g);
  return out;
}

static void compare(const char *name, sb_estimator estimator, bool full_precision, const sb_losses *expected,
                    double expected_loss, int threads, size_t activation_bytes) {
  size_t blocks, different = 0;
  int owned = 0, all = 0;
  double loss = NAN;
  const sb_losses none = {0};
  sb_losses *got =
      measure(name, estimator, full_precision, &world, threads, activation_bytes, &blocks, &loss);
  for (size_t k = 0; k < blocks; k++) {
    const bool mine = memcmp(got[k], none, sizeof none) != 0;
    owned += mine;
    different += mine && memcmp(got[k], expected[k], sizeof none) != 0;
  }
  EXPECT(different == 0 && loss == expected_loss);
  EXPECT(MPI_Allreduce(&owned, &all, 1, MPI_INT, MPI_SUM, world.comm) == MPI_SUCCESS);
  EXPECT((size_t)all == blocks); /* every block has a rank, and losses */
  free(got);
}

static void same_bits(sb_estimator estimator) {
  for (size_t i = 0; i < GOLDENS; i++) {
    const bool full_precision = i % 2 == 1;
    size_t blocks;
    double loss = NAN;
    sb_losses *expected = measure(golden_names[i], estimator, full_precision, golden_alone(), 1,
                                  (size_t)1 << 30, &blocks, &loss);
    compare(golden_names[i], estimator, full_precision, expected, loss, 1, (size_t)1 << 30);
    compare(golden_names[i], estimator, full_precision, expected, loss, 2, 1); /* one sequence a wave */
    free(expected);
  }
  all_ranks_passed();
}

static void hessian(void **state) {
  (void)state;
  same_bits(SB_ESTIMATOR_HESSIAN);
}

static void diagonal(void **state) {
  (void)state;
  same_bits(SB_ESTIMATOR_DIAGONAL);
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(hessian), cmocka_unit_test(diagonal)};
RANKS_MAIN(tests)
