#include "alloc/choose_matrices.h"

#include <math.h>

#include "base/memory.h"
#include "mpi/exact.h"
#include "mpi/large.h"

/* Sums over the blocks of every matrix, on every rank. */
typedef struct layers {
  const sb_blocks *b;
  size_t count;
  uint64_t (*cost)[SB_WIDTHS];
  double (*loss)[SB_WIDTHS];
  sb_exact (*sum)[SB_WIDTHS];
  uint64_t *id;
  uint8_t *bits;
} layers;

static void layers_free(layers *l) {
  sb_free(&l->cost);
  sb_free(&l->loss);
  sb_free(&l->sum);
  sb_free(&l->id);
  sb_free(&l->bits);
}

static sb_status layers_create(const sb_blocks *b, size_t count, layers *l) {
  *l = (layers){.b = b, .count = count};
  SB_TRY(sb_alloc(&l->cost, count, sizeof *l->cost, "sums over matrices"));
  SB_TRY(sb_alloc(&l->loss, count, sizeof *l->loss, "sums over matrices"));
  SB_TRY(sb_alloc(&l->sum, count, sizeof *l->sum, "sums over matrices"));
  SB_TRY(sb_alloc(&l->id, count, sizeof *l->id, "sums over matrices"));
  SB_TRY(sb_alloc(&l->bits, count, 1, "bits of the matrices"));
  for (size_t m = 0; m < count; m++) l->id[m] = m;
  return SB_OK;
}

static sb_status check(const layers *l, const sb_losses *loss, const uint32_t *matrix) {
  const sb_blocks *b = l->b;
  for (size_t i = 0; i < b->count; i++)
    if (matrix[i] >= l->count)
      return sb_fail(SB_ERR_INTERNAL, "block %llu is of matrix %u of %zu",
                     (unsigned long long)b->id[i], matrix[i], l->count);
  return sb_choose_check(b, loss);
}

static sb_status add_blocks(layers *l, const sb_losses *loss, const uint32_t *matrix, double unit) {
  const sb_blocks *b = l->b;
  for (size_t i = 0; i < b->count; i++)
    for (unsigned bits = b->min_bits; bits <= b->max_bits; bits++) {
      l->cost[matrix[i]][bits] += sb_blocks_cost(b, i, bits);
      SB_TRY(sb_exact_add(&l->sum[matrix[i]][bits], loss[i][bits] / unit));
    }
  return SB_OK;
}

/* Losses and costs of the matrices, on every rank. Collective. */
static sb_status add_up(const sb_world *world, layers *l, const sb_losses *loss,
                        const uint32_t *matrix) {
  const sb_blocks *b = l->b;
  double largest = 0, unit;
  for (size_t i = 0; i < b->count; i++)
    for (unsigned bits = b->min_bits; bits <= b->max_bits; bits++)
      largest = fmax(largest, fabs(loss[i][bits]));
  SB_TRY(sb_exact_unit(largest, world->comm, &unit));
  SB_AGREE(world, add_blocks(l, loss, matrix, unit));
  SB_TRY(sb_mpi_sum_u64(&l->cost[0][0], l->count * SB_WIDTHS, world->comm));
  SB_TRY(sb_exact_allreduce(&l->sum[0][0], l->count * SB_WIDTHS, world->comm));
  for (size_t m = 0; m < l->count; m++)
    for (unsigned bits = b->min_bits; bits <= b->max_bits; bits++)
      l->loss[m][bits] = sb_exact_value(&l->sum[m][bits]) * unit;
  return SB_OK;
}

/* Narrow blocks hold more at 1 bit than at 2. */
static unsigned least_of(const layers *l, size_t m) {
  const unsigned least = l->b->min_bits;
  return least == 1 && l->b->max_bits > 1 && l->cost[m][2] <= l->cost[m][1] ? 2 : least;
}

static unsigned widths(const layers *l, size_t m, sb_choice *out, uint8_t *width) {
  return sb_choose_options(l->cost[m], l->loss[m], least_of(l, m), l->b->max_bits, out, width);
}

static unsigned choices(void *context, size_t m, sb_choice *out) {
  uint8_t width[SB_CHOICES];
  return widths(context, m, out, width);
}

/* Rank 0 brings all matrices, the others none. Collective. */
static sb_status solve(const sb_world *world, layers *l, uint64_t budget,
                       sb_choose_result *result) {
  const sb_knapsack items = {world->rank == 0 ? l->count : 0, l->id, SB_CHOICES, l, choices};
  sb_knapsack_result solved;
  sb_choice c[SB_CHOICES];
  uint8_t width[SB_CHOICES];
  uint64_t least = 0, most = 0;
  for (size_t m = 0; m < l->count; m++) {
    least += l->cost[m][least_of(l, m)];
    most += l->cost[m][l->b->max_bits];
  }
  SB_TRY(sb_blocks_check_budget(budget, least, most, "matrix", l->b->min_bits));
  SB_TRY(sb_knapsack_solve(world, &items, budget, l->bits, &solved));
  SB_TRY(sb_knapsack_loss(world, &items, l->bits, &result->loss));
  result->storage = solved.cost;
  result->gap = solved.gap;
  for (size_t m = 0; world->rank == 0 && m < l->count; m++) {
    widths(l, m, c, width);
    l->bits[m] = width[l->bits[m]];
  }
  return sb_mpi_bcast(l->bits, l->count, 0, world->comm);
}

sb_status sb_choose_matrices(const sb_world *world, const sb_blocks *b, const sb_losses *loss,
                             const uint32_t *matrix, size_t matrices, uint64_t budget,
                             uint8_t *bits, sb_choose_result *result) {
  layers l;
  *result = (sb_choose_result){0};
  sb_status status = layers_create(b, matrices, &l);
  SB_THEN(check(&l, loss, matrix));
  status = sb_world_agree(world, status);
  SB_THEN(add_up(world, &l, loss, matrix));
  SB_THEN(solve(world, &l, budget, result));
  for (size_t i = 0; status == SB_OK && i < b->count; i++) bits[i] = l.bits[matrix[i]];
  layers_free(&l);
  return status;
}
