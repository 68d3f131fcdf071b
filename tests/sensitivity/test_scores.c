/* The four scalars of every block against plain loops over the dense gradients, one sequence after
 * another; and the same bits for any number of threads and waves. That they do not depend on ranks
 * either, tests/program/ sees in the bit map, and here every number of ranks is held against the
 * same plain loops. */
#include "tests/support/golden.h"

#include <math.h>

#include "tests/support/dense.h"
#include "sensitivity/gains.h"
#include "sensitivity/scores.h"
#include "sensitivity/loss_table.h"

enum { LEAST = 1, MOST = 5 };

/* Sums over this rank's sequences, by block of the model: raise, its square, cut, its square, and
 * for the tolerance the sum of |g D| over weights and sequences. */
typedef struct plain {
  const golden *g;
  double *sums; /* [blocks, 5] */
} plain;

static sb_status matrix(void *context, sb_stream stream, size_t layer, size_t which,
                        const float *gradient) {
  plain *p = context;
  const sb_model *m = p->g->model;
  const sb_matrix *mine = sb_model_matrix(m, layer, which);
  const sb_tiling *tiling = &mine->tiling;
  (void)stream;
  float *w = dense_weights(p->g, mine), *now = dense_rounded(w, m, mine, 0);
  float *up = dense_rounded(w, m, mine, 1), *down = dense_rounded(w, m, mine, -1);
  for (size_t k = 0; k < sb_tiling_block_rows(tiling) * sb_tiling_block_cols(tiling); k++) {
    const unsigned bits = m->bits[mine->first_block + k];
    double *sum = p->sums + 5 * (mine->first_block + k), raise = 0, cut = 0;
    const size_t row = k / sb_tiling_block_cols(tiling), col = k % sb_tiling_block_cols(tiling);
    for (size_t r = 0; r < sb_tiling_rows_of(tiling, row); r++)
      for (size_t c = 0; c < sb_tiling_cols_of(tiling, col); c++) {
        const size_t at =
            (row * tiling->block_rows + r) * tiling->cols + col * tiling->block_cols + c;
        const double a = (double)gradient[at] * ((double)up[at] - (double)now[at]);
        const double b = (double)gradient[at] * ((double)down[at] - (double)now[at]);
        raise += a;
        cut += b;
        sum[4] += fabs(a) + fabs(b);
      }
    if (bits == MOST) raise = 0;
    if (bits == LEAST) cut = 0;
    sum[0] += raise;
    sum[1] += raise * raise;
    sum[2] += cut;
    sum[3] += cut * cut;
  }
  free(w);
  free(now);
  free(up);
  free(down);
  return SB_OK;
}

static void measure(golden *g, sb_moves *out) {
  sb_scores *scores = NULL;
  double loss = NAN;
  EXPECT_OK(sb_scores_create(g->model, g->backend, LEAST, MOST, &scores));
  EXPECT_OK(sb_scores_measure(scores, g->pass, &loss));
  memcpy(out, sb_scores_moves(scores), sb_model_owned_count(g->model) * sizeof *out);
  sb_scores_free(&scores);
}

/* Bits of all blocks, then this rank's moves, in golden model `name`. */
static sb_moves *moves_of(const golden_setup *setup) {
  golden g;
  golden_open(&g, setup);
  golden_mixed_bits(g.model, LEAST, MOST, 77);
  sb_moves *out = calloc(sb_model_owned_count(g.model) + 1, sizeof *out);
  measure(&g, out);
  golden_close(&g);
  return out;
}

static void check_block(const sb_moves *moves, const double *sum, const char *name, size_t block) {
  /* Products and sums in float and double: 1e-6 of what is added up; squares twice that of the
   * largest factor. */
  const double slack = 1e-6 * sum[4] + 1e-15, mean = 0.5; /* of two sequences */
  const double got[4] = {moves->raise, moves->raise_square, moves->cut, moves->cut_square};
  for (int i = 0; i < 4; i++) {
    const double allowed = i % 2 ? 4 * slack * sum[4] + 1e-18 : slack;
    if (!(fabs(got[i] - mean * sum[i]) <= allowed))
      print_error("%s, block %zu, scalar %d: %g, in plain loops %g\n", name, block, i, got[i],
                  mean * sum[i]);
    EXPECT(fabs(got[i] - mean * sum[i]) <= allowed);
  }
}

static void against_plain_loops(void **state) {
  static const sb_blocking blockings[] = {{16, 32, SB_GRID_ASYMMETRIC}, {7, 10, SB_GRID_SYMMETRIC}};
  (void)state;
  for (size_t i = 0; i < GOLDENS; i++) {
    golden g;
    double loss = NAN;
    golden_open(&g, &(golden_setup){.name = golden_names[i],
                                    .gradients = true,
                                    .threads = 1,
                                    .blocking = blockings[i % 2],
                                    .activation_bytes = (size_t)1 << 30});
    sb_model *m = g.model;
    golden_mixed_bits(m, LEAST, MOST, i);
    plain p = {&g, calloc(5 * m->blocks, sizeof(double))};
    sb_moves *moves = calloc(sb_model_owned_count(m) + 1, sizeof *moves);
    const sb_pass_hooks hooks = {.context = &p,
                                 .begin_layer = golden_begin_layer,
                                 .matrix = matrix,
                                 .end_sequence = golden_end_sequence,
                                 .end_layer = golden_end_layer};
    EXPECT_OK(sb_pass_gradients(g.pass, &hooks, &loss));
    EXPECT(MPI_Allreduce(MPI_IN_PLACE, p.sums, (int)(5 * m->blocks), MPI_DOUBLE, MPI_SUM,
                         world.comm) == MPI_SUCCESS);
    measure(&g, moves);
    size_t n = 0, moving = 0;
    for (size_t layer = 0; layer < m->config.layers; layer++) {
      size_t first, end;
      sb_model_owned_blocks(m, layer, world.rank, &first, &end);
      for (size_t k = first; k < end; k++, n++) {
        check_block(&moves[n], p.sums + 5 * k, golden_names[i], k);
        moving += moves[n].raise_square > 0 || moves[n].cut_square > 0;
      }
    }
    EXPECT(n == sb_model_owned_count(m) && moving == n);
    free(p.sums);
    free(moves);
    golden_close(&g);
  }
  all_ranks_passed();
}

static void threads_and_waves(void **state) {
  (void)state;
  golden_setup setup = {.name = "llama3-rope", .gradients = true, GOLDEN_DEFAULTS};
  golden g;
  golden_open(&g, &setup);
  const size_t owned = sb_model_owned_count(g.model);
  golden_close(&g);
  sb_moves *first = moves_of(&setup);
  setup.threads = 3;
  sb_moves *threads = moves_of(&setup);
  setup.activation_bytes = 1; /* one sequence at a time */
  sb_moves *waves = moves_of(&setup);
  EXPECT(memcmp(first, threads, owned * sizeof *first) == 0);
  EXPECT(memcmp(first, waves, owned * sizeof *first) == 0);
  free(first);
  free(threads);
  free(waves);
  all_ranks_passed();
}

/* A second measurement, after some blocks have moved, is that of scores which
 * never saw the first. */
static void measured_again(void **state) {
  (void)state;
  golden g;
  double loss = NAN;
  sb_scores *scores = NULL;
  golden_open(&g, &(golden_setup){.name = "llama3-rope", .gradients = true, GOLDEN_DEFAULTS});
  const size_t owned = sb_model_owned_count(g.model);
  sb_moves *fresh = calloc(owned + 1, sizeof *fresh);
  golden_mixed_bits(g.model, LEAST, MOST, 6);
  EXPECT_OK(sb_scores_create(g.model, g.backend, LEAST, MOST, &scores));
  EXPECT_OK(sb_scores_measure(scores, g.pass, &loss));
  for (size_t k = 0; k < g.model->blocks; k += 3)
    g.model->bits[k] = (uint8_t)(g.model->bits[k] == MOST ? LEAST : g.model->bits[k] + 1);
  sb_pass_forget(g.pass);
  EXPECT_OK(sb_scores_measure(scores, g.pass, &loss));
  measure(&g, fresh);
  EXPECT(memcmp(sb_scores_moves(scores), fresh, owned * sizeof *fresh) == 0);
  sb_scores_free(&scores);
  free(fresh);
  golden_close(&g);
  all_ranks_passed();
}

static void predictions(void **state) {
  (void)state;
  golden g;
  golden_open(&g, &(golden_setup){.name = "gqa-tied", .gradients = true, GOLDEN_DEFAULTS});
  golden_mixed_bits(g.model, LEAST, MOST, 5);
  const size_t owned = sb_model_owned_count(g.model);
  double *gain = calloc(owned + 1, sizeof *gain), *loss = calloc(owned + 1, sizeof *loss),
         mean = NAN;
  sb_scores *scores = NULL;
  EXPECT_OK(sb_scores_create(g.model, g.backend, LEAST, MOST, &scores));
  EXPECT_OK(sb_scores_measure(scores, g.pass, &mean));
  const sb_moves *moves = sb_scores_moves(scores);
  sb_scores_predict(scores, SB_ESTIMATOR_FISHER, gain, loss);
  for (size_t i = 0; i < owned; i++)
    EXPECT(gain[i] == moves[i].raise_square && loss[i] == moves[i].cut_square);
  sb_scores_predict(scores, SB_ESTIMATOR_TAYLOR, gain, loss);
  for (size_t i = 0; i < owned; i++)
    EXPECT(gain[i] == fabs(moves[i].raise) && loss[i] == fabs(moves[i].cut));
  const double half = 0.5 * (double)(sb_pass_seqlen(g.pass) - 1);
  sb_scores_predict(scores, SB_ESTIMATOR_SECOND, gain, loss);
  for (size_t i = 0; i < owned; i++)
    EXPECT(gain[i] == -moves[i].raise &&
           fabs(loss[i] - (moves[i].cut + half * moves[i].cut_square)) <=
               1e-15 * fabs(loss[i]) + 1e-300);
  sb_scores_free(&scores);
  free(gain);
  free(loss);
  golden_close(&g);
  all_ranks_passed();
}

/* First order of what the pass has learnt, and the costs of both widths of a move at full
 * precision, in proportion. */
static void predictions_of_divergence(void **state) {
  (void)state;
  golden g;
  golden_open(&g, &(golden_setup){
                      .name = "gqa-tied", .gradients = true, .divergence = true, GOLDEN_DEFAULTS});
  golden_mixed_bits(g.model, LEAST, MOST, 5);
  const size_t owned = sb_model_owned_count(g.model);
  double *gain = calloc(owned + 1, sizeof *gain), *cut = calloc(owned + 1, sizeof *cut), loss[3];
  uint8_t *bits = calloc(owned + 1, 1);
  sb_gains *gains = NULL;
  sb_loss_table *table = NULL;
  sb_scores *scores = NULL;
  sb_model_get_bits(g.model, bits);
  EXPECT_OK(sb_loss_table_create(g.model, g.backend, SB_ESTIMATOR_DIAGONAL, LEAST, MOST, &table));
  EXPECT_OK(sb_loss_table_measure(table, g.pass, true, &loss[0]));
  EXPECT_OK(
      sb_gains_create(g.model, g.backend, SB_ESTIMATOR_DIVERGENCE, LEAST, MOST, false, &gains));
  EXPECT_OK(sb_gains_prepare(gains, g.pass));
  double learnt[2];
  for (int again = 0; again < 2; again++) { /* along with the gradients, and by itself: the same */
    EXPECT_OK(sb_pass_loss(g.pass, &learnt[again]));
    EXPECT_OK(sb_pass_learn(g.pass));
    sb_pass_forget(g.pass);
  }
  EXPECT(learnt[0] == learnt[1]);
  EXPECT_OK(sb_gains_measure(gains, g.pass, gain, cut, &loss[1]));
  EXPECT_OK(sb_scores_create(g.model, g.backend, LEAST, MOST, &scores));
  EXPECT_OK(sb_scores_measure(scores, g.pass, &loss[2]));
  EXPECT(loss[1] == loss[2] && loss[1] == learnt[0] && loss[1] < loss[0]);
  double expected = 0;
  for (size_t i = 0; i < owned; i++) expected += sb_loss_table_losses(table)[i][bits[i]];
  EXPECT(MPI_Allreduce(MPI_IN_PLACE, &expected, 1, MPI_DOUBLE, MPI_SUM, world.comm) == MPI_SUCCESS);
  const double scale = loss[1] / expected;
  for (size_t i = 0; i < owned; i++) {
    const sb_moves *move = &sb_scores_moves(scores)[i];
    const double *cost = sb_loss_table_losses(table)[i];
    const unsigned b = bits[i];
    const double raised = b == MOST ? 0 : -move->raise - scale * (cost[b] + cost[b + 1]);
    const double lost = b == LEAST ? 0 : move->cut + scale * (cost[b] + cost[b - 1]);
    /* the sum behind `scale` was rounded in another order */
    EXPECT(fabs(gain[i] - raised) <= 1e-12 * (fabs(move->raise) + cost[b]));
    EXPECT(fabs(cut[i] - lost) <= 1e-12 * (fabs(move->cut) + (b == LEAST ? 0 : cost[b - 1])));
  }
  sb_gains_free(&gains);
  sb_loss_table_free(&table);
  sb_scores_free(&scores);
  free(gain);
  free(cut);
  free(bits);
  golden_close(&g);
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(against_plain_loops), cmocka_unit_test(threads_and_waves),
    cmocka_unit_test(measured_again), cmocka_unit_test(predictions),
    cmocka_unit_test(predictions_of_divergence)};
RANKS_MAIN(tests)
