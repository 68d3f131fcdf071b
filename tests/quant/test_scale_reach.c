/* Weights that fp16 scales do not reach: found before the work wherever they lie, the same on any
 * number of ranks, and scales at their limit behind it. */
#include "tests/support/golden.h"

#include "base/log.h"
#include "base/memory.h"
#include "quant/scale_reach.h"

/* A weight to put into a tensor. */
typedef struct poke {
  size_t tensor, row, col;
  float value;
} poke;

static sb_status poke_unit(void *context, sb_model *m, const sb_place *place, size_t unit,
                           void *data) {
  const poke *p = context;
  size_t first, rows;
  sb_place_rows(m, place, unit, &first, &rows);
  if (place->tensor != p->tensor || p->row < first || p->row >= first + rows) return SB_OK;
  const size_t at = (p->row - first) * m->arch.tensors[p->tensor].cols + p->col;
  sb_from_f32((char *)data + at * sb_dtype_size(m->dtypes[p->tensor]), m->dtypes[p->tensor],
              &p->value, 1);
  return SB_OK;
}

static void put(sb_model *m, size_t tensor, size_t row, size_t col, float value) {
  poke p = {tensor, row, col, value};
  EXPECT_OK(sb_model_visit_owned(m, poke_unit, &p));
}

/* The lines that `call` logs, on rank 0; the caller frees them. */
#define LOGGED(text, call)                                                                         \
  do {                                                                                             \
    size_t size_;                                                                                  \
    FILE *to_ = open_memstream(&(text), &size_);                                                   \
    sb_log_open_to(to_, world.rank == 0);                                                          \
    EXPECT_OK(call);                                                                               \
    sb_log_open_to(stderr, false);                                                                 \
    fclose(to_);                                                                                   \
  } while (0)

static void open_model(golden *g, sb_code_kind code_kind) {
  golden_setup setup = {.name = "f32-single", GOLDEN_DEFAULTS};
  setup.blocking.code_kind = code_kind;
  golden_open(g, &setup);
}

static void says(const char *text, const char *what) {
  EXPECT(world.rank != 0 || strstr(text, what) != NULL);
}

static void reach(void **state) {
  (void)state;
  EXPECT(sb_scale_reach(2, SB_GRID_ASYMMETRIC) == 3 * 65504.0);
  EXPECT(sb_scale_reach(8, SB_GRID_ASYMMETRIC) == 255 * 65504.0);
  EXPECT(sb_scale_reach(8, SB_GRID_SYMMETRIC) == 255 * 32752.0);
  EXPECT(sb_scale_reach(2, SB_GRID_SIGNED) == 65504.0);
  EXPECT(sb_scale_reach(8, SB_GRID_SIGNED) == 127 * 65504.0);
  EXPECT(sb_scale_reach(2, SB_GRID_BY_WIDTH) == 1.5 * 65504.0);
  EXPECT(sb_scale_reach(3, SB_GRID_BY_WIDTH) == 3 * 65504.0);
  EXPECT(sb_scale_reach(3, SB_GRID_ASYMMETRIC_BF16) == 7 * 65280.0);
  EXPECT(sb_scale_reach(3, SB_GRID_ASYMMETRIC_6BIT) == 7 * 63488.0);
  EXPECT(sb_scale_reach(3, SB_GRID_SIGNED_BF16) == 3 * 65280.0);
  all_ranks_passed();
}

static void before_the_work(void **state) {
  (void)state;
  for (int symmetric = 0; symmetric < 2; symmetric++) {
    golden g;
    char *text = NULL;
    open_model(&g, symmetric ? SB_GRID_SYMMETRIC : SB_GRID_ASYMMETRIC);
    const sb_arch *arch = &g.model->arch;
    const size_t last = arch->matrices[arch->matrix_count - 1], norm = arch->count - 1;
    LOGGED(text, sb_scale_reach_check(g.model, 2, 8));
    EXPECT(world.rank != 0 || text[0] == 0);
    free(text);
    if (!arch->tensors[norm].is_linear) put(g.model, norm, 0, 0, 1e9f); /* is not quantized */
    put(g.model, last, arch->tensors[last].rows - 1, 7, -1e6f);
    put(g.model, last, 0, 3, 9e5f);
    put(g.model, arch->matrices[0], 1, 2, 1e5f);
    LOGGED(text, sb_scale_reach_check(g.model, 2, 8));
    says(text, arch->tensors[last].name);
    says(text, ", 7] has a magnitude of 1e+06");
    says(text, symmetric ? "(weights beyond 9.83e+04: 3)" : "(weights beyond 1.97e+05: 2)");
    says(text, "from 5 bits on");
    EXPECT(world.rank != 0 || strchr(text, '\n') == text + strlen(text) - 1);
    free(text);
    LOGGED(text, sb_scale_reach_check(g.model, 6, 8)); /* all widths reach it */
    EXPECT(world.rank != 0 || text[0] == 0);
    free(text);
    EXPECT(sb_scale_reach_check(g.model, 2, 3) == SB_ERR_NUMERIC);
    EXPECT(strstr(sb_message(), "--max-bits") && !strchr(sb_message(), '\n'));
    put(g.model, arch->matrices[1], 5, 0, 2e7f);
    put(g.model, arch->matrices[2], 0, 0, -2e7f); /* the first of the largest is named */
    EXPECT(sb_scale_reach_check(g.model, 2, 8) == SB_ERR_NUMERIC);
    EXPECT(strstr(sb_message(), arch->tensors[arch->matrices[1]].name) != NULL);
    EXPECT(strstr(sb_message(), "[5, 0] has a magnitude of 2e+07") && !strchr(sb_message(), '\n'));
    golden_close(&g);
  }
  all_ranks_passed();
}

static void behind_the_work(void **state) {
  golden g;
  char *text = NULL;
  sb_model *coded;
  uint64_t groups = 99;
  (void)state;
  open_model(&g, SB_GRID_ASYMMETRIC);
  const sb_arch *arch = &g.model->arch;
  memset(g.model->bits, 4, g.model->blocks);
  EXPECT_OK(sb_encode_nearest(g.model, &coded));
  LOGGED(text, sb_scale_reach_count_cuts(coded, &groups));
  EXPECT(groups == 0 && (world.rank != 0 || text[0] == 0));
  free(text);
  sb_model_free(&coded);
  put(g.model, arch->matrices[3], 4, 5, 65504 * 15); /* just reached: the largest scale, */
  put(g.model, arch->matrices[3], 5, 5, 65504 * 14); /* reached */
  put(g.model, arch->matrices[4], 0, 1, 65504 * 16); /* cut off */
  put(g.model, arch->matrices[4], 1, 1, -65504 * 1000.0f);
  put(g.model, arch->matrices[4], 1, 2, 65504 * 1000.0f); /* of the same group */
  EXPECT_OK(sb_encode_nearest(g.model, &coded));
  LOGGED(text, sb_scale_reach_count_cuts(coded, &groups));
  EXPECT(groups == 3);
  says(text, "65504: 3, the first in");
  says(text, arch->tensors[arch->matrices[3]].name);
  free(text);
  sb_model_free(&coded);
  golden_close(&g);
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(reach), cmocka_unit_test(before_the_work), cmocka_unit_test(behind_the_work)};
RANKS_MAIN(tests)
