#include "alloc/allocate.h"

#include <string.h>

#include "alloc/budget.h"
#include "alloc/checkpoint.h"
#include "alloc/choose_blocks.h"
#include "alloc/choose_items.h"
#include "alloc/items.h"
#include "alloc/owned.h"
#include "base/memory.h"
#include "base/trace.h"
#include "quant/checkpoint_key.h"

sb_status sb_allocate_uniform(sb_model *m, double budget, sb_width_set widths) {
  const unsigned least = sb_width_at_least(widths, 1), most = sb_width_at_most(widths, SB_MAX_BITS);
  const sb_budget of_one = {budget, least, most, SB_WIDTH_OF_MODEL};
  unsigned cheapest = most, bits = most;
  for (; bits > 0 && sb_model_uniform_bits(m, bits) > budget;
       bits = sb_width_at_most(widths, bits - 1))
    if (sb_model_uniform_bits(m, bits) < sb_model_uniform_bits(m, cheapest)) cheapest = bits;
  if (bits == 0) {
    SB_TRY(sb_budget_check(&m->arch, &m->blocking, m->orders.mode,
                           &of_one)); /* passes within rounding of the least */
    bits = cheapest;
  }
  memset(m->bits, (int)bits, m->blocks);
  return SB_OK;
}

typedef struct driver {
  sb_model *m;
  sb_pass *pass;
  sb_pass *check; /* NULL: the pass itself decides */
  sb_gains *gains;
  sb_key key; /* of the checkpoint */
  sb_search_checkpoint checkpoint;
  bool by_item; /* the search moves items: what it calls bits are their steps (alloc/items.h) */
  sb_items items;
  uint8_t *bits;       /* of own blocks, by_item */
  double *raise, *cut; /* of own blocks, by_item */
  const sb_allocate_options *o;
  sb_allocate_result *result;
} driver;

static sb_status apply(void *context, const uint8_t *bits) {
  driver *d = context;
  sb_pass_forget(d->pass);
  if (d->check) sb_pass_forget(d->check);
  if (!d->by_item) return sb_model_set_bits(d->m, bits);
  SB_TRY(sb_items_spread(&d->items, bits, d->bits));
  return sb_model_set_bits(d->m, d->bits);
}

static void tell(const driver *d, const char *pass) {
  if (d->o->begin_pass) d->o->begin_pass(d->o->context, pass);
}

static sb_status measure_costs(driver *d) {
  if (d->result->cost_passes > 0) return SB_OK;
  SB_SPAN_INTO(&d->result->gradient_seconds, SB_TRACE_PHASE, "costs of widths", SB_TRACE_NONE);
  tell(d, "costs of widths");
  SB_TRY(sb_gains_prepare(d->gains, d->pass));
  d->result->cost_passes = 1;
  return SB_OK;
}

/* Lazy set-up: measured on first use, so resuming a finished search measures nothing. */
static sb_status learn(driver *d) {
  if (d->o->estimator != SB_ESTIMATOR_DIVERGENCE) return SB_OK;
  SB_TRY(measure_costs(d));
  if (!d->check || d->result->source_passes > 0) return SB_OK;
  d->result->source_passes = 1;
  tell(d, "source weights, check");
  return sb_pass_learn(d->check);
}

/* After a failure of numbers the search may go on: the store is free for another pass. */
static sb_status ended(driver *d, sb_status status) {
  if (status == SB_ERR_NUMERIC) SB_TRY(sb_store_give_back(d->m->store));
  return status;
}

static sb_status loss(void *context, double *out) {
  driver *d = context;
  SB_TRY(learn(d));
  SB_SPAN_INTO(&d->result->loss_seconds, SB_TRACE_PHASE, "loss", SB_TRACE_NONE);
  tell(d, "loss");
  return ended(d, sb_pass_loss(d->check ? d->check : d->pass, out));
}

static sb_status gains(void *context, double *raise_gain, double *cut_loss, double *out) {
  driver *d = context;
  SB_TRY(learn(d));
  SB_SPAN_INTO(&d->result->gradient_seconds, SB_TRACE_PHASE, "gains", SB_TRACE_NONE);
  tell(d, "gains");
  if (!d->by_item) return ended(d, sb_gains_measure(d->gains, d->pass, raise_gain, cut_loss, out));
  SB_TRY(ended(d, sb_gains_measure(d->gains, d->pass, d->raise, d->cut, out)));
  return sb_items_gains(&d->items, d->raise, d->cut, d->items.of_item, raise_gain, cut_loss);
}

static void report(void *context, const sb_search_step *step) {
  const driver *d = context;
  if (d->o->report) d->o->report(d->o->context, step, sb_owned_effective_bits(d->m, step->storage));
}

static sb_status save(void *context, const sb_search_progress *progress) {
  driver *d = context;
  return sb_search_checkpoint_write(&d->checkpoint, progress);
}

static unsigned start_bits(const sb_model *m, const sb_allocate_options *o) {
  if (o->start_bits != 0) return o->start_bits;
  unsigned bits = o->min_bits;
  while (bits < o->max_bits && sb_model_uniform_bits(m, bits) < o->bits) bits++;
  return bits;
}

/* What the search depends on. A difference is told by the first entry that differs, so what follows
 * from others (the order of channels follows from the calibration) is last. Collective. */
static sb_status make_key(driver *d, const sb_backend *backend, const sb_sequences *calibration) {
  const sb_allocate_options *o = d->o;
  sb_key *key = &d->key;
  sb_checkpoint_key_begin(key, d->m, backend);
  sb_key_add_hash(key, "model", "model", o->model);
  SB_TRY(sb_checkpoint_key_add_tokens(key, "calibration",
                                      "calibration (--calib, --seqs, --seqlen, --seed)",
                                      d->m->world, calibration));
  SB_TRY(sb_checkpoint_key_add_tokens(key, "check",
                                      "choice of sequences that decide on trades (--check-seqs)",
                                      d->m->world, o->check));
  sb_key_add_real(key, "bits", "budget (--bits)", o->bits);
  sb_key_add(key, "min_bits", "--min-bits", "%u", o->min_bits);
  sb_key_add(key, "max_bits", "--max-bits", "%u", o->max_bits);
  sb_key_add(key, "scope", "--method, --widths-for", "%d", (int)o->scope);
  sb_key_add(key, "widths", "--widths-for", "%u", o->scope == SB_WIDTH_OF_BLOCK ? 0u : o->widths);
  sb_key_add(key, "start_bits", "--start-bits", "%u", start_bits(d->m, o));
  sb_key_add(key, "sensitivity", "--sensitivity", "%s", sb_estimator_names[o->estimator]);
  sb_key_add(key, "strides", "--strides", "%d", o->strides);
  sb_key_add(key, "grid", "--grid", "%s", d->m->importance ? "fitted" : "plain");
  SB_TRY(sb_checkpoint_key_add_model(key, "ordered", "order of channels (--reorder)", d->m));
  sb_checkpoint_key_add_tables(key, d->m); /* they follow from the order, too */
  return SB_OK;
}

/* Where a search without a path begins: bits of own blocks. Collective. */
static sb_status choose_from_costs(driver *d, const sb_owned *mine, uint64_t budget,
                                   uint8_t *bits) {
  sb_choose_result chosen;
  SB_TRY(measure_costs(d));
  const sb_losses *costs = sb_gains_costs(d->gains);
  if (!d->by_item)
    return sb_choose_blocks(d->m->world, &mine->blocks, costs, budget, bits, &chosen);
  const sb_item_part part = {&mine->blocks,  costs,        d->items.item,
                             d->items.count, d->o->widths, bits};
  return sb_choose_items(d->m->world, &part, 1, budget, &chosen);
}

static sb_budget budget_of(const sb_allocate_options *o) {
  return (sb_budget){o->bits, o->min_bits, o->max_bits, o->scope};
}

/* What the search begins with, of own blocks or items. Collective. */
static sb_status begin_bits(driver *d, const sb_owned *mine, uint64_t budget, bool chosen,
                            uint8_t *bits) {
  uint8_t *of_blocks = d->by_item ? d->bits : bits;
  sb_model_get_bits(d->m, of_blocks);
  if (chosen) SB_TRY(choose_from_costs(d, mine, budget, of_blocks));
  return d->by_item ? sb_items_gather(&d->items, of_blocks, bits) : SB_OK;
}

static sb_status search(driver *d, const sb_owned *mine) {
  const sb_allocate_options *o = d->o;
  const sb_budget budget = budget_of(o);
  const sb_blocks *moved = d->by_item ? &d->items.blocks : &mine->blocks;
  const sb_search_hooks hooks = {d, apply, loss, gains, report, o->checkpoint ? save : NULL};
  uint8_t *bits = NULL;
  bool resumes = false;
  sb_search_progress progress;
  if (o->checkpoint)
    SB_TRY(sb_search_checkpoint_open(o->checkpoint, &d->key, d->m, &progress, &resumes,
                                     &d->checkpoint));
  if (resumes) d->result->resumed_steps = progress.steps;
  const unsigned start = start_bits(d->m, o);
  const sb_search_options options = {.other_loss = d->check != NULL,
                                     .resume = resumes ? &progress : NULL,
                                     .budget = sb_budget_storage(d->m, &budget),
                                     .begun = o->strides == 0,
                                     .start_bits =
                                         d->by_item ? sb_items_step(&d->items, start) : start,
                                     .strides = o->strides,
                                     .most_trades = o->trades,
                                     .first_share = o->first_share,
                                     .least_share = o->least_share};
  SB_AGREE(d->m->world, sb_alloc(&bits, moved->count, 1, "bits of the blocks"));
  sb_status status = begin_bits(d, mine, options.budget, options.begun && !resumes, bits);
  SB_THEN(sb_search(d->m->world, moved, &options, &hooks, bits, &d->result->search));
  sb_free(&bits);
  return status;
}

/* Collective. */
static sb_status make_items(driver *d, const sb_owned *mine) {
  const size_t count = mine->blocks.count;
  d->by_item = d->o->scope != SB_WIDTH_OF_BLOCK;
  if (!d->by_item) return SB_OK;
  SB_TRY(sb_items_create(d->m, mine, d->o->scope, d->o->widths, &d->items));
  sb_status status = sb_alloc(&d->bits, count, 1, "bits of the blocks");
  SB_THEN(sb_alloc(&d->raise, count, sizeof *d->raise, "predicted gains"));
  SB_THEN(sb_alloc(&d->cut, count, sizeof *d->cut, "predicted gains"));
  return sb_world_agree(d->m->world, status);
}

size_t sb_allocate_bytes(const sb_sizes *z, bool from_costs) {
  const size_t blocks = z->owned, begin = from_costs ? sb_choose_blocks_bytes(blocks) : 0;
  return sb_owned_bytes(blocks) + blocks + sb_max_size(begin, sb_search_bytes(blocks));
}

sb_status sb_allocate(sb_model *m, sb_backend *backend, const sb_sequences *calibration,
                      const sb_allocate_options *o, sb_allocate_result *result) {
  driver d = {.m = m, .o = o, .result = result};
  sb_owned mine = {0};
  sb_status status;
  *result = (sb_allocate_result){0};
  const sb_budget budget = budget_of(o);
  SB_TRY(sb_budget_check(&m->arch, &m->blocking, m->orders.mode, &budget));
  sb_pass_setup setup = sb_sequences_setup(calibration, m, backend, o->activation_bytes, o->ticker);
  setup.gradients = true;
  setup.divergence = o->estimator == SB_ESTIMATOR_DIVERGENCE;
  status = sb_world_agree(m->world, sb_owned_create(m, o->min_bits, o->max_bits, &mine));
  SB_THEN(make_items(&d, &mine));
  SB_THEN(sb_pass_create(&setup, &d.pass));
  if (status == SB_OK && o->checkpoint) status = make_key(&d, backend, calibration);
  if (status == SB_OK && o->check) {
    sb_pass_setup check = sb_sequences_setup(o->check, m, backend, o->activation_bytes, o->ticker);
    check.divergence = setup.divergence;
    status = sb_pass_create(&check, &d.check);
  }
  SB_THEN(sb_gains_create(m, backend, o->estimator, o->min_bits, o->max_bits, o->strides == 0,
                          &d.gains));
  SB_THEN(search(&d, &mine));
  if (status == SB_OK) result->score_seconds = sb_gains_seconds(d.gains);
  sb_gains_free(&d.gains);
  sb_pass_free(&d.pass);
  sb_pass_free(&d.check);
  sb_owned_free(&mine);
  sb_items_free(&d.items);
  sb_free(&d.bits);
  sb_free(&d.raise);
  sb_free(&d.cut);
  return status;
}
