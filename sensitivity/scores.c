#include "sensitivity/scores.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/trace.h"
#include "sensitivity/block_sums.h"

/* The four sums of a block, in the order in which they travel. */
enum { RAISE, RAISE_SQUARE, CUT, CUT_SQUARE, SUMS };

struct sb_scores {
  sb_model *model;
  sb_backend *backend;
  unsigned min_bits, max_bits;
  sb_moves *moves;     /* owned blocks, layer after layer */
  sb_block_sums *sums; /* SUMS a block */

  /* device, SB_MOVES for each group of all matrices, layer after layer: kept where `known` is
   * there, else all in the place of one. */
  sb_stored_grid *grids;
  uint8_t *known;  /* [blocks] the bits that a block's grids were made for, 0 for none; or NULL */
  uint8_t *wanted; /* [blocks of a layer] */

  /* the layer at hand */
  const sb_device_layer *prepared;
  double *raise, *cut; /* device, [blocks of a layer] */
  double *host;        /* [2, blocks of a layer] */
  double targets;      /* of a sequence, in the last measurement */
  double seconds;
};

/* The grids of a matrix of layer `layer`. */
static sb_stored_grid *grids_of(const sb_scores *s, size_t layer, const sb_matrix *matrix) {
  const size_t before = s->known ? 0 : sb_model_first_group(s->model, layer);
  return s->grids + SB_MOVES * (matrix->first_group - before);
}

static sb_status create_grids(sb_scores *s) {
  const sb_model *m = s->model;
  const size_t most = sb_model_most_groups(m);
  size_t bytes, all;
  if (!sb_mul_size(most, SB_MOVES * sizeof *s->grids, &bytes))
    return sb_fail(SB_ERR_MEMORY, "grids of a layer: %zu groups overflow", most);
  SB_TRY(sb_alloc_raw(&s->wanted, sb_block_sums_most_blocks(s->sums), 1, "scores of a layer"));
  if (sb_mul_size(m->quant_groups, SB_MOVES * sizeof *s->grids, &all) && all <= SB_KEPT_GRIDS) {
    SB_TRY(sb_alloc(&s->known, m->blocks, 1, "scores"));
    bytes = all;
  }
  return s->backend->op->alloc(s->backend, bytes, "grids of moves", (void **)&s->grids);
}

size_t sb_scores_bytes(const sb_sizes *z) {
  const size_t grids = z->layer.groups * SB_MOVES * sizeof(sb_stored_grid),
               kept = grids * z->layers;
  return sizeof(sb_scores) + sb_block_sums_bytes(z, SUMS) + z->owned * sizeof(sb_moves) +
         z->layer.blocks * (4 * sizeof(double) + 1) +
         (kept <= SB_KEPT_GRIDS ? kept + z->blocks : grids);
}

sb_status sb_scores_create(sb_model *m, sb_backend *b, unsigned min_bits, unsigned max_bits,
                           sb_scores **out) {
  sb_status status = sb_world_alloc(m->world, out, sizeof **out, "scores");
  SB_TRY(status);
  sb_scores *s = *out;
  size_t blocks;
  s->model = m;
  s->backend = b;
  s->min_bits = min_bits;
  s->max_bits = max_bits;
  SB_GO(sb_block_sums_create(m, SUMS, &s->sums));
  blocks = sb_block_sums_most_blocks(s->sums);
  SB_GO(sb_alloc(&s->moves, sb_block_sums_owned(s->sums), sizeof *s->moves, "scores"));
  SB_GO(b->op->alloc(b, blocks * sizeof(double), "scores of a layer", (void **)&s->raise));
  SB_GO(b->op->alloc(b, blocks * sizeof(double), "scores of a layer", (void **)&s->cut));
  SB_GO(create_grids(s));
  SB_GO(sb_alloc(&s->host, 2 * blocks, sizeof(double), "scores of a layer"));
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
  s->backend->op->free(s->backend, s->grids);
  sb_free(&s->known);
  sb_free(&s->wanted);
  sb_free(&s->moves);
  sb_free(&s->host);
  sb_block_sums_free(&s->sums);
  sb_free(scores);
}

static sb_status begin_layer(void *context, sb_stream stream, size_t layer,
                             const sb_device_layer *prepared) {
  sb_scores *s = context;
  const sb_model *m = s->model;
  SB_SPAN_INTO(&s->seconds, SB_TRACE_COMPUTE, "grids of moves", layer);
  s->prepared = prepared;
  sb_block_sums_begin_layer(s->sums);
  for (size_t which = 0; which < sb_arch_matrices(&m->arch, layer); which++) {
    const sb_matrix *matrix = sb_model_matrix(m, layer, which);
    const size_t blocks =
        sb_tiling_block_rows(&matrix->tiling) * sb_tiling_block_cols(&matrix->tiling);
    const uint8_t *bits = m->bits + matrix->first_block;
    uint8_t *known = s->known ? s->known + matrix->first_block : NULL;
    for (size_t k = 0; k < blocks; k++) s->wanted[k] = known && known[k] == bits[k] ? 0 : bits[k];
    SB_TRY(s->backend->op->move_grids(
        s->backend, stream, grids_of(s, layer, matrix),
        &(sb_block_weights){.w = sb_device_layer_source(prepared, which),
                            .dtype = m->dtypes[matrix->tensor],
                            .tiling = &matrix->tiling,
                            .bits = s->wanted,
                            .code_kind = m->blocking.code_kind},
        sb_device_layer_importance(prepared, which), sb_device_layer_fits(prepared, which)));
    if (known) memcpy(known, bits, blocks);
  }
  return SB_OK;
}

static sb_status score_matrix(void *context, sb_stream stream, size_t layer, size_t which,
                              const float *g) {
  sb_scores *s = context;
  const sb_model *m = s->model;
  const sb_matrix *matrix = sb_model_matrix(m, layer, which);
  const size_t at = matrix->first_block - sb_block_sums_first(s->sums, layer);
  SB_SPAN_INTO(&s->seconds, SB_TRACE_COMPUTE, "score matrix", which);
  SB_TRY(s->backend->op->block_moves(
      s->backend, stream, s->raise + at, s->cut + at, g, matrix->tiling.cols,
      &(sb_block_weights){.w = sb_device_layer_source(s->prepared, which),
                          .dtype = m->dtypes[matrix->tensor],
                          .tiling = &matrix->tiling,
                          .bits = m->bits + matrix->first_block,
                          .code_kind = m->blocking.code_kind},
      grids_of(s, layer, matrix), s->min_bits, s->max_bits));
  return SB_OK;
}

static sb_status end_sequence(void *context, sb_stream stream, size_t layer) {
  sb_scores *s = context;
  sb_backend *b = s->backend;
  const size_t blocks = sb_block_sums_layer_blocks(s->sums, layer);
  SB_SPAN_INTO(&s->seconds, SB_TRACE_COMPUTE, "add scores", layer);
  double *raise = s->host, *cut = s->host + blocks;
  SB_TRY(b->op->download(b, stream, raise, s->raise, blocks * sizeof(double)));
  SB_TRY(b->op->download(b, stream, cut, s->cut, blocks * sizeof(double)));
  SB_TRY(b->op->sync(b, stream));
  for (size_t k = 0; k < blocks; k++) {
    sb_status status = sb_block_sums_add(s->sums, k, RAISE, raise[k]);
    SB_THEN(sb_block_sums_add(s->sums, k, RAISE_SQUARE, raise[k] * raise[k]));
    SB_THEN(sb_block_sums_add(s->sums, k, CUT, cut[k]));
    SB_THEN(sb_block_sums_add(s->sums, k, CUT_SQUARE, cut[k] * cut[k]));
    if (status != SB_OK) return sb_block_sums_overflow(layer);
  }
  return SB_OK;
}

static sb_status end_layer(void *context, size_t layer) {
  sb_scores *s = context;
  SB_SPAN_INTO(&s->seconds, SB_TRACE_COMPUTE, "sum scores", layer);
  SB_TRY(sb_block_sums_end_layer(s->sums, layer));
  return SB_OK;
}

sb_status sb_scores_measure(sb_scores *s, sb_pass *pass, double *loss) {
  const sb_pass_hooks hooks = {.context = s,
                               .begin_layer = begin_layer,
                               .matrix = score_matrix,
                               .end_sequence = end_sequence,
                               .end_layer = end_layer};
  sb_block_sums_clear(s->sums);
  SB_TRY(sb_pass_gradients(pass, &hooks, loss));
  s->targets = (double)(sb_pass_seqlen(pass) - 1);
  double each = 1.0 / (double)sb_pass_sequences(pass);
  for (size_t i = 0; i < sb_block_sums_owned(s->sums); i++)
    s->moves[i] = (sb_moves){sb_block_sums_value(s->sums, i, RAISE) * each,
                             sb_block_sums_value(s->sums, i, RAISE_SQUARE) * each,
                             sb_block_sums_value(s->sums, i, CUT) * each,
                             sb_block_sums_value(s->sums, i, CUT_SQUARE) * each};
  return SB_OK;
}

const sb_moves *sb_scores_moves(const sb_scores *s) {
  return s->moves;
}

double sb_scores_seconds(const sb_scores *s) {
  return s->seconds;
}

void sb_scores_predict(const sb_scores *s, sb_estimator estimator, double *raise_gain,
                       double *cut_loss) {
  const double curvature = 0.5 * s->targets;
  for (size_t i = 0; i < sb_block_sums_owned(s->sums); i++) {
    const sb_moves *m = &s->moves[i];
    switch (estimator) {
    case SB_ESTIMATOR_FISHER:
      raise_gain[i] = m->raise_square;
      cut_loss[i] = m->cut_square;
      break;
    case SB_ESTIMATOR_SECOND:
      raise_gain[i] = -m->raise;
      cut_loss[i] = m->cut + curvature * m->cut_square;
      break;
    default: /* SB_ESTIMATOR_TAYLOR */
      raise_gain[i] = fabs(m->raise);
      cut_loss[i] = fabs(m->cut);
    }
  }
}
