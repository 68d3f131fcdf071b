#include "alloc/allocate.h"

#include <string.h>

#include <unistd.h>

#include "alloc/checkpoint.h"
#include "base/clock.h"
#include "base/memory.h"
#include "kernels/blockrow.h"
#include "model/fingerprint.h"
#include "model/uniform_bits.h"
#include "mpi/large.h"

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
  sb_pass *check; /* NULL: the pass itself decides */
  sb_gains *gains;
  sb_checkpoint_key key;
  const sb_allocate_options *o;
  sb_allocate_result *result;
  uint64_t weights, map_bits;
} driver;

static sb_status apply(void *context, const uint8_t *bits) {
  driver *d = context;
  sb_pass_forget(d->pass);
  if (d->check) sb_pass_forget(d->check);
  return sb_model_set_bits(d->m, bits);
}

static sb_status loss(void *context, double *out) {
  driver *d = context;
  double start = sb_now();
  SB_TRY(sb_pass_loss(d->check ? d->check : d->pass, out));
  d->result->loss_seconds += sb_now() - start;
  return SB_OK;
}

static sb_status gains(void *context, double *raise_gain, double *cut_loss, double *out) {
  driver *d = context;
  double start = sb_now();
  SB_TRY(sb_gains_measure(d->gains, d->pass, raise_gain, cut_loss, out));
  d->result->gradient_seconds += sb_now() - start;
  return SB_OK;
}

static void report(void *context, const sb_search_step *step) {
  const driver *d = context;
  if (d->o->report)
    d->o->report(d->o->context, step, (double)(step->storage + d->map_bits) / (double)d->weights);
}

static sb_status save(void *context, const sb_search_progress *progress) {
  const driver *d = context;
  return sb_checkpoint_write(d->o->checkpoint, &d->key, progress, d->m);
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

/* What the checkpoint belongs to. Collective. */
static sb_status make_key(driver *d, const sb_sequences *calibration) {
  const sb_allocate_options *o = d->o;
  d->key = (sb_checkpoint_key){.bits = o->bits,
                               .min_bits = o->min_bits,
                               .max_bits = o->max_bits,
                               .start_bits = start_bits(d->m, o),
                               .strides = o->strides,
                               .estimator = sb_estimator_names[o->estimator],
                               .grid = o->grid,
                               .compute = o->compute};
  SB_TRY(sb_model_fingerprint(d->m, &d->key.model));
  if (o->check) SB_TRY(sb_sequences_fingerprint(d->m->world, o->check, &d->key.check));
  return sb_sequences_fingerprint(d->m->world, calibration, &d->key.calibration);
}

/* *there: the checkpoint exists and has been read. Rank 0 looks, so that all ranks do the same. Collective. */
static sb_status resume(driver *d, sb_search_progress *progress, bool *there) {
  int found = d->o->checkpoint && access(d->o->checkpoint, F_OK) == 0;
  SB_TRY(sb_mpi_bcast(&found, sizeof found, 0, d->m->world->comm));
  *there = found;
  if (!found) return SB_OK;
  SB_TRY(sb_checkpoint_read(d->o->checkpoint, &d->key, progress, d->m));
  d->result->resumed_steps = progress->steps;
  return SB_OK;
}

static sb_status search(driver *d, const owned *mine) {
  const sb_allocate_options *o = d->o;
  const sb_search_hooks hooks = {d, apply, loss, gains, report, o->checkpoint ? save : NULL};
  uint8_t *bits = NULL;
  bool there;
  sb_search_progress progress;
  SB_TRY(resume(d, &progress, &there));
  const sb_search_options options = {.other_loss = d->check != NULL,
                                     .resume = there ? &progress : NULL,
                                     .budget = (uint64_t)(o->bits * (double)d->weights) - d->map_bits,
                                     .start_bits = start_bits(d->m, o),
                                     .strides = o->strides,
                                     .most_trades = o->trades,
                                     .first_share = o->first_share,
                                     .least_share = o->least_share};
  SB_AGREE(d->m->world, sb_alloc(&bits, mine->blocks.count, 1, "bits of the blocks"));
  sb_model_get_bits(d->m, bits);
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
  if (status == SB_OK && o->checkpoint) status = make_key(&d, calibration);
  if (status == SB_OK && o->check) {
    sb_pass_setup check = setup;
    check.tokens = o->check->tokens;
    check.sequences = o->check->count;
    check.gradients = false;
    status = sb_pass_create(&check, &d.check);
  }
  if (status == SB_OK) status = sb_gains_create(m, backend, o->estimator, o->min_bits, o->max_bits, &d.gains);
  if (status == SB_OK) status = search(&d, &mine);
  if (status == SB_OK) result->score_seconds = sb_gains_seconds(d.gains);
  sb_gains_free(&d.gains);
  sb_pass_free(&d.pass);
  sb_pass_free(&d.check);
  sb_free(&mine.id);
  sb_free(&mine.rows);
  sb_free(&mine.cols);
  return status;
}
