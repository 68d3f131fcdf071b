#include "alloc/search.h"

#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"

typedef struct search {
  const sb_world *world;
  const sb_blocks *b;
  const sb_search_options *o;
  const sb_search_hooks *h;
  uint8_t *bits, *trial;
  uint8_t *best; /* the best point within the budget that the path has passed, where best_loss is finite */
  double best_loss;
  double *gain, *loss_of_cut;
  double loss; /* at bits */
  sb_search_result *result;
} search;

static sb_status measure_gains(search *s) {
  s->result->gain_passes++;
  return s->h->gains(s->h->context, s->gain, s->loss_of_cut, &s->loss);
}

static void tell(search *s, sb_search_step *step, double start) {
  step->step = s->result->steps++;
  step->seconds = sb_now() - start;
  if (s->h->report) s->h->report(s->h->context, step);
}

/* The loss at a point of the path is known once gains are measured there: it is kept if it is within the
 * budget and the best so far. */
static void remember(search *s, uint64_t storage) {
  if (storage > s->o->budget || !(s->loss < s->best_loss)) return;
  memcpy(s->best, s->bits, s->b->count);
  s->best_loss = s->loss;
}

/* One stride: from the present storage towards the budget, closing 1 / (strides left) of the distance. */
static sb_status stride(search *s, int left) {
  const double start = sb_now();
  const uint64_t budget = s->o->budget;
  uint64_t now, target;
  sb_step_result moved;
  SB_TRY(measure_gains(s));
  if (s->result->steps == 0) s->result->start_loss = s->loss;
  SB_TRY(sb_blocks_total(s->world, s->b, s->bits, &now));
  remember(s, now);
  if (now > budget)
    target = budget + (now - budget) / (uint64_t)left * (uint64_t)(left - 1);
  else
    target = budget - (budget - now) / (uint64_t)left * (uint64_t)(left - 1);
  SB_TRY(sb_greedy_step(s->world, s->b, s->gain, s->loss_of_cut, target, UINT64_MAX, s->bits, &moved));
  SB_TRY(s->h->apply(s->h->context, s->bits));
  sb_search_step step = {.path = true,
                         .loss = s->loss,
                         .storage = moved.storage,
                         .raised = moved.raised,
                         .cut = moved.cut,
                         .accepted = true};
  tell(s, &step, start);
  return SB_OK;
}

/* A step moves a block by one bit at most, so a far budget needs more strides than asked for. */
static sb_status walk_path(search *s) {
  uint64_t storage = 0, before;
  for (int done = 0; done < s->o->strides || storage > s->o->budget; done++) {
    before = storage;
    SB_TRY(stride(s, s->o->strides > done ? s->o->strides - done : 1));
    SB_TRY(sb_blocks_total(s->world, s->b, s->bits, &storage));
    if (storage > s->o->budget && storage == before)
      return sb_fail(SB_ERR_INTERNAL, "the path to the budget does not move any more at %llu bits of storage",
                     (unsigned long long)storage);
  }
  return SB_OK;
}

/* One trade; *share is halved when it is not kept. *more is false when nothing is left to trade. */
static sb_status trade(search *s, double *share, bool *fresh, bool *more) {
  double start = sb_now(), loss;
  sb_step_result moved;
  if (!*fresh) SB_TRY(measure_gains(s));
  *fresh = true;
  memcpy(s->trial, s->bits, s->b->count);
  SB_TRY(sb_greedy_step(s->world, s->b, s->gain, s->loss_of_cut, s->o->budget,
                        (uint64_t)(*share * (double)s->o->budget), s->trial, &moved));
  if (moved.raised + moved.cut == 0) {
    *more = false;
    return SB_OK;
  }
  SB_TRY(s->h->apply(s->h->context, s->trial));
  SB_TRY(s->h->loss(s->h->context, &loss));
  s->result->loss_passes++;
  sb_search_step step = {.loss = loss,
                         .storage = moved.storage,
                         .raised = moved.raised,
                         .cut = moved.cut,
                         .accepted = loss < s->loss,
                         .share = *share};
  if (step.accepted) {
    memcpy(s->bits, s->trial, s->b->count);
    s->loss = loss;
    s->result->accepted++;
    *fresh = false;
  } else {
    *share *= 0.5;
    *more = *share >= s->o->least_share;
    SB_TRY(s->h->apply(s->h->context, s->bits));
  }
  tell(s, &step, start);
  return SB_OK;
}

static sb_status run(search *s) {
  double share = s->o->first_share;
  bool more = s->o->most_trades > 0, fresh = false;
  for (size_t i = 0; i < s->b->count; i++) {
    const unsigned least = sb_blocks_least(s->b, i);
    s->bits[i] = (uint8_t)(s->o->start_bits > least ? s->o->start_bits : least);
  }
  SB_TRY(s->h->apply(s->h->context, s->bits));
  SB_TRY(walk_path(s));
  SB_TRY(s->h->loss(s->h->context, &s->loss));
  s->result->loss_passes++;
  if (s->best_loss < s->loss) {
    memcpy(s->bits, s->best, s->b->count);
    s->loss = s->best_loss;
    SB_TRY(s->h->apply(s->h->context, s->bits));
  }
  for (int t = 0; more && t < s->o->most_trades; t++) SB_TRY(trade(s, &share, &fresh, &more));
  s->result->loss = s->loss;
  return sb_blocks_total(s->world, s->b, s->bits, &s->result->storage);
}

sb_status sb_search(const sb_world *world, const sb_blocks *blocks, const sb_search_options *options,
                    const sb_search_hooks *hooks, uint8_t *bits, sb_search_result *result) {
  search s = {.world = world,
              .b = blocks,
              .o = options,
              .h = hooks,
              .bits = bits,
              .result = result,
              .best_loss = INFINITY};
  uint64_t least, most;
  *result = (sb_search_result){0};
  SB_TRY(sb_blocks_range(world, blocks, &least, &most));
  if (options->budget < least)
    return sb_fail(SB_ERR_RANGE,
                   "the budget of %llu bits is below the %llu that every block at %u bits needs; possible "
                   "are up to %llu",
                   (unsigned long long)options->budget, (unsigned long long)least, blocks->min_bits,
                   (unsigned long long)most);
  if (options->start_bits < blocks->min_bits || options->start_bits > blocks->max_bits ||
      options->strides < 1)
    return sb_fail(SB_ERR_INTERNAL, "search: %d strides from %u bits, where %u to %u bits are allowed",
                   options->strides, options->start_bits, blocks->min_bits, blocks->max_bits);
  sb_status status = sb_alloc_raw(&s.trial, blocks->count, 1, "bits of the blocks");
  if (status == SB_OK) status = sb_alloc_raw(&s.best, blocks->count, 1, "bits of the blocks");
  if (status == SB_OK) status = sb_alloc_raw(&s.gain, blocks->count, sizeof(double), "predicted gains");
  if (status == SB_OK)
    status = sb_alloc_raw(&s.loss_of_cut, blocks->count, sizeof(double), "predicted gains");
  status = sb_world_agree(world, status);
  if (status == SB_OK) status = run(&s);
  sb_free(&s.trial);
  sb_free(&s.best);
  sb_free(&s.gain);
  sb_free(&s.loss_of_cut);
  return status;
}
