#include "alloc/choose_items.h"

#include <math.h>

#include "base/memory.h"
#include "mpi/exact.h"
#include "mpi/large.h"

/* Sums over the blocks of every item of all parts, on every rank. */
typedef struct sums {
  const sb_item_part *parts;
  size_t part_count;
  size_t first[SB_CHOOSE_PARTS + 1]; /* number of the first item of each part */
  size_t count;                      /* of items */
  uint64_t (*cost)[SB_WIDTHS];
  double (*loss)[SB_WIDTHS];
  sb_exact (*sum)[SB_WIDTHS];
  uint64_t *id;
  uint8_t *bits;
} sums;

static void sums_free(sums *s) {
  sb_free(&s->cost);
  sb_free(&s->loss);
  sb_free(&s->sum);
  sb_free(&s->id);
  sb_free(&s->bits);
}

static sb_status sums_create(const sb_item_part *parts, size_t count, sums *s) {
  *s = (sums){.parts = parts, .part_count = count};
  for (size_t p = 0; p < count; p++) s->first[p + 1] = s->count += parts[p].items;
  SB_TRY(sb_alloc(&s->cost, s->count, sizeof *s->cost, "sums over matrices"));
  SB_TRY(sb_alloc(&s->loss, s->count, sizeof *s->loss, "sums over matrices"));
  SB_TRY(sb_alloc(&s->sum, s->count, sizeof *s->sum, "sums over matrices"));
  SB_TRY(sb_alloc(&s->id, s->count, sizeof *s->id, "sums over matrices"));
  SB_TRY(sb_alloc(&s->bits, s->count, 1, "bits of the matrices"));
  for (size_t m = 0; m < s->count; m++) s->id[m] = m;
  return SB_OK;
}

static const sb_item_part *part_of(const sums *s, size_t item) {
  size_t p = 0;
  while (item >= s->first[p + 1]) p++;
  return &s->parts[p];
}

static bool is_legal(const sb_item_part *p, unsigned bits) {
  return bits >= p->blocks->min_bits && bits <= p->blocks->max_bits && p->widths >> bits & 1u;
}

static unsigned end_of(const sb_item_part *p, bool last) {
  unsigned bits = last ? p->blocks->max_bits : p->blocks->min_bits;
  while (!is_legal(p, bits)) bits = last ? bits - 1 : bits + 1;
  return bits;
}

static sb_status check(const sums *s) {
  for (size_t k = 0; k < s->part_count; k++) {
    const sb_item_part *p = &s->parts[k];
    bool any = false;
    for (unsigned bits = p->blocks->min_bits; bits <= p->blocks->max_bits; bits++)
      any = any || is_legal(p, bits);
    if (!any) return sb_fail(SB_ERR_INTERNAL, "no widths to choose from");
    for (size_t i = 0; i < p->blocks->count; i++)
      if (p->item[i] >= p->items)
        return sb_fail(SB_ERR_INTERNAL, "block %llu is of matrix %u of %zu",
                       (unsigned long long)p->blocks->id[i], p->item[i], p->items);
    SB_TRY(sb_choose_check(p->blocks, p->losses));
  }
  return SB_OK;
}

static sb_status add_blocks(sums *s, double unit) {
  for (size_t k = 0; k < s->part_count; k++) {
    const sb_item_part *p = &s->parts[k];
    const sb_blocks *b = p->blocks;
    for (size_t i = 0; i < b->count; i++)
      for (unsigned bits = b->min_bits; bits <= b->max_bits; bits++) {
        const size_t m = s->first[k] + p->item[i];
        s->cost[m][bits] += sb_blocks_cost(b, i, bits);
        SB_TRY(sb_exact_add(&s->sum[m][bits], p->losses[i][bits] / unit));
      }
  }
  return SB_OK;
}

/* Losses and costs of the items, on every rank; INFINITY for widths that may not be chosen.
 * Collective. */
static sb_status add_up(const sb_world *world, sums *s) {
  double largest = 0, unit;
  for (size_t k = 0; k < s->part_count; k++) {
    const sb_blocks *b = s->parts[k].blocks;
    for (size_t i = 0; i < b->count; i++)
      for (unsigned bits = b->min_bits; bits <= b->max_bits; bits++)
        largest = fmax(largest, fabs(s->parts[k].losses[i][bits]));
  }
  SB_TRY(sb_exact_unit(largest, world->comm, &unit));
  SB_AGREE(world, add_blocks(s, unit));
  SB_TRY(sb_mpi_sum_u64(&s->cost[0][0], s->count * SB_WIDTHS, world->comm));
  SB_TRY(sb_exact_allreduce(&s->sum[0][0], s->count * SB_WIDTHS, world->comm));
  for (size_t m = 0; m < s->count; m++) {
    const sb_item_part *p = part_of(s, m);
    for (unsigned bits = p->blocks->min_bits; bits <= p->blocks->max_bits; bits++)
      s->loss[m][bits] =
          is_legal(p, bits) ? sb_exact_value(&s->sum[m][bits]) * unit : (double)INFINITY;
  }
  return SB_OK;
}

/* Narrow blocks hold more at 1 bit than at 2. */
static unsigned least_of(const sums *s, size_t m) {
  const sb_item_part *p = part_of(s, m);
  const unsigned least = end_of(p, false);
  return least == 1 && is_legal(p, 2) && s->cost[m][2] <= s->cost[m][1] ? 2 : least;
}

static unsigned widths(const sums *s, size_t m, sb_choice *out, uint8_t *width) {
  return sb_choose_options(s->cost[m], s->loss[m], least_of(s, m), part_of(s, m)->blocks->max_bits,
                           out, width);
}

static unsigned choices(void *context, size_t m, sb_choice *out) {
  uint8_t width[SB_CHOICES];
  return widths(context, m, out, width);
}

/* Rank 0 brings all items, the others none. Collective. */
static sb_status solve(const sb_world *world, sums *s, uint64_t budget, sb_choose_result *result) {
  const sb_knapsack items = {world->rank == 0 ? s->count : 0, s->id, SB_CHOICES, s, choices};
  sb_knapsack_result solved;
  sb_choice c[SB_CHOICES];
  uint8_t width[SB_CHOICES];
  uint64_t least = 0, most = 0;
  for (size_t m = 0; m < s->count; m++) {
    least += s->cost[m][least_of(s, m)];
    most += s->cost[m][end_of(part_of(s, m), true)];
  }
  SB_TRY(sb_blocks_check_budget(budget, least, most, "matrix", end_of(&s->parts[0], false)));
  SB_TRY(sb_knapsack_solve(world, &items, budget, s->bits, &solved));
  SB_TRY(sb_knapsack_loss(world, &items, s->bits, &result->loss));
  result->storage = solved.cost;
  result->gap = solved.gap;
  result->price = solved.price;
  for (size_t m = 0; world->rank == 0 && m < s->count; m++) {
    widths(s, m, c, width);
    s->bits[m] = width[s->bits[m]];
  }
  return sb_mpi_bcast(s->bits, s->count, 0, world->comm);
}

/* Each item by itself, equal on all ranks. Local. */
static void take_at_price(sums *s, double price, sb_choose_result *result) {
  for (size_t m = 0; m < s->count; m++) {
    sb_choice c[SB_CHOICES];
    uint8_t width[SB_CHOICES];
    const unsigned count = widths(s, m, c, width);
    unsigned best = 0;
    for (unsigned k = 1; k < count; k++)
      if (c[k].loss + price * (double)(c[k].cost - c[best].cost) <= c[best].loss) best = k;
    s->bits[m] = width[best];
    result->storage += c[best].cost;
    result->loss += c[best].loss;
  }
  result->price = price;
}

static void hand_out(const sums *s) {
  for (size_t k = 0; k < s->part_count; k++)
    for (size_t i = 0; i < s->parts[k].blocks->count; i++)
      s->parts[k].bits[i] = s->bits[s->first[k] + s->parts[k].item[i]];
}

static sb_status prepare(const sb_world *world, const sb_item_part *parts, size_t count, sums *s) {
  sb_status status = count <= SB_CHOOSE_PARTS
                         ? sums_create(parts, count, s)
                         : sb_fail(SB_ERR_INTERNAL, "%zu parts of a choice", count);
  SB_THEN(check(s));
  status = sb_world_agree(world, status);
  SB_THEN(add_up(world, s));
  return status;
}

sb_status sb_choose_items(const sb_world *world, const sb_item_part *parts, size_t count,
                          uint64_t budget, sb_choose_result *result) {
  sums s = {0};
  *result = (sb_choose_result){0};
  sb_status status = prepare(world, parts, count, &s);
  SB_THEN(solve(world, &s, budget, result));
  if (status == SB_OK) hand_out(&s);
  sums_free(&s);
  return status;
}

sb_status sb_choose_items_at_price(const sb_world *world, const sb_item_part *part, double price,
                                   sb_choose_result *result) {
  sums s = {0};
  *result = (sb_choose_result){0};
  const sb_status status = prepare(world, part, 1, &s);
  if (status == SB_OK) {
    take_at_price(&s, price, result);
    hand_out(&s);
  }
  sums_free(&s);
  return status;
}
