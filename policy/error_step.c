#include "policy/error_step.h"

#include "base/memory.h"
#include "kernels/shared/lowprec_code.h"
#include "mpi/large.h"
#include "policy/error_buffers.h"

/* One matrix of one sequence, while its errors are measured. */
typedef struct visit {
  sb_error_buffers *e;
  sb_stream stream;
  size_t layer, matrix, number, sequence, rows, cols;
  const float *x_dev, *dy_dev; /* f32 */
  sb_linear_sums *linear;
} visit;

typedef struct run {
  const sb_error_step_setup *setup;
  sb_error_buffers e;
  sb_linear_sums *linears; /* of all sequences; those of other ranks are 0 */
  sb_error_sums *errors;
} run;

static size_t place(const run *r, size_t sequence, size_t number) {
  const sb_world *world = r->setup->probe->model->world;
  const size_t global = sequence * (size_t)world->size + (size_t)world->rank;
  return global * r->setup->probe->model->arch.matrix_count + number;
}

static sb_error_sums *errors_at(const run *r, const visit *v, size_t p) {
  return r->errors + place(r, v->sequence, v->number) * r->setup->precision_count + p;
}

/* Sums over sampled tokens stand for the T - 1 that have a target. */
static double share(const sb_probe *probe) {
  return (double)(probe->T - 1) / (double)probe->sample;
}

/* ---- the steps of a visit: what is common to all precisions ---- */

static sb_status square(const visit *v, const float *dev, size_t rows, size_t cols, double scale,
                        double *target) {
  const sb_row_products_args args = {.rows = rows,
                                     .cols = cols,
                                     .term_count = 1,
                                     .pair_count = 1,
                                     .terms = {{dev, NULL}},
                                     .pairs = {{0, 0}}};
  size_t at;
  SB_TRY(sb_row_ledger_queue(&v->e->ledger, v->stream, args, &at));
  sb_row_ledger_sum(&v->e->ledger, at, rows, scale, target);
  return SB_OK;
}

static sb_status difference(const visit *v, const float *a, const float *b, size_t cols,
                            double *target) {
  const sb_probe *probe = v->e->probe;
  const sb_row_products_args args = {.rows = probe->sample,
                                     .cols = cols,
                                     .term_count = 1,
                                     .pair_count = 1,
                                     .terms = {{a, b}},
                                     .pairs = {{0, 0}}};
  size_t at;
  SB_TRY(sb_row_ledger_queue(&v->e->ledger, v->stream, args, &at));
  sb_row_ledger_sum(&v->e->ledger, at, probe->sample, share(probe), target);
  return SB_OK;
}

/* Of every token, dy and x in the norms that the slopes' model gives. */
static sb_status take_sloped(const visit *v) {
  sb_row_ledger *l = &v->e->ledger;
  sb_row_products_args args = {.rows = v->e->probe->T,
                               .cols = v->rows,
                               .term_count = 1,
                               .pair_count = 1,
                               .terms = {{v->dy_dev, NULL}},
                               .pairs = {{0, 0}},
                               .weight = sb_error_slope_rows(v->e, v->number)};
  size_t dy, x;
  SB_TRY(sb_row_ledger_queue(l, v->stream, args, &dy));
  args.cols = v->cols;
  args.terms[0].plus = v->x_dev;
  args.weight = sb_error_slope_cols(v->e, v->number);
  SB_TRY(sb_row_ledger_queue(l, v->stream, args, &x));
  sb_row_ledger_product(l, dy, x, args.rows, 1, &v->linear->sloped);
  return SB_OK;
}

/* The true products, the samples of x, dy, y and dX, and the norms. */
static sb_status take_true(const visit *v) {
  sb_error_buffers *e = v->e;
  const sb_probe *probe = e->probe;
  const size_t T = probe->T, n = probe->sample;
  const float *w = e->weights[v->matrix];
  SB_TRY(sb_error_multiply(e, v->stream, e->dx, v->dy_dev, w, T, v->cols, v->rows, false));
  SB_TRY(sb_probe_sampled(probe, v->stream, v->sequence, e->some_x, v->x_dev, SB_F32, v->cols));
  SB_TRY(sb_probe_sampled(probe, v->stream, v->sequence, e->some_dy, v->dy_dev, SB_F32, v->rows));
  SB_TRY(sb_probe_sampled(probe, v->stream, v->sequence, e->some_dx, e->dx, SB_F32, v->cols));
  SB_TRY(sb_error_multiply(e, v->stream, e->some_y, e->some_x, w, n, v->rows, v->cols, true));
  SB_TRY(sb_error_upload(e, v->stream, e->moved_x,
                         sb_probe_x(probe, v->sequence, v->layer, v->matrix), n * v->cols));
  SB_TRY(sb_error_upload(e, v->stream, e->moved_dy,
                         sb_probe_dy(probe, v->sequence, v->layer, v->matrix), n * v->rows));
  SB_TRY(square(v, v->x_dev, T, v->cols, 1, &v->linear->x));
  SB_TRY(square(v, v->dy_dev, T, v->rows, 1, &v->linear->dy));
  SB_TRY(square(v, e->dx, T, v->cols, 1, &v->linear->dx));
  SB_TRY(square(v, w, v->rows, v->cols, 1, &v->linear->w));
  SB_TRY(square(v, e->some_y, n, v->rows, share(probe), &v->linear->y));
  SB_TRY(difference(v, e->moved_x, e->some_x, v->cols, &v->linear->moved_x));
  return difference(v, e->moved_dy, e->some_dy, v->rows, &v->linear->moved_dy);
}

/* ---- the errors of one precision ---- */

static uint64_t key_of(const run *r, const visit *v, size_t p, sb_gemm_kind gemm) {
  const sb_world *world = r->setup->probe->model->world;
  const size_t global = v->sequence * (size_t)world->size + (size_t)world->rank;
  uint64_t key = sb_lowprec_key(r->setup->seed, v->number);
  key = sb_lowprec_key(key, (uint64_t)r->setup->precisions[p]);
  key = sb_lowprec_key(key, (uint64_t)gemm);
  return sb_lowprec_key(key, global);
}

static sb_status code(const run *r, const visit *v, size_t p, sb_lowprec_operand operand,
                      sb_gemm_kind gemm, float *to) {
  const bool is_x = operand == SB_LOWPREC_X;
  const sb_lowprec_args args = {
      .rule = sb_lowprec_rule_of(r->setup->precisions[p], operand, gemm, r->setup->lowprec),
      .rows = v->e->probe->T,
      .cols = is_x ? v->cols : v->rows,
      .src = is_x ? v->x_dev : v->dy_dev,
      .src_dtype = SB_F32,
      .dst = to,
      .dst_dtype = SB_F32,
      .key = key_of(r, v, p, gemm)};
  return v->e->backend->op->round_lowprec(v->e->backend, v->stream, &args);
}

/* E_x, E_y and what they meet. */
static sb_status take_fprop(const run *r, const visit *v, size_t p) {
  sb_error_buffers *e = v->e;
  sb_row_ledger *l = &e->ledger;
  const sb_probe *probe = e->probe;
  const size_t n = probe->sample;
  sb_error_sums *out = errors_at(r, v, p);
  size_t at;
  SB_TRY(code(r, v, p, SB_LOWPREC_X, SB_FPROP, e->coded));
  const sb_row_products_args input = {.rows = probe->T,
                                      .cols = v->cols,
                                      .term_count = 2,
                                      .pair_count = 2,
                                      .terms = {{e->coded, v->x_dev}, {e->dx, NULL}},
                                      .pairs = {{0, 0}, {0, 1}}};
  SB_TRY(sb_row_ledger_queue(l, v->stream, input, &at));
  sb_row_ledger_sum(l, at, probe->T, 1, &out->x);
  sb_row_ledger_sum(l, at + probe->T, probe->T, 1, &out->loss);
  SB_TRY(sb_probe_sampled(probe, v->stream, v->sequence, e->some_coded, e->coded, SB_F32, v->cols));
  SB_TRY(sb_error_multiply(e, v->stream, e->product, e->some_coded,
                           sb_error_weights(e, v->matrix, p, SB_FPROP), n, v->rows, v->cols, true));
  const sb_row_products_args output = {
      .rows = n,
      .cols = v->rows,
      .term_count = 3,
      .pair_count = 3,
      .terms = {{e->product, e->some_y}, {e->some_dy, NULL}, {e->moved_dy, e->some_dy}},
      .pairs = {{0, 0}, {0, 1}, {0, 2}}};
  SB_TRY(sb_row_ledger_queue(l, v->stream, output, &at));
  sb_row_ledger_sum(l, at, n, share(probe), &out->y);
  sb_row_ledger_product(l, at + n, at + n, n, share(probe), &out->tokens);
  sb_row_ledger_product(l, at + 2 * n, at + 2 * n, n, share(probe), &out->fprop);
  return SB_OK;
}

/* E_dy, E_dx and what they meet. */
static sb_status take_dgrad(const run *r, const visit *v, size_t p) {
  sb_error_buffers *e = v->e;
  sb_row_ledger *l = &e->ledger;
  const sb_probe *probe = e->probe;
  const size_t n = probe->sample;
  sb_error_sums *out = errors_at(r, v, p);
  size_t at;
  SB_TRY(code(r, v, p, SB_LOWPREC_DY, SB_DGRAD, e->coded));
  const sb_row_products_args gradient = {.rows = probe->T,
                                         .cols = v->rows,
                                         .term_count = 1,
                                         .pair_count = 1,
                                         .terms = {{e->coded, v->dy_dev}},
                                         .pairs = {{0, 0}}};
  SB_TRY(sb_row_ledger_queue(l, v->stream, gradient, &at));
  sb_row_ledger_sum(l, at, probe->T, 1, &out->dy);
  SB_TRY(sb_probe_sampled(probe, v->stream, v->sequence, e->some_coded, e->coded, SB_F32, v->rows));
  SB_TRY(sb_error_multiply(e, v->stream, e->product, e->some_coded,
                           sb_error_weights(e, v->matrix, p, SB_DGRAD), n, v->cols, v->rows,
                           false));
  const sb_row_products_args output = {.rows = n,
                                       .cols = v->cols,
                                       .term_count = 2,
                                       .pair_count = 2,
                                       .terms = {{e->product, e->some_dx}, {e->moved_x, e->some_x}},
                                       .pairs = {{0, 0}, {0, 1}}};
  SB_TRY(sb_row_ledger_queue(l, v->stream, output, &at));
  sb_row_ledger_sum(l, at, n, share(probe), &out->dx);
  sb_row_ledger_product(l, at + n, at + n, n, share(probe), &out->dgrad);
  return SB_OK;
}

/* Row sums, weighted by the slopes' model, of an operand of wgrad and of its error, both in the
 * coordinates in which it is coded. */
static sb_status weigh(const run *r, const visit *v, size_t p, sb_lowprec_operand operand,
                       size_t *at) {
  sb_error_buffers *e = v->e;
  sb_backend *b = e->backend;
  const bool is_x = operand == SB_LOWPREC_X;
  const size_t T = e->probe->T, cols = is_x ? v->cols : v->rows;
  const float *from = is_x ? v->x_dev : v->dy_dev;
  const sb_lowprec_rule rule =
      sb_lowprec_rule_of(r->setup->precisions[p], operand, SB_WGRAD, r->setup->lowprec);
  SB_TRY(code(r, v, p, operand, SB_WGRAD, e->coded));
  if (rule.hadamard) {
    const sb_lowprec_args turn = {.rule = {.element = SB_ELEMENT_NONE, .hadamard = true},
                                  .rows = T,
                                  .cols = cols,
                                  .src = from,
                                  .src_dtype = SB_F32,
                                  .dst = e->turned,
                                  .dst_dtype = SB_F32};
    SB_TRY(b->op->round_lowprec(b, v->stream, &turn));
    from = e->turned;
  }
  const sb_row_products_args args = {.rows = T,
                                     .cols = cols,
                                     .term_count = 2,
                                     .pair_count = 2,
                                     .terms = {{e->coded, from}, {from, NULL}},
                                     .pairs = {{0, 0}, {1, 1}},
                                     .weight = is_x ? sb_error_slope_cols(e, v->number)
                                                    : sb_error_slope_rows(e, v->number)};
  return sb_row_ledger_queue(&e->ledger, v->stream, args, at);
}

static sb_status take_wgrad(const run *r, const visit *v, size_t p) {
  sb_row_ledger *l = &v->e->ledger;
  const size_t T = v->e->probe->T;
  double *out = &errors_at(r, v, p)->wgrad;
  size_t x, dy;
  SB_TRY(weigh(r, v, p, SB_LOWPREC_X, &x));
  SB_TRY(weigh(r, v, p, SB_LOWPREC_DY, &dy));
  sb_row_ledger_product(l, dy, x + T, T, 1, out);
  sb_row_ledger_product(l, dy + T, x, T, 1, out);
  return SB_OK;
}

/* ---- hooks ---- */

static sb_status begin_layer(void *context, sb_stream stream, size_t layer,
                             const sb_device_layer *prepared) {
  run *r = context;
  return sb_error_buffers_load(&r->e, stream, layer, prepared);
}

static visit visit_of(run *r, sb_stream stream, size_t layer, size_t matrix) {
  const sb_arch *arch = &r->setup->probe->model->arch;
  const sb_model_tensor *t = sb_arch_matrix(arch, layer, matrix);
  visit v = {.e = &r->e,
             .stream = stream,
             .layer = layer,
             .matrix = matrix,
             .number = arch->layers[layer].first_matrix + matrix,
             .sequence = sb_probe_sequence(r->setup->probe, layer),
             .rows = t->rows,
             .cols = t->cols};
  v.linear = &r->linears[place(r, v.sequence, v.number)];
  return v;
}

static sb_status factors(void *context, sb_stream stream, size_t layer, size_t matrix,
                         const void *x_dev, const void *dy_dev) {
  run *r = context;
  visit v = visit_of(r, stream, layer, matrix);
  const size_t T = r->e.probe->T;
  SB_TRY(sb_error_floats(&r->e, stream, r->e.x, x_dev, T * v.cols, &v.x_dev));
  SB_TRY(sb_error_floats(&r->e, stream, r->e.dy, dy_dev, T * v.rows, &v.dy_dev));
  SB_TRY(take_true(&v));
  SB_TRY(take_sloped(&v));
  for (size_t p = 0; p < r->setup->precision_count; p++) {
    SB_TRY(take_fprop(r, &v, p));
    SB_TRY(take_dgrad(r, &v, p));
    SB_TRY(take_wgrad(r, &v, p));
  }
  return sb_row_ledger_settle(&r->e.ledger, stream);
}

/* What the gradient of the weights meets: their errors. */
static sb_status take_gradient(void *context, sb_stream stream, size_t layer, size_t matrix,
                               const float *g_dev) {
  run *r = context;
  const visit v = visit_of(r, stream, layer, matrix);
  sb_row_ledger *l = &r->e.ledger;
  size_t at;
  SB_TRY(square(&v, g_dev, v.rows, v.cols, 1, &v.linear->dw));
  for (size_t p = 0; p < r->setup->precision_count; p++) {
    sb_error_sums *out = errors_at(r, &v, p);
    const sb_row_products_args args = {
        .rows = v.rows,
        .cols = v.cols,
        .term_count = 2,
        .pair_count = 2,
        .terms = {{sb_error_weights(&r->e, matrix, p, SB_FPROP), r->e.weights[matrix]},
                  {g_dev, NULL}},
        .pairs = {{0, 0}, {0, 1}}};
    SB_TRY(sb_row_ledger_queue(l, stream, args, &at));
    sb_row_ledger_sum(l, at, v.rows, 1, &out->w);
    sb_row_ledger_sum(l, at + v.rows, v.rows, 1, &out->loss);
  }
  return sb_row_ledger_settle(l, stream);
}

static sb_status end_sequence(void *context, sb_stream stream, size_t layer) {
  run *r = context;
  (void)stream;
  sb_probe_next(r->setup->probe, layer);
  return SB_OK;
}

static sb_status end_layer(void *context, size_t layer) {
  (void)context, (void)layer;
  return SB_OK;
}

/* ---- the step ---- */

sb_status sb_error_step(const sb_error_step_setup *setup, sb_linear_sums *linears,
                        sb_error_sums *errors, double *loss) {
  const sb_model *model = setup->probe->model;
  const size_t count = sb_pass_sequences(setup->pass) * model->arch.matrix_count;
  run r = {.setup = setup, .linears = linears, .errors = errors};
  const sb_pass_hooks hooks = {.context = &r,
                               .begin_layer = begin_layer,
                               .factors = factors,
                               .matrix = take_gradient,
                               .end_sequence = end_sequence,
                               .end_layer = end_layer};
  for (size_t i = 0; i < count; i++) linears[i] = (sb_linear_sums){0};
  for (size_t i = 0; i < count * setup->precision_count; i++) errors[i] = (sb_error_sums){0};
  const sb_error_buffers_setup buffers = {.probe = setup->probe,
                                          .slope = setup->slope,
                                          .precisions = setup->precisions,
                                          .precision_count = setup->precision_count,
                                          .lowprec = setup->lowprec};
  sb_status status = sb_world_agree(model->world, sb_error_buffers_create(&buffers, &r.e));
  sb_probe_begin(setup->probe);
  SB_THEN(sb_pass_gradients(setup->pass, &hooks, loss));
  sb_error_buffers_free(&r.e);
  SB_TRY(status);
  /* Each number is known to one rank, and 0 on the others. */
  SB_TRY(sb_mpi_sum_f64((double *)linears, count * sizeof *linears / sizeof(double),
                        model->world->comm));
  return sb_mpi_sum_f64((double *)errors,
                        count * setup->precision_count * sizeof *errors / sizeof(double),
                        model->world->comm);
}
