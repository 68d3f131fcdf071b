/* A model loaded with its channels in another order: the same logits as Hugging Face
 * transformers gives for the model as it is, on every golden configuration, for every symmetry
 * alone and all together. */
#include "tests/support/golden.h"

#include "io/safetensors.h"

#include <math.h>

#include "model/config_read.h"
#include "model/orders_check.h"
#include "tests/support/random_orders.h"

/* That of test_golden_forward: float32 sums in another order. Without one of the symmetries' parts
 * (a norm left as it is, say) logits are off by more than 0.1. */
static const double logit_tolerance = 1e-4;

static sb_arch arch_of(const char *name) {
  char folder[1024];
  sb_config config;
  sb_arch arch = {0};
  snprintf(folder, sizeof folder, "%s/tests/golden/%s", SB_SOURCE_DIR, name);
  EXPECT_OK(sb_config_read(folder, &config));
  EXPECT_OK(sb_arch_create(&config, &arch));
  return arch;
}

static void check_logits(const char *name, const sb_orders *orders, const char *what) {
  golden g;
  char path[2048], *data = NULL;
  size_t bytes;
  golden_open(&g, &(golden_setup){.name = name, .orders = orders, GOLDEN_DEFAULTS});
  const size_t each = 48 * g.model->config.vocab;
  float *ours = calloc(each, sizeof *ours);
  golden_path(&g, "logits.bin", path);
  EXPECT_OK(sb_file_read_all(path, 1 << 24, &data, &bytes));
  EXPECT(bytes == 2 * each * sizeof(float));
  EXPECT_OK(sb_pass_logits(g.pass, 0, ours));
  if (world.rank < 2) {
    const float *theirs = (const float *)data + (size_t)world.rank * each;
    double worst = 0;
    for (size_t k = 0; k < each; k++)
      worst = fmax(worst, fabs((double)ours[k] - (double)theirs[k]));
    if (!(worst < logit_tolerance))
      print_error("%s, %s: largest difference %g\n", name, what, worst);
    EXPECT(worst < logit_tolerance);
  }
  free(ours);
  sb_free(&data);
  golden_close(&g);
}

static bool moves_something(const sb_orders *o) {
  for (size_t i = 0; i < o->count; i++)
    for (size_t k = 0; k < o->orders[i].size; k++)
      if (o->orders[i].from[k] != k) return true;
  return false;
}

static void symmetries(void **state) {
  (void)state;
  static const struct {
    unsigned classes;
    const char *what;
  } cases[] = {{RESIDUAL, "residual stream"}, {MLP, "MLP channels"},  {GROUPS, "key-value groups"},
               {QUERIES, "query heads"},      {VALUES, "v channels"}, {ALL_CLASSES, "all"}};
  for (size_t i = 0; i < GOLDENS; i++) {
    sb_arch arch = arch_of(golden_names[i]);
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
      const bool alone = (cases[k].classes == GROUPS && arch.config.kv_heads == 1) ||
                         (cases[k].classes == QUERIES && arch.config.kv_heads == arch.config.heads);
      sb_orders orders;
      EXPECT_OK(random_fused(&arch, cases[k].classes, 17 + k, &orders));
      EXPECT_OK(sb_orders_check(&arch, &orders));
      EXPECT(moves_something(&orders) || alone);
      check_logits(golden_names[i], &orders, cases[k].what);
      sb_orders_free(&orders);
    }
    sb_arch_free(&arch);
  }
  all_ranks_passed();
}

/* What the store then holds: element by element the file's. */
static sb_status compare_unit(void *context, sb_model *m, const sb_place *place, size_t unit,
                              void *data) {
  const sb_safetensors *file = context;
  const sb_model_tensor *t = &m->arch.tensors[place->tensor];
  const sb_tensor_info *info = sb_safetensors_find(file, t->name);
  const size_t size = sb_dtype_size(info->dtype);
  const uint32_t *row_order = sb_orders_rows(&m->orders, place->tensor),
                 *col_order = sb_orders_cols(&m->orders, place->tensor);
  char *source = malloc(info->bytes);
  size_t first, rows, wrong = 0;
  EXPECT_OK(sb_safetensors_read(file, info, 0, info->bytes, source));
  sb_place_rows(m, place, unit, &first, &rows);
  for (size_t i = 0; i < rows; i++)
    for (size_t j = 0; j < t->cols; j++) {
      const size_t row = row_order ? row_order[first + i] : first + i,
                   col = col_order ? col_order[j] : j;
      wrong += memcmp((char *)data + (i * t->cols + j) * size,
                      source + (row * t->cols + col) * size, size) != 0;
    }
  EXPECT(wrong == 0);
  free(source);
  return SB_OK;
}

static void contents(void **state) {
  (void)state;
  for (size_t i = 0; i < GOLDENS; i++) {
    sb_arch arch = arch_of(golden_names[i]);
    for (int mode = SB_REORDER_FUSED; mode <= SB_REORDER_INDEXED; mode++) {
      sb_orders orders;
      sb_safetensors *file = NULL;
      golden g;
      EXPECT_OK(mode == SB_REORDER_FUSED ? random_fused(&arch, ALL_CLASSES, i, &orders)
                                         : random_indexed(&arch, 16, 32, i, &orders));
      golden_open(&g, &(golden_setup){.name = golden_names[i], .orders = &orders, GOLDEN_DEFAULTS});
      EXPECT_OK(sb_safetensors_open(g.folder, &file));
      EXPECT_OK(sb_model_visit_owned(g.model, compare_unit, file));
      EXPECT(sb_orders_hash(&g.model->orders) == sb_orders_hash(&orders));
      sb_safetensors_close(&file);
      golden_close(&g);
      sb_orders_free(&orders);
    }
    sb_arch_free(&arch);
  }
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(symmetries), cmocka_unit_test(contents)};
RANKS_MAIN(tests)
