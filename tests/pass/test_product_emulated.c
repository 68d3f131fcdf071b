/* Emulated GEMMs: all three of every precision against plain loops in double, over operands that
 * are coded here. */
#include "tests/support/golden.h"

#include "kernels/shared/lowprec_code.h"
#include "pass/coded_weights.h"
#include "pass/layer.h"

enum { TOKENS = 40 }; /* a run of 16 is not complete */
static const uint64_t batch_key = 77;
static const size_t sequence = 5;

/* A matrix [rows, cols] as a GEMM reads it. */
typedef struct values {
  size_t rows, cols;
  double *at;
} values;

static uint64_t key_of(const sb_emulation *e, sb_gemm_kind gemm, sb_lowprec_operand operand) {
  uint64_t key = sb_lowprec_key(batch_key, e->layer);
  key = sb_lowprec_key(key, e->matrix);
  key = sb_lowprec_key(key, (uint64_t)gemm);
  key = sb_lowprec_key(key, (uint64_t)operand);
  return sb_lowprec_key(key, sequence);
}

/* What `gemm` reads of the operands x: coded, in floats, with all factors; or as they are. */
static values read(const golden *g, const sb_emulation *e, sb_gemm_kind gemm,
                   sb_lowprec_operand operand, const void *x, size_t rows, size_t cols) {
  sb_backend *b = g->backend;
  const size_t count = rows * cols;
  float *coded = calloc(count, sizeof *coded);
  values out = {rows, cols, calloc(count, sizeof(double))};
  const sb_lowprec_args args = {.rule =
                                    sb_lowprec_rule_of(e->gemms[gemm], operand, gemm, &e->options),
                                .rows = rows,
                                .cols = cols,
                                .src = x,
                                .src_dtype = b->operand,
                                .dst = coded,
                                .dst_dtype = SB_F32,
                                .key = operand == SB_LOWPREC_W ? 0 : key_of(e, gemm, operand)};
  EXPECT_OK(b->op->round_lowprec(b, NULL, &args));
  for (size_t i = 0; i < count; i++) out.at[i] = (double)coded[i];
  free(coded);
  return out;
}

/* got [rows, cols] = a b (+ before), with sums over k terms at(i, k) bt(k, j). Floats are rounded
 * once per operand (its factor), per term and per sum: (k + 4) 2^-24 of the sum of magnitudes. */
static void compare(const char *what, const float *got, const values *a, bool ta, const values *b,
                    bool tb, const float *before) {
  const size_t rows = ta ? a->cols : a->rows, inner = ta ? a->rows : a->cols,
               cols = tb ? b->rows : b->cols;
  size_t wrong = 0;
  for (size_t i = 0; i < rows; i++)
    for (size_t j = 0; j < cols; j++) {
      double sum = before ? (double)before[i * cols + j] : 0, size = fabs(sum);
      for (size_t k = 0; k < inner; k++) {
        const double term = a->at[ta ? k * a->cols + i : i * a->cols + k] *
                            b->at[tb ? j * b->cols + k : k * b->cols + j];
        sum += term;
        size += fabs(term);
      }
      const double error = fabs((double)got[i * cols + j] - sum);
      wrong += !(error <= (double)(inner + 4) * 0x1p-24 * size);
    }
  if (wrong > 0) print_error("%s: %zu of %zu are wrong\n", what, wrong, rows * cols);
  EXPECT(wrong == 0);
  free(a->at);
  free(b->at);
}

/* Random operands of the backend's type, `count` of them. */
static void *operands(const golden *g, size_t count, float scale, uint64_t seed) {
  float *x = calloc(count, sizeof *x);
  void *out = calloc(count, sizeof(float));
  for (size_t i = 0; i < count; i++) {
    const double u = (double)(mix(seed + i) >> 11) / 9007199254740992.0 - 0.5;
    x[i] = scale * (float)(u * exp2(6 * (double)(mix(seed * 31 + i) % 100) / 100));
  }
  sb_from_f32(out, g->backend->operand, x, count);
  free(x);
  return out;
}

typedef struct fixture {
  const golden *g;
  sb_product product;
  sb_product_scope scope;
  const void *w;
} fixture;

static void check_fprop(const fixture *f, const char *what) {
  const sb_product *p = &f->product;
  const sb_emulation *e = p->emulation;
  const size_t rows = p->rows, cols = p->cols;
  void *x = operands(f->g, TOKENS * cols, 1.0f, 11);
  float *y = calloc(TOKENS * rows, sizeof *y), *before = calloc(TOKENS * rows, sizeof *y);
  for (size_t i = 0; i < TOKENS * rows; i++) y[i] = before[i] = (float)i * 0.01f;
  for (int again = 0; again < 2; again++) { /* the second finds x coded */
    for (size_t i = 0; i < TOKENS * rows; i++) y[i] = before[i];
    EXPECT_OK(sb_product_forward(&f->scope, p, y, x, again == 1));
    const values a = read(f->g, e, SB_FPROP, SB_LOWPREC_X, x, TOKENS, cols),
                 b = read(f->g, e, SB_FPROP, SB_LOWPREC_W, f->w, rows, cols);
    compare(what, y, &a, false, &b, true, again == 1 ? before : NULL);
  }
  free(x);
  free(y);
  free(before);
}

static void check_dgrad(const fixture *f, const char *what) {
  const sb_product *p = &f->product;
  const sb_emulation *e = p->emulation;
  const size_t rows = p->rows, cols = p->cols;
  void *dy = operands(f->g, TOKENS * rows, 1e-4f, 12);
  float *dx = calloc(TOKENS * cols, sizeof *dx), *before = calloc(TOKENS * cols, sizeof *dx);
  for (int add = 0; add < 2; add++) {
    for (size_t i = 0; i < TOKENS * cols; i++) dx[i] = before[i] = (float)i * 1e-6f;
    EXPECT_OK(sb_product_input_gradient(&f->scope, p, dx, dy, add == 1));
    const values a = read(f->g, e, SB_DGRAD, SB_LOWPREC_DY, dy, TOKENS, rows),
                 b = read(f->g, e, SB_DGRAD, SB_LOWPREC_W, f->w, rows, cols);
    compare(what, dx, &a, false, &b, false, add == 1 ? before : NULL);
  }
  free(dy);
  free(dx);
  free(before);
}

static void check_wgrad(const fixture *f, const char *what) {
  const sb_product *p = &f->product;
  const sb_emulation *e = p->emulation;
  const size_t rows = p->rows, cols = p->cols;
  void *dy = operands(f->g, TOKENS * rows, 1e-4f, 13), *x = operands(f->g, TOKENS * cols, 1.0f, 14);
  float *w = calloc(rows * cols, sizeof *w);
  EXPECT_OK(sb_product_weight_gradient(&f->scope, p, w, dy, x));
  const values a = read(f->g, e, SB_WGRAD, SB_LOWPREC_DY, dy, TOKENS, rows),
               b = read(f->g, e, SB_WGRAD, SB_LOWPREC_X, x, TOKENS, cols);
  compare(what, w, &a, true, &b, false, NULL);
  free(dy);
  free(x);
  free(w);
}

/* All three GEMMs of one matrix of layer 1; one of them is high, if `high` says which. */
static void check_products(const golden *g, sb_precision precision, int high,
                           const sb_lowprec_options *options, size_t matrix) {
  const sb_model_tensor *t = sb_arch_matrix(&g->model->arch, 1, matrix);
  sb_precision_map map = {0};
  sb_coded_weights *weights = NULL;
  sb_coded_room *room = NULL;
  void *w = operands(g, t->rows * t->cols, 0.1f, 15);
  char what[128];
  snprintf(what, sizeof what, "%s, matrix %zu, gemm %d high, operands %s",
           sb_precision_names[precision], matrix, high, sb_dtype_name(g->backend->operand));
  EXPECT_OK(sb_precision_map_create(&g->model->arch, precision, &map));
  if (high >= 0) sb_precision_map_of(&map, &g->model->arch, 1, matrix)[high] = SB_PRECISION_HIGH;
  EXPECT_OK(sb_coded_weights_create(g->model, g->backend, &map, options, &weights));
  sb_precision_map_free(&map); /* it has been copied */
  EXPECT_OK(sb_coded_room_create(g->backend, TOKENS, sb_max_size(t->rows, t->cols), &room));
  fixture f = {
      .g = g, .product = {.form = &sb_product_emulated, .rows = t->rows, .cols = t->cols}, .w = w};
  f.product.dense_dev = w;
  EXPECT_OK(sb_coded_weights_load(weights, NULL, 1, matrix, w, &f.product.emulation));
  f.scope = (sb_product_scope){
      .backend = g->backend, .T = TOKENS, .coding = room, .key = batch_key, .sequence = sequence};
  if (f.product.emulation) {
    check_fprop(&f, what);
    check_dgrad(&f, what);
    sb_coded_room_forget(room); /* of an x that is no more */
    check_wgrad(&f, what);
  } else {
    EXPECT(precision == SB_PRECISION_HIGH);
  }
  sb_coded_room_free(&room);
  sb_coded_weights_free(&weights);
  free(w);
}

static void products_of(sb_compute compute) {
  golden g;
  golden_open(&g, &(golden_setup){.name = "gqa-tied", .compute = compute, GOLDEN_DEFAULTS});
  sb_lowprec_options options[3] = {sb_lowprec_options_default(), sb_lowprec_options_default(),
                                   sb_lowprec_options_default()};
  options[1].nvfp4_two_scales = options[1].fp8_128_f32_scales = options[1].stochastic_fp8 = true;
  options[1].nvfp4_hadamard = false;
  options[2].stochastic = false;
  options[2].fp8_dy = SB_LOWPREC_DY_E5M2;
  options[2].mxfp4_scale = SB_SCALE_EVEN;
  const size_t down = sb_arch_tensor(&g.model->arch, SB_ROLE_DOWN, 1)->matrix,
               k = sb_arch_tensor(&g.model->arch, SB_ROLE_K, 1)->matrix;
  for (int p = 0; p < SB_PRECISION_COUNT; p++)
    for (int o = 0; o < 3; o++) {
      check_products(&g, (sb_precision)p, -1, &options[o], down);
      check_products(&g, (sb_precision)p, o, &options[o], k);
    }
  golden_close(&g);
}

static void products(void **state) {
  (void)state;
  products_of(SB_COMPUTE_F32);
  all_ranks_passed();
}

static void products_of_bf16(void **state) {
  (void)state;
  sb_backend *able = NULL;
  if (sb_backend_cpu_create(SB_COMPUTE_BF16, 1, &able) == SB_OK) {
    able->op->destroy(able);
    products_of(SB_COMPUTE_BF16);
  } else {
    print_message("skipped: %s\n", sb_message());
  }
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(products),
                                          cmocka_unit_test(products_of_bf16)};
RANKS_MAIN(tests)
