/* Scores, orders and GPTQ of a model whose layers differ in their matrices: channels against plain
 * loops, all else the same on any number of ranks. */
#include "quant/gptq.h"
#include "quant/importance.h"
#include "sensitivity/channels.h"
#include "sensitivity/loss_table.h"
#include "sensitivity/scores.h"
#include "tests/support/layers_differ.h"

enum { BITS = 3 };

/* ---- scores of channels against plain loops ---- */

typedef struct plain {
  const sb_model *m;
  const sb_device_layer *prepared;
  double *sums[DIFFER_LAYERS]; /* rows, then columns of each matrix */
  size_t count[DIFFER_LAYERS];
} plain;

static sb_status begin_layer(void *context, sb_stream stream, size_t layer,
                             const sb_device_layer *prepared) {
  (void)stream, (void)layer;
  ((plain *)context)->prepared = prepared;
  return SB_OK;
}

static sb_status add_matrix(void *context, sb_stream stream, size_t layer, size_t which,
                            const float *g) {
  plain *p = context;
  const sb_model_tensor *t = sb_arch_matrix(&p->m->arch, layer, which);
  const float *now = sb_device_layer_weights(p->prepared)->products[which].dense_dev;
  double *sums = p->sums[layer];
  (void)stream;
  for (size_t i = 0; i < which; i++) {
    const sb_tiling *before = &sb_model_matrix(p->m, layer, i)->tiling;
    sums += before->rows + before->cols;
  }
  for (size_t r = 0; r < t->rows; r++)
    for (size_t c = 0; c < t->cols; c++) {
      const double e = (double)g[r * t->cols + c] *
                       ((double)now[r * t->cols + c] - (double)differ_weight(t, r, c));
      sums[r] += e * e;
      sums[t->rows + c] += e * e;
    }
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

/* All sequences, on this rank alone. */
static void plain_sums(plain *p, const sb_family *family, sb_backend *b) {
  const sb_world *alone = world_alone();
  sb_sequences q = differ_sequences(alone);
  sb_model *m = differ_model(alone, family);
  const sb_pass_hooks hooks = {.context = p,
                               .begin_layer = begin_layer,
                               .matrix = add_matrix,
                               .end_sequence = end_sequence,
                               .end_layer = end_layer};
  double loss;
  memset(m->bits, BITS, m->blocks);
  p->m = m;
  for (size_t layer = 0; layer < DIFFER_LAYERS; layer++) {
    p->count[layer] = 0;
    for (size_t i = 0; i < sb_arch_matrices(&m->arch, layer); i++)
      p->count[layer] +=
          sb_arch_matrix(&m->arch, layer, i)->rows + sb_arch_matrix(&m->arch, layer, i)->cols;
    p->sums[layer] = calloc(p->count[layer], sizeof(double));
  }
  sb_pass *pass = differ_pass(m, b, &q);
  EXPECT_OK(sb_pass_gradients(pass, &hooks, &loss));
  sb_pass_free(&pass);
  sb_sequences_free(&q);
  sb_model_free(&m);
}

static void channels(void **state) {
  (void)state;
  const sb_family family = differ_family(true);
  sb_backend *b = NULL;
  plain p = {0};
  double loss;
  EXPECT_OK(sb_backend_cpu_create(SB_COMPUTE_F32, 1, &b));
  plain_sums(&p, &family, b);
  sb_sequences q = differ_sequences(&world);
  sb_model *m = differ_model(&world, &family);
  memset(m->bits, BITS, m->blocks);
  sb_pass *pass = differ_pass(m, b, &q);
  sb_channels *found = NULL;
  EXPECT_OK(sb_channels_measure(pass, m, b, SB_CHANNELS_SQUARE, &loss, &found));
  double *got = calloc(sb_channels_count(found), sizeof *got);
  for (size_t layer = 0; layer < DIFFER_LAYERS; layer++) {
    EXPECT(p.count[layer] <= sb_channels_count(found));
    EXPECT_OK(sb_channels_layer(found, layer, got));
    double most = 0;
    for (size_t k = 0; k < p.count[layer]; k++) most = fmax(most, p.sums[layer][k]);
    for (size_t k = 0; k < p.count[layer]; k++)
      EXPECT(fabs(got[k] - p.sums[layer][k]) <= 1e-5 * p.sums[layer][k] + 1e-9 * most);
  }
  sb_orders orders = {0};
  EXPECT_OK(sb_channels_orders(found, SB_REORDER_INDEXED, &orders));
  EXPECT(orders.count == m->arch.matrix_count + m->arch.input_count);
  sb_orders_free(&orders);
  EXPECT(sb_channels_orders(found, SB_REORDER_FUSED, &orders) == SB_ERR_UNSUPPORTED);
  for (size_t layer = 0; layer < DIFFER_LAYERS; layer++) free(p.sums[layer]);
  free(got);
  sb_channels_free(&found);
  sb_pass_free(&pass);
  sb_model_free(&m);
  sb_sequences_free(&q);
  b->op->destroy(b);
  all_ranks_passed();
}

/* ---- GPTQ ---- */

static void hash_layers(sb_model *m, uint64_t hash[DIFFER_LAYERS]) {
  for (size_t layer = 0; layer < DIFFER_LAYERS; layer++) {
    const size_t group = m->layer_first + layer;
    const void *image;
    const sb_place *last = &m->places[m->group_place[group + 1] - 1];
    EXPECT_OK(sb_store_acquire(m->store, group, &image));
    const size_t bytes = sb_store_offset(m->store, group, last->first_unit + last->units);
    hash[layer] = bytes;
    for (size_t k = 0; k < bytes; k++) hash[layer] = mix(hash[layer] + ((const uint8_t *)image)[k]);
    EXPECT_OK(sb_store_release(m->store, group));
  }
}

static void gptq_of(const sb_world *of, const sb_family *family, sb_backend *b,
                    uint64_t hash[DIFFER_LAYERS]) {
  sb_sequences q = differ_sequences(of);
  sb_model *m = differ_model(of, family), *coded = NULL;
  const sb_gptq_options options = {.damping = 0.01,
                                   .fitted = true,
                                   .refine = 1,
                                   .factor = SB_FACTOR_REPLICATED,
                                   .input_bytes = 1 << 20};
  sb_gptq_stats stats = {0};
  memset(m->bits, BITS, m->blocks);
  EXPECT_OK(sb_gptq(m, b, &q, &options, &coded, &stats));
  hash_layers(coded, hash);
  sb_model_free(&coded);
  sb_model_free(&m);
  sb_sequences_free(&q);
}

/* The same codes on any number of ranks. Layer 0 is the same in the model of equal layers, and so
 * are its codes: they depend on nothing behind it. Layer 1 is not. */
static void gptq(void **state) {
  (void)state;
  const sb_family differ = differ_family(true), equal = differ_family(false);
  uint64_t all[DIFFER_LAYERS], alone[DIFFER_LAYERS], padded[DIFFER_LAYERS];
  sb_backend *b = NULL;
  EXPECT_OK(sb_backend_cpu_create(SB_COMPUTE_F32, 1, &b));
  gptq_of(&world, &differ, b, all);
  gptq_of(world_alone(), &differ, b, alone);
  gptq_of(world_alone(), &equal, b, padded);
  EXPECT(memcmp(all, alone, sizeof all) == 0);
  EXPECT(alone[0] == padded[0] && alone[1] != padded[1]);
  b->op->destroy(b);
  all_ranks_passed();
}

/* ---- importance, and losses of blocks by every estimator of the table ---- */

static void losses_of(const sb_world *of, const sb_family *family, sb_backend *b,
                      sb_estimator estimator, sb_losses *blocks, float *importance) {
  sb_sequences q = differ_sequences(of);
  sb_model *m = differ_model(of, family);
  sb_loss_table *table = NULL;
  double loss;
  EXPECT_OK(sb_importance_measure(m, b, &q, (size_t)1 << 30, (sb_ticker){0}));
  memcpy(importance, m->importance, m->arch.channels * sizeof *importance);
  sb_pass *pass = differ_pass(m, b, &q);
  EXPECT_OK(sb_loss_table_create(m, b, estimator, 2, 5, &table));
  EXPECT_OK(sb_loss_table_measure(table, pass, true, &loss));
  size_t n = 0;
  for (size_t layer = 0; layer < DIFFER_LAYERS; layer++) {
    size_t first, end;
    sb_model_owned_blocks(m, layer, of->rank, &first, &end);
    for (size_t k = first; k < end; k++, n++)
      memcpy(&blocks[k], &sb_loss_table_losses(table)[n], sizeof *blocks);
  }
  EXPECT(n == sb_model_owned_count(m));
  sb_loss_table_free(&table);
  sb_pass_free(&pass);
  sb_model_free(&m);
  sb_sequences_free(&q);
}

static void losses(void **state) {
  (void)state;
  static const sb_estimator kinds[] = {SB_ESTIMATOR_HESSIAN, SB_ESTIMATOR_DIAGONAL};
  const sb_family family = differ_family(true);
  sb_backend *b = NULL;
  EXPECT_OK(sb_backend_cpu_create(SB_COMPUTE_F32, 1, &b));
  sb_model *shape = differ_model(&world, &family);
  const size_t blocks = shape->blocks, channels_of_all = shape->arch.channels;
  for (size_t kind = 0; kind < sizeof kinds / sizeof *kinds; kind++) {
    sb_losses *mine = calloc(blocks, sizeof *mine), *all = calloc(blocks, sizeof *all);
    float *own = calloc(channels_of_all, sizeof *own), *want = calloc(channels_of_all, sizeof *own);
    losses_of(&world, &family, b, kinds[kind], mine, own);
    losses_of(world_alone(), &family, b, kinds[kind], all, want);
    EXPECT(memcmp(own, want, channels_of_all * sizeof *own) == 0);
    for (size_t k = 0; k < channels_of_all; k++) EXPECT(want[k] > 0);
    for (size_t layer = 0; layer < DIFFER_LAYERS; layer++) {
      size_t first, end;
      sb_model_owned_blocks(shape, layer, world.rank, &first, &end);
      EXPECT(memcmp(mine + first, all + first, (end - first) * sizeof *all) == 0);
    }
    for (size_t k = 0; k < blocks; k++) EXPECT(isfinite(all[k][2]) && all[k][2] != 0);
    free(mine);
    free(all);
    free(own);
    free(want);
  }
  sb_model_free(&shape);
  b->op->destroy(b);
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(channels), cmocka_unit_test(losses),
                                          cmocka_unit_test(gptq)};
RANKS_MAIN(tests)
