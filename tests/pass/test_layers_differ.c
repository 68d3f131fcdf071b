/* Loss, logits and gradients of a model whose layers differ in their matrices, against a model of
 * equal layers that computes the same function. */
#include "tests/support/layers_differ.h"

/* Gradients of all matrices, summed over this rank's sequences. */
typedef struct sums {
  const sb_model *m;
  float **of; /* [matrices] */
} sums;

static sb_status begin_layer(void *context, sb_stream stream, size_t layer,
                             const sb_device_layer *prepared) {
  const sums *s = context;
  const sb_layer_weights *w = sb_device_layer_weights(prepared);
  (void)stream;
  EXPECT(w->layer == layer);
  for (size_t i = 0; i < sb_arch_matrices(&s->m->arch, layer); i++) {
    const sb_tiling *tiling = &sb_model_matrix(s->m, layer, i)->tiling;
    const sb_model_tensor *t = sb_arch_matrix(&s->m->arch, layer, i);
    const float *got = w->products[i].dense_dev;
    EXPECT(w->products[i].rows == tiling->rows && w->products[i].cols == tiling->cols);
    for (size_t r = 0; r < tiling->rows; r++)
      for (size_t c = 0; c < tiling->cols; c++)
        EXPECT(got[r * tiling->cols + c] == differ_weight(t, r, c));
  }
  return SB_OK;
}

static sb_status add_gradient(void *context, sb_stream stream, size_t layer, size_t which,
                              const float *g) {
  const sums *s = context;
  const size_t i = s->m->arch.layers[layer].first_matrix + which;
  const sb_tiling *tiling = &s->m->matrices[i].tiling;
  (void)stream;
  for (size_t k = 0; k < tiling->rows * tiling->cols; k++) s->of[i][k] += g[k];
  return SB_OK;
}

static sb_status end_sequence(void *context, sb_stream stream, size_t layer) {
  (void)context, (void)stream, (void)layer;
  return SB_OK;
}

static sb_status end_layer(void *context, size_t layer) {
  (void)context, (void)layer;
  return SB_OK;
}

static float **gradients_of(sb_model *m, sb_pass *pass, double *loss) {
  sums s = {m, calloc(m->arch.matrix_count, sizeof *s.of)};
  const sb_pass_hooks hooks = {.context = &s,
                               .begin_layer = begin_layer,
                               .matrix = add_gradient,
                               .end_sequence = end_sequence,
                               .end_layer = end_layer};
  for (size_t i = 0; i < m->arch.matrix_count; i++)
    s.of[i] = calloc(m->matrices[i].tiling.rows * m->matrices[i].tiling.cols, sizeof(float));
  EXPECT_OK(sb_pass_gradients(pass, &hooks, loss));
  return s.of;
}

/* The part that both have. */
static void compare(const sb_model *small, const sb_model *large, size_t i, const float *a,
                    const float *b) {
  const sb_tiling *x = &small->matrices[i].tiling, *y = &large->matrices[i].tiling;
  float most = 0;
  for (size_t k = 0; k < y->rows * y->cols; k++) most = fmaxf(most, fabsf(b[k]));
  EXPECT(most > 0 || sb_pass_local(small->world, DIFFER_SEQUENCES) == 0);
  for (size_t r = 0; r < x->rows; r++)
    for (size_t c = 0; c < x->cols; c++)
      EXPECT(fabsf(a[r * x->cols + c] - b[r * y->cols + c]) <= 2e-5f * most);
}

static void same_function(void **state) {
  (void)state;
  const sb_family families[2] = {differ_family(true), differ_family(false)};
  sb_sequences q = differ_sequences(&world);
  sb_model *m[2];
  sb_pass *pass[2];
  sb_backend *b = NULL;
  double loss[2];
  float **g[2], *logits[2];
  const size_t count = (size_t)DIFFER_SEQLEN * DIFFER_VOCAB;
  EXPECT_OK(sb_backend_cpu_create(SB_COMPUTE_F32, 1, &b));
  for (int i = 0; i < 2; i++) {
    m[i] = differ_model(&world, &families[i]);
    pass[i] = differ_pass(m[i], b, &q);
    g[i] = gradients_of(m[i], pass[i], &loss[i]);
    logits[i] = calloc(count, sizeof *logits[i]);
    EXPECT_OK(sb_pass_logits(pass[i], 0, logits[i]));
  }
  EXPECT(m[0]->arch.matrix_count == 28 && m[0]->blocks < m[1]->blocks);
  EXPECT(fabs(loss[0] - loss[1]) < 1e-6 * loss[1]);
  EXPECT(loss[0] > 1.5 * log(DIFFER_VOCAB)); /* layers do something to it */
  for (size_t k = 0; k < count; k++) EXPECT(fabsf(logits[0][k] - logits[1][k]) < 1e-3f);
  for (size_t i = 0; i < m[0]->arch.matrix_count; i++) compare(m[0], m[1], i, g[0][i], g[1][i]);
  for (int i = 0; i < 2; i++) {
    for (size_t k = 0; k < m[i]->arch.matrix_count; k++) free(g[i][k]);
    free(g[i]);
    free(logits[i]);
    sb_pass_free(&pass[i]);
    sb_model_free(&m[i]);
  }
  sb_sequences_free(&q);
  b->op->destroy(b);
  all_ranks_passed();
}

/* Every block and group has one number, and owners cover the blocks of each layer. */
static void numbers(void **state) {
  (void)state;
  const sb_family family = differ_family(true);
  sb_model *m = differ_model(&world, &family);
  size_t blocks = 0, groups = 0;
  for (size_t layer = 0; layer < DIFFER_LAYERS; layer++) {
    size_t at = blocks;
    EXPECT(sb_model_first_block(m, layer) == blocks && sb_model_first_group(m, layer) == groups);
    for (size_t i = 0; i < sb_arch_matrices(&m->arch, layer); i++) {
      const sb_matrix *matrix = sb_model_matrix(m, layer, i);
      EXPECT(matrix->first_block == blocks && matrix->first_group == groups);
      blocks += sb_tiling_block_rows(&matrix->tiling) * sb_tiling_block_cols(&matrix->tiling);
      groups += matrix->tiling.rows * sb_tiling_block_cols(&matrix->tiling);
    }
    for (int r = 0; r < world.size; r++) {
      size_t first, end;
      sb_model_owned_blocks(m, layer, r, &first, &end);
      EXPECT(first == at && end >= first);
      at = end;
    }
    EXPECT(at == blocks);
  }
  EXPECT(m->blocks == blocks && m->quant_groups == groups);
  EXPECT(sb_model_first_block(m, DIFFER_LAYERS) == blocks);
  EXPECT(sb_model_most_blocks(m) == sb_model_first_block(m, 1));
  sb_model_free(&m);
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(same_function),
                                          cmocka_unit_test(numbers)};
RANKS_MAIN(tests)
