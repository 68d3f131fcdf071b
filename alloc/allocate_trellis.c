#include "alloc/allocate_trellis.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "alloc/allocate.h"
#include "alloc/budget.h"
#include "alloc/checkpoint.h"
#include "alloc/choose_items.h"
#include "alloc/owned.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/trace.h"
#include "model/width_rules.h"
#include "mpi/large.h"
#include "quant/checkpoint_key.h"
#include "quant/encode.h"
#include "quant/gptq_checkpoint.h"
#include "sensitivity/energy.h"
#include "sensitivity/loss_table.h"

const char *const sb_candidate_names[SB_CANDIDATES] = {[SB_CANDIDATE_UNIFORM] = "uniform",
                                                       [SB_CANDIDATE_MATRIX] = "matrix",
                                                       [SB_CANDIDATE_BLOCK] = "block"};

typedef struct driver {
  sb_model *m;
  sb_backend *backend;
  const sb_sequences *calibration;
  const sb_allocate_trellis_options *o;
  sb_allocate_trellis_result *result;
  sb_owned mine;
  sb_losses *costs; /* [owned blocks] */
  float *pivots;    /* [arch.channels]; NULL where rounding has no feedback */
  bool has_pivots;  /* they are measured, and costs weighed by them */
  sb_pass *teacher; /* knows the source's predictions on the sequences that decide; or NULL */
  uint8_t *bits;    /* of the candidate at hand, owned blocks */
  uint8_t *best;    /* of the best so far */
  uint8_t *tried[SB_CANDIDATES]; /* of all that were tried, or NULL */
} driver;

static void tell(const driver *d, const char *pass) {
  if (d->o->begin_pass) d->o->begin_pass(d->o->context, pass);
}

static const sb_sequences *deciding(const driver *d) {
  return d->o->check ? d->o->check : d->calibration;
}

/* ---- costs ---- */

/* A forward pass that takes over what the gradient pass has learnt, whose memory is then free; over
 * other sequences it learns by itself. Collective. */
static sb_status make_teacher(driver *d, sb_pass *gradients) {
  sb_pass_setup setup =
      sb_sequences_setup(deciding(d), d->m, d->backend, d->o->activation_bytes, d->o->ticker);
  if (!d->o->divergence) return SB_OK;
  setup.divergence = true;
  SB_TRY(sb_pass_create(&setup, &d->teacher));
  if (!d->o->check) return sb_world_agree(d->m->world, sb_pass_learn_from(d->teacher, gradients));
  tell(d, "source weights, check");
  return sb_pass_learn(d->teacher);
}

/* Collective. */
static sb_status measure_costs(driver *d) {
  sb_allocate_trellis_result *r = d->result;
  SB_SPAN_INTO(&r->cost_seconds, SB_TRACE_PHASE, "costs of widths", SB_TRACE_NONE);
  sb_pass_setup setup =
      sb_sequences_setup(d->calibration, d->m, d->backend, d->o->activation_bytes, d->o->ticker);
  sb_pass *pass = NULL;
  sb_loss_table *table = NULL;
  setup.gradients = true;
  setup.divergence = d->o->divergence;
  tell(d, "costs of widths");
  sb_status status = sb_pass_create(&setup, &pass);
  SB_THEN(sb_loss_table_create(d->m, d->backend, SB_ESTIMATOR_DIAGONAL, d->o->min_bits,
                               d->o->max_bits, &table));
  if (status == SB_OK && d->o->divergence && !d->o->check) sb_pass_learn_next(pass);
  SB_THEN(sb_loss_table_measure(table, pass, true, &r->table_loss));
  if (status == SB_OK) {
    memcpy(d->costs, sb_loss_table_losses(table), d->mine.blocks.count * sizeof *d->costs);
    r->score_seconds = sb_loss_table_seconds(table);
    status = make_teacher(d, pass);
  }
  sb_loss_table_free(&table);
  sb_pass_free(&pass);
  return status;
}

/* Costs of blocks become those of errors that later columns make up for. */
static void weigh_costs(driver *d) {
  for (size_t i = 0; i < d->mine.blocks.count; i++) {
    const sb_matrix *matrix = &d->m->matrices[d->mine.matrix[i]];
    const sb_model_tensor *t = &d->m->arch.tensors[matrix->tensor];
    const size_t j = (d->mine.id[i] - matrix->first_block) % sb_tiling_block_cols(&matrix->tiling);
    const float *pivots = d->pivots +
                          sb_arch_input_of(&d->m->arch, t->layer, t->input)->first_channel +
                          j * matrix->tiling.block_cols;
    double sum = 0;
    for (size_t c = 0; c < d->mine.cols[i]; c++) sum += (double)pivots[c];
    for (unsigned b = 0; b < SB_WIDTHS; b++) d->costs[i][b] *= sum / (double)d->mine.cols[i];
  }
  d->has_pivots = true;
}

/* ---- candidates ---- */

/* d->bits = the candidate's; *there: it exists. Collective. */
static sb_status choose(driver *d, sb_candidate candidate, bool *there) {
  const sb_allocate_trellis_options *o = d->o;
  const sb_budget budget = {o->bits, o->min_bits, o->max_bits,
                            candidate == SB_CANDIDATE_MATRIX ? SB_WIDTH_OF_MATRIX
                                                             : SB_WIDTH_OF_BLOCK};
  const uint64_t storage = sb_budget_storage(d->m, &budget);
  sb_choose_result chosen;
  *there = candidate != SB_CANDIDATE_BLOCK || !o->by_matrix;
  if (!*there) return SB_OK;
  if (candidate == SB_CANDIDATE_UNIFORM) {
    unsigned width = o->max_bits;
    while (width >= o->min_bits && sb_model_uniform_bits(d->m, width) > o->bits) width--;
    *there = width >= o->min_bits;
    memset(d->bits, (int)width, d->mine.blocks.count);
    return SB_OK;
  }
  if (candidate == SB_CANDIDATE_MATRIX)
    return sb_choose_items(d->m->world,
                           &(sb_item_part){&d->mine.blocks, d->costs, d->mine.matrix,
                                           d->m->arch.matrix_count,
                                           sb_width_range(o->min_bits, o->max_bits), d->bits},
                           1, storage, &chosen);
  return sb_choose_blocks(d->m->world, &d->mine.blocks, d->costs, storage, d->bits, &chosen);
}

/* Moments that overflow, or cannot be factorised, leave rounding to nearest. Collective. */
static sb_status round_candidate(driver *d, bool last, sb_model **coded, sb_gptq_stats *stats) {
  sb_gptq_options options;
  *stats = (sb_gptq_stats){0};
  if (!d->o->gptq || d->result->left_out) return sb_encode_nearest(d->m, coded);
  options = *d->o->gptq;
  if (!last) options.checkpoint = NULL;
  options.pivots = d->has_pivots ? NULL : d->pivots;
  tell(d, "rounding");
  sb_status status = sb_gptq(d->m, d->backend, d->o->rounding, &options, coded, stats);
  if (status == SB_OK && options.pivots && stats->resumed == 0) weigh_costs(d);
  if (status != SB_ERR_NUMERIC) return status;
  sb_log_line("warning: weights are rounded to nearest instead (--quantizer rtn): %s",
              sb_message());
  d->result->left_out = true;
  SB_TRY(sb_store_give_back(d->m->store));
  return sb_encode_nearest(d->m, coded);
}

/* *loss of the coded model; INFINITY where it overflows. Collective. */
static sb_status check_candidate(driver *d, sb_model *coded, double *loss) {
  sb_pass_setup setup =
      sb_sequences_setup(deciding(d), coded, d->backend, d->o->activation_bytes, d->o->ticker);
  sb_pass *pass = NULL;
  setup.divergence = d->teacher != NULL;
  tell(d, "loss");
  sb_status status = sb_pass_create(&setup, &pass);
  if (d->teacher) SB_THEN(sb_pass_learn_from(pass, d->teacher));
  SB_THEN(sb_pass_loss(pass, loss));
  if (status == SB_ERR_NUMERIC) {
    *loss = INFINITY;
    status = sb_store_give_back(coded->store);
  }
  if (d->teacher) SB_THEN(sb_pass_learn_from(d->teacher, pass));
  sb_pass_free(&pass);
  return status;
}

/* *same = an earlier candidate that has the same bits, or SB_CANDIDATES. Collective. */
static sb_status find_same(const driver *d, sb_candidate candidate, sb_candidate *same) {
  for (*same = 0; *same < candidate; (*same)++) {
    uint64_t differ = 0;
    if (!d->tried[*same]) continue;
    for (size_t i = 0; i < d->mine.blocks.count; i++) differ += d->tried[*same][i] != d->bits[i];
    SB_TRY(sb_mpi_sum_u64(&differ, 1, d->m->world->comm));
    if (differ == 0) return SB_OK;
  }
  *same = SB_CANDIDATES;
  return SB_OK;
}

/* Rounds and checks the bits at hand, and takes them if they are the best so far. Collective. */
static sb_status measure(driver *d, sb_candidate candidate) {
  sb_allocate_trellis_result *r = d->result;
  sb_candidate_result *c = &r->candidates[candidate];
  const double start = sb_now();
  sb_model *coded = NULL;
  sb_gptq_stats stats;
  const bool last = candidate == (d->o->by_matrix ? SB_CANDIDATE_MATRIX : SB_CANDIDATE_BLOCK);
  SB_TRY(sb_model_set_bits(d->m, d->bits));
  SB_TRY(round_candidate(d, last, &coded, &stats));
  sb_status status = check_candidate(d, coded, &c->loss);
  c->seconds = sb_now() - start;
  if (status == SB_OK && (!r->coded || c->loss < r->candidates[r->chosen].loss)) {
    sb_model *other = r->coded;
    r->coded = coded;
    coded = other;
    r->chosen = candidate;
    r->gptq = stats;
    memcpy(d->best, d->bits, d->mine.blocks.count);
  }
  if (coded) sb_model_free(&coded);
  return status;
}

/* Collective. */
static sb_status try_candidate(driver *d, sb_candidate candidate) {
  SB_SPAN(SB_TRACE_PHASE, "try candidate", candidate);
  sb_candidate_result *c = &d->result->candidates[candidate];
  uint64_t storage;
  sb_candidate same;
  bool there;
  SB_TRY(choose(d, candidate, &there));
  if (!there) return SB_OK;
  SB_TRY(find_same(d, candidate, &same));
  SB_TRY(sb_blocks_total(d->m->world, &d->mine.blocks, d->bits, &storage));
  if (same < SB_CANDIDATES) {
    *c = d->result->candidates[same];
    c->seconds = 0;
  } else {
    SB_AGREE(d->m->world,
             sb_alloc(&d->tried[candidate], d->mine.blocks.count, 1, "bits of the blocks"));
    memcpy(d->tried[candidate], d->bits, d->mine.blocks.count);
    SB_TRY(measure(d, candidate));
  }
  c->tried = true;
  c->effective_bits = sb_owned_effective_bits(d->m, storage);
  if (d->o->report) d->o->report(d->o->context, candidate, c);
  return SB_OK;
}

/* ---- all together ---- */

/* Collective. */
static sb_status make_key(const driver *d, sb_key *key) {
  const sb_allocate_trellis_options *o = d->o;
  const sb_world *world = d->m->world;
  sb_checkpoint_key_begin(key, d->m, d->backend);
  sb_key_add_hash(key, "model", "model", o->model);
  SB_TRY(sb_checkpoint_key_add_tokens(key, "calibration",
                                      "calibration (--calib, --seqs, --seqlen, --seed)", world,
                                      d->calibration));
  SB_TRY(sb_checkpoint_key_add_tokens(
      key, "check", "choice of sequences that decide (--check-seqs)", world, o->check));
  SB_TRY(sb_checkpoint_key_add_tokens(key, "rounding",
                                      "calibration for rounding (--quantizer, --round-seqs)", world,
                                      o->gptq ? o->rounding : NULL));
  sb_key_add_real(key, "bits", "budget (--bits)", o->bits);
  sb_key_add(key, "min_bits", "--min-bits", "%u", o->min_bits);
  sb_key_add(key, "max_bits", "--max-bits", "%u", o->max_bits);
  sb_key_add(key, "scope", "--method", "%s", o->by_matrix ? "layer" : "scalebits");
  sb_key_add(key, "sensitivity", "--sensitivity", "%s", o->divergence ? "divergence" : "diagonal");
  sb_key_add(key, "refine", "--refine", "%d", o->gptq ? o->gptq->refine : 0);
  SB_TRY(sb_checkpoint_key_add_model(key, "ordered", "order of channels (--reorder)", d->m));
  sb_checkpoint_key_add_tables(key, d->m); /* they follow from the order, too */
  return SB_OK;
}

/* What the search ended with. Collective. */
static sb_status finish(driver *d, sb_search_checkpoint *checkpoint) {
  sb_allocate_trellis_result *r = d->result;
  const sb_candidate last = d->o->by_matrix ? SB_CANDIDATE_MATRIX : SB_CANDIDATE_BLOCK;
  if (!isfinite(r->candidates[r->chosen].loss))
    return sb_fail(SB_ERR_NUMERIC,
                   "the loss overflows with all widths that were tried at %g bits; give more bits",
                   d->o->bits);
  SB_TRY(sb_model_set_bits(d->m, d->best));
  if (!d->o->checkpoint) return SB_OK;
  if (d->o->gptq && d->o->gptq->checkpoint && r->chosen != last) /* it is of other bits */
    sb_gptq_checkpoint_remove(d->m->world, d->o->gptq->checkpoint);
  const sb_search_progress progress = {.steps = SB_CANDIDATES,
                                       .loss = r->candidates[r->chosen].loss};
  return sb_search_checkpoint_write(checkpoint, &progress);
}

static sb_status allocate(driver *d) {
  const sb_model *m = d->m;
  const size_t count = sb_model_owned_count(m);
  SB_TRY(sb_owned_create(m, d->o->min_bits, d->o->max_bits, &d->mine));
  SB_TRY(sb_alloc(&d->costs, count, sizeof *d->costs, "costs of widths"));
  SB_TRY(sb_alloc(&d->bits, count, 1, "bits of the blocks"));
  SB_TRY(sb_alloc(&d->best, count, 1, "bits of the blocks"));
  return d->o->gptq ? sb_alloc(&d->pivots, m->arch.channels, sizeof *d->pivots,
                               "what feedback leaves of errors")
                    : SB_OK;
}

/* Collective. */
static sb_status run(driver *d) {
  sb_search_checkpoint checkpoint;
  sb_search_progress progress;
  sb_key key;
  if (d->o->checkpoint) {
    SB_TRY(make_key(d, &key));
    SB_TRY(sb_search_checkpoint_open(d->o->checkpoint, &key, d->m, &progress, &d->result->resumed,
                                     &checkpoint));
    if (d->result->resumed) return SB_OK;
  }
  SB_AGREE(d->m->world, allocate(d));
  SB_TRY(measure_costs(d));
  for (sb_candidate c = 0; c < SB_CANDIDATES; c++) SB_TRY(try_candidate(d, c));
  return finish(d, &checkpoint);
}

size_t sb_allocate_trellis_bytes(const sb_sizes *z) {
  const size_t bits = 2 + SB_CANDIDATES;
  return sb_owned_bytes(z->owned) + z->owned * (sizeof(sb_losses) + bits) +
         z->arch->channels * sizeof(float) +
         sb_max_size(sb_choose_blocks_bytes(z->owned),
                     z->owned * sizeof(sb_losses) + sb_energy_bytes(z));
}

sb_status sb_allocate_trellis(sb_model *m, sb_backend *backend, const sb_sequences *calibration,
                              const sb_allocate_trellis_options *o,
                              sb_allocate_trellis_result *result) {
  driver d = {.m = m, .backend = backend, .calibration = calibration, .o = o, .result = result};
  *result = (sb_allocate_trellis_result){0};
  const sb_budget budget = {o->bits, o->min_bits, o->max_bits,
                            o->by_matrix ? SB_WIDTH_OF_MATRIX : SB_WIDTH_OF_BLOCK};
  SB_TRY(sb_budget_check(&m->arch, &m->blocking, m->orders.mode, &budget));
  const sb_status status = run(&d);
  sb_pass_free(&d.teacher);
  sb_owned_free(&d.mine);
  sb_free(&d.costs);
  sb_free(&d.pivots);
  sb_free(&d.bits);
  sb_free(&d.best);
  for (int c = 0; c < SB_CANDIDATES; c++) sb_free(&d.tried[c]);
  if (status != SB_OK && result->coded) sb_model_free(&result->coded);
  return status;
}
