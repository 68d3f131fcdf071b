#include "alloc/greedy.h"

#include <math.h>
#include <string.h>

#include "alloc/knapsack.h"
#include "base/log.h"
#include "base/memory.h"
#include "mpi/exact.h"
#include "mpi/large.h"
#include "mpi/select.h"

enum { CHOICES = 3 }; /* of a block in a step: a bit less, as it is, a bit more */

/* A list of moves to choose from. */
typedef struct items {
  size_t count;
  uint64_t *key, *id, *weight;
  size_t *block; /* index on this rank */
} items;

static void items_free(items *x) {
  sb_free(&x->key);
  sb_free(&x->id);
  sb_free(&x->weight);
  sb_free(&x->block);
}

static sb_status items_create(items *x, size_t room) {
  memset(x, 0, sizeof *x);
  SB_TRY(sb_alloc_raw(&x->key, room, sizeof *x->key, "candidate moves"));
  SB_TRY(sb_alloc_raw(&x->id, room, sizeof *x->id, "candidate moves"));
  SB_TRY(sb_alloc_raw(&x->weight, room, sizeof *x->weight, "candidate moves"));
  return sb_alloc_raw(&x->block, room, sizeof *x->block, "candidate moves");
}

static void items_add(items *x, double density, uint64_t id, uint64_t weight, size_t block) {
  x->key[x->count] = sb_select_key(density);
  x->id[x->count] = id;
  x->weight[x->count] = weight;
  x->block[x->count] = block;
  x->count++;
}

typedef struct step {
  const sb_world *world;
  const sb_blocks *b;
  const double *gain, *loss;
  uint8_t *bits;        /* the result in the making */
  const uint8_t *start; /* where the step began */
} step;

static double gain_of(const step *s, size_t i) {
  return s->start[i] < s->b->max_bits ? fmax(s->gain[i], 0.0) : 0.0;
}

/* The weight of one bit more: at least 1 where padding to whole bytes makes it free. */
static uint64_t difference(uint64_t wide, uint64_t narrow) {
  return wide > narrow ? wide - narrow : 1;
}

/* The width that a step may cut block i to: the next one below that takes less storage; its present
 * one where none does. More than one that is too narrow for 1 bit has: its least. In blocks of less
 * than 8 columns neighbouring widths may take the same bytes. */
static unsigned lowest(const step *s, size_t i) {
  const unsigned here = s->start[i];
  if (here > 2 && here > s->b->min_bits &&
      sb_blocks_cost(s->b, i, here - 1) < sb_blocks_cost(s->b, i, here))
    return here - 1;
  const unsigned least = sb_blocks_least(s->b, i);
  if (here <= least) return least;
  unsigned low = here - 1;
  while (low > least && sb_blocks_cost(s->b, i, low) >= sb_blocks_cost(s->b, i, here)) low--;
  return sb_blocks_cost(s->b, i, low) < sb_blocks_cost(s->b, i, here) ? low : here;
}

/* What cutting block i to `low` loses. It is predicted for one bit; the error of rounding is four
 * times as large with each bit less, so k bits lose (4^k - 1) / 3 of that. */
static double loss_of(const step *s, size_t i, unsigned low) {
  const unsigned k = s->start[i] - low;
  return fmax(s->loss[i], 0.0) * (double)(((1u << 2 * k) - 1) / 3);
}

/* What block i may become, with losses from the best it may become. A raise without predicted gain
 * only spends storage. */
static unsigned choices(void *context, size_t i, sb_choice *out) {
  const step *s = context;
  const unsigned here = s->start[i], low = lowest(s, i);
  const double gain = gain_of(s, i);
  unsigned n = 0;
  if (low < here) out[n++] = (sb_choice){sb_blocks_cost(s->b, i, low), gain + loss_of(s, i, low)};
  if (low <= here) out[n++] = (sb_choice){sb_blocks_cost(s->b, i, here), gain};
  if (low > here || gain > 0) {
    const unsigned up = low > here ? low : here + 1;
    out[n++] = (sb_choice){sb_blocks_cost(s->b, i, up), 0};
  }
  return n;
}

/* The width of one of these choices. */
static uint8_t width_of(const step *s, size_t i, unsigned choice) {
  const unsigned here = s->start[i], low = lowest(s, i);
  if (choice == 0) return (uint8_t)low;
  return (uint8_t)(low < here ? here + choice - 1 : here + choice);
}

/* The unbounded step. */
static sb_status fill_budget(step *s, uint64_t budget) {
  const sb_knapsack blocks = {s->b->count, s->b->id, CHOICES, s, choices};
  sb_knapsack_result result;
  SB_TRY(sb_knapsack_solve(s->world, &blocks, budget, s->bits, &result));
  for (size_t i = 0; i < s->b->count; i++) s->bits[i] = width_of(s, i, s->bits[i]);
  return SB_OK;
}

/* Takes raises of blocks that `full` raises too, best first, up to `most` bits of storage. */
static sb_status take_raises(step *s, const uint8_t *full, uint64_t most) {
  items x;
  sb_selection cut;
  sb_status status = items_create(&x, s->b->count);
  for (size_t i = 0; status == SB_OK && i < s->b->count; i++) {
    if (full[i] <= s->start[i]) continue;
    const uint64_t weight =
        difference(sb_blocks_cost(s->b, i, full[i]), sb_blocks_cost(s->b, i, s->start[i]));
    items_add(&x, gain_of(s, i) / (double)weight, s->b->id[i], weight, i);
  }
  status = sb_world_agree(s->world, status);
  SB_THEN(sb_select_prefix(x.key, x.id, x.weight, x.count, most, s->world->comm, &cut));
  for (size_t k = 0; status == SB_OK && k < x.count; k++)
    if (sb_selection_takes(&cut, x.key[k], x.id[k])) s->bits[x.block[k]] = full[x.block[k]];
  items_free(&x);
  return status;
}

/* Keeps as many of the cuttable blocks as the budget carries, best first: the rest, the cheapest,
 * are cut. Cuts that free nothing are not made. */
static sb_status take_cuts(step *s, const uint8_t *full, uint64_t needed) {
  items x;
  sb_selection cut;
  uint64_t all = 0;
  sb_status status = items_create(&x, s->b->count);
  for (size_t i = 0; status == SB_OK && i < s->b->count; i++) {
    if (full[i] >= s->start[i]) continue;
    const uint64_t freed = sb_blocks_cost(s->b, i, s->start[i]) - sb_blocks_cost(s->b, i, full[i]);
    if (freed == 0) continue;
    items_add(&x, loss_of(s, i, full[i]) / (double)freed, s->b->id[i], freed, i);
    all += freed;
  }
  status = sb_world_agree(s->world, status);
  SB_THEN(sb_mpi_sum_u64(&all, 1, s->world->comm));
  SB_THEN(sb_select_prefix(x.key, x.id, x.weight, x.count, all > needed ? all - needed : 0,
                           s->world->comm, &cut));
  for (size_t k = 0; status == SB_OK && k < x.count; k++)
    if (!sb_selection_takes(&cut, x.key[k], x.id[k])) s->bits[x.block[k]] = full[x.block[k]];
  items_free(&x);
  return status;
}

/* The bounded step moves along the same trade as the unbounded one, `full`, but not all the way. */
static sb_status bound(step *s, uint8_t *full, uint64_t budget, uint64_t most) {
  uint64_t storage;
  memcpy(s->bits, s->start, s->b->count);
  SB_TRY(take_raises(s, full, most));
  SB_TRY(sb_blocks_total(s->world, s->b, s->bits, &storage));
  return storage > budget ? take_cuts(s, full, storage - budget) : SB_OK;
}

static sb_status count_moves(const step *s, sb_step_result *out) {
  uint64_t counts[2] = {0, 0};
  sb_exact predicted[2] = {{0}};
  sb_status status = SB_OK;
  for (size_t i = 0; i < s->b->count && status == SB_OK; i++) {
    const bool up = s->bits[i] > s->start[i], down = s->bits[i] < s->start[i];
    counts[0] += up;
    counts[1] += down;
    if (up) status = sb_exact_add(&predicted[0], fmax(s->gain[i], 0.0));
    if (down) status = sb_exact_add(&predicted[1], loss_of(s, i, s->bits[i]));
  }
  SB_AGREE(s->world, status);
  SB_TRY(sb_exact_allreduce(predicted, 2, s->world->comm));
  SB_TRY(sb_mpi_sum_u64(counts, 2, s->world->comm));
  out->raised = counts[0];
  out->cut = counts[1];
  out->gain = sb_exact_value(&predicted[0]);
  out->loss = sb_exact_value(&predicted[1]);
  return sb_blocks_total(s->world, s->b, s->bits, &out->storage);
}

static sb_status check(const sb_blocks *b, const double *gain, const double *loss,
                       const uint8_t *bits) {
  for (size_t i = 0; i < b->count; i++) {
    if (bits[i] < b->min_bits || bits[i] > b->max_bits)
      return sb_fail(SB_ERR_INTERNAL, "block %llu has %u bits; allowed are %u to %u",
                     (unsigned long long)b->id[i], bits[i], b->min_bits, b->max_bits);
    if (!isfinite(gain[i]) || !isfinite(loss[i]))
      return sb_fail(
          SB_ERR_NUMERIC,
          "block %llu: a predicted change of the loss is %g; check the model and the calibration "
          "tokens for what makes its "
          "gradients overflow",
          (unsigned long long)b->id[i], isfinite(gain[i]) ? loss[i] : gain[i]);
  }
  return SB_OK;
}

size_t sb_greedy_step_bytes(size_t count) {
  const items x = {0};
  const size_t item = sizeof *x.key + sizeof *x.id + sizeof *x.weight + sizeof *x.block;
  /* the bits at the start and those of the unbounded step; then one or the other choice */
  return 2 * count + sb_max_size(sb_knapsack_bytes(count, CHOICES), count * item);
}

sb_status sb_greedy_step(const sb_world *world, const sb_blocks *blocks, const double *raise_gain,
                         const double *cut_loss, uint64_t budget, uint64_t most_raised,
                         uint8_t *bits, sb_step_result *result) {
  uint8_t *start = NULL, *full = NULL;
  sb_status status = check(blocks, raise_gain, cut_loss, bits);
  SB_THEN(sb_alloc_raw(&start, blocks->count, 1, "bits of the blocks"));
  SB_THEN(sb_alloc_raw(&full, blocks->count, 1, "bits of the blocks"));
  status = sb_world_agree(world, status);
  if (status == SB_OK) {
    memcpy(start, bits, blocks->count);
    step s = {world, blocks, raise_gain, cut_loss, bits, start};
    status = fill_budget(&s, budget);
    if (status == SB_OK && most_raised != UINT64_MAX) {
      memcpy(full, bits, blocks->count);
      status = bound(&s, full, budget, most_raised);
    }
    SB_THEN(count_moves(&s, result));
    if (status == SB_OK)
      sb_log_debug("greedy", "budget %llu: %llu blocks raised, %llu cut, %llu bits stored",
                   (unsigned long long)budget, (unsigned long long)result->raised,
                   (unsigned long long)result->cut, (unsigned long long)result->storage);
  }
  sb_free(&start);
  sb_free(&full);
  return status;
}
