#include "sensitivity/scores.h"

#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "mpi/exact.h"

/* The four sums of a block, in the order in which they travel. */
enum { RAISE, RAISE_SQUARE, CUT, CUT_SQUARE, SUMS };

struct sb_scores {
  sb_model *model;
  sb_backend *backend;
  unsigned min_bits, max_bits;

  sb_moves *moves; /* owned blocks, layer after layer */
  size_t owned;
  size_t *layer_start; /* [layers + 1] into moves */

  /* the layer at hand */
  size_t layer_blocks; /* blocks of a layer: the same for all */
  const sb_prepared *prepared;
  double *raise, *cut; /* device, [layer_blocks] */
  uint8_t *fits[2]; /* device, of all matrices' groups at one bit less and one more, where grids are fitted */
  size_t group_start[SB_LINEARS + 1];
  double *host;      /* [2, layer_blocks] */
  sb_exact *sums;    /* [layer_blocks, SUMS] */
  sb_exact *reduced; /* [most owned blocks of a layer, SUMS] */
  sb_exact *
      totals; /* [owned, SUMS], over all waves: exact until the very end, or the number of waves would show */
  size_t *starts; /* [ranks + 1] */
  double seconds;
};

static size_t layer_first_block(const sb_model *m, size_t layer) {
  return layer < m->config.layers ? sb_model_matrix(m, layer, (sb_linear)0)->first_block : m->blocks;
}

sb_status sb_scores_create(sb_model *m, sb_backend *b, unsigned min_bits, unsigned max_bits,
                           sb_scores **out) {
  sb_status status = sb_alloc(out, 1, sizeof **out, "scores");
  SB_AGREE(m->world, status);
  sb_scores *s = *out;
  size_t most = 0;
  s->model = m;
  s->backend = b;
  s->min_bits = min_bits;
  s->max_bits = max_bits;
  s->layer_blocks = layer_first_block(m, 1);
  SB_GO(sb_alloc(&s->layer_start, m->config.layers + 1, sizeof(size_t), "scores"));
  for (size_t layer = 0; layer < m->config.layers; layer++) {
    size_t first, end;
    sb_model_owned_blocks(m, layer, m->world->rank, &first, &end);
    s->layer_start[layer + 1] = s->layer_start[layer] + (end - first);
    most = sb_max_size(most, end - first);
  }
  s->owned = s->layer_start[m->config.layers];
  SB_GO(sb_alloc(&s->moves, s->owned, sizeof *s->moves, "scores"));
  SB_GO(b->op->alloc(b, s->layer_blocks * sizeof(double), "scores of a layer", (void **)&s->raise));
  SB_GO(b->op->alloc(b, s->layer_blocks * sizeof(double), "scores of a layer", (void **)&s->cut));
  for (int i = 0; i < SB_LINEARS; i++) {
    const sb_grid_shape *grid = &sb_model_matrix(m, 0, (sb_linear)i)->grid;
    s->group_start[i + 1] = s->group_start[i] + grid->rows * sb_grid_block_cols(grid);
  }
  for (int i = 0; m->importance && i < 2; i++)
    SB_GO(b->op->alloc(b, s->group_start[SB_LINEARS], "fits of a layer", (void **)&s->fits[i]));
  SB_GO(sb_alloc(&s->host, 2 * s->layer_blocks, sizeof(double), "scores of a layer"));
  SB_GO(sb_alloc(&s->sums, s->layer_blocks * SUMS, sizeof(sb_exact), "scores of a layer"));
  SB_GO(sb_alloc(&s->reduced, most * SUMS, sizeof(sb_exact), "scores of a layer"));
  SB_GO(sb_alloc(&s->totals, s->owned * SUMS, sizeof(sb_exact), "scores"));
  SB_GO(sb_alloc(&s->starts, (size_t)m->world->size + 1, sizeof(size_t), "scores"));
done:
  status = sb_world_agree(m->world, status);
  if (status != SB_OK) sb_scores_free(out);
  return status;
}

void sb_scores_free(sb_scores **scores) {
  sb_scores *s = *scores;
  if (!s) return;
  s->backend->op->free(s->backend, s->raise);
  s->backend->op->free(s->backend, s->cut);
  for (int i = 0; i < 2; i++) s->backend->op->free(s->backend, s->fits[i]);
  sb_free(&s->moves);
  sb_free(&s->layer_start);
  sb_free(&s->host);
  sb_free(&s->sums);
  sb_free(&s->reduced);
  sb_free(&s->totals);
  sb_free(&s->starts);
  sb_free(scores);
}

static sb_status begin_layer(void *context, sb_stream stream, size_t layer, const sb_prepared *prepared) {
  sb_scores *s = context;
  const sb_model *m = s->model;
  const double start = sb_now();
  s->prepared = prepared;
  memset(s->sums, 0, s->layer_blocks * SUMS * sizeof *s->sums);
  for (int i = 0; i < SB_LINEARS; i++) {
    const sb_linear which = (sb_linear)i;
    const sb_matrix *matrix = sb_model_matrix(m, layer, which);
    const float *importance = sb_prepared_importance(prepared, which);
    for (int up = 0; importance && up < 2; up++)
      SB_TRY(s->backend->op->fit_blocks(s->backend, stream, s->fits[up] + s->group_start[i],
                                        sb_prepared_source(prepared, which), m->dtypes[matrix->tensor],
                                        importance, &matrix->grid, m->bits + matrix->first_block, up ? 1 : -1,
                                        m->blocking.symmetry));
  }
  s->seconds += sb_now() - start;
  return SB_OK;
}

static sb_status score_matrix(void *context, sb_stream stream, size_t layer, sb_linear which,
                              const float *g) {
  sb_scores *s = context;
  const sb_model *m = s->model;
  const sb_matrix *matrix = sb_model_matrix(m, layer, which);
  size_t at = matrix->first_block - layer_first_block(m, layer), group = s->group_start[which];
  const uint8_t *here = sb_prepared_fits(s->prepared, which);
  const uint8_t *const fits[3] = {s->fits[0] + group, here, s->fits[1] + group};
  double start = sb_now();
  /* Weights that are not the nearest codes of the source rows would be handed over as `now`; here they always
   * are. */
  SB_TRY(s->backend->op->block_moves(s->backend, stream, s->raise + at, s->cut + at, g, matrix->grid.cols,
                                     sb_prepared_source(s->prepared, which), m->dtypes[matrix->tensor], NULL,
                                     SB_F32, &matrix->grid, m->bits + matrix->first_block, s->min_bits,
                                     s->max_bits, m->blocking.symmetry, here ? fits : NULL));
  s->seconds += sb_now() - start;
  return SB_OK;
}

static sb_status end_sequence(void *context, sb_stream stream, size_t layer) {
  sb_scores *s = context;
  sb_backend *b = s->backend;
  double start = sb_now(), *raise = s->host, *cut = s->host + s->layer_blocks;
  SB_TRY(b->op->download(b, stream, raise, s->raise, s->layer_blocks * sizeof(double)));
  SB_TRY(b->op->download(b, stream, cut, s->cut, s->layer_blocks * sizeof(double)));
  SB_TRY(b->op->sync(b, stream));
  for (size_t k = 0; k < s->layer_blocks; k++) {
    sb_exact *sum = s->sums + k * SUMS;
    sb_status status = sb_exact_add(&sum[RAISE], raise[k]);
    if (status == SB_OK) status = sb_exact_add(&sum[RAISE_SQUARE], raise[k] * raise[k]);
    if (status == SB_OK) status = sb_exact_add(&sum[CUT], cut[k]);
    if (status == SB_OK) status = sb_exact_add(&sum[CUT_SQUARE], cut[k] * cut[k]);
    if (status != SB_OK)
      return sb_fail(
          SB_ERR_NUMERIC,
          "layer %zu: the gradient overflows at the present bits; start from more bits (--start-bits)",
          layer);
  }
  s->seconds += sb_now() - start;
  return SB_OK;
}

/* Adds the reduced sums of one wave to those of the owned blocks. */
static sb_status end_layer(void *context, size_t layer) {
  sb_scores *s = context;
  const sb_model *m = s->model;
  size_t base = layer_first_block(m, layer), first_total = s->layer_start[layer] * SUMS;
  double start = sb_now();
  for (int r = 0; r < m->world->size; r++) {
    size_t first, end;
    sb_model_owned_blocks(m, layer, r, &first, &end);
    s->starts[r] = (first - base) * SUMS;
    s->starts[r + 1] = (end - base) * SUMS;
  }
  SB_TRY(sb_exact_reduce_scatter(s->reduced, s->sums, s->starts, m->world->comm));
  for (size_t i = first_total; i < s->layer_start[layer + 1] * SUMS; i++) {
    s->totals[i].high += s->reduced[i - first_total].high;
    s->totals[i].low += s->reduced[i - first_total].low;
    sb_exact_normalise(&s->totals[i]);
  }
  s->seconds += sb_now() - start;
  return SB_OK;
}

sb_status sb_scores_measure(sb_scores *s, sb_pass *pass, double *loss) {
  const sb_pass_hooks hooks = {.context = s,
                               .begin_layer = begin_layer,
                               .matrix = score_matrix,
                               .end_sequence = end_sequence,
                               .end_layer = end_layer};
  memset(s->totals, 0, s->owned * SUMS * sizeof *s->totals);
  SB_TRY(sb_pass_gradients(pass, &hooks, loss));
  double each = 1.0 / (double)sb_pass_sequences(pass);
  for (size_t i = 0; i < s->owned; i++) {
    const sb_exact *sum = s->totals + i * SUMS;
    s->moves[i] = (sb_moves){sb_exact_value(&sum[RAISE]) * each, sb_exact_value(&sum[RAISE_SQUARE]) * each,
                             sb_exact_value(&sum[CUT]) * each, sb_exact_value(&sum[CUT_SQUARE]) * each};
  }
  return SB_OK;
}

const sb_moves *sb_scores_moves(const sb_scores *s) {
  return s->moves;
}

double sb_scores_seconds(const sb_scores *s) {
  return s->seconds;
}

void sb_scores_predict(const sb_scores *s, sb_estimator estimator, double *raise_gain, double *cut_loss) {
  for (size_t i = 0; i < s->owned; i++) {
    const sb_moves *m = &s->moves[i];
    raise_gain[i] = estimator == SB_ESTIMATOR_FISHER ? m->raise_square : fabs(m->raise);
    cut_loss[i] = estimator == SB_ESTIMATOR_FISHER ? m->cut_square : fabs(m->cut);
  }
}
