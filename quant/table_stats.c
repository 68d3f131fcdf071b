#include "quant/table_stats.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/trace.h"
#include "mpi/exact.h"
#include "mpi/large.h"

/* Exact sums keep multiples of 2^-80 up to 2^30. Squares of the head's inputs are added up as 2^-16
 * of themselves, those of gradients, which are far below 1, as 2^8; variances, at most 1/4 each, as
 * they are. */
static const int moment_exponents[SB_TABLE_USES] = {[SB_USE_HEAD] = -16, [SB_USE_EMBEDDING] = 8};
enum { ROW_EXPONENT = 0 };

struct sb_table_stats {
  const sb_model *model;
  sb_backend *backend;
  sb_table_hooks hooks;
  size_t seqlen;
  size_t width; /* of a triangle: hidden where whole, else of a block column */
  size_t count; /* elements of all triangles (kernels/shared/grams.h) */

  /* while it listens, on the device */
  int64_t *moment_sums[SB_TABLE_USES]; /* [count, 2] */
  int64_t *row_sums;                   /* [vocab, 2] of the head */
  void *operands;                      /* [seqlen, hidden], where activations are no operands */

  /* then, on the host */
  double *moments[SB_TABLE_USES];    /* [count] */
  float *row_weights[SB_TABLE_USES]; /* [vocab] */
  double mean_weight[SB_TABLE_USES];
};

/* ---- memory ---- */

static size_t triangle_width(size_t hidden, const sb_blocking *blocking, bool whole) {
  return whole ? hidden : sb_min_size(blocking->cols, hidden);
}

sb_status sb_table_stats_create(const sb_model *m, sb_backend *b, size_t seqlen, bool whole,
                                sb_table_stats **out) {
  sb_status status = sb_alloc(out, 1, sizeof **out, "statistics of embedding and head");
  if (status != SB_OK) return status;
  sb_table_stats *t = *out;
  const size_t h = m->config.hidden, vocab = m->config.vocab;
  static const char what[] = "statistics of embedding and head";
  t->model = m;
  t->backend = b;
  t->seqlen = seqlen;
  t->width = triangle_width(h, &m->blocking, whole);
  t->count = sb_grams_count(h, t->width);
  for (int use = 0; use < SB_TABLE_USES; use++) {
    const size_t bytes = t->count * sizeof(sb_exact);
    SB_GO(b->op->alloc(b, bytes, what, (void **)&t->moment_sums[use]));
    SB_GO(b->op->zero(b, NULL, t->moment_sums[use], bytes));
  }
  SB_GO(b->op->alloc(b, vocab * sizeof(sb_exact), what, (void **)&t->row_sums));
  SB_GO(b->op->zero(b, NULL, t->row_sums, vocab * sizeof(sb_exact)));
  if (b->act != b->operand)
    SB_GO(b->op->alloc(b, seqlen * h * sb_dtype_size(b->operand), what, &t->operands));
  /* the pass has a stream of its own */
  SB_GO(b->op->sync(b, NULL));
done:
  if (status != SB_OK) sb_table_stats_free(out);
  return status;
}

size_t sb_table_stats_bytes(const sb_arch *arch, const sb_blocking *blocking, bool whole) {
  const size_t h = arch->config.hidden, vocab = arch->config.vocab,
               count = sb_grams_count(h, triangle_width(h, blocking, whole));
  /* one use's moments beside the sums of both; at the end, tokens are counted beside the rows */
  const size_t uses = SB_TABLE_USES,
               early =
                   count * (uses * sizeof(sb_exact) + sizeof(double)) + vocab * sizeof(sb_exact),
               late = count * uses * sizeof(double) +
                      vocab * (sizeof(sb_exact) + sizeof(uint64_t) + uses * sizeof(float));
  return sizeof(sb_table_stats) + sb_max_size(early, late);
}

static void release_sums(sb_table_stats *t) {
  sb_backend *b = t->backend;
  for (int use = 0; use < SB_TABLE_USES; use++) {
    b->op->free(b, t->moment_sums[use]);
    t->moment_sums[use] = NULL;
  }
  b->op->free(b, t->row_sums);
  b->op->free(b, t->operands);
  t->row_sums = NULL;
  t->operands = NULL;
}

void sb_table_stats_free(sb_table_stats **stats) {
  sb_table_stats *t = *stats;
  if (!t) return;
  release_sums(t);
  for (int use = 0; use < SB_TABLE_USES; use++) {
    sb_free(&t->moments[use]);
    sb_free(&t->row_weights[use]);
  }
  sb_free(stats);
}

/* ---- the gradient pass ---- */

static sb_status explained(sb_status status, const char *what) {
  if (status != SB_ERR_NUMERIC) return status;
  return sb_fail(status, "%s are not finite, or too large to be added up; check the model", what);
}

static sb_status hear_head(void *context, sb_stream stream, const sb_head_use *use) {
  sb_table_stats *t = context;
  sb_backend *b = t->backend;
  SB_SPAN(SB_TRACE_COMPUTE, "statistics of the head", SB_TRACE_NONE);
  const size_t targets = t->seqlen - 1;
  if (use->first_row == 0)
    SB_TRY(explained(b->op->add_grams(b, stream, t->moment_sums[SB_USE_HEAD], use->states, targets,
                                      t->model->config.hidden, t->width,
                                      moment_exponents[SB_USE_HEAD]),
                     "the inputs of the LM head"));
  return explained(b->op->add_variances(b, stream, t->row_sums + 2 * use->first_row, use->dlogits,
                                        targets, use->rows, (float)targets, ROW_EXPONENT),
                   "the gradients of the logits");
}

static sb_status hear_embedding(void *context, sb_stream stream, const sb_embedding_use *use) {
  sb_table_stats *t = context;
  sb_backend *b = t->backend;
  SB_SPAN(SB_TRACE_COMPUTE, "statistics of the embedding", SB_TRACE_NONE);
  const size_t h = t->model->config.hidden;
  const void *dx = use->dx;
  if (t->operands) {
    SB_TRY(b->op->convert(b, stream, t->operands, b->operand, dx, b->act, t->seqlen * h));
    dx = t->operands;
  }
  return explained(b->op->add_grams(b, stream, t->moment_sums[SB_USE_EMBEDDING], dx, t->seqlen, h,
                                    t->width, moment_exponents[SB_USE_EMBEDDING]),
                   "the gradients at the embedding");
}

const sb_table_hooks *sb_table_stats_hooks(sb_table_stats *t) {
  t->hooks = (sb_table_hooks){t, hear_head, hear_embedding};
  return &t->hooks;
}

/* ---- sums over ranks ---- */

/* *sums: `count` sums of all ranks, on the host; the device's memory where that is the same.
 * Collective. */
static sb_status total(const sb_table_stats *t, int64_t *device, size_t count, sb_exact **sums) {
  sb_backend *b = t->backend;
  const sb_world *world = t->model->world;
  sb_status status = SB_OK;
  *sums = (sb_exact *)device;
  if (!b->unified) {
    status = sb_alloc_raw(sums, count, sizeof **sums, "statistics of embedding and head");
    SB_THEN(b->op->download(b, NULL, *sums, device, count * sizeof **sums));
  }
  SB_THEN(b->op->sync(b, NULL));
  SB_AGREE(world, status);
  return sb_exact_allreduce(*sums, count, world->comm);
}

/* out [count] doubles (out_floats: floats) = scale * the sums over ranks. Collective. */
static sb_status scaled_total(const sb_table_stats *t, int64_t *device, size_t count, double scale,
                              double *out, float *out_floats) {
  sb_exact *sums = NULL;
  const sb_status status = total(t, device, count, &sums);
  for (size_t i = 0; status == SB_OK && i < count; i++) {
    const double value = scale * sb_exact_value(&sums[i]);
    if (out)
      out[i] = value;
    else
      out_floats[i] = (float)value;
  }
  if (!t->backend->unified) sb_free(&sums);
  return status;
}

double sb_table_share(uint64_t count, uint64_t total, size_t vocab) {
  return 0.5 * (double)count / (double)total + 0.5 / (double)vocab;
}

/* Collective. */
static sb_status count_tokens(sb_table_stats *t, const sb_sequences *calibration) {
  const size_t vocab = t->model->config.vocab;
  const sb_world *world = t->model->world;
  uint64_t *counts = NULL;
  SB_AGREE(world, sb_alloc(&counts, vocab, sizeof *counts, "numbers of tokens"));
  for (size_t i = 0; i < calibration->local * calibration->seqlen; i++)
    counts[calibration->tokens[i]]++;
  const sb_status status = sb_mpi_sum_u64(counts, vocab, world->comm);
  const uint64_t all = (uint64_t)calibration->count * calibration->seqlen;
  for (size_t v = 0; status == SB_OK && v < vocab; v++)
    t->row_weights[SB_USE_EMBEDDING][v] = (float)sb_table_share(counts[v], all, vocab);
  sb_free(&counts);
  return status;
}

static double mean(const float *x, size_t count) {
  double sum = 0;
  for (size_t i = 0; i < count; i++) sum += (double)x[i];
  return sum / (double)count;
}

static sb_status finish(sb_table_stats *t, const sb_sequences *calibration) {
  const sb_world *world = t->model->world;
  const size_t vocab = t->model->config.vocab;
  const double n = (double)t->seqlen - 1, sequences = (double)calibration->count;
  /* an embedding's mean is over n T / (S T) */
  const double scales[SB_TABLE_USES] = {
      [SB_USE_HEAD] = 1 / (sequences * n), [SB_USE_EMBEDDING] = n / sequences};
  static const char what[] = "statistics of embedding and head";
  for (int use = 0; use < SB_TABLE_USES; use++) {
    SB_AGREE(world, sb_alloc_raw(&t->moments[use], t->count, sizeof(double), what));
    SB_TRY(scaled_total(t, t->moment_sums[use], t->count,
                        ldexp(scales[use], -moment_exponents[use]), t->moments[use], NULL));
    t->backend->op->free(t->backend, t->moment_sums[use]);
    t->moment_sums[use] = NULL;
    SB_AGREE(world, sb_alloc_raw(&t->row_weights[use], vocab, sizeof(float), what));
  }
  SB_TRY(scaled_total(t, t->row_sums, vocab, ldexp(1 / (sequences * n), -ROW_EXPONENT), NULL,
                      t->row_weights[SB_USE_HEAD]));
  SB_TRY(count_tokens(t, calibration));
  for (int use = 0; use < SB_TABLE_USES; use++)
    t->mean_weight[use] = mean(t->row_weights[use], vocab);
  return SB_OK;
}

sb_status sb_table_stats_finish(sb_table_stats *t, const sb_sequences *calibration) {
  SB_SPAN(SB_TRACE_COMPUTE, "statistics of embedding and head", SB_TRACE_NONE);
  const sb_status status = finish(t, calibration);
  release_sums(t);
  return status;
}

/* ---- a pass of its own: hooks of layers that do nothing ---- */

static sb_status begin_layer(void *context, sb_stream stream, size_t layer,
                             const sb_device_layer *prepared) {
  (void)context, (void)stream, (void)layer, (void)prepared;
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

sb_status sb_table_stats_measure(sb_model *m, sb_backend *b, const sb_sequences *calibration,
                                 size_t activation_bytes, bool whole, sb_ticker ticker,
                                 sb_table_stats **out) {
  const sb_pass_hooks hooks = {
      .begin_layer = begin_layer, .end_sequence = end_sequence, .end_layer = end_layer};
  sb_pass_setup setup = sb_sequences_setup(calibration, m, b, activation_bytes, ticker);
  sb_pass *pass = NULL;
  double loss;
  setup.gradients = true;
  *out = NULL;
  sb_status status =
      sb_world_agree(m->world, sb_table_stats_create(m, b, calibration->seqlen, whole, out));
  SB_THEN(sb_pass_create(&setup, &pass));
  if (status == SB_OK) sb_pass_tell_tables(pass, sb_table_stats_hooks(*out));
  SB_THEN(sb_pass_gradients(pass, &hooks, &loss));
  sb_pass_free(&pass);
  SB_THEN(sb_table_stats_finish(*out, calibration));
  if (status != SB_OK) sb_table_stats_free(out);
  return status;
}

/* ---- results ---- */

bool sb_table_stats_has_use(const sb_table_stats *t, const sb_table *table, sb_table_use use) {
  const bool embedding = table == &t->model->tables[0];
  return t->model->table_count == 1 || embedding == (use == SB_USE_EMBEDDING);
}

const float *sb_table_stats_row_weights(const sb_table_stats *t, sb_table_use use) {
  return t->row_weights[use];
}

/* Element (r, c), c <= r, of M; both in one triangle. */
static double moment(const sb_table_stats *t, sb_table_use use, size_t r, size_t c) {
  const size_t j = r / t->width, row = r % t->width;
  return t->moments[use][sb_grams_start(t->width, j) + row * (row + 1) / 2 + c % t->width];
}

void sb_table_stats_grams(const sb_table_stats *t, sb_table_use use, float *out) {
  const sb_tiling *tiling = &t->model->tables[0].matrix.tiling;
#pragma omp parallel for schedule(dynamic, 1)
  for (size_t j = 0; j < sb_tiling_block_cols(tiling); j++) {
    const size_t first = j * tiling->block_cols, n = sb_tiling_cols_of(tiling, j);
    float *to = out + j * tiling->block_cols * tiling->block_cols;
    for (size_t r = 0; r < n; r++)
      for (size_t c = 0; c <= r; c++)
        to[r * n + c] = to[c * n + r] = (float)moment(t, use, first + r, first + c);
  }
}

/* Element (r, c) of the sum over a table's uses. */
static double weighed(const sb_table_stats *t, const sb_table *table, size_t r, size_t c) {
  double sum = 0;
  for (int use = 0; use < SB_TABLE_USES; use++)
    if (sb_table_stats_has_use(t, table, (sb_table_use)use))
      sum += t->mean_weight[use] * moment(t, (sb_table_use)use, r, c);
  return sum;
}

void sb_table_stats_moments(const sb_table_stats *t, const sb_table *table, double *out) {
  const size_t h = t->model->config.hidden;
#pragma omp parallel for schedule(dynamic, 16)
  for (size_t r = 0; r < h; r++)
    for (size_t c = 0; c <= r; c++)
      out[r * h + c] = out[c * h + r] = r / t->width == c / t->width ? weighed(t, table, r, c) : 0;
}

void sb_table_stats_importance(const sb_table_stats *t, const sb_table *table, float *out) {
  for (size_t c = 0; c < t->model->config.hidden; c++) out[c] = (float)weighed(t, table, c, c);
}

sb_status sb_table_stats_fit(const sb_table_stats *t, sb_model *m) {
  const size_t hidden = m->config.hidden;
  float *importance = NULL;
  SB_AGREE(m->world, sb_alloc(&importance, m->table_count * hidden, sizeof *importance,
                              "importance of columns"));
  for (size_t i = 0; i < m->table_count; i++)
    sb_table_stats_importance(t, &m->tables[i], importance + i * hidden);
  sb_free(&m->table_importance);
  m->table_importance = importance;
  return SB_OK;
}
