/* A model whose store holds its matrices with rows and columns in any order: what is computed with
 * is bit for bit the matrix put in order, rounded and brought back, in plain loops; gradients come
 * in the order of the store. */
#include "tests/support/dense.h"

#include "model/config_read.h"
#include "tests/support/random_orders.h"

static const sb_orders *orders_of(const char *name, uint64_t seed, sb_orders *out) {
  char folder[1024];
  sb_config config;
  sb_arch arch = {0};
  snprintf(folder, sizeof folder, "%s/tests/golden/%s", SB_SOURCE_DIR, name);
  EXPECT_OK(sb_config_read(folder, &config));
  EXPECT_OK(sb_arch_create(&config, &arch));
  EXPECT_OK(random_indexed(&arch, 16, 32, seed, out));
  sb_arch_free(&arch);
  return out;
}

/* What a pass sees of its layers. */
typedef struct seen {
  const golden *g;
  const sb_device_layer *prepared;
  bool compare;      /* weights with plain loops */
  float **gradients; /* [matrices] sums over sequences of this rank, in natural order */
} seen;

/* Row and column of the source at place (i, j) of the store. */
static size_t source_at(const sb_model *m, const sb_matrix *matrix, size_t i, size_t j) {
  const uint32_t *rows = sb_orders_rows(&m->orders, matrix->tensor),
                 *cols = sb_orders_cols(&m->orders, matrix->tensor);
  return (rows ? rows[i] : i) * matrix->tiling.cols + (cols ? cols[j] : j);
}

static void compare_weights(const seen *s, size_t layer, size_t which) {
  const sb_model *m = s->g->model;
  const sb_matrix *matrix = sb_model_matrix(m, layer, which);
  const sb_tiling *tiling = &matrix->tiling;
  float *w = dense_weights(s->g, matrix),
        *ordered = calloc(tiling->rows * tiling->cols, sizeof *ordered),
        *expected = calloc(tiling->rows * tiling->cols, sizeof *expected);
  for (size_t i = 0; i < tiling->rows; i++)
    for (size_t j = 0; j < tiling->cols; j++)
      ordered[i * tiling->cols + j] = w[source_at(m, matrix, i, j)];
  scalar_quantize(w, ordered, tiling, m->bits + matrix->first_block, m->blocking.code_kind);
  for (size_t i = 0; i < tiling->rows; i++)
    for (size_t j = 0; j < tiling->cols; j++)
      expected[source_at(m, matrix, i, j)] = w[i * tiling->cols + j];
  EXPECT(memcmp(expected, sb_device_layer_weights(s->prepared)->products[which].dense_dev,
                tiling->rows * tiling->cols * sizeof *expected) == 0);
  free(w);
  free(ordered);
  free(expected);
}

static sb_status begin_layer(void *context, sb_stream stream, size_t layer,
                             const sb_device_layer *prepared) {
  seen *s = context;
  (void)stream;
  s->prepared = prepared;
  for (size_t which = 0; which < sb_arch_matrices(&s->g->model->arch, layer) && s->compare; which++)
    compare_weights(s, layer, which);
  return SB_OK;
}

static sb_status matrix(void *context, sb_stream stream, size_t layer, size_t which,
                        const float *gradient) {
  seen *s = context;
  const sb_model *m = s->g->model;
  const sb_matrix *mine = sb_model_matrix(m, layer, which);
  (void)stream;
  if (!s->gradients) return SB_OK;
  float *sum = s->gradients[m->arch.layers[layer].first_matrix + which];
  for (size_t i = 0; i < mine->tiling.rows; i++)
    for (size_t j = 0; j < mine->tiling.cols; j++)
      sum[source_at(m, mine, i, j)] += gradient[i * mine->tiling.cols + j];
  return SB_OK;
}

static double pass(golden *g, seen *s) {
  const sb_pass_hooks hooks = {.context = s,
                               .begin_layer = begin_layer,
                               .matrix = matrix,
                               .end_sequence = golden_end_sequence,
                               .end_layer = golden_end_layer};
  double loss = NAN;
  s->g = g;
  EXPECT_OK(sb_pass_gradients(g->pass, &hooks, &loss));
  return loss;
}

static void rounded_in_order(void **state) {
  (void)state;
  for (size_t i = 0; i < GOLDENS; i++)
    for (int symmetric = 0; symmetric < 2; symmetric++) {
      sb_orders orders;
      golden g;
      seen s = {.compare = true};
      golden_setup setup = {.name = golden_names[i],
                            .orders = orders_of(golden_names[i], i, &orders),
                            .gradients = true,
                            GOLDEN_DEFAULTS};
      setup.blocking.code_kind = symmetric ? SB_GRID_SYMMETRIC : SB_GRID_ASYMMETRIC;
      golden_open(&g, &setup);
      golden_mixed_bits(g.model, 0, 8, 3);
      pass(&g, &s);
      golden_close(&g);
      sb_orders_free(&orders);
    }
  all_ranks_passed();
}

static float **new_gradients(const sb_model *m) {
  float **out = calloc(m->arch.matrix_count, sizeof *out);
  for (size_t i = 0; i < m->arch.matrix_count; i++)
    out[i] = calloc(m->matrices[i].tiling.rows * m->matrices[i].tiling.cols, sizeof **out);
  return out;
}

/* At full precision the indexed model is the same model, to the bit; its gradients are the same
 * ones in another order. A gradient is a product over 48 tokens, which BLAS may add up in another
 * order where it is elsewhere in the matrix. */
static void gradients_in_order(void **state) {
  (void)state;
  for (size_t i = 0; i < GOLDENS; i++) {
    sb_orders orders;
    golden plain, ordered;
    seen a = {0}, b = {0};
    golden_setup setup = {.name = golden_names[i], .gradients = true, GOLDEN_DEFAULTS};
    golden_open(&plain, &setup);
    setup.orders = orders_of(golden_names[i], 40 + i, &orders);
    golden_open(&ordered, &setup);
    a.gradients = new_gradients(plain.model);
    b.gradients = new_gradients(ordered.model);
    EXPECT(pass(&plain, &a) == pass(&ordered, &b));
    for (size_t k = 0; k < plain.model->arch.matrix_count; k++) {
      const sb_tiling *tiling = &plain.model->matrices[k].tiling;
      double worst = 0, largest = 0;
      for (size_t e = 0; e < tiling->rows * tiling->cols; e++) {
        largest = fmax(largest, fabs((double)a.gradients[k][e]));
        worst = fmax(worst, fabs((double)a.gradients[k][e] - (double)b.gradients[k][e]));
      }
      EXPECT(worst <= 1e-5 * largest);
      EXPECT(largest > 0 || plain.sequences.local == 0);
      free(a.gradients[k]);
      free(b.gradients[k]);
    }
    free(a.gradients);
    free(b.gradients);
    golden_close(&plain);
    golden_close(&ordered);
    sb_orders_free(&orders);
  }
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(rounded_in_order),
                                          cmocka_unit_test(gradients_in_order)};
RANKS_MAIN(tests)
