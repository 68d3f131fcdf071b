/* Scores of channels against plain loops over the dense gradients, orders against the scores, the
 * same orders on any number of ranks, threads and waves, and a model in its measured fused order
 * that is still the same model. */
#include "tests/support/golden.h"

#include <math.h>

#include "tests/support/dense.h"
#include "model/fused.h"
#include "model/orders_check.h"
#include "sensitivity/channels.h"

enum { WIDTH = 3 };

/* Sums over this rank's sequences of all layers: rows, then columns of each matrix. */
typedef struct plain {
  const golden *g;
  double *sums;
  bool absolute;
  bool source; /* the pass goes at full precision */
} plain;

static size_t layer_sums(const sb_model *m) {
  size_t count = 0;
  for (size_t i = 0; i < sb_arch_matrices(&m->arch, 0); i++)
    count += m->matrices[i].tiling.rows + m->matrices[i].tiling.cols;
  return count;
}

static sb_status matrix(void *context, sb_stream stream, size_t layer, size_t which,
                        const float *gradient) {
  plain *p = context;
  sb_model *m = p->g->model;
  const sb_matrix *mine = sb_model_matrix(m, layer, which);
  const size_t rows = mine->tiling.rows, cols = mine->tiling.cols;
  double *sums = p->sums + layer * layer_sums(m);
  (void)stream;
  for (size_t i = 0; i < which; i++)
    sums += m->matrices[i].tiling.rows + m->matrices[i].tiling.cols;
  memset(m->bits, WIDTH, m->blocks);
  float *w = dense_weights(p->g, mine), *now = dense_rounded(w, m, mine, 0);
  if (p->source) memset(m->bits, 0, m->blocks);
  for (size_t r = 0; r < rows; r++)
    for (size_t c = 0; c < cols; c++) {
      const double e =
          (double)gradient[r * cols + c] * ((double)now[r * cols + c] - (double)w[r * cols + c]);
      sums[r] += p->absolute ? fabs(e) : e * e;
      sums[rows + c] += p->absolute ? fabs(e) : e * e;
    }
  free(w);
  free(now);
  return SB_OK;
}

static sb_channels *measure(golden *g, sb_channel_score score) {
  sb_channels *channels = NULL;
  double loss = NAN;
  memset(g->model->bits, WIDTH, g->model->blocks);
  EXPECT_OK(sb_channels_measure(g->pass, g->model, g->backend, score, &loss, &channels));
  return channels;
}

static void against_plain_loops(void **state) {
  (void)state;
  for (size_t i = 0; i < GOLDENS; i++)
    for (int way = 0; way < 3; way++) { /* the last: trellis codes */
      const sb_channel_score score = way == 1 ? SB_CHANNELS_ABSOLUTE : SB_CHANNELS_SQUARE;
      golden g;
      double loss;
      golden_open(&g, &(golden_setup){.name = golden_names[i], .gradients = true, GOLDEN_DEFAULTS});
      const size_t layers = g.model->config.layers, count = layer_sums(g.model);
      plain p = {&g, calloc(layers * count, sizeof(double)), way == 1, way == 2};
      if (p.source) g.model->blocking.code_kind = SB_TRELLIS_12;
      double *got = calloc(count, sizeof *got);
      sb_channels *channels = measure(&g, score);
      g.model->blocking.code_kind = SB_GRID_ASYMMETRIC; /* by which trellis codes are scored, too */
      if (p.source) memset(g.model->bits, 0, g.model->blocks);
      sb_pass_forget(g.pass);
      const sb_pass_hooks hooks = {.context = &p,
                                   .begin_layer = golden_begin_layer,
                                   .matrix = matrix,
                                   .end_sequence = golden_end_sequence,
                                   .end_layer = golden_end_layer};
      EXPECT_OK(sb_pass_gradients(g.pass, &hooks, &loss));
      EXPECT(MPI_Allreduce(MPI_IN_PLACE, p.sums, (int)(layers * count), MPI_DOUBLE, MPI_SUM,
                           world.comm) == MPI_SUCCESS);
      EXPECT(sb_channels_count(channels) == count);
      for (size_t layer = 0; layer < layers; layer++) {
        size_t wrong = 0, positive = 0;
        EXPECT_OK(sb_channels_layer(channels, layer, got));
        for (size_t k = 0; k < count; k++) {
          /* terms are positive and each rounded to float a few times; sums
           * are multiples of 2^-80 */
          const double expected = p.sums[layer * count + k];
          wrong += !(fabs(got[k] - expected) <= 1e-6 * expected + 0x1p-70);
          positive += got[k] > 0;
        }
        EXPECT(wrong == 0);
        EXPECT(positive > count * 9 / 10);
      }
      sb_channels_free(&channels);
      free(p.sums);
      free(got);
      golden_close(&g);
    }
  all_ranks_passed();
}

/* The sums of one matrix in a layer's. */
static const double *rows_of(const sb_model *m, const double *sums, sb_role role) {
  const size_t which = sb_arch_tensor(&m->arch, role, 0)->matrix;
  for (size_t i = 0; i < which; i++)
    sums += m->matrices[i].tiling.rows + m->matrices[i].tiling.cols;
  return sums;
}
static const double *cols_of(const sb_model *m, const double *sums, sb_role role) {
  return rows_of(m, sums, role) + sb_arch_tensor(&m->arch, role, 0)->rows;
}

static void falling(const double *score, const uint32_t *from, size_t n) {
  for (size_t i = 1; i < n; i++)
    EXPECT(score[from[i - 1]] > score[from[i]] ||
           (score[from[i - 1]] == score[from[i]] && from[i - 1] < from[i]));
}

static const uint32_t *order(const sb_model *m, const sb_orders *o, size_t layer, sb_role role,
                             bool rows) {
  const size_t tensor = sb_arch_index(&m->arch, role, layer);
  return rows ? sb_orders_rows(o, tensor) : sb_orders_cols(o, tensor);
}

static double span(const double *x, size_t first, size_t n) {
  double sum = 0;
  for (size_t i = first; i < first + n; i++) sum += x[i];
  return sum;
}

static void check_heads(const sb_model *m, const sb_orders *o, size_t layer, const double *sums) {
  const sb_config *c = &m->config;
  const size_t d = c->head_dim, each = c->heads / c->kv_heads;
  const double *q = rows_of(m, sums, SB_ROLE_Q), *k = rows_of(m, sums, SB_ROLE_K),
               *v = rows_of(m, sums, SB_ROLE_V), *out = cols_of(m, sums, SB_ROLE_O);
  const uint32_t *q_rows = order(m, o, layer, SB_ROLE_Q, true),
                 *k_rows = order(m, o, layer, SB_ROLE_K, true),
                 *v_rows = order(m, o, layer, SB_ROLE_V, true);
  double last_group = INFINITY;
  for (size_t g = 0; g < c->kv_heads; g++) {
    const size_t group = k_rows[g * d] / d;
    double last_query = INFINITY, last_value = INFINITY;
    const double score = span(k, group * d, d) + span(v, group * d, d) +
                         span(q, group * each * d, each * d) +
                         span(out, group * each * d, each * d);
    EXPECT(score <= last_group * (1 + 1e-12));
    last_group = score;
    for (size_t j = 0; j < each; j++) {
      const size_t head = q_rows[(g * each + j) * d] / d;
      const double query = span(q, head * d, d) + span(out, head * d, d);
      EXPECT(query <= last_query * (1 + 1e-12));
      last_query = query;
    }
    for (size_t i = 0; i < d; i++) {
      const size_t channel = v_rows[g * d + i];
      double value = v[channel];
      for (size_t j = 0; j < each; j++) value += out[(group * each + j) * d + channel % d];
      EXPECT(value <= last_value * (1 + 1e-12));
      last_value = value;
    }
  }
}

static void fused_by_scores(void **state) {
  (void)state;
  for (size_t i = 0; i < GOLDENS; i++) {
    golden g;
    sb_orders o;
    golden_open(&g, &(golden_setup){.name = golden_names[i], .gradients = true, GOLDEN_DEFAULTS});
    const sb_model *m = g.model;
    const size_t hidden = m->config.hidden, inner = m->config.intermediate;
    sb_channels *channels = measure(&g, SB_CHANNELS_SQUARE);
    EXPECT_OK(sb_channels_orders(channels, SB_REORDER_FUSED, &o));
    EXPECT_OK(sb_orders_check(&m->arch, &o));
    double *sums = calloc(layer_sums(m), sizeof *sums),
           *residual = calloc(hidden, sizeof *residual), *mlp = calloc(inner, sizeof *mlp);
    for (size_t layer = 0; layer < m->config.layers; layer++) {
      EXPECT_OK(sb_channels_layer(channels, layer, sums));
      for (size_t k = 0; k < hidden; k++) {
        static const sb_role in[] = {SB_ROLE_Q, SB_ROLE_K, SB_ROLE_V, SB_ROLE_GATE, SB_ROLE_UP};
        for (int w = 0; w < 5; w++) residual[k] += cols_of(m, sums, in[w])[k];
        residual[k] += rows_of(m, sums, SB_ROLE_O)[k] + rows_of(m, sums, SB_ROLE_DOWN)[k];
      }
      for (size_t k = 0; k < inner; k++)
        mlp[k] = rows_of(m, sums, SB_ROLE_GATE)[k] + rows_of(m, sums, SB_ROLE_UP)[k] +
                 cols_of(m, sums, SB_ROLE_DOWN)[k];
      falling(mlp, order(m, &o, layer, SB_ROLE_GATE, true), inner);
      check_heads(m, &o, layer, sums);
    }
    const uint32_t *from = order(m, &o, 0, SB_ROLE_Q, false);
    for (size_t k = 1; k < hidden; k++) /* added up in another order here */
      EXPECT(residual[from[k]] <= residual[from[k - 1]] * (1 + 1e-12));
    free(sums);
    free(residual);
    free(mlp);
    sb_orders_free(&o);
    sb_channels_free(&channels);
    golden_close(&g);
  }
  all_ranks_passed();
}

/* No channel of a block is more sensitive than one of the block before
 * it; inside, channels rise. */
static void check_blocks(const double *score, const uint32_t *from, size_t n, size_t block) {
  for (size_t i = 0; i + 1 < n; i++)
    if ((i + 1) % block != 0) EXPECT(from[i] < from[i + 1]);
  for (size_t i = block; i < n; i++)
    for (size_t k = (i / block - 1) * block; k < i / block * block; k++)
      EXPECT(score[from[i]] <= score[from[k]] * (1 + 1e-12));
}

static void indexed_by_scores(void **state) {
  (void)state;
  for (size_t i = 0; i < GOLDENS; i++) {
    golden g;
    sb_orders o;
    golden_open(&g, &(golden_setup){.name = golden_names[i], .gradients = true, GOLDEN_DEFAULTS});
    const sb_model *m = g.model;
    sb_channels *channels = measure(&g, SB_CHANNELS_SQUARE);
    EXPECT_OK(sb_channels_orders(channels, SB_REORDER_INDEXED, &o));
    EXPECT_OK(sb_orders_check(&m->arch, &o));
    double *sums = calloc(layer_sums(m), sizeof *sums),
           *shared = calloc(m->config.hidden, sizeof *shared);
    for (size_t layer = 0; layer < m->config.layers; layer++) {
      EXPECT_OK(sb_channels_layer(channels, layer, sums));
      for (size_t w = 0; w < sb_arch_matrices(&m->arch, layer); w++) {
        const sb_model_tensor *t = sb_arch_matrix(&m->arch, layer, w);
        check_blocks(rows_of(m, sums, t->role), order(m, &o, layer, t->role, true), t->rows,
                     m->blocking.rows);
      }
      for (size_t k = 0; k < m->config.hidden; k++)
        shared[k] = cols_of(m, sums, SB_ROLE_Q)[k] + cols_of(m, sums, SB_ROLE_K)[k] +
                    cols_of(m, sums, SB_ROLE_V)[k];
      check_blocks(shared, order(m, &o, layer, SB_ROLE_K, false), m->config.hidden,
                   m->blocking.cols);
      for (size_t k = 0; k < m->config.hidden; k++)
        shared[k] = cols_of(m, sums, SB_ROLE_GATE)[k] + cols_of(m, sums, SB_ROLE_UP)[k];
      check_blocks(shared, order(m, &o, layer, SB_ROLE_UP, false), m->config.hidden,
                   m->blocking.cols);
      check_blocks(cols_of(m, sums, SB_ROLE_DOWN), order(m, &o, layer, SB_ROLE_DOWN, false),
                   m->config.intermediate, m->blocking.cols);
      check_blocks(cols_of(m, sums, SB_ROLE_O), order(m, &o, layer, SB_ROLE_O, false),
                   sb_arch_tensor(&m->arch, SB_ROLE_O, 0)->cols, m->blocking.cols);
    }
    free(sums);
    free(shared);
    sb_orders_free(&o);
    sb_channels_free(&channels);
    golden_close(&g);
  }
  all_ranks_passed();
}

static uint64_t hash_of(const golden_setup *setup, sb_reorder mode) {
  golden g;
  sb_orders o;
  golden_open(&g, setup);
  sb_channels *channels = measure(&g, SB_CHANNELS_SQUARE);
  EXPECT_OK(sb_channels_orders(channels, mode, &o));
  const uint64_t hash = sb_orders_hash(&o);
  sb_orders_free(&o);
  sb_channels_free(&channels);
  golden_close(&g);
  return hash;
}

static void same_on_any_ranks(void **state) {
  (void)state;
  for (int mode = SB_REORDER_FUSED; mode <= SB_REORDER_INDEXED; mode++) {
    golden_setup setup = {.name = "llama3-rope", .gradients = true, GOLDEN_DEFAULTS};
    setup.world = world_alone();
    const uint64_t alone = hash_of(&setup, (sb_reorder)mode);
    setup.world = NULL;
    EXPECT(hash_of(&setup, (sb_reorder)mode) == alone);
    setup.threads = 3;
    EXPECT(hash_of(&setup, (sb_reorder)mode) == alone);
    setup.activation_bytes = 1; /* one sequence at a time */
    EXPECT(hash_of(&setup, (sb_reorder)mode) == alone);
  }
  all_ranks_passed();
}

/* Loss of both sequences against Hugging Face's, as test_golden_forward has it for the
 * model as it is. */
static void still_the_same_model(void **state) {
  (void)state;
  for (size_t i = 0; i < GOLDENS; i++) {
    golden g, sorted;
    sb_orders o;
    double expected[2], loss = NAN;
    golden_setup setup = {.name = golden_names[i], .gradients = true, GOLDEN_DEFAULTS};
    golden_open(&g, &setup);
    sb_channels *channels = measure(&g, SB_CHANNELS_SQUARE);
    EXPECT_OK(sb_channels_orders(channels, SB_REORDER_FUSED, &o));
    setup.orders = &o;
    golden_open(&sorted, &setup);
    golden_losses(&g, expected);
    EXPECT_OK(sb_pass_loss(sorted.pass, &loss));
    EXPECT(fabs(loss - 0.5 * (expected[0] + expected[1])) < 1e-5);
    EXPECT(sb_orders_cols(&o, 0)[0] != 0 || sb_orders_cols(&o, 0)[1] != 1);
    sb_channels_free(&channels);
    golden_close(&sorted);
    golden_close(&g);
    sb_orders_free(&o);
  }
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(against_plain_loops), cmocka_unit_test(fused_by_scores),
    cmocka_unit_test(indexed_by_scores), cmocka_unit_test(same_on_any_ranks),
    cmocka_unit_test(still_the_same_model)};
RANKS_MAIN(tests)
