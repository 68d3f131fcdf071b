/* Statistics of embedding and head against plain sums in double: of probabilities from whole
 * logits, of the head's inputs and the embedding's gradients, which are held against logits and
 * against the gradient of the table; with several chunks of the vocabulary, in several waves, tied
 * or not; and the same bits on any number of ranks. */
#include "quant/table_stats.h"

#include <math.h>

#include "tests/support/dense.h"
#include "tests/support/wide.h"

enum { T = 48, SEQUENCES = 2 };

/* What a pass tells, of all sequences, on a rank alone. */
typedef struct heard {
  const golden *g;
  size_t states, dxs; /* sequences so far */
  float *x, *dx;      /* [SEQUENCES, T, hidden] */
  double *table;      /* [vocab, hidden] gradient of the embedding, all sequences added */
} heard;

static void fetch(const heard *a, sb_stream stream, float *to, const void *from, size_t count) {
  sb_backend *b = a->g->backend;
  EXPECT_OK(b->op->download(b, stream, to, from, count * sizeof *to));
  EXPECT_OK(b->op->sync(b, stream));
}

static sb_status hear_head(void *context, sb_stream stream, const sb_head_use *use) {
  heard *a = context;
  const size_t count = T * a->g->model->config.hidden;
  float *last = calloc(use->rows, sizeof *last);
  fetch(a, stream, last, use->dlogits + (T - 1) * use->rows, use->rows);
  for (size_t v = 0; v < use->rows; v++) EXPECT(last[v] == 0.0f);
  free(last);
  if (use->first_row == 0) fetch(a, stream, a->x + a->states++ * count, use->states, count);
  return SB_OK;
}

static sb_status hear_embedding(void *context, sb_stream stream, const sb_embedding_use *use) {
  heard *a = context;
  const size_t count = T * a->g->model->config.hidden;
  fetch(a, stream, a->dx + a->dxs++ * count, use->dx, count);
  return SB_OK;
}

static sb_status parameter(void *context, sb_stream stream, size_t tensor, size_t first_row,
                           size_t rows, const float *g) {
  heard *a = context;
  const size_t h = a->g->model->config.hidden;
  if (a->g->model->arch.tensors[tensor].role != SB_ROLE_EMBED) return SB_OK;
  float *rows_of_g = calloc(rows * h, sizeof *rows_of_g);
  fetch(a, stream, rows_of_g, g, rows * h);
  for (size_t i = 0; i < rows * h; i++) a->table[first_row * h + i] += (double)rows_of_g[i];
  free(rows_of_g);
  return SB_OK;
}

static void listen(golden *g, heard *a) {
  const size_t h = g->model->config.hidden;
  const sb_table_hooks tables = {a, hear_head, hear_embedding};
  const sb_pass_hooks hooks = {.context = a,
                               .begin_layer = golden_begin_layer,
                               .end_sequence = golden_end_sequence,
                               .end_layer = golden_end_layer,
                               .parameter = parameter};
  double loss = NAN;
  *a = (heard){.g = g,
               .x = calloc(SEQUENCES * T * h, sizeof *a->x),
               .dx = calloc(SEQUENCES * T * h, sizeof *a->dx),
               .table = calloc(g->model->config.vocab * h, sizeof *a->table)};
  sb_pass_tell_tables(g->pass, &tables);
  EXPECT_OK(sb_pass_gradients(g->pass, &hooks, &loss));
  sb_pass_tell_tables(g->pass, NULL);
  EXPECT(a->states == SEQUENCES && a->dxs == SEQUENCES);
}

static void forget(heard *a) {
  free(a->x);
  free(a->dx);
  free(a->table);
}

static bool close_to(double got, double want, double tolerance, double floor) {
  return fabs(got - want) <= tolerance * fabs(want) + floor;
}

/* The embedding's gradients are those that the table's gradient is made of. Of a tied table that
 * has the head's in it too. */
static void check_dx(const golden *g, const heard *a) {
  const size_t h = g->model->config.hidden, vocab = g->model->config.vocab;
  if (g->model->table_count == 1) return;
  double *sum = calloc(vocab * h, sizeof *sum), largest = 0, worst = 0;
  for (size_t t = 0; t < SEQUENCES * T; t++)
    for (size_t c = 0; c < h; c++) sum[g->sequences.tokens[t] * h + c] += (double)a->dx[t * h + c];
  for (size_t i = 0; i < vocab * h; i++) {
    largest = fmax(largest, fabs(sum[i]));
    worst = fmax(worst, fabs(sum[i] - a->table[i]));
  }
  EXPECT(largest > 1e-6 && worst <= 1e-6 * largest);
  free(sum);
}

/* Row weights of the head from probabilities; its inputs are those that give the logits. Both are
 * products and sums in f32. */
static void check_head(golden *g, const heard *a, const sb_table_stats *stats) {
  const sb_model *m = g->model;
  const size_t h = m->config.hidden, vocab = m->config.vocab;
  const char *name = m->arch.tensors[m->tables[m->table_count - 1].matrix.tensor].name;
  float *logits = calloc(T * vocab, sizeof *logits), *w = dense_named(g, name);
  double *want = calloc(vocab, sizeof *want), total = 0;
  for (size_t s = 0; s < SEQUENCES; s++) {
    EXPECT_OK(sb_pass_logits(g->pass, s, logits));
    for (size_t t = 0; t + 1 < T; t++) {
      const float *z = logits + t * vocab, *x = a->x + (s * T + t) * h;
      double sum = 0, row = 0;
      for (size_t v = 0; v < vocab; v++) sum += exp((double)z[v]);
      for (size_t v = 0; v < vocab; v++) {
        const double p = exp((double)z[v]) / sum;
        want[v] += p * (1 - p) / (SEQUENCES * (T - 1));
      }
      for (size_t c = 0; c < h; c++) row += (double)x[c] * (double)w[h * (t % vocab) + c];
      EXPECT(close_to(row, (double)z[t % vocab], 1e-4, 1e-4));
    }
  }
  const float *got = sb_table_stats_row_weights(stats, SB_USE_HEAD);
  for (size_t v = 0; v < vocab; v++) {
    /* a target's 1 - p is good to 2^-24 / its mean over 94 targets */
    EXPECT(close_to((double)got[v], want[v], 2e-5, 2e-9));
    total += want[v];
  }
  EXPECT(total > 0.1 && total < 1);
  free(logits);
  free(w);
  free(want);
}

/* Column moments of a use from rows x of all sequences, `targets` of each, times scale. */
static double plain_moment(const float *x, size_t h, size_t targets, size_t r, size_t c) {
  double sum = 0;
  for (size_t s = 0; s < SEQUENCES; s++)
    for (size_t t = 0; t < targets; t++)
      sum += (double)x[(s * T + t) * h + r] * (double)x[(s * T + t) * h + c];
  return sum;
}

static void check_moments(const golden *g, const heard *a, const sb_table_stats *stats,
                          bool whole) {
  const sb_model *m = g->model;
  const sb_tiling *tiling = &m->tables[0].matrix.tiling;
  const size_t h = m->config.hidden, vocab = m->config.vocab, n = tiling->block_cols;
  const double scales[] = {1.0 / (SEQUENCES * (T - 1)), (T - 1.0) / SEQUENCES};
  float *grams = calloc(sb_tiling_block_cols(tiling) * n * n, sizeof *grams);
  float *importance = calloc(h, sizeof *importance);
  double *all = calloc(h * h, sizeof *all), *want[SB_TABLE_USES], mean[SB_TABLE_USES] = {0};
  for (int use = 0; use < SB_TABLE_USES; use++) {
    const bool head = use == SB_USE_HEAD;
    want[use] = calloc(h * h, sizeof *want[use]);
    for (size_t r = 0; r < h; r++)
      for (size_t c = 0; c < h; c++)
        want[use][r * h + c] =
            scales[use] * plain_moment(head ? a->x : a->dx, h, head ? T - 1 : T, r, c);
    sb_table_stats_grams(stats, (sb_table_use)use, grams);
    for (size_t r = 0; r < h; r++)
      for (size_t c = r / n * n; c < sb_min_size(h, (r / n + 1) * n); c++) {
        const double size = sqrt(want[use][r * h + r] * want[use][c * h + c]);
        const float got = grams[r / n * n * n + r % n * sb_tiling_cols_of(tiling, r / n) + c % n];
        EXPECT(close_to((double)got, want[use][r * h + c], 0, 1e-5 * size));
        EXPECT(size > 0);
      }
    for (size_t v = 0; v < vocab; v++)
      mean[use] += (double)sb_table_stats_row_weights(stats, (sb_table_use)use)[v] / (double)vocab;
  }
  EXPECT_OK(sb_table_stats_fit(stats, g->model));
  for (size_t i = 0; i < m->table_count; i++) {
    const float *fitted = sb_model_importance(m, &m->tables[i].matrix);
    sb_table_stats_moments(stats, &m->tables[i], all);
    sb_table_stats_importance(stats, &m->tables[i], importance);
    for (size_t r = 0; r < h; r++)
      for (size_t c = 0; c < h; c++) {
        double sum = 0, size = 0;
        for (int use = 0; use < SB_TABLE_USES; use++) {
          if (m->table_count == 2 && (i == 0) != (use == SB_USE_EMBEDDING)) continue;
          sum += mean[use] * want[use][r * h + c];
          size += mean[use] * sqrt(want[use][r * h + r] * want[use][c * h + c]);
        }
        if (!whole && r / n != c / n) sum = 0;
        EXPECT(close_to(all[r * h + c], sum, 0, 1e-5 * size));
        if (r == c) EXPECT(importance[r] == (float)all[r * h + r]);
        if (r == c) EXPECT(fitted[r] == importance[r]);
      }
  }
  for (int use = 0; use < SB_TABLE_USES; use++) free(want[use]);
  free(grams);
  free(importance);
  free(all);
}

static void check_shares(const golden *g, const sb_table_stats *stats) {
  const size_t vocab = g->model->config.vocab;
  const float *got = sb_table_stats_row_weights(stats, SB_USE_EMBEDDING);
  uint64_t *counts = calloc(vocab, sizeof *counts);
  double total = 0;
  for (size_t t = 0; t < SEQUENCES * T; t++) counts[g->sequences.tokens[t]]++;
  for (size_t v = 0; v < vocab; v++) {
    EXPECT(got[v] == (float)sb_table_share(counts[v], SEQUENCES * T, vocab));
    EXPECT(got[v] > 0);
    total += (double)got[v];
  }
  EXPECT(fabs(total - 1) < 1e-5);
  free(counts);
}

static void measure(golden *g, bool whole, size_t activation_bytes, sb_table_stats **out) {
  EXPECT_OK(sb_table_stats_measure(g->model, g->backend, &g->sequences, activation_bytes, whole,
                                   (sb_ticker){0}, out));
}

/* On a rank alone. */
static void check_alone(const char *folder, bool whole, size_t activation_bytes) {
  golden g;
  heard a;
  sb_table_stats *stats = NULL;
  golden_open(&g, &(golden_setup){.name = folder,
                                  .world = world_alone(),
                                  .gradients = true,
                                  .all_gradients = true,
                                  .threads = 1,
                                  .blocking = {16, 20, SB_GRID_ASYMMETRIC},
                                  .activation_bytes = activation_bytes});
  listen(&g, &a);
  measure(&g, whole, activation_bytes, &stats);
  check_dx(&g, &a);
  check_head(&g, &a, stats);
  check_moments(&g, &a, stats, whole);
  check_shares(&g, stats);
  sb_table_stats_free(&stats);
  forget(&a);
  golden_close(&g);
}

static void equal_plain_sums(void **state) {
  (void)state;
  scratch_begin();
  check_alone("f32-single", true, (size_t)1 << 30);
  check_alone("gqa-tied", false, 1); /* one sequence at a time */
#ifndef SB_TEST_ON_CUDA              /* minutes on the stand-in */
  check_alone(wide_make("gqa-tied"), true, (size_t)1 << 30);
  check_alone(wide_make("mha-untied"), false, (size_t)1 << 30);
#endif
  scratch_end();
  all_ranks_passed();
}

/* All ranks together, and each alone. */
static void same_bits(void **state) {
  (void)state;
  for (int whole = 0; whole < 2; whole++) {
    golden g[2];
    sb_table_stats *stats[2] = {NULL};
    for (int alone = 0; alone < 2; alone++) {
      golden_open(&g[alone], &(golden_setup){.name = whole ? "gqa-tied" : "mha-untied",
                                             .world = alone ? world_alone() : NULL,
                                             GOLDEN_DEFAULTS});
      measure(&g[alone], whole, (size_t)1 << 30, &stats[alone]);
    }
    const sb_model *m = g[0].model;
    const size_t h = m->config.hidden;
    double *moments[2] = {calloc(h * h, sizeof(double)), calloc(h * h, sizeof(double))};
    for (int use = 0; use < SB_TABLE_USES; use++)
      EXPECT(memcmp(sb_table_stats_row_weights(stats[0], (sb_table_use)use),
                    sb_table_stats_row_weights(stats[1], (sb_table_use)use),
                    m->config.vocab * sizeof(float)) == 0);
    for (size_t i = 0; i < m->table_count; i++) {
      for (int alone = 0; alone < 2; alone++)
        sb_table_stats_moments(stats[alone], &g[alone].model->tables[i], moments[alone]);
      EXPECT(memcmp(moments[0], moments[1], h * h * sizeof(double)) == 0);
    }
    for (int alone = 0; alone < 2; alone++) {
      free(moments[alone]);
      sb_table_stats_free(&stats[alone]);
      golden_close(&g[alone]);
    }
  }
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(equal_plain_sums),
                                          cmocka_unit_test(same_bits)};
RANKS_MAIN(tests)
