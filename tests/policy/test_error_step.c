/* The sums of a profile's two steps against plain loops in double: over x, dy and weights that this
 * test takes from a pass of its own, and slopes of its own. Coding is the backend's
 * (tests/kernels/test_op_round_lowprec.c has that). */
#include "tests/train/runs.h"

#include <math.h>

#include "kernels/shared/lowprec_code.h"
#include "policy/divergence.h"

static const sb_precision precisions[] = {SB_PRECISION_MXFP8, SB_PRECISION_NVFP4};
enum { PRECISIONS = sizeof precisions / sizeof *precisions, STEPS = 5, SEED = 7, SAMPLE = 9 };

/* x and dy of every matrix of every sequence, as a pass shows them. */
typedef struct taken {
  const sb_arch *arch;
  size_t T, *seen;
  float **x, **dy; /* [sequences x matrices] */
} taken;

static float *copy_of(const void *from, size_t count) {
  float *to = malloc(count * sizeof *to);
  memcpy(to, from, count * sizeof *to);
  return to;
}

static size_t place(const taken *t, size_t layer, size_t matrix) {
  return t->seen[layer] * t->arch->matrix_count + t->arch->layers[layer].first_matrix + matrix;
}

static sb_status take(void *context, sb_stream stream, size_t layer, size_t matrix, const void *x,
                      const void *dy) {
  taken *t = context;
  const sb_model_tensor *m = sb_arch_matrix(t->arch, layer, matrix);
  (void)stream;
  t->x[place(t, layer, matrix)] = copy_of(x, t->T * m->cols);
  t->dy[place(t, layer, matrix)] = copy_of(dy, t->T * m->rows);
  return SB_OK;
}

static sb_status begin_layer(void *context, sb_stream stream, size_t layer,
                             const sb_device_layer *prepared) {
  (void)context, (void)stream, (void)layer, (void)prepared;
  return SB_OK;
}
static sb_status end_sequence(void *context, sb_stream stream, size_t layer) {
  taken *t = context;
  (void)stream;
  t->seen[layer]++;
  return SB_OK;
}
static sb_status end_layer(void *context, size_t layer) {
  (void)context, (void)layer;
  return SB_OK;
}

static taken take_all(const run *r) {
  const sb_arch *arch = &r->model->arch;
  const size_t count = r->options.batch * arch->matrix_count;
  taken t = {.arch = arch,
             .T = r->options.seqlen,
             .seen = calloc(arch->config.layers, sizeof *t.seen),
             .x = calloc(count, sizeof *t.x),
             .dy = calloc(count, sizeof *t.dy)};
  const sb_pass_hooks hooks = {.context = &t,
                               .begin_layer = begin_layer,
                               .factors = take,
                               .end_sequence = end_sequence,
                               .end_layer = end_layer};
  double loss;
  sb_pass_forget(sb_trainer_pass(r->trainer));
  EXPECT_OK(sb_pass_gradients(sb_trainer_pass(r->trainer), &hooks, &loss));
  return t;
}

static void release(taken *t, size_t count) {
  for (size_t i = 0; i < count; i++) {
    free(t->x[i]);
    free(t->dy[i]);
  }
  free(t->x);
  free(t->dy);
  free(t->seen);
}

/* ---- plain loops ---- */

/* One matrix of one sequence: where errors are looked for. */
typedef struct spot {
  const run *r;
  size_t T, rows, cols, number, sequence;
  sb_precision precision;
  const float *x, *dy, *moved_x, *moved_dy, *w;
} spot;

static float *coded(const spot *s, sb_lowprec_operand operand, sb_gemm_kind gemm, bool turn_only) {
  const sb_lowprec_options options = sb_lowprec_options_default();
  const bool is_w = operand == SB_LOWPREC_W;
  uint64_t key = sb_lowprec_key(SEED, s->number);
  key = sb_lowprec_key(key, s->precision);
  key = sb_lowprec_key(sb_lowprec_key(key, gemm), s->sequence);
  sb_lowprec_args args = {.rule = sb_lowprec_rule_of(s->precision, operand, gemm, &options),
                          .rows = is_w ? s->rows : s->T,
                          .cols = operand == SB_LOWPREC_DY ? s->rows : s->cols,
                          .src = is_w                      ? s->w
                                 : operand == SB_LOWPREC_X ? s->x
                                                           : s->dy,
                          .src_dtype = SB_F32,
                          .dst_dtype = SB_F32,
                          .key = is_w ? 0 : key};
  float *out = calloc(args.rows * args.cols, sizeof *out);
  args.dst = out;
  if (turn_only) args.rule.element = SB_ELEMENT_NONE;
  EXPECT_OK(s->r->backend->op->round_lowprec(s->r->backend, NULL, &args));
  return out;
}

/* Row t of a product: x[t] w' (`forward`) or dy[t] w, element i. */
static double product(const spot *s, const float *a, const float *w, bool forward, size_t t,
                      size_t i) {
  double sum = 0;
  const size_t inner = forward ? s->cols : s->rows;
  for (size_t k = 0; k < inner; k++)
    sum += (double)a[t * inner + k] * (double)(forward ? w[i * s->cols + k] : w[k * s->cols + i]);
  return sum;
}

/* Sums of sampled tokens and, from the gradient's factors, of all. */
static void expect_products(const spot *s, const uint32_t *tokens, sb_error_sums *want) {
  const double share = (double)(s->T - 1) / SAMPLE;
  float *x = coded(s, SB_LOWPREC_X, SB_FPROP, false),
        *dy = coded(s, SB_LOWPREC_DY, SB_DGRAD, false);
  float *wf = coded(s, SB_LOWPREC_W, SB_FPROP, false),
        *wd = coded(s, SB_LOWPREC_W, SB_DGRAD, false);
  for (size_t n = 0; n < SAMPLE; n++) {
    const size_t t = tokens[n];
    double on_dy = 0, on_moved_dy = 0, on_moved_x = 0;
    for (size_t i = 0; i < s->rows; i++) {
      const double e = product(s, x, wf, true, t, i) - product(s, s->x, s->w, true, t, i);
      want->y += share * e * e;
      on_dy += e * (double)s->dy[t * s->rows + i];
      on_moved_dy += e * (double)(s->moved_dy[t * s->rows + i] - s->dy[t * s->rows + i]);
    }
    for (size_t j = 0; j < s->cols; j++) {
      const double e = product(s, dy, wd, false, t, j) - product(s, s->dy, s->w, false, t, j);
      want->dx += share * e * e;
      on_moved_x += e * (double)(s->moved_x[t * s->cols + j] - s->x[t * s->cols + j]);
    }
    want->tokens += share * on_dy * on_dy;
    want->fprop += share * on_moved_dy * on_moved_dy;
    want->dgrad += share * on_moved_x * on_moved_x;
  }
  free(x);
  free(dy);
  free(wf);
  free(wd);
}

static void expect_operands(const spot *s, sb_error_sums *want) {
  float *x = coded(s, SB_LOWPREC_X, SB_FPROP, false), *w = coded(s, SB_LOWPREC_W, SB_FPROP, false);
  float *dy = coded(s, SB_LOWPREC_DY, SB_DGRAD, false);
  for (size_t t = 0; t < s->T; t++) {
    for (size_t j = 0; j < s->cols; j++) {
      const double e = (double)x[t * s->cols + j] - (double)s->x[t * s->cols + j];
      want->x += e * e;
      want->loss += e * product(s, s->dy, s->w, false, t, j);
    }
    for (size_t i = 0; i < s->rows; i++)
      want->dy += pow((double)dy[t * s->rows + i] - (double)s->dy[t * s->rows + i], 2);
  }
  for (size_t i = 0; i < s->rows; i++)
    for (size_t j = 0; j < s->cols; j++) {
      const double e = (double)w[i * s->cols + j] - (double)s->w[i * s->cols + j];
      double g = 0;
      for (size_t t = 0; t < s->T; t++)
        g += (double)s->dy[t * s->rows + i] * (double)s->x[t * s->cols + j];
      want->w += e * e;
      want->loss += e * g;
    }
  free(x);
  free(w);
  free(dy);
}

/* Weighted squares of the operands of wgrad and of their errors; D^2 has its own rows and columns.
 */
static void expect_wgrad(const spot *s, const double *rows, const double *cols,
                         sb_error_sums *want) {
  float *x = coded(s, SB_LOWPREC_X, SB_WGRAD, false),
        *dy = coded(s, SB_LOWPREC_DY, SB_WGRAD, false);
  float *turned_x = coded(s, SB_LOWPREC_X, SB_WGRAD, true);
  float *turned_dy = coded(s, SB_LOWPREC_DY, SB_WGRAD, true);
  for (size_t t = 0; t < s->T; t++) {
    double sum[4] = {0};
    for (size_t j = 0; j < s->cols; j++) {
      const double from = (double)turned_x[t * s->cols + j], e = (double)x[t * s->cols + j] - from;
      sum[0] += cols[j] * from * from;
      sum[1] += cols[j] * e * e;
    }
    for (size_t i = 0; i < s->rows; i++) {
      const double from = (double)turned_dy[t * s->rows + i],
                   e = (double)dy[t * s->rows + i] - from;
      sum[2] += rows[i] * from * from;
      sum[3] += rows[i] * e * e;
    }
    want->wgrad += sum[3] * sum[0] + sum[2] * sum[1];
  }
  free(x);
  free(dy);
  free(turned_x);
  free(turned_dy);
}

/* ---- the state of the optimizer, of one rank alone ---- */

static float *whole(const run *r, size_t tensor, int what) {
  const sb_optimizer *o = sb_trainer_optimizer(r->trainer);
  const sb_model_tensor *t = &r->model->arch.tensors[tensor];
  float *out = calloc(t->rows * t->cols, sizeof *out);
  for (size_t i = 0; i < o->shares->count; i++) {
    const sb_share *u = &o->shares->units[i];
    const sb_optimizer_unit unit = sb_optimizer_unit_at(o, i);
    if (u->tensor == tensor)
      memcpy(out + u->first_row * t->cols, what ? unit.v : unit.master, u->count * sizeof *out);
  }
  return out;
}

static double slope_of(const run *r, float v) {
  const sb_adamw *a = &r->options.adamw;
  const double t = (double)sb_trainer_optimizer(r->trainer)->updates;
  return (1 - a->beta1) / (1 - pow(a->beta1, t + 1)) /
         (sqrt((double)v / (1 - pow(a->beta2, t))) + a->eps);
}

static void slopes_of(const run *r, size_t tensor, double *rows, double *cols) {
  const sb_model_tensor *t = &r->model->arch.tensors[tensor];
  float *v = whole(r, tensor, 1);
  double all = 0;
  for (size_t j = 0; j < t->cols; j++) cols[j] = 0;
  for (size_t i = 0; i < t->rows; i++) {
    rows[i] = 0;
    for (size_t j = 0; j < t->cols; j++) {
      const double d = slope_of(r, v[i * t->cols + j]);
      rows[i] += d * d;
      cols[j] += d * d;
      all += d * d;
    }
  }
  for (size_t j = 0; j < t->cols; j++) cols[j] /= all;
  free(v);
}

/* ---- the test ---- */

/* Sums of up to 10^5 products, of coded numbers in f32: 10^-4 of the sum, or of what it would be if
 * terms did not cancel. */
static void close_to(const char *what, double got, double want, double size) {
  if (!(fabs(got - want) <= 1e-4 * (fabs(want) + size)))
    print_error("%s: %.9g, not %.9g\n", what, got, want);
  EXPECT(fabs(got - want) <= 1e-4 * (fabs(want) + size));
}

static void check_spot(const spot *s, const sb_probe *probe, const sb_error_sums *got) {
  const uint32_t *tokens = probe->tokens_dev + s->sequence * SAMPLE;
  const size_t tensor = s->r->model->arch.matrices[s->number];
  double *rows = calloc(s->rows, sizeof *rows), *cols = calloc(s->cols, sizeof *cols);
  sb_error_sums want = {0};
  expect_products(s, tokens, &want);
  expect_operands(s, &want);
  slopes_of(s->r, tensor, rows, cols);
  expect_wgrad(s, rows, cols, &want);
  close_to("x", got->x, want.x, 0);
  close_to("w", got->w, want.w, 0);
  close_to("dy", got->dy, want.dy, 0);
  close_to("y", got->y, want.y, 0);
  close_to("dx", got->dx, want.dx, 0);
  close_to("loss", got->loss, want.loss, sqrt(want.tokens) * 10);
  close_to("tokens", got->tokens, want.tokens, 0);
  close_to("fprop", got->fprop, want.fprop, 0);
  close_to("dgrad", got->dgrad, want.dgrad, 0);
  close_to("wgrad", got->wgrad, want.wgrad, 0);
  free(rows);
  free(cols);
}

static void check_all(const run *r, const taken *still, const taken *moved, const sb_probe *probe,
                      const sb_error_sums *errors) {
  const sb_arch *arch = &r->model->arch;
  for (size_t i = 0; i < arch->matrix_count; i += 3)
    for (size_t p = 0; p < PRECISIONS; p++) {
      const size_t s = (i + p) % r->options.batch, at = s * arch->matrix_count + i;
      const sb_model_tensor *t = &arch->tensors[arch->matrices[i]];
      float *w = whole(r, arch->matrices[i], 0);
      const spot here = {.r = r,
                         .T = r->options.seqlen,
                         .rows = t->rows,
                         .cols = t->cols,
                         .number = i,
                         .sequence = s,
                         .precision = precisions[p],
                         .x = still->x[at],
                         .dy = still->dy[at],
                         .moved_x = moved->x[at],
                         .moved_dy = moved->dy[at],
                         .w = w};
      check_spot(&here, probe, &errors[at * PRECISIONS + p]);
      free(w);
    }
}

static void equals_plain_loops(void **state) {
  const sb_lowprec_options lowprec = sb_lowprec_options_default();
  run r;
  sb_update_slope slope;
  sb_probe probe;
  double loss;
  (void)state;
  run_open(&r, &world, "untied", 1, 0);
  for (size_t step = 0; step < STEPS; step++) (void)run_step(&r);
  sb_pass *pass = sb_trainer_pass(r.trainer);
  const size_t count = r.options.batch * r.model->arch.matrix_count;
  sb_linear_sums *linears = calloc(count, sizeof *linears);
  sb_error_sums *errors = calloc(count * PRECISIONS, sizeof *errors);
  sb_pass_set_batch(pass, run_tokens(&r, STEPS), 1);
  EXPECT_OK(sb_update_slope_create(sb_trainer_optimizer(r.trainer), r.options.adamw, &slope));
  EXPECT_OK(sb_probe_create(r.model, r.backend, pass, SAMPLE, SEED, &probe));
  EXPECT_OK(sb_update_slope_move(&slope, 0.05 * slope.weight_norm / slope.slope_norm, SEED));
  sb_pass_forget(pass);
  EXPECT_OK(sb_probe_measure(&probe, pass, &loss));
  taken moved = take_all(&r);
  sb_update_slope_return(&slope);
  taken still = take_all(&r);
  sb_pass_forget(pass);
  const sb_error_step_setup setup = {.pass = pass,
                                     .probe = &probe,
                                     .slope = &slope,
                                     .precisions = precisions,
                                     .precision_count = PRECISIONS,
                                     .lowprec = &lowprec,
                                     .seed = SEED};
  EXPECT_OK(sb_error_step(&setup, linears, errors, &loss));
  check_all(&r, &still, &moved, &probe, errors);
  release(&moved, count);
  release(&still, count);
  sb_probe_free(&probe);
  sb_update_slope_free(&slope);
  free(linears);
  free(errors);
  run_close(&r);
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(equals_plain_loops)};
RANKS_MAIN(tests)
