#include "alloc/search.h"

#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/trace.h"
#include "mpi/large.h"

typedef struct search {
  const sb_world *world;
  const sb_blocks *b;
  const sb_search_options *o;
  const sb_search_hooks *h;
  uint8_t *bits, *trial;
  uint8_t *best; /* the best point within the budget that the path has passed, where best_loss is
                    finite */
  double best_loss;
  uint8_t *refused; /* the batch that was taken back last, where refused_loss is finite */
  double refused_loss;
  double *gain, *loss_of_cut;
  double loss;         /* at bits */
  int strides, trades; /* done */
  double share;        /* of the next trade */
  sb_search_result *result;
} search;

/* *loss: of the sequences that give the gains. */
static sb_status measure_gains(search *s, double *loss) {
  s->result->gain_passes++;
  return s->h->gains(s->h->context, s->gain, s->loss_of_cut, loss);
}

static sb_status measure_loss(search *s, double *loss) {
  s->result->loss_passes++;
  return s->h->loss(s->h->context, loss);
}

static sb_status save(search *s) {
  const sb_search_result *r = s->result;
  const sb_search_progress progress = {r->steps,    s->strides,     s->trades,
                                       r->accepted, r->gain_passes, r->loss_passes,
                                       s->share,    s->loss,        r->start_loss};
  if (!s->h->save || isfinite(s->best_loss)) return SB_OK;
  return s->h->save(s->h->context, &progress);
}

static void tell(search *s, sb_search_step *step, double start) {
  step->step = s->result->steps++;
  step->seconds = sb_now() - start;
  if (s->h->report) s->h->report(s->h->context, step);
}

/* A point of the path is kept if it is within the budget and the best so far. Its loss is known,
 * since gains were measured there, unless another loss decides. */
static sb_status remember(search *s, uint64_t storage, double loss) {
  if (storage > s->o->budget) return SB_OK;
  if (s->o->other_loss) SB_TRY(measure_loss(s, &loss));
  if (!(loss < s->best_loss)) return SB_OK;
  memcpy(s->best, s->bits, s->b->count);
  s->best_loss = loss;
  return SB_OK;
}

/* One stride: from the present storage towards the budget, closing 1 / (strides
 * left) of the distance. */
static sb_status stride(search *s, int left) {
  SB_SPAN(SB_TRACE_PHASE, "stride", s->strides);
  const double start = sb_now();
  const uint64_t budget = s->o->budget;
  uint64_t now, target;
  double loss;
  sb_step_result moved;
  SB_TRY(measure_gains(s, &loss));
  if (s->result->steps == 0) s->result->start_loss = loss;
  SB_TRY(sb_blocks_total(s->world, s->b, s->bits, &now));
  SB_TRY(remember(s, now, loss));
  if (now > budget)
    target = budget + (now - budget) / (uint64_t)left * (uint64_t)(left - 1);
  else
    target = budget - (budget - now) / (uint64_t)left * (uint64_t)(left - 1);
  SB_TRY(
      sb_greedy_step(s->world, s->b, s->gain, s->loss_of_cut, target, UINT64_MAX, s->bits, &moved));
  SB_TRY(s->h->apply(s->h->context, s->bits));
  sb_search_step step = {.path = true,
                         .loss = loss,
                         .storage = moved.storage,
                         .raised = moved.raised,
                         .cut = moved.cut,
                         .accepted = true};
  tell(s, &step, start);
  s->strides++;
  return save(s);
}

/* *fits: one bit more of some block fits into the rest of the budget. Collective. */
static sb_status raise_fits(search *s, uint64_t storage, bool *fits) {
  uint64_t any = 0;
  for (size_t i = 0; i < s->b->count && storage < s->o->budget && !any; i++)
    if (s->bits[i] < s->b->max_bits) {
      const uint64_t here = sb_blocks_cost(s->b, i, s->bits[i]),
                     up = sb_blocks_cost(s->b, i, s->bits[i] + 1u);
      any = up > here && up - here <= s->o->budget - storage;
    }
  SB_TRY(sb_mpi_max_u64(&any, 1, s->world->comm));
  *fits = any;
  return SB_OK;
}

/* A step moves a block by one bit at most, so a far budget needs more strides than asked for. From
 * below they end when no raise fits, or none is predicted to gain. */
static sb_status walk_path(search *s) {
  uint64_t storage, before;
  bool below, rises = false;
  SB_TRY(sb_blocks_total(s->world, s->b, s->bits, &storage));
  below = s->strides == 0 && storage < s->o->budget;
  while (s->strides < s->o->strides || storage > s->o->budget || (below && rises)) {
    before = storage;
    SB_TRY(stride(s, s->o->strides > s->strides ? s->o->strides - s->strides : 1));
    SB_TRY(sb_blocks_total(s->world, s->b, s->bits, &storage));
    if (storage > s->o->budget && storage == before)
      return sb_fail(SB_ERR_INTERNAL,
                     "the path to the budget does not move any more at %llu bits of storage",
                     (unsigned long long)storage);
    SB_TRY(raise_fits(s, storage, &rises));
    rises = rises && storage > before;
  }
  return SB_OK;
}

/* Where the share bounds nothing, half of it makes the same batch, whose
 * loss is known. Collective. */
static sb_status loss_of_trial(search *s, double *loss) {
  if (isfinite(s->refused_loss)) {
    uint64_t differs = memcmp(s->trial, s->refused, s->b->count) != 0;
    *loss = s->refused_loss;
    SB_TRY(sb_mpi_max_u64(&differs, 1, s->world->comm));
    if (!differs) return SB_OK;
  }
  SB_TRY(s->h->apply(s->h->context, s->trial));
  const sb_status status = measure_loss(s, loss);
  if (status == SB_ERR_NUMERIC) *loss = INFINITY;
  if (status != SB_ERR_NUMERIC) SB_TRY(status);
  if (*loss < s->loss) return SB_OK;
  memcpy(s->refused, s->trial, s->b->count);
  s->refused_loss = *loss;
  return s->h->apply(s->h->context, s->bits);
}

/* Gains overflow at the bits that the search stands at. */
static sb_status end_trades(bool *more) {
  sb_log_line("search    no more trades: %s", sb_message());
  *more = false;
  return SB_OK;
}

/* One trade; the share is halved when it is not kept. *more is false when nothing
 * is left to trade. */
static sb_status trade(search *s, bool *fresh, bool *more) {
  SB_SPAN(SB_TRACE_PHASE, "trade", s->trades);
  sb_log_debug("search", "trade %d of at most %d moves a share of %.3g", s->trades,
               s->o->most_trades, s->share);
  double start = sb_now(), loss;
  sb_step_result moved;
  const sb_status status = *fresh ? SB_OK : measure_gains(s, &loss);
  if (status == SB_ERR_NUMERIC) return end_trades(more);
  SB_TRY(status);
  *fresh = true;
  memcpy(s->trial, s->bits, s->b->count);
  SB_TRY(sb_greedy_step(s->world, s->b, s->gain, s->loss_of_cut, s->o->budget,
                        (uint64_t)(s->share * (double)s->o->budget), s->trial, &moved));
  if (moved.raised + moved.cut == 0) {
    *more = false;
    return SB_OK;
  }
  SB_TRY(loss_of_trial(s, &loss));
  sb_search_step step = {.loss = loss,
                         .storage = moved.storage,
                         .raised = moved.raised,
                         .cut = moved.cut,
                         .accepted = loss < s->loss,
                         .share = s->share};
  if (step.accepted) {
    memcpy(s->bits, s->trial, s->b->count);
    s->loss = loss;
    s->result->accepted++;
    s->refused_loss = INFINITY;
    *fresh = false;
  } else {
    s->share *= 0.5;
  }
  s->trades++;
  tell(s, &step, start);
  return save(s);
}

static sb_status run(search *s) {
  bool more = true, fresh = false;
  SB_TRY(s->h->apply(s->h->context, s->bits));
  if (s->trades == 0) {
    if (!s->o->begun) SB_TRY(walk_path(s));
    SB_TRY(measure_loss(s, &s->loss));
    if (s->o->begun) s->result->start_loss = s->loss;
    if (s->best_loss < s->loss) {
      memcpy(s->bits, s->best, s->b->count);
      s->loss = s->best_loss;
      s->result->went_back = true;
      SB_TRY(s->h->apply(s->h->context, s->bits));
    }
    s->best_loss = INFINITY; /* nothing to remember any more */
  }
  s->result->path_loss = s->loss;
  while (more && s->trades < s->o->most_trades && s->share >= s->o->least_share)
    SB_TRY(trade(s, &fresh, &more));
  s->result->loss = s->loss;
  return sb_blocks_total(s->world, s->b, s->bits, &s->result->storage);
}

/* The uniform start, or where the search begins without one, or where an earlier search stood. */
static void begin(search *s, const sb_search_progress *from) {
  if (!from) {
    for (size_t i = 0; i < s->b->count && !s->o->begun; i++) {
      const unsigned least = sb_blocks_least(s->b, i);
      s->bits[i] = (uint8_t)(s->o->start_bits > least ? s->o->start_bits : least);
    }
    return;
  }
  s->strides = from->strides;
  s->trades = from->trades;
  s->share = from->trades > 0 ? from->share : s->o->first_share;
  s->loss = from->loss;
  *s->result = (sb_search_result){.start_loss = from->start_loss,
                                  .steps = from->steps,
                                  .accepted = from->accepted,
                                  .gain_passes = from->gain_passes,
                                  .loss_passes = from->loss_passes};
}

size_t sb_search_bytes(size_t count) {
  /* bits tried, best and refused; gains and losses */
  return count * (3 + 2 * sizeof(double)) + sb_greedy_step_bytes(count);
}

sb_status sb_search(const sb_world *world, const sb_blocks *blocks,
                    const sb_search_options *options, const sb_search_hooks *hooks, uint8_t *bits,
                    sb_search_result *result) {
  search s = {.world = world,
              .b = blocks,
              .o = options,
              .h = hooks,
              .bits = bits,
              .share = options->first_share,
              .result = result,
              .best_loss = INFINITY,
              .refused_loss = INFINITY};
  const sb_search_progress *from = options->resume;
  uint64_t least, most;
  *result = (sb_search_result){0};
  SB_TRY(sb_blocks_range(world, blocks, &least, &most));
  SB_TRY(sb_blocks_check_budget(options->budget, least, most, "block", blocks->min_bits));
  if (!options->begun && (options->start_bits < blocks->min_bits ||
                          options->start_bits > blocks->max_bits || options->strides < 1))
    return sb_fail(SB_ERR_INTERNAL,
                   "search: %d strides from %u bits, where %u to %u bits are allowed",
                   options->strides, options->start_bits, blocks->min_bits, blocks->max_bits);
  sb_status status = sb_alloc_raw(&s.trial, blocks->count, 1, "bits of the blocks");
  SB_THEN(sb_alloc_raw(&s.best, blocks->count, 1, "bits of the blocks"));
  SB_THEN(sb_alloc_raw(&s.refused, blocks->count, 1, "bits of the blocks"));
  SB_THEN(sb_alloc_raw(&s.gain, blocks->count, sizeof(double), "predicted gains"));
  SB_THEN(sb_alloc_raw(&s.loss_of_cut, blocks->count, sizeof(double), "predicted gains"));
  status = sb_world_agree(world, status);
  begin(&s, from);
  SB_THEN(run(&s));
  sb_free(&s.trial);
  sb_free(&s.best);
  sb_free(&s.refused);
  sb_free(&s.gain);
  sb_free(&s.loss_of_cut);
  return status;
}
