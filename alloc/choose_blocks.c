#include "alloc/choose_blocks.h"

#include <math.h>

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

static unsigned choices(void *context, size_t i, sb_choice *out) {
  uint8_t width[SB_CHOICES];
  return widths(context, i, out, width);
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

size_t sb_choose_blocks_bytes(size_t count) {
  return sb_knapsack_bytes(count, SB_CHOICES);
}

sb_status sb_choose_blocks(const sb_world *world, const sb_blocks *b, const sb_losses *loss,
                           uint64_t budget, uint8_t *bits, sb_choose_result *result) {
  table t = {.b = b, .loss = loss};
  const sb_knapsack items = {b->count, b->id, SB_CHOICES, &t, choices};
  sb_knapsack_result solved;
  sb_choice c[SB_CHOICES];
  uint8_t width[SB_CHOICES];
  uint64_t least, most;
  *result = (sb_choose_result){0};
  SB_AGREE(world, sb_choose_check(b, loss));
  SB_TRY(sb_blocks_range(world, b, &least, &most));
  SB_TRY(sb_blocks_check_budget(budget, least, most, "block", b->min_bits));
  SB_TRY(sb_knapsack_solve(world, &items, budget, bits, &solved));
  SB_TRY(sb_knapsack_loss(world, &items, bits, &result->loss));
  result->storage = solved.cost;
  result->gap = solved.gap;
  for (size_t i = 0; i < b->count; i++) {
    widths(&t, i, c, width);
    bits[i] = width[bits[i]];
  }
  return SB_OK;
}
