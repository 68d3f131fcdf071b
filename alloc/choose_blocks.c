#include "alloc/choose_blocks.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "mpi/large.h"

unsigned sb_choose_options(const uint64_t cost[SB_WIDTHS], const double loss[SB_WIDTHS],
                           unsigned least, unsigned most, sb_choice *out, uint8_t *width) {
  unsigned n = 0;
  for (unsigned bits = least; bits <= most; bits++) {
    if (n > 0 && loss[bits] >= out[n - 1].loss) continue;
    out[n] = (sb_choice){cost[bits], loss[bits]};
    width[n++] = (uint8_t)bits;
  }
  return n;
}

/* Most blocks have the shape of the one before: its costs are kept. */
typedef struct table {
  const sb_blocks *b;
  const sb_losses *loss;
  uint16_t rows, cols;
  unsigned least;
  uint64_t cost[SB_WIDTHS];
} table;

static void price(table *t, size_t i) {
  if (t->rows == t->b->rows[i] && t->cols == t->b->cols[i]) return;
  t->rows = t->b->rows[i];
  t->cols = t->b->cols[i];
  t->least = sb_blocks_least(t->b, i);
  for (unsigned bits = t->b->min_bits; bits <= t->b->max_bits; bits++)
    t->cost[bits] = sb_blocks_cost(t->b, i, bits);
}

static unsigned widths(table *t, size_t i, sb_choice *out, uint8_t *width) {
  price(t, i);
  return sb_choose_options(t->cost, t->loss[i], t->least, t->b->max_bits, out, width);
}

sb_status sb_choose_check(const sb_blocks *b, const sb_losses *loss) {
  if (b->min_bits < 1 || b->min_bits > b->max_bits || b->max_bits >= SB_WIDTHS)
    return sb_fail(SB_ERR_INTERNAL, "allocation from a table: widths from %u to %u bits",
                   b->min_bits, b->max_bits);
  for (size_t i = 0; i < b->count; i++)
    for (unsigned bits = b->min_bits; bits <= b->max_bits; bits++)
      if (!isfinite(loss[i][bits]))
        return sb_fail(SB_ERR_NUMERIC,
                       "block %llu: its predicted loss at %u bits is %g; check the model and the "
                       "calibration tokens for "
                       "what makes its statistics overflow",
                       (unsigned long long)b->id[i], bits, loss[i][bits]);
  return SB_OK;
}

/* Items of the knapsack: the blocks of all parts, part after part. */
typedef struct all_parts {
  table of[SB_CHOOSE_PARTS];
  size_t first[SB_CHOOSE_PARTS + 1];
  const sb_choose_part *parts;
  size_t count;
} all_parts;

static unsigned choices(void *context, size_t i, sb_choice *out) {
  all_parts *a = context;
  uint8_t width[SB_CHOICES];
  size_t p = 0;
  while (i >= a->first[p + 1]) p++;
  return widths(&a->of[p], i - a->first[p], out, width);
}

/* Collective. */
static sb_status check_budget(const sb_world *world, const all_parts *a, uint64_t budget) {
  uint64_t least = 0, most = 0;
  for (size_t p = 0; p < a->count; p++) {
    uint64_t low, high;
    SB_TRY(sb_blocks_range(world, a->parts[p].blocks, &low, &high));
    least += low;
    most += high;
  }
  return sb_blocks_check_budget(budget, least, most, "block", a->parts[0].blocks->min_bits);
}

/* Joins the ids of all parts. Local. */
static sb_status begin(all_parts *a, uint64_t **id, uint8_t **chosen) {
  for (size_t p = 0; p < a->count; p++) {
    SB_TRY(sb_choose_check(a->parts[p].blocks, a->parts[p].loss));
    a->of[p] = (table){.b = a->parts[p].blocks, .loss = a->parts[p].loss};
    a->first[p + 1] = a->first[p] + a->parts[p].blocks->count;
  }
  SB_TRY(sb_alloc_raw(id, a->first[a->count], sizeof **id, "blocks"));
  SB_TRY(sb_alloc_raw(chosen, a->first[a->count], 1, "choices"));
  for (size_t p = 0; p < a->count; p++)
    if (a->parts[p].blocks->count > 0)
      memcpy(*id + a->first[p], a->parts[p].blocks->id, a->parts[p].blocks->count * sizeof **id);
  return SB_OK;
}

static void give_bits(all_parts *a, const uint8_t *chosen) {
  sb_choice c[SB_CHOICES];
  uint8_t width[SB_CHOICES];
  for (size_t p = 0; p < a->count; p++)
    for (size_t i = 0; i < a->parts[p].blocks->count; i++) {
      widths(&a->of[p], i, c, width);
      a->parts[p].bits[i] = width[chosen[a->first[p] + i]];
    }
}

sb_status sb_choose_parts(const sb_world *world, const sb_choose_part *parts, size_t count,
                          uint64_t budget, sb_choose_result *result) {
  all_parts a = {.parts = parts, .count = count};
  uint64_t *id = NULL;
  uint8_t *chosen = NULL;
  sb_knapsack_result solved;
  *result = (sb_choose_result){0};
  sb_status status = sb_world_agree(world, begin(&a, &id, &chosen));
  const sb_knapsack items = {a.first[count], id, SB_CHOICES, &a, choices};
  SB_THEN(check_budget(world, &a, budget));
  SB_THEN(sb_knapsack_solve(world, &items, budget, chosen, &solved));
  SB_THEN(sb_knapsack_loss(world, &items, chosen, &result->loss));
  if (status == SB_OK) {
    result->storage = solved.cost;
    result->gap = solved.gap;
    result->price = solved.price;
    give_bits(&a, chosen);
  }
  sb_free(&id);
  sb_free(&chosen);
  return status;
}

sb_status sb_choose_blocks(const sb_world *world, const sb_blocks *b, const sb_losses *loss,
                           uint64_t budget, uint8_t *bits, sb_choose_result *result) {
  const sb_choose_part all = {b, loss, bits};
  return sb_choose_parts(world, &all, 1, budget, result);
}

size_t sb_choose_blocks_bytes(size_t count) {
  return count * (sizeof(uint64_t) + 1) + sb_knapsack_bytes(count, SB_CHOICES);
}

sb_status sb_choose_at_price(const sb_world *world, const sb_blocks *b, const sb_losses *loss,
                             double price, uint8_t *bits, sb_choose_result *result) {
  table t = {.b = b, .loss = loss};
  all_parts a = {.of = {t}, .first = {0, b->count}, .count = 1};
  const sb_knapsack items = {b->count, b->id, SB_CHOICES, &a, choices};
  sb_choice c[SB_CHOICES];
  uint8_t width[SB_CHOICES];
  *result = (sb_choose_result){.price = price};
  SB_AGREE(world, sb_choose_check(b, loss));
  for (size_t i = 0; i < b->count; i++) {
    const unsigned n = widths(&t, i, c, width);
    unsigned best = 0;
    for (unsigned k = 1; k < n; k++)
      if (c[k].loss + price * (double)(c[k].cost - c[best].cost) <= c[best].loss) best = k;
    bits[i] = (uint8_t)best;
    result->storage += c[best].cost;
  }
  SB_TRY(sb_knapsack_loss(world, &items, bits, &result->loss));
  for (size_t i = 0; i < b->count; i++) {
    widths(&t, i, c, width);
    bits[i] = width[bits[i]];
  }
  return sb_mpi_sum_u64(&result->storage, 1, world->comm);
}
