#include "sensitivity/table_costs.h"

#include <string.h>

#include "base/memory.h"
#include "base/trace.h"

/* One use of one table. What the backend reads is on the device, which on a unified backend is the
 * host. */
typedef struct work {
  sb_model *model;
  sb_backend *backend;
  const sb_table *table;
  unsigned min_bits, max_bits;
  float *grams, *grams_dev;     /* [block columns, block_cols^2] */
  float *row_weights_dev;       /* [rows of the largest run] */
  float *importance_dev;        /* [hidden], or NULL */
  void *weights_dev;            /* [rows of the largest run, hidden] of the source's type */
  sb_losses *terms, *terms_dev; /* [blocks of the largest run] */
} work;

/* The block rows of a chunk of a table that this rank owns, which follow one another. */
typedef struct run {
  size_t first_row, rows, blocks;
  void *weights;
} run;

static run run_of(const sb_model *m, const sb_table *table, size_t group) {
  const sb_place *place = &m->places[m->group_place[group]];
  size_t unit, end, row = 0, rows = 0;
  sb_store_owned(m->store, group, m->world->rank, &unit, &end);
  run r = {0};
  for (size_t u = unit; u < end; u++) {
    sb_place_rows(m, place, u - place->first_unit, &row, &rows);
    if (u == unit) r.first_row = row;
    r.rows += rows;
  }
  r.blocks = (end - unit) * sb_tiling_block_cols(&table->matrix.tiling);
  r.weights = r.rows > 0 ? sb_store_unit(m->store, group, unit) : NULL;
  return r;
}

static size_t gram_floats(const sb_tiling *tiling) {
  return sb_tiling_block_cols(tiling) * tiling->block_cols * tiling->block_cols;
}

/* The largest run of any coded table, in rows and blocks. */
static run largest_run(const sb_model *m) {
  run most = {0};
  for (size_t i = 0; i < m->table_count; i++)
    for (size_t g = 0; m->tables[i].coded && g < m->tables[i].count; g++) {
      const run r = run_of(m, &m->tables[i], m->tables[i].group + g);
      most.rows = sb_max_size(most.rows, r.rows);
      most.blocks = sb_max_size(most.blocks, r.blocks);
    }
  return most;
}

size_t sb_table_costs_bytes(const sb_sizes *z, size_t chunk) {
  const sb_tiling tiling = {chunk, z->arch->config.hidden, z->blocking.rows, z->blocking.cols};
  const size_t rows = sb_div_up(sb_tiling_block_rows(&tiling), z->ranks);
  return gram_floats(&tiling) * sizeof(float) +
         rows * sb_tiling_block_cols(&tiling) * sizeof(sb_losses);
}

static sb_status allocate(work *w) {
  sb_backend *b = w->backend;
  static const char what[] = "costs of embedding and head";
  const size_t h = w->model->config.hidden;
  const sb_tiling *tiling = &w->model->tables[0].matrix.tiling;
  const run most = largest_run(w->model);
  SB_TRY(sb_alloc(&w->grams, gram_floats(tiling), sizeof(float), what));
  SB_TRY(sb_alloc(&w->terms, most.blocks, sizeof *w->terms, what));
  w->grams_dev = w->grams;
  w->terms_dev = w->terms;
  if (b->unified) return SB_OK;
  w->grams_dev = NULL;
  w->terms_dev = NULL;
  SB_TRY(b->op->alloc(b, gram_floats(tiling) * sizeof(float), what, (void **)&w->grams_dev));
  SB_TRY(b->op->alloc(b, most.blocks * sizeof *w->terms, what, (void **)&w->terms_dev));
  SB_TRY(b->op->alloc(b, most.rows * sizeof(float), what, (void **)&w->row_weights_dev));
  SB_TRY(b->op->alloc(b, most.rows * h * sizeof(float), what, &w->weights_dev));
  return b->op->alloc(b, h * sizeof(float), what, (void **)&w->importance_dev);
}

static void release(work *w) {
  sb_backend *b = w->backend;
  if (!b->unified) {
    b->op->free(b, w->grams_dev);
    b->op->free(b, w->terms_dev);
    b->op->free(b, w->row_weights_dev);
    b->op->free(b, w->weights_dev);
    b->op->free(b, w->importance_dev);
  }
  sb_free(&w->grams);
  sb_free(&w->terms);
}

/* *dev = `host` on the device: in `room`, or where host and device are one, itself. */
static sb_status bring(sb_backend *b, const void *host, size_t bytes, void *room,
                       const void **dev) {
  *dev = b->unified ? host : room;
  return b->unified ? SB_OK : b->op->upload(b, NULL, room, host, bytes);
}

/* losses [blocks of the run] += half of what this use gives. */
static sb_status add_run(const work *w, const run *r, const float *row_weights, sb_losses *losses) {
  sb_backend *b = w->backend;
  const sb_matrix *matrix = &w->table->matrix;
  const sb_tiling tiling = {r->rows, matrix->tiling.cols, matrix->tiling.block_rows,
                            matrix->tiling.block_cols};
  const float *importance = sb_model_importance(w->model, matrix);
  const void *weights, *rows, *columns = NULL;
  if (r->rows == 0) return SB_OK;
  SB_TRY(bring(b, r->weights, r->rows * sb_model_row_bytes(w->model, matrix->tensor),
               w->weights_dev, &weights));
  SB_TRY(bring(b, row_weights + r->first_row, r->rows * sizeof(float), w->row_weights_dev, &rows));
  if (importance)
    SB_TRY(bring(b, importance, tiling.cols * sizeof(float), w->importance_dev, &columns));
  SB_TRY(b->op->block_curvature(
      b, NULL, w->terms_dev,
      &(sb_block_weights){.w = weights,
                          .dtype = w->model->dtypes[matrix->tensor],
                          .tiling = &tiling,
                          .code_kind = sb_model_code_kind(w->model, matrix)},
      0, sb_tiling_block_rows(&tiling), w->grams_dev, rows, w->min_bits, w->max_bits, columns));
  SB_TRY(b->op->download(b, NULL, w->terms, w->terms_dev, r->blocks * sizeof *w->terms));
  SB_TRY(b->op->sync(b, NULL));
  for (size_t k = 0; k < r->blocks; k++)
    for (unsigned bits = w->min_bits; bits <= w->max_bits; bits++)
      losses[k][bits] += 0.5 * w->terms[k][bits];
  return SB_OK;
}

static sb_status add_table(const work *w, const float *row_weights, sb_losses *losses) {
  for (size_t g = 0; g < w->table->count; g++) {
    const run r = run_of(w->model, w->table, w->table->group + g);
    SB_TRY(add_run(w, &r, row_weights, losses));
    losses += r.blocks;
  }
  return SB_OK;
}

/* The coded tables, one after another, in one use. */
static sb_status add_use(work *w, const sb_table_stats *stats, sb_table_use use,
                         sb_losses *losses) {
  sb_backend *b = w->backend;
  const sb_model *m = w->model;
  sb_table_stats_grams(stats, use, w->grams);
  if (!b->unified)
    SB_TRY(b->op->upload(b, NULL, w->grams_dev, w->grams,
                         gram_floats(&m->tables[0].matrix.tiling) * sizeof(float)));
  for (size_t i = 0; i < m->table_count; i++) {
    w->table = &m->tables[i];
    if (!w->table->coded) continue;
    if (sb_table_stats_has_use(stats, w->table, use))
      SB_TRY(add_table(w, sb_table_stats_row_weights(stats, use), losses));
    for (size_t g = 0; g < w->table->count; g++)
      losses += run_of(m, w->table, w->table->group + g).blocks;
  }
  return SB_OK;
}

sb_status sb_table_costs(sb_model *m, sb_backend *b, const sb_table_stats *stats, unsigned min_bits,
                         unsigned max_bits, sb_losses *losses) {
  SB_SPAN(SB_TRACE_COMPUTE, "costs of embedding and head", SB_TRACE_NONE);
  work w = {.model = m, .backend = b, .min_bits = min_bits, .max_bits = max_bits};
  memset(losses, 0, sb_model_owned_table_count(m) * sizeof *losses);
  sb_status status = allocate(&w);
  for (int use = 0; use < SB_TABLE_USES; use++)
    SB_THEN(add_use(&w, stats, (sb_table_use)use, losses));
  release(&w);
  return sb_world_agree(m->world, status);
}
