/* What estimators leave of a block has the same bits on all ranks together as on one alone, with
 * any threads and waves: the four scalars of its moves, the tables of its losses, the gains that
 * come of both. */
#include "tests/support/golden.h"

#include <math.h>

#include "sensitivity/gains.h"
#include "sensitivity/scores.h"
#include "sensitivity/loss_table.h"

enum { LEAST = 2, MOST = 6, T = 19, SEQUENCES = 5, WIDEST = sizeof(sb_losses) };

_Static_assert(sizeof(sb_moves) <= WIDEST, "room for what one block has");

/* `measure` leaves the scalars of this rank's blocks, of `bytes` each, in `out`. */
typedef struct estimate {
  size_t bytes;
  bool full_precision; /* the model has not been rounded */
  void (*measure)(const struct estimate *e, golden *g, sb_pass *pass, void *out, double *loss);
} estimate;

static void of_moves(const estimate *e, golden *g, sb_pass *pass, void *out, double *loss) {
  sb_scores *scores = NULL;
  EXPECT_OK(sb_scores_create(g->model, g->backend, LEAST, MOST, &scores));
  EXPECT_OK(sb_scores_measure(scores, pass, loss));
  memcpy(out, sb_scores_moves(scores), sb_model_owned_count(g->model) * e->bytes);
  sb_scores_free(&scores);
}

static void of_widths(const estimate *e, golden *g, sb_pass *pass, void *out, double *loss,
                      sb_estimator estimator) {
  const size_t size = sb_model_owned_count(g->model) * e->bytes;
  sb_loss_table *table = NULL;
  EXPECT_OK(sb_loss_table_create(g->model, g->backend, estimator, LEAST, MOST, &table));
  EXPECT_OK(sb_loss_table_measure(table, pass, e->full_precision, loss));
  memcpy(out, sb_loss_table_losses(table), size);
  EXPECT_OK(sb_loss_table_measure(table, pass, e->full_precision,
                                  loss)); /* nothing is left of the first time */
  EXPECT(memcmp(out, sb_loss_table_losses(table), size) == 0);
  sb_loss_table_free(&table);
}

static void of_widths_hessian(const estimate *e, golden *g, sb_pass *pass, void *out,
                              double *loss) {
  of_widths(e, g, pass, out, loss, SB_ESTIMATOR_HESSIAN);
}

static void of_widths_diagonal(const estimate *e, golden *g, sb_pass *pass, void *out,
                               double *loss) {
  of_widths(e, g, pass, out, loss, SB_ESTIMATOR_DIAGONAL);
}

/* What the search gets, of which all ranks have some. */
static void of_divergence(const estimate *e, golden *g, sb_pass *pass, void *out, double *loss) {
  sb_gains *gains = NULL;
  const size_t owned = sb_model_owned_count(g->model);
  double *raise = calloc(owned, sizeof *raise), *cut = calloc(owned, sizeof *cut), *both = out;
  EXPECT(e->bytes == 2 * sizeof *both);
  EXPECT_OK(
      sb_gains_create(g->model, g->backend, SB_ESTIMATOR_DIVERGENCE, LEAST, MOST, false, &gains));
  EXPECT_OK(sb_gains_prepare(gains, pass));
  EXPECT_OK(sb_gains_measure(gains, pass, raise, cut, loss));
  for (size_t i = 0; i < owned; i++) {
    both[2 * i] = raise[i];
    both[2 * i + 1] = cut[i];
  }
  free(raise);
  free(cut);
  sb_gains_free(&gains);
}

/* The scalars of all blocks of the model that this world's rank owns, at their place in the model;
 * 0 elsewhere. */
static char *measure(const char *name, const estimate *e, const sb_world *of, int threads,
                     size_t activation_bytes, size_t *blocks, double *loss) {
  golden g;
  sb_sequences sequences = {0};
  sb_pass *pass = NULL;
  char path[2048];
  golden_open(&g, &(golden_setup){.name = name,
                                  .world = of,
                                  .threads = threads,
                                  .blocking = {16, 32, SB_GRID_ASYMMETRIC},
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
                               .divergence = true,
                               .activation_bytes = activation_bytes};
  EXPECT_OK(sb_pass_create(&setup, &pass));
  *blocks = g.model->blocks;
  char *out = calloc(*blocks, e->bytes), *owned = calloc(*blocks, e->bytes), *next = owned;
  e->measure(e, &g, pass, owned, loss);
  for (size_t layer = 0; layer < g.model->config.layers; layer++) {
    size_t first, end;
    sb_model_owned_blocks(g.model, layer, of->rank, &first, &end);
    memcpy(out + first * e->bytes, next, (end - first) * e->bytes);
    next += (end - first) * e->bytes;
  }
  free(owned);
  sb_pass_free(&pass);
  sb_sequences_free(&sequences);
  golden_close(&g);
  return out;
}

static void compare(const char *name, const estimate *e, const char *expected, double expected_loss,
                    int threads, size_t activation_bytes) {
  size_t blocks, different = 0;
  int owned = 0, all = 0;
  double loss = NAN;
  static const char none[WIDEST];
  char *got = measure(name, e, &world, threads, activation_bytes, &blocks, &loss);
  for (size_t at = 0; at < blocks * e->bytes; at += e->bytes) {
    const bool mine = memcmp(got + at, none, e->bytes) != 0;
    owned += mine;
    different += mine && memcmp(got + at, expected + at, e->bytes) != 0;
  }
  EXPECT(different == 0 && loss == expected_loss);
  EXPECT(MPI_Allreduce(&owned, &all, 1, MPI_INT, MPI_SUM, world.comm) == MPI_SUCCESS);
  EXPECT((size_t)all == blocks); /* every block has a rank, and scalars */
  free(got);
}

static void same_bits(const char *name, const estimate *e) {
  size_t blocks;
  double loss = NAN;
  char *expected = measure(name, e, world_alone(), 1, (size_t)1 << 30, &blocks, &loss);
  compare(name, e, expected, loss, 1, (size_t)1 << 30);
  compare(name, e, expected, loss, 2, 1); /* one sequence a wave */
  free(expected);
}

static void moves(void **state) {
  (void)state;
  const estimate e = {.bytes = sizeof(sb_moves), .measure = of_moves};
  for (size_t i = 0; i < GOLDENS; i++) same_bits(golden_names[i], &e);
  all_ranks_passed();
}

static void table(void (*measure_table)(const estimate *, golden *, sb_pass *, void *, double *)) {
  for (size_t i = 0; i < GOLDENS; i++) {
    const estimate e = {
        .bytes = sizeof(sb_losses), .full_precision = i % 2 == 1, .measure = measure_table};
    same_bits(golden_names[i], &e);
  }
  all_ranks_passed();
}

static void hessian(void **state) {
  (void)state;
  table(of_widths_hessian);
}

static void diagonal(void **state) {
  (void)state;
  table(of_widths_diagonal);
}

static void divergence(void **state) {
  (void)state;
  const estimate e = {.bytes = 2 * sizeof(double), .measure = of_divergence};
  for (size_t i = 0; i < GOLDENS; i++) same_bits(golden_names[i], &e);
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(moves), cmocka_unit_test(hessian),
                                          cmocka_unit_test(diagonal), cmocka_unit_test(divergence)};
RANKS_MAIN(tests)
