/* A layer on the device, in every form: source rows, rounded, decoded, in an order of their own,
 * packed; against the source file converted and rounded one weight at a time. */
#include "pass/device_layer.h"

#include <math.h>

#include "model/config_read.h"
#include "tests/support/dense.h"
#include "tests/support/random_orders.h"

enum { TOKENS = 3 };

typedef struct loaded {
  golden *g;
  sb_model *model; /* the golden one, or one coded from it */
  sb_device_layer *layer;
  const void *image;
  size_t index; /* of the layer */
} loaded;

/* Collective. */
static loaded load(golden *g, sb_model *model, bool keep_packed, size_t index) {
  loaded l = {.g = g, .model = model, .index = index};
  EXPECT_OK(sb_device_layer_create(model, g->backend, keep_packed, &l.layer));
  EXPECT_OK(sb_store_acquire(model->store, model->layer_first + index, &l.image));
  EXPECT_OK(sb_device_layer_load(l.layer, NULL, index, l.image));
  return l;
}
static void unload(loaded *l) {
  EXPECT_OK(sb_store_release(l->model->store, l->model->layer_first + l->index));
  sb_device_layer_free(&l->layer);
}

static size_t different(const float *got, const float *want, size_t count) {
  size_t n = 0;
  for (size_t i = 0; i < count; i++) n += got[i] != want[i];
  return n;
}

/* Every matrix, dense, against the file, rounded where the model has bits; the norms too. */
static void check_dense(const loaded *l, bool rounded) {
  const sb_layer_weights *weights = sb_device_layer_weights(l->layer);
  for (size_t which = 0; which < sb_arch_matrices(&l->model->arch, l->index); which++) {
    const sb_matrix *matrix = sb_model_matrix(l->model, l->index, which);
    const sb_product *p = &weights->products[which];
    float *w = dense_weights(l->g, matrix), *q = dense_rounded(w, l->g->model, matrix, 0);
    EXPECT(p->form == &sb_product_dense);
    EXPECT(p->rows == matrix->tiling.rows && p->cols == matrix->tiling.cols);
    EXPECT(different(p->dense_dev, rounded ? q : w, p->rows * p->cols) == 0);
    EXPECT((sb_device_layer_source(l->layer, which) == NULL) ==
           (l->model->coding == SB_CODING_CODES));
    free(w);
    free(q);
  }
  for (sb_role role = 0; role < SB_ROLE_COUNT; role++) {
    if (!sb_role_is_vector(role)) continue;
    const sb_model_tensor *tensor = sb_arch_tensor(&l->model->arch, role, l->index);
    float *vector = dense_named(l->g, tensor->name);
    EXPECT(different(weights->vector_dev[role], vector, tensor->cols) == 0);
    free(vector);
  }
}

static void source_rounded_and_coded(void **state) {
  (void)state;
  for (size_t i = 0; i < GOLDENS; i++) {
    golden g;
    sb_model *coded = NULL;
    golden_setup setup = {.name = golden_names[i], GOLDEN_DEFAULTS};
    if (i % 2) setup.blocking = (sb_blocking){7, 10, SB_GRID_SYMMETRIC};
    golden_open(&g, &setup);
    for (size_t index = 0; index < g.model->config.layers; index++) {
      memset(g.model->bits, 0, g.model->blocks);
      loaded plain = load(&g, g.model, false, index);
      check_dense(&plain, false);
      unload(&plain);
      golden_mixed_bits(g.model, 1, 8, i);
      loaded rounded = load(&g, g.model, false, index);
      check_dense(&rounded, true);
      unload(&rounded);
      EXPECT_OK(sb_encode_nearest(g.model, &coded));
      loaded decoded = load(&g, coded, false, index);
      check_dense(&decoded, true);
      unload(&decoded);
      sb_model_free(&coded);
    }
    golden_close(&g);
  }
  all_ranks_passed();
}

/* ---- orders ---- */

static void open_indexed(golden *g, const char *name) {
  char path[1024];
  sb_config config;
  sb_arch arch = {0};
  sb_orders orders = {0};
  snprintf(path, sizeof path, "%s/tests/golden/%s", SB_SOURCE_DIR, name);
  EXPECT_OK(sb_config_read(path, &config));
  EXPECT_OK(sb_arch_create(&config, &arch));
  EXPECT_OK(random_indexed(&arch, 16, 32, 5, &orders));
  golden_open(g, &(golden_setup){.name = name, .orders = &orders, GOLDEN_DEFAULTS});
  sb_orders_free(&orders);
  sb_arch_free(&arch);
}

/* Weights are back in their places; stored ones are at their order's. */
static void ordered(void **state) {
  (void)state;
  golden g;
  open_indexed(&g, "mha-untied");
  loaded l = load(&g, g.model, false, 1);
  check_dense(&l, false);
  for (size_t which = 0; which < sb_arch_matrices(&g.model->arch, 1); which++) {
    const sb_matrix *matrix = sb_model_matrix(g.model, 1, which);
    const uint32_t *row = sb_orders_rows(&g.model->orders, matrix->tensor),
                   *col = sb_orders_cols(&g.model->orders, matrix->tensor);
    const size_t rows = matrix->tiling.rows, cols = matrix->tiling.cols;
    float *w = dense_weights(&g, matrix);
    const void *stored = NULL;
    EXPECT_OK(sb_device_layer_stored(l.layer, NULL, which, &stored));
    EXPECT(row && col && stored);
    size_t wrong = 0, moved = 0;
    for (size_t r = 0; r < rows; r++)
      for (size_t c = 0; c < cols; c++) {
        wrong += ((const float *)stored)[r * cols + c] != w[row[r] * cols + col[c]];
        moved += row[r] != r || col[c] != c;
      }
    EXPECT(wrong == 0 && moved > 0);
    free(w);
  }
  unload(&l);
  golden_close(&g);
  all_ranks_passed();
}

/* ---- packed ---- */

/* y = x W' of the packed matrix is that of the decoded one, summed in double, to rounding. */
static void check_product(const loaded *packed, const loaded *decoded, size_t which) {
  const sb_product *p = &sb_device_layer_weights(packed->layer)->products[which],
                   *d = &sb_device_layer_weights(decoded->layer)->products[which];
  float *x = calloc(TOKENS * p->cols, sizeof *x), *y = calloc(TOKENS * p->rows, sizeof *y),
        *room = calloc(TOKENS * (p->cols + p->rows), sizeof *room);
  uint64_t seed = 11 + which;
  const sb_product_scope scope = {.backend = packed->g->backend,
                                  .T = TOKENS,
                                  .input_room_dev = room,
                                  .output_room_dev = room + TOKENS * p->cols};
  EXPECT(p->form == &sb_product_packed && d->form == &sb_product_dense);
  EXPECT(p->rows == d->rows && p->cols == d->cols && p->dense_dev == NULL);
  for (size_t i = 0; i < TOKENS * p->cols; i++) x[i] = uniform(&seed);
  EXPECT_OK(sb_product_forward(&scope, p, y, x, false));
  EXPECT_OK(packed->g->backend->op->sync(packed->g->backend, NULL));
  const float *w = d->dense_dev;
  for (size_t t = 0; t < TOKENS; t++)
    for (size_t r = 0; r < p->rows; r++) {
      double want = 0, size = 0;
      for (size_t c = 0; c < p->cols; c++) {
        const double term = (double)x[t * p->cols + c] * (double)w[r * p->cols + c];
        want += term;
        size += fabs(term);
      }
      EXPECT(fabs((double)y[t * p->rows + r] - want) <= 1e-6 * size); /* 2^-24 for each of a few */
    }
  free(x);
  free(y);
  free(room);
}

static void packed_multiplies_as_decoded(void **state) {
  (void)state;
  for (int indexed = 0; indexed < 2; indexed++) {
    golden g;
    sb_model *coded = NULL;
    if (indexed)
      open_indexed(&g, "mha-untied");
    else
      golden_open(&g, &(golden_setup){.name = "gqa-tied", GOLDEN_DEFAULTS});
    golden_mixed_bits(g.model, 1, 8, 3);
    EXPECT_OK(sb_encode_nearest(g.model, &coded));
    loaded packed = load(&g, coded, true, 1), decoded = load(&g, coded, false, 1);
    for (size_t which = 0; which < sb_arch_matrices(&coded->arch, 1); which++)
      check_product(&packed, &decoded, which);
    unload(&decoded);
    unload(&packed);
    sb_model_free(&coded);
    golden_close(&g);
  }
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(source_rounded_and_coded),
                                          cmocka_unit_test(ordered),
                                          cmocka_unit_test(packed_multiplies_as_decoded)};
RANKS_MAIN(tests)
