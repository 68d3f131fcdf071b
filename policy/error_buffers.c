#include "policy/error_buffers.h"

#include "base/memory.h"

/* Row sums that one visit of a matrix makes at most: of norms; of each precision. */
enum { TRUE_TOKENS = 5, TRUE_SAMPLED = 3, EACH_TOKENS = 7, EACH_SAMPLED = 5, EACH_ROWS = 2 };

static void find_sizes(sb_error_buffers *e) {
  const sb_arch *arch = &e->probe->model->arch;
  for (size_t layer = 0; layer < arch->config.layers; layer++) {
    size_t elements = 0;
    for (size_t m = 0; m < sb_arch_matrices(arch, layer); m++) {
      const sb_model_tensor *t = sb_arch_matrix(arch, layer, m);
      e->tallest = sb_max_size(e->tallest, t->rows);
      e->widest = sb_max_size(e->widest, t->cols);
      elements += t->rows * t->cols;
    }
    e->layer_weights = sb_max_size(e->layer_weights, elements);
  }
  e->largest = sb_max_size(e->tallest, e->widest);
}

static sb_status room(const sb_error_buffers *e, float **out, size_t count) {
  return e->backend->op->alloc(e->backend, count * sizeof **out, "errors of a layer", (void **)out);
}

static sb_status allocate_matrices(sb_error_buffers *e) {
  const size_t T = e->T, n = e->sample;
  const bool converts = e->backend->operand != SB_F32;
  if (converts) {
    SB_TRY(room(e, &e->x, T * e->widest));
    SB_TRY(room(e, &e->dy, T * e->tallest));
    SB_TRY(room(e, &e->plain, e->layer_weights));
    SB_TRY(room(e, (float **)&e->raw, n * e->largest));
  }
  SB_TRY(room(e, &e->dx, T * e->widest));
  SB_TRY(room(e, &e->coded, T * e->largest));
  SB_TRY(room(e, &e->turned, T * e->largest));
  SB_TRY(room(e, &e->some_x, n * e->widest));
  SB_TRY(room(e, &e->some_dy, n * e->tallest));
  SB_TRY(room(e, &e->some_dx, n * e->widest));
  SB_TRY(room(e, &e->some_y, n * e->tallest));
  SB_TRY(room(e, &e->some_coded, n * e->largest));
  SB_TRY(room(e, &e->product, n * e->largest));
  SB_TRY(room(e, &e->moved_x, n * e->widest));
  return room(e, &e->moved_dy, n * e->tallest);
}

static sb_status upload_slope(sb_error_buffers *e) {
  sb_backend *b = e->backend;
  const sb_update_slope *s = e->setup.slope;
  const size_t count = e->probe->model->arch.matrix_count;
  const size_t rows = s->first_row[count], cols = s->first_col[count];
  SB_TRY(room(e, &e->slope_rows, rows));
  SB_TRY(room(e, &e->slope_cols, cols));
  SB_TRY(b->op->upload(b, NULL, e->slope_rows, s->rows, rows * sizeof(float)));
  SB_TRY(b->op->upload(b, NULL, e->slope_cols, s->cols, cols * sizeof(float)));
  return b->op->sync(b, NULL);
}

sb_status sb_error_buffers_create(const sb_error_buffers_setup *setup, sb_error_buffers *e) {
  const sb_probe *probe = setup->probe;
  const size_t matrices = probe->model->arch.most_matrices, P = setup->precision_count;
  *e = (sb_error_buffers){.setup = *setup,
                          .probe = probe,
                          .backend = probe->backend,
                          .T = probe->T,
                          .sample = probe->sample};
  find_sizes(e);
  SB_TRY(sb_alloc(&e->weights, matrices, sizeof *e->weights, "errors of a layer"));
  SB_TRY(sb_alloc(&e->first, matrices, sizeof *e->first, "errors of a layer"));
  SB_TRY(allocate_matrices(e));
  SB_TRY(room(e, &e->coded_weights, P * 2 * e->layer_weights));
  SB_TRY(upload_slope(e));
  return sb_row_ledger_create(e->backend,
                              (TRUE_TOKENS + P * EACH_TOKENS) * e->T +
                                  (TRUE_SAMPLED + P * EACH_SAMPLED) * e->sample +
                                  (1 + P * EACH_ROWS) * e->tallest,
                              &e->ledger);
}

void sb_error_buffers_free(sb_error_buffers *e) {
  sb_backend *b = e->backend;
  if (!b) return;
  float *const device[] = {e->x,          e->dy,         e->plain,        e->raw,     e->dx,
                           e->coded,      e->turned,     e->some_x,       e->some_dy, e->some_dx,
                           e->some_y,     e->some_coded, e->product,      e->moved_x, e->moved_dy,
                           e->slope_rows, e->slope_cols, e->coded_weights};
  for (size_t i = 0; i < sizeof device / sizeof *device; i++) b->op->free(b, device[i]);
  sb_row_ledger_free(&e->ledger);
  sb_free(&e->weights);
  sb_free(&e->first);
  *e = (sb_error_buffers){0};
}

/* ---- weights ---- */

static float *coded_at(const sb_error_buffers *e, size_t matrix, size_t p, bool dgrad) {
  return e->coded_weights + (2 * p + dgrad) * e->layer_weights + e->first[matrix];
}

static sb_lowprec_rule weight_rule(const sb_error_buffers *e, size_t p, sb_gemm_kind gemm) {
  return sb_lowprec_rule_of(e->setup.precisions[p], SB_LOWPREC_W, gemm, e->setup.lowprec);
}

/* Most precisions have one coding for both GEMMs. */
static bool has_two(const sb_error_buffers *e, size_t p) {
  const sb_lowprec_rule fprop = weight_rule(e, p, SB_FPROP), dgrad = weight_rule(e, p, SB_DGRAD);
  return !sb_lowprec_rules_equal(&fprop, &dgrad);
}

const float *sb_error_weights(const sb_error_buffers *e, size_t matrix, size_t p,
                              sb_gemm_kind gemm) {
  return coded_at(e, matrix, p, gemm == SB_DGRAD && has_two(e, p));
}

static sb_status code_weights(const sb_error_buffers *e, sb_stream stream, size_t matrix,
                              size_t rows, size_t cols, size_t p) {
  sb_backend *b = e->backend;
  sb_lowprec_args args = {.rule = weight_rule(e, p, SB_FPROP),
                          .rows = rows,
                          .cols = cols,
                          .src = e->weights[matrix],
                          .src_dtype = SB_F32,
                          .dst = coded_at(e, matrix, p, false),
                          .dst_dtype = SB_F32};
  SB_TRY(b->op->round_lowprec(b, stream, &args));
  if (!has_two(e, p)) return SB_OK;
  args.rule = weight_rule(e, p, SB_DGRAD);
  args.dst = coded_at(e, matrix, p, true);
  return b->op->round_lowprec(b, stream, &args);
}

sb_status sb_error_buffers_load(sb_error_buffers *e, sb_stream stream, size_t layer,
                                const sb_device_layer *prepared) {
  const sb_arch *arch = &e->probe->model->arch;
  const sb_layer_weights *weights = sb_device_layer_weights(prepared);
  size_t first = 0;
  for (size_t m = 0; m < sb_arch_matrices(arch, layer); m++) {
    const sb_model_tensor *t = sb_arch_matrix(arch, layer, m);
    const size_t count = t->rows * t->cols;
    e->first[m] = first;
    SB_TRY(sb_error_floats(e, stream, e->plain ? e->plain + first : NULL,
                           weights->products[m].dense_dev, count, &e->weights[m]));
    for (size_t p = 0; p < e->setup.precision_count; p++)
      SB_TRY(code_weights(e, stream, m, t->rows, t->cols, p));
    first += count;
  }
  return SB_OK;
}

/* ---- operations ---- */

sb_status sb_error_multiply(const sb_error_buffers *e, sb_stream stream, float *to, const float *a,
                            const float *w, size_t m, size_t n, size_t k, bool transposed) {
  const sb_gemm_args args = {.m = m,
                             .n = n,
                             .k = k,
                             .a = sb_view(a, SB_F32, k),
                             .b = transposed ? sb_view_transposed(w, SB_F32, k)
                                             : sb_view(w, SB_F32, n),
                             .c = to,
                             .c_dtype = SB_F32,
                             .ldc = n,
                             .type = SB_GEMM_F32};
  return e->backend->op->gemm(e->backend, stream, &args);
}

sb_status sb_error_floats(const sb_error_buffers *e, sb_stream stream, float *to, const void *from,
                          size_t count, const float **out) {
  sb_backend *b = e->backend;
  *out = b->operand == SB_F32 ? from : to;
  if (b->operand == SB_F32) return SB_OK;
  return b->op->convert(b, stream, to, SB_F32, from, b->operand, count);
}

sb_status sb_error_upload(const sb_error_buffers *e, sb_stream stream, float *to, const void *from,
                          size_t count) {
  sb_backend *b = e->backend;
  const size_t bytes = count * sb_dtype_size(b->operand);
  if (b->operand == SB_F32) return b->op->upload(b, stream, to, from, bytes);
  SB_TRY(b->op->upload(b, stream, e->raw, from, bytes));
  return b->op->convert(b, stream, to, SB_F32, e->raw, b->operand, count);
}
