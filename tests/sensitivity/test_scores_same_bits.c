/* The four scalars of every block have the same bits on all ranks together as on one alone, with any threads and waves. */
#include "tests/model/golden.h"

#include <math.h>

#include "sensitivity/scores.h"

enum { LEAST = 2, MOST = 4, T = 19, SEQUENCES = 5 };

/* Moves of all blocks of the model that this world's rank owns, at their place in the model; 0 elsewhere. */
static sb_moves *measure(const char *name, const sb_world *of, int threads, size_t activation_bytes,
                         size_t *blocks, double *loss) {
  golden g;
  sb_sequences sequences = {0};
  sb_pass *pass = NULL;
  sb_scores *scores = NULL;
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
  EXPECT_OK(sb_scores_create(g.model, g.backend, LEAST, MOST, &scores));
  EXPECT_OK(sb_scores_measure(scores, pass, loss));
  *blocks = g.model->blocks;
  sb_moves *out = calloc(*blocks, sizeof *out);
  const sb_moves *owned = sb_scores_moves(scores);
  for (size_t layer = 0; layer < g.model->config.layers; layer++) {
    size_t first, end;
    sb_model_owned_blocks(g.model, layer, of->rank, &first, &end);
    memcpy(out + first, owned, (end - first) * sizeof *out);
    owned += end - first;
  }
  sb_scores_free(&scores);
  sb_pass_free(&pass);
  sb_sequences_free(&sequences);
  golden_close(&g);
  return out;
}

static void compare(const char *name, const sb_moves *expected, double expected_loss, int threads,
                    size_t activation_bytes) {
  size_t blocks, different = 0;
  int owned = 0, all = 0;
  double loss = NAN;
  const sb_moves none = {0};
  sb_moves *got = measure(name, &world, threads, activation_bytes, &blocks, &loss);
  for (size_t k = 0; k < blocks; k++) {
    const bool mine = memcmp(&got[k], &none, sizeof none) != 0;
    owned += mine;
    different += mine && memcmp(&got[k], &expected[k], sizeof none) != 0;
  }
  EXPECT(different == 0 && loss == expected_loss);
  EXPECT(MPI_Allreduce(&owned, &all, 1, MPI_INT, MPI_SUM, world.comm) == MPI_SUCCESS);
  EXPECT((size_t)all == blocks); /* every block has a rank, and moves */
  free(got);
}

static void same_bits(void **state) {
  (void)state;
  for (size_t i = 0; i < GOLDENS; i++) {
    size_t blocks;
    double loss = NAN;
    sb_moves *expected = measure(golden_names[i], golden_alone(), 1, (size_t)1 << 30, &blocks, &loss);
    compare(golden_names[i], expected, loss, 1, (size_t)1 << 30);
    compare(golden_names[i], expected, loss, 2, 1); /* one sequence a wave */
    free(expected);
  }
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(same_bits)};
RANKS_MAIN(tests)
