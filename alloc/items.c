#include "alloc/items.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "model/ties.h"
#include "mpi/exact.h"
#include "mpi/large.h"

sb_status sb_items_number(const sb_model *m, const sb_owned *owned, sb_width_scope scope,
                          uint32_t **item, size_t *count) {
  uint32_t *of_matrix = NULL;
  sb_status status = sb_alloc(&of_matrix, m->arch.matrix_count, sizeof *of_matrix, "matrices");
  SB_THEN(sb_alloc(item, owned->blocks.count, sizeof **item, "blocks"));
  if (status == SB_OK) {
    *count = sb_items_of(&m->arch, scope, of_matrix);
    for (size_t i = 0; i < owned->blocks.count; i++) (*item)[i] = of_matrix[owned->matrix[i]];
  }
  sb_free(&of_matrix);
  return status;
}

static sb_status allocate(sb_items *t, sb_width_scope scope) {
  SB_TRY(sb_items_number(t->model, t->owned, scope, &t->item, &t->count));
  SB_TRY(sb_alloc(&t->costs, t->count, sizeof *t->costs, "items"));
  SB_TRY(sb_alloc(&t->id, t->count, sizeof *t->id, "items"));
  SB_TRY(sb_alloc(&t->of_item, t->count, 1, "items"));
  return t->steps > 0 ? SB_OK : sb_fail(SB_ERR_INTERNAL, "no widths to choose from");
}

sb_status sb_items_create(const sb_model *m, const sb_owned *owned, sb_width_scope scope,
                          sb_width_set widths, sb_items *out) {
  const sb_blocks *b = &owned->blocks;
  *out = (sb_items){.model = m, .owned = owned};
  for (unsigned bits = b->min_bits; bits <= b->max_bits; bits++)
    if (widths >> bits & 1u) out->width[++out->steps] = (uint8_t)bits;
  SB_AGREE(m->world, allocate(out, scope));
  for (size_t i = 0; i < b->count; i++)
    for (unsigned s = 1; s <= out->steps; s++)
      out->costs[out->item[i]][s] += sb_blocks_cost(b, i, out->width[s]);
  SB_TRY(sb_mpi_sum_u64(&out->costs[0][0], out->count * SB_WIDTHS, m->world->comm));
  for (size_t i = 0; i < out->count; i++) out->id[i] = i;
  out->blocks = (sb_blocks){.count = m->world->rank == 0 ? out->count : 0,
                            .id = out->id,
                            .code_kind = b->code_kind,
                            .min_bits = 1,
                            .max_bits = out->steps,
                            .costs = (const uint64_t(*)[SB_WIDTHS])out->costs};
  return SB_OK;
}

void sb_items_free(sb_items *t) {
  sb_free(&t->item);
  sb_free(&t->costs);
  sb_free(&t->id);
  sb_free(&t->of_item);
}

unsigned sb_items_step(const sb_items *t, unsigned bits) {
  unsigned step = 1;
  while (step < t->steps && t->width[step] < bits) step++;
  return step;
}

/* t->of_item = rank 0's steps, on every rank. Collective. */
static sb_status share(sb_items *t, const uint8_t *steps) {
  const sb_world *world = t->model->world;
  if (world->rank == 0) memcpy(t->of_item, steps, t->count);
  return sb_mpi_bcast(t->of_item, t->count, 0, world->comm);
}

sb_status sb_items_spread(sb_items *t, const uint8_t *steps, uint8_t *bits) {
  SB_TRY(share(t, steps));
  for (size_t i = 0; i < t->owned->blocks.count; i++) bits[i] = t->width[t->of_item[t->item[i]]];
  return SB_OK;
}

static sb_status widest_of(sb_items *t, const uint8_t *bits, uint64_t *widest) {
  for (size_t i = 0; i < t->owned->blocks.count; i++) {
    uint64_t *w = &widest[t->item[i]];
    if (bits[i] > *w) *w = bits[i];
  }
  return sb_mpi_max_u64(widest, t->count, t->model->world->comm);
}

sb_status sb_items_gather(sb_items *t, const uint8_t *bits, uint8_t *steps) {
  const sb_world *world = t->model->world;
  uint64_t *widest = NULL;
  SB_AGREE(world, sb_alloc(&widest, t->count, sizeof *widest, "items"));
  const sb_status status = widest_of(t, bits, widest);
  for (size_t i = 0; status == SB_OK && world->rank == 0 && i < t->count; i++)
    steps[i] = (uint8_t)sb_items_step(t, (unsigned)widest[i]);
  sb_free(&widest);
  return status;
}

/* What a move by `bits` more is worth beside one by a single bit; fewer where negative. */
static double factor(int bits) {
  const double power = ldexp(1.0, -2 * bits);
  return bits > 0 ? (1 - power) / 0.75 : (power - 1) / 3;
}

enum { RAISE, CUT, MOVES };

static sb_status add_blocks(const sb_items *t, const double *const gains[MOVES], double unit,
                            sb_exact (*sum)[MOVES]) {
  for (size_t i = 0; i < t->owned->blocks.count; i++)
    for (int move = 0; move < MOVES; move++)
      SB_TRY(sb_exact_add(&sum[t->item[i]][move], gains[move][i] / unit));
  return SB_OK;
}

static sb_status largest_of(const sb_items *t, const double *const gains[MOVES], double *largest) {
  *largest = 0;
  for (size_t i = 0; i < t->owned->blocks.count; i++)
    for (int move = 0; move < MOVES; move++) {
      if (!isfinite(gains[move][i]))
        return sb_fail(SB_ERR_NUMERIC, "the predicted gain of block %llu is not finite",
                       (unsigned long long)t->owned->id[i]);
      *largest = fmax(*largest, fabs(gains[move][i]));
    }
  return SB_OK;
}

static sb_status sum_gains(sb_items *t, const double *const gains[MOVES], sb_exact (*sum)[MOVES],
                           double *unit) {
  const sb_world *world = t->model->world;
  double largest;
  SB_AGREE(world, largest_of(t, gains, &largest));
  SB_TRY(sb_exact_unit(largest, world->comm, unit));
  SB_AGREE(world, add_blocks(t, gains, *unit, sum));
  return sb_exact_allreduce(&sum[0][0], t->count * MOVES, world->comm);
}

sb_status sb_items_gains(sb_items *t, const double *raise, const double *cut, const uint8_t *steps,
                         double *item_raise, double *item_cut) {
  const double *const gains[MOVES] = {[RAISE] = raise, [CUT] = cut};
  const sb_world *world = t->model->world;
  sb_exact(*sum)[MOVES] = NULL;
  double unit = 1;
  SB_AGREE(world, sb_alloc(&sum, t->count, sizeof *sum, "gains of items"));
  const sb_status status = sum_gains(t, gains, sum, &unit);
  for (size_t i = 0; status == SB_OK && world->rank == 0 && i < t->count; i++) {
    const unsigned s = steps[i];
    const int here = t->width[s], up = s < t->steps ? t->width[s + 1] : here,
              down = s > 1 ? t->width[s - 1] : here;
    item_raise[i] = up > here ? sb_exact_value(&sum[i][RAISE]) * unit * factor(up - here) : 0;
    item_cut[i] = down < here ? sb_exact_value(&sum[i][CUT]) * unit * factor(down - here) : 0;
  }
  sb_free(&sum);
  return status;
}
