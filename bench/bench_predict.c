/* bench_predict MODEL TOKENS JSON [SEQUENCES [SEQLEN [MOVES [GROUPS [WIDTHS [OTHER]]]]]]: how well
 * sensitivities predict.
 *
 * At every uniform width of WIDTHS (digits; 234), MOVES random blocks and GROUPS random groups of
 * 10 blocks are raised by one bit, and others cut by one; the calibration loss of each is measured
 * with a forward pass (float32) and its change held against what every estimator said beforehand,
 * the change of the divergence from the source weights too. With OTHER, a second token file, the
 * changes on as many of its sequences are measured, for what is only learnt by heart. Prints
 * Spearman's rank correlations as a Markdown table; everything, move by move, goes into JSON
 * (tools/plot_predict.py draws it). The moves are the same on any number of ranks. */
#include <jansson.h>
#include <math.h>
#include <mpi.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "folders/hf_load.h"
#include "pass/sequences.h"
#include "sensitivity/gains.h"
#include "sensitivity/loss_table.h"
#include "sensitivity/scores.h"

enum { GROUP = 10, ESTIMATORS = 10, DIVERGENCE = 9 };
static const char *const names[ESTIMATORS] = {"taylor, signed",
                                              "taylor, absolute",
                                              "fisher",
                                              "fisher + first order",
                                              "fisher / 4 + first order",
                                              "hessian",
                                              "hessian at full precision",
                                              "diagonal",
                                              "diagonal at full precision",
                                              "divergence"};

/* What a move changes: the loss and the divergence on the calibration tokens,
 * and both on OTHER's. */
enum { LOSSES = 4 };
static const char *const loss_names[LOSSES] = {"calibration", "calibration, divergence", "other",
                                               "other, divergence"};

#define CHECK(call)                                                                                \
  do {                                                                                             \
    if ((call) != SB_OK) {                                                                         \
      fprintf(stderr, "bench_predict: %s\n", sb_message());                                        \
      MPI_Abort(MPI_COMM_WORLD, 1);                                                                \
    }                                                                                              \
  } while (0)

typedef struct bench {
  sb_world world;
  sb_backend *backend;
  sb_model *model;
  sb_sequences sequences, other;
  sb_pass *pass;      /* for gradients of the tokens' loss */
  sb_pass *learnt[2]; /* losses and divergences on the calibration tokens and on OTHER's, or NULL */
  sb_scores *scores;
  sb_gains *divergences;         /* of learnt[0] */
  double *raise_gain, *cut_loss; /* [owned], by divergence */
  sb_loss_table *hessian, *diagonal;
  double (*full)[2][SB_WIDTHS];       /* [blocks]: hessian, diagonal at full precision */
  double (*predicted)[2][ESTIMATORS]; /* [blocks]: of a raise, of a cut, from the width at hand */
  double *measured[LOSSES];           /* of the moves of one kind */
  uint64_t random;
  json_t *kinds;
} bench;

static uint64_t draw(bench *b, uint64_t bound) {
  uint64_t x = b->random += UINT64_C(0x9e3779b97f4a7c15); /* SplitMix64 */
  x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
  return (x ^ (x >> 31)) % bound;
}

/* ---- predictions, for all blocks on all ranks ---- */

static void share(const bench *b, double *values, size_t each) {
  for (size_t at = 0; at < b->model->blocks; at += 1u << 20) {
    const size_t count = sb_min_size(1u << 20, b->model->blocks - at);
    MPI_Allreduce(MPI_IN_PLACE, values + at * each, (int)(count * each), MPI_DOUBLE, MPI_SUM,
                  b->world.comm);
  }
}

/* Calls `take` with every owned block, by its place among the owned ones. */
static void each_owned(bench *b, void (*take)(bench *b, size_t owned, size_t block)) {
  size_t n = 0;
  for (size_t layer = 0; layer < b->model->config.layers; layer++) {
    size_t first, end;
    sb_model_owned_blocks(b->model, layer, b->world.rank, &first, &end);
    for (size_t k = first; k < end; k++) take(b, n++, k);
  }
}

static void take_full(bench *b, size_t owned, size_t block) {
  memcpy(b->full[block][0], sb_loss_table_losses(b->hessian)[owned], sizeof(sb_losses));
  memcpy(b->full[block][1], sb_loss_table_losses(b->diagonal)[owned], sizeof(sb_losses));
}

/* The expected change of the loss by each estimator. */
static void take_moves(bench *b, size_t owned, size_t block) {
  const sb_moves *m = &sb_scores_moves(b->scores)[owned];
  const double half = 0.5 * ((double)sb_pass_seqlen(b->pass) - 1);
  const unsigned bits = b->model->bits[block];
  for (int cut = 0; cut < 2; cut++) {
    const double first = cut ? m->cut : m->raise,
                 square = half * (cut ? m->cut_square : m->raise_square);
    const unsigned to = cut ? bits - 1 : bits + 1;
    const double *tables[4] = {sb_loss_table_losses(b->hessian)[owned], b->full[block][0],
                               sb_loss_table_losses(b->diagonal)[owned], b->full[block][1]};
    const double sign = cut ? 1 : -1;
    double *out = b->predicted[block][cut];
    out[0] = first;
    out[1] = sign * fabs(first);
    out[2] = sign * square;
    out[3] = first + square;
    out[4] = first + square / 4;
    for (int t = 0; t < 4; t++) out[5 + t] = tables[t][to] - tables[t][bits];
    out[DIVERGENCE] = cut ? b->cut_loss[owned] : -b->raise_gain[owned];
  }
}

static void predict(bench *b, double *loss) {
  double again, divergence;
  CHECK(sb_scores_measure(b->scores, b->pass, loss));
  sb_pass_forget(b->learnt[0]);
  CHECK(sb_gains_measure(b->divergences, b->learnt[0], b->raise_gain, b->cut_loss, &divergence));
  CHECK(sb_loss_table_measure(b->hessian, b->pass, false, &again));
  CHECK(sb_loss_table_measure(b->diagonal, b->pass, false, &again));
  memset(b->predicted, 0, b->model->blocks * sizeof *b->predicted);
  each_owned(b, take_moves);
  share(b, &b->predicted[0][0][0], 2 * ESTIMATORS);
}

static void predict_at_full_precision(bench *b) {
  double loss;
  CHECK(sb_loss_table_measure(b->hessian, b->pass, true, &loss));
  CHECK(sb_loss_table_measure(b->diagonal, b->pass, true, &loss));
  each_owned(b, take_full);
  CHECK(sb_gains_prepare(b->divergences, b->learnt[0]));
  if (b->learnt[1]) CHECK(sb_pass_learn(b->learnt[1])); /* the first one has, with the costs */
}

/* ---- rank correlation ---- */

typedef struct item {
  double value;
  size_t at;
} item;

static int by_value(const void *a, const void *b) {
  const double x = ((const item *)a)->value, y = ((const item *)b)->value;
  return (x > y) - (x < y);
}

/* rank[i] of values[i], ties at their mean rank, with mean 0. */
static void ranks_of(double *rank, item *room, const double *values, size_t count) {
  for (size_t i = 0; i < count; i++) room[i] = (item){values[i], i};
  qsort(room, count, sizeof *room, by_value);
  for (size_t i = 0, end; i < count; i = end) {
    for (end = i; end < count && room[end].value == room[i].value; end++) continue;
    for (size_t k = i; k < end; k++)
      rank[room[k].at] = 0.5 * (double)(i + end - 1) - 0.5 * (double)(count - 1);
  }
}

static double spearman(const double *x, const double *y, size_t count) {
  double *a, *b, xy = 0, xx = 0, yy = 0;
  item *room;
  CHECK(sb_alloc(&a, count, sizeof *a, "ranks"));
  CHECK(sb_alloc(&b, count, sizeof *b, "ranks"));
  CHECK(sb_alloc(&room, count, sizeof *room, "ranks"));
  ranks_of(a, room, x, count);
  ranks_of(b, room, y, count);
  for (size_t i = 0; i < count; i++) {
    xy += a[i] * b[i];
    xx += a[i] * a[i];
    yy += b[i] * b[i];
  }
  sb_free(&a);
  sb_free(&b);
  sb_free(&room);
  return xx > 0 && yy > 0 ? xy / sqrt(xx * yy) : NAN;
}

/* ---- moves ---- */

/* `count` different blocks into chosen, in random order. */
static void choose(bench *b, size_t *chosen, size_t count) {
  const size_t blocks = b->model->blocks;
  size_t *all;
  CHECK(sb_alloc(&all, blocks, sizeof *all, "blocks"));
  for (size_t k = 0; k < blocks; k++) all[k] = k;
  for (size_t i = 0; i < count; i++) {
    const size_t k = i + (size_t)draw(b, blocks - i), taken = all[k];
    all[k] = all[i];
    chosen[i] = all[i] = taken;
  }
  sb_free(&all);
}

static void losses(bench *b, double loss[LOSSES]) {
  for (int o = 0; o < 2; o++) {
    loss[2 * o] = loss[2 * o + 1] = NAN;
    if (!b->learnt[o]) continue;
    sb_pass_forget(b->learnt[o]);
    CHECK(sb_pass_loss(b->learnt[o], &loss[2 * o + 1]));
    loss[2 * o] = sb_pass_token_loss(b->learnt[o]);
  }
}

static void losses_with(bench *b, const size_t *chosen, size_t count, int change,
                        double loss[LOSSES]) {
  for (size_t i = 0; i < count; i++)
    b->model->bits[chosen[i]] = (uint8_t)(b->model->bits[chosen[i]] + change);
  losses(b, loss);
  for (size_t i = 0; i < count; i++)
    b->model->bits[chosen[i]] = (uint8_t)(b->model->bits[chosen[i]] - change);
}

/* Correlation and size of every estimator's predictions against what was measured; a
 * line of the table. */
static json_t *judge(const bench *b, const double *predicted, const double *measured, size_t moves,
                     const char *line) {
  json_t *out = json_object();
  if (b->world.rank == 0) printf("%s", line);
  for (int e = 0; e < ESTIMATORS; e++) {
    const double *p = predicted + (size_t)e * moves, rho = spearman(p, measured, moves);
    double said = 0, did = 0;
    for (size_t i = 0; i < moves; i++) {
      said += p[i];
      did += measured[i];
    }
    json_object_set_new(
        out, names[e],
        json_pack("{s:f, s:f}", "spearman", rho, "predicted_over_measured", said / did));
    if (b->world.rank == 0) printf(" %.2f |", rho);
  }
  if (b->world.rank == 0) printf("\n");
  fflush(stdout);
  return out;
}

/* `moves` moves of `group` blocks each, all raised or all cut. */
static void kind(bench *b, unsigned bits, int cut, size_t moves, size_t group,
                 const double base[LOSSES]) {
  const char *move = cut ? "cut" : "raise";
  size_t *chosen;
  double *predicted;
  char line[128];
  json_t *list = json_array();
  CHECK(sb_alloc(&chosen, sb_max_size(moves, group), sizeof *chosen, "moves"));
  CHECK(sb_alloc(&predicted, ESTIMATORS * moves, sizeof *predicted, "moves"));
  if (group == 1) choose(b, chosen, moves);
  for (size_t i = 0; i < moves; i++) {
    if (group > 1) choose(b, chosen, group);
    const size_t *mine = group > 1 ? chosen : chosen + i;
    double loss[LOSSES];
    losses_with(b, mine, group, cut ? -1 : 1, loss);
    for (int o = 0; o < LOSSES; o++) b->measured[o][i] = loss[o] - base[o];
    json_t *blocks = json_array(), *said = json_array();
    for (size_t k = 0; k < group; k++)
      json_array_append_new(blocks, json_integer((json_int_t)mine[k]));
    for (int e = 0; e < ESTIMATORS; e++) {
      for (size_t k = 0; k < group; k++)
        predicted[(size_t)e * moves + i] += b->predicted[mine[k]][cut][e];
      json_array_append_new(said, json_real(predicted[(size_t)e * moves + i]));
    }
    json_t *one = json_pack("{s:o, s:o}", "blocks", blocks, "predicted", said),
           *did = json_object();
    for (int o = 0; o < LOSSES; o++)
      if (o < 2 || b->learnt[1])
        json_object_set_new(did, loss_names[o], json_real(b->measured[o][i]));
    json_object_set_new(one, "measured", did);
    json_array_append_new(list, one);
  }
  json_t *all = json_pack("{s:i, s:s, s:i, s:f, s:o}", "bits", (int)bits, "move", move, "group",
                          (int)group, "base_loss", base[0], "moves", list);
  json_t *estimators = json_object();
  for (int o = 0; o < LOSSES && (o < 2 || b->learnt[1]); o++) {
    snprintf(line, sizeof line, "| %u | %s | %zu | %zu | %s |", bits, move, group, moves,
             loss_names[o]);
    json_object_set_new(estimators, loss_names[o],
                        judge(b, predicted, b->measured[o], moves, line));
  }
  json_object_set_new(all, "estimators", estimators);
  json_array_append_new(b->kinds, all);
  sb_free(&chosen);
  sb_free(&predicted);
}

static void open_all(bench *b, char **argv, size_t count, size_t seqlen, const char *other) {
  CHECK(sb_backend_cpu_create(SB_COMPUTE_F32, omp_get_max_threads(), &b->backend));
  CHECK(sb_hf_load(&b->world, argv[1], (sb_blocking){128, 128, SB_GRID_ASYMMETRIC}, false,
                   &b->model));
  CHECK(sb_sequences_read(&b->world, argv[2], SB_TOKENS_AUTO, b->model->config.vocab, seqlen, count,
                          0, &b->sequences));
  sb_pass_setup setup =
      sb_sequences_setup(&b->sequences, b->model, b->backend, (size_t)4 << 30, SB_NO_TICKER);
  setup.gradients = true;
  CHECK(sb_pass_create(&setup, &b->pass));
  setup.divergence = true;
  CHECK(sb_pass_create(&setup, &b->learnt[0]));
  if (other) {
    CHECK(sb_sequences_read(&b->world, other, SB_TOKENS_AUTO, b->model->config.vocab, seqlen, count,
                            0, &b->other));
    setup = sb_sequences_setup(&b->other, b->model, b->backend, (size_t)4 << 30, SB_NO_TICKER);
    setup.divergence = true;
    CHECK(sb_pass_create(&setup, &b->learnt[1]));
  }
  CHECK(sb_scores_create(b->model, b->backend, 1, 8, &b->scores));
  CHECK(
      sb_gains_create(b->model, b->backend, SB_ESTIMATOR_DIVERGENCE, 1, 8, false, &b->divergences));
  CHECK(sb_loss_table_create(b->model, b->backend, SB_ESTIMATOR_HESSIAN, 1, 8, &b->hessian));
  CHECK(sb_loss_table_create(b->model, b->backend, SB_ESTIMATOR_DIAGONAL, 1, 8, &b->diagonal));
  CHECK(sb_alloc(&b->raise_gain, sb_model_owned_count(b->model), sizeof(double), "predictions"));
  CHECK(sb_alloc(&b->cut_loss, sb_model_owned_count(b->model), sizeof(double), "predictions"));
  CHECK(sb_alloc(&b->full, b->model->blocks, sizeof *b->full, "predictions"));
  CHECK(sb_alloc(&b->predicted, b->model->blocks, sizeof *b->predicted, "predictions"));
}

static void close_all(bench *b) {
  sb_scores_free(&b->scores);
  sb_gains_free(&b->divergences);
  sb_loss_table_free(&b->hessian);
  sb_loss_table_free(&b->diagonal);
  sb_pass_free(&b->pass);
  for (int o = 0; o < 2; o++) sb_pass_free(&b->learnt[o]);
  sb_sequences_free(&b->sequences);
  sb_sequences_free(&b->other);
  sb_model_free(&b->model);
  b->backend->op->destroy(b->backend);
  sb_free(&b->raise_gain);
  sb_free(&b->cut_loss);
  sb_free(&b->full);
  sb_free(&b->predicted);
  for (int o = 0; o < LOSSES; o++) sb_free(&b->measured[o]);
  json_decref(b->kinds);
}

static void print_head(void) {
  printf("| bits | move | blocks | moves | loss on |");
  for (int e = 0; e < ESTIMATORS; e++) printf(" %s |", names[e]);
  printf("\n| ---: | --- | ---: | ---: | --- |");
  for (int e = 0; e < ESTIMATORS; e++) printf(" ---: |");
  printf("\n");
}

int main(int argc, char **argv) {
  bench b = {.random = 1};
  if (sb_world_init(&argc, &argv, &b.world) != SB_OK || argc < 4) {
    fprintf(stderr, "usage: bench_predict MODEL TOKENS JSON [SEQUENCES [SEQLEN [MOVES [GROUPS "
                    "[WIDTHS [OTHER]]]]]]\n");
    return 2;
  }
  const size_t count = argc > 4 ? strtoul(argv[4], NULL, 10) : 32;
  const size_t seqlen = argc > 5 ? strtoul(argv[5], NULL, 10) : 128;
  size_t moves = argc > 6 ? strtoul(argv[6], NULL, 10) : 200,
         groups = argc > 7 ? strtoul(argv[7], NULL, 10) : 100;
  const char *widths = argc > 8 ? argv[8] : "234";
  open_all(&b, argv, count, seqlen, argc > 9 ? argv[9] : NULL);
  moves = sb_min_size(moves, b.model->blocks);
  if (b.model->blocks < GROUP) groups = 0;
  for (int o = 0; o < LOSSES; o++)
    CHECK(sb_alloc(&b.measured[o], sb_max_size(moves, groups), sizeof(double), "moves"));
  b.kinds = json_array();
  predict_at_full_precision(&b);
  if (b.world.rank == 0) print_head();
  const double start = sb_now();
  for (const char *w = widths; *w; w++) {
    const unsigned bits = (unsigned)(*w - '0');
    double base[LOSSES], loss;
    if (bits < 2 || bits > 7) {
      fprintf(stderr, "bench_predict: widths are digits from 2 to 7, not %c\n", *w);
      return 2;
    }
    memset(b.model->bits, (int)bits, b.model->blocks);
    sb_pass_forget(b.pass);
    predict(&b, &loss);
    losses(&b, base);
    for (int cut = 0; cut < 2; cut++) {
      if (moves > 0) kind(&b, bits, cut, moves, 1, base);
      if (groups > 0) kind(&b, bits, cut, groups, GROUP, base);
    }
  }
  if (b.world.rank == 0) {
    printf("\n%zu sequences of %zu tokens, %zu blocks, %.0f s\n", b.sequences.count, seqlen,
           b.model->blocks, sb_now() - start);
    json_t *estimators = json_array();
    for (int e = 0; e < ESTIMATORS; e++) json_array_append_new(estimators, json_string(names[e]));
    json_t *all = json_pack("{s:s, s:I, s:I, s:o, s:O}", "model", argv[1], "sequences",
                            (json_int_t)b.sequences.count, "seqlen", (json_int_t)seqlen,
                            "estimators", estimators, "kinds", b.kinds);
    if (json_dump_file(all, argv[3], JSON_INDENT(1) | JSON_REAL_PRECISION(9)) != 0) {
      fprintf(stderr, "bench_predict: cannot write %s\n", argv[3]);
      return 1;
    }
    json_decref(all);
  }
  close_all(&b);
  sb_world_finalize(&b.world);
  return 0;
}
