#include "alloc/allocate.h"

#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "kernels/blockrow.h"
#include "model/uniform_bits.h"

/* Weights in all matrices, and bits of their bit maps and orders. */
static void totals(const sb_model *m, uint64_t *weights, uint64_t *map_bits) {
  *weights = 0;
  *map_bits = 8u * sb_orders_stored_bytes(&m->arch, m->orders.mode, m->blocking.rows, m->blocking.cols);
  for (size_t i = 0; i < m->config.layers * SB_LINEARS; i++) {
    const sb_grid_shape *grid = &m->matrices[i].grid;
    *weights += (uint64_t)grid->rows * grid->cols;
    *map_bits += 8u * (uint64_t)sb_blockrow_map_bytes(grid) * sb_grid_block_rows(grid);
  }
}

sb_status sb_allocate_check_budget(const sb_model *m, sb_reorder mode, double budget, unsigned min_bits,
                                   unsigned max_bits) {
  const sb_arch *arch = &m->arch;
  const size_t rows = m->blocking.rows, cols = m->blocking.cols;
  const double stored = sb_model_order_bits(m, mode);
  const double least = sb_uniform_effective_bits(arch, rows, cols, min_bits, m->blocking.symmetry) + stored;
  const double most = sb_uniform_effective_bits(arch, rows, cols, max_bits, m->blocking.symmetry) + stored;
  if (budget <= stored)
    return sb_fail(
        SB_ERR_RANGE,
        "--bits %g: the orders that --reorder indexed stores take %.4g bits a weight alone, in blocks "
        "of %zux%zu; take larger blocks, or --reorder fused, which stores none",
        budget, stored, rows, cols);
  if (budget < least || budget > most)
    return sb_fail(SB_ERR_RANGE,
                   "--bits %g: blocks of %zux%zu at %u to %u bits can have %.4g to %.4g effective bits a "
                   "weight (scales, zero points and stored orders count); choose a budget in between",
                   budget, rows, cols, min_bits, max_bits, least, most);
  return SB_OK;
}

sb_status sb_allocate_uniform(sb_model *m, double budget, unsigned min_bits, unsigned max_bits) {
  for (unsigned bits = max_bits; bits >= min_bits; bits--)
    if (sb_model_uniform_bits(m, bits) <= budget) {
      memset(m->bits, (int)bits, m->blocks);
      return SB_OK;
    }
  return sb_allocate_check_budget(m, m->orders.mode, budget, min_bits, max_bits);
}

typedef struct driver {
  sb_model *m;
  sb_pass *pass;
  sb_scores *scores;
  const sb_allocate_options *o;
  sb_allocate_result *result;
  uint64_t weights, map_bits;
} driver;

static sb_status apply(void *context, const uint8_t *bits) {
  driver *d = context;
  sb_pass_forget(d->pass);
  return sb_model_set_bits(d->m, bits);
}

static sb_status loss(void *context, double *out) {
  driver *d = context;
  double start = sb_now();
  SB_TRY(sb_pass_loss(d->pass, out));
  d->result->loss_seconds += sb_now() - start;
  return SB_OK;
}

static sb_status gains(void *context, double *raise_gain, double *cut_loss, double *out) {
  driver *d = context;
  double start = sb_now();
  SB_TRY(sb_scores_measure(d->scores, d->pass, out));
  sb_scores_predict(d->scores, d->o->estimator, raise_gain, cut_loss);
  d->result->gradient_seconds += sb_now() - start;
  return SB_OK;
}

static void report(void *context, const sb_search_step *step) {
  const driver *d = context;
  if (d->o->report)
    d->o->report(d->o->context, step, (double)(step->storage + d->map_bits) / (double)d->weights);
}

/* This rank's blocks as the search wants them. */
typedef struct owned {
  sb_blocks blocks;
  uint64_t *id;
  uint16_t *rows, *cols;
} owned;

static sb_status describe_owned(const sb_model *m, const sb_allocate_options *o, owned *out) {
  size_t count = sb_model_owned_count(m), n = 0;
  SB_TRY(sb_alloc(&out->id, count, sizeof *out->id, "blocks"));
  SB_TRY(sb_alloc(&out->rows, count, sizeof *out->rows, "blocks"));
  SB_TRY(sb_alloc(&out->cols, count, sizeof *out->cols, "blocks"));
  for (size_t layer = 0; layer < m->config.layers; layer++) {
    size_t first, end;
    sb_model_owned_blocks(m, layer, m->world->rank, &first, &end);
    for (int which = 0; which < SB_LINEARS; which++) {
      const sb_matrix *matrix = sb_model_matrix(m, layer, (sb_linear)which);
      size_t cols = sb_grid_block_cols(&matrix->grid), blocks = sb_grid_block_rows(&matrix->grid) * cols;
      for (size_t k = 0; k < blocks; k++) {
        size_t id = matrix->first_block + k;
        if (id < first || id >= end) continue;
        out->id[n] = id;
        out->rows[n] = (uint16_t)sb_grid_rows_of(&matrix->grid, k / cols);
        out->cols[n] = (uint16_t)sb_grid_cols_of(&matrix->grid, k % cols);
        n++;
      }
    }
  }
  out->blocks = (sb_blocks){n, out->id, out->rows, out->cols, m->blocking.symmetry, o->min_bits, o->max_bits};
  return SB_OK;
}

static unsigned start_bits(const sb_model *m, const sb_allocate_options *o) {
  if (o->start_bits != 0) return o->start_bits;
  unsigned bits = o->min_bits;
  while (bits < o->max_bits && sb_model_uniform_bits(m, bits) < o->bits) bits++;
  return bits;
}

static sb_status search(driver *d, const owned *mine) {
  const sb_allocate_options *o = d->o;
  const sb_search_hooks hooks = {d, apply, loss, gains, report};
  uint8_t *bits = NULL;
  const sb_search_options options = {.budget = (uint64_t)(o->bits * (double)d->weights) - d->map_bits,
                                     .start_bits = start_bits(d->m, o),
                                     .strides = o->strides,
                                     .most_trades = o->trades,
                                     .first_share = o->first_share,
                                     .least_share = o->least_share};
  SB_AGREE(d->m->world, sb_alloc(&bits, mine->blocks.count, 1, "bits of the blocks"));
  sb_status status = sb_search(d->m->world, &mine->blocks, &options, &hooks, bits, &d->result->search);
  sb_free(&bits);
  return status;
}

sb_status sb_allocate(sb_model *m, sb_backend *backend, const sb_sequences *calibration,
                      const sb_allocate_options *o, sb_allocate_result *result) {
  driver d = {.m = m, .o = o, .result = result};
  owned mine = {0};
  sb_status status;
  *result = (sb_allocate_result){0};
  totals(m, &d.weights, &d.map_bits);
  SB_TRY(sb_allocate_check_budget(m, m->orders.mode, o->bits, o->min_bits, o->max_bits));
  const sb_pass_setup setup = {.model = m,
                               .backend = backend,
                               .tokens = calibration->tokens,
                               .sequences = calibration->count,
                               .seqlen = calibration->seqlen,
                               .gradients = true,
                               .activation_bytes = o->activation_bytes,
                               .tick = o->tick,
                               .tick_context = o->context};
  status = sb_world_agree(m->world, describe_owned(m, o, &mine));
  if (status == SB_OK) status = sb_pass_create(&setup, &d.pass);
  if (status == SB_OK) status = sb_scores_create(m, backend, o->min_bits, o->max_bits, &d.scores);
  if (status == SB_OK) status = search(&d, &mine);
  if (status == SB_OK) result->score_seconds = sb_scores_seconds(d.scores);
  sb_scores_free(&d.scores);
  sb_pass_free(&d.pass);
  sb_free(&mine.id);
  sb_free(&mine.rows);
  sb_free(&mine.cols);
  return status;
}
