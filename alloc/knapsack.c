#include "alloc/knapsack.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/core.h"
#include "base/memory.h"
#include "mpi/exact.h"
#include "mpi/large.h"
#include "mpi/select.h"

enum { CORE = 128, ROUNDS = 8, CHOICE_BITS = 3 };

/* Steps of items from where they stand, in the order of the items, and of the choices within one. A
 * step's id is the item's and the choice it leads to, so the order among equals is by item, and
 * within an item the order of the steps. */
typedef struct steps {
  size_t count;
  uint64_t *key, *id, *weight;
} steps;

static void steps_free(steps *x) {
  sb_free(&x->key);
  sb_free(&x->id);
  sb_free(&x->weight);
}

static sb_status steps_create(steps *x, size_t room) {
  SB_TRY(sb_alloc_raw(&x->key, room, sizeof *x->key, "steps of the allocation"));
  SB_TRY(sb_alloc_raw(&x->id, room, sizeof *x->id, "steps of the allocation"));
  return sb_alloc_raw(&x->weight, room, sizeof *x->weight, "steps of the allocation");
}

typedef struct solver {
  const sb_world *world;
  const sb_knapsack *k;
  uint8_t *chosen;
  uint64_t least; /* cost of the cheapest choices, over all ranks */
  uint64_t most;  /* budget above that: no item can have more */
  uint64_t room;  /* what the choices leave of it */
  steps x;
  size_t *open; /* items that the rounds of the fill still look at; NULL: all */
  size_t open_count;
  double price; /* loss that the first step left out would have saved a bit; 0 where none is */
  double gap;   /* to the relaxation, whose loss is below any solution's */
} solver;

typedef struct hull_step {
  unsigned to;
  uint64_t weight;
  double density;
} hull_step;

/* Of the choices that cost the same as `from`, the one to stand at: the least loss,
 * of equals the last. */
static unsigned best_of_cost(const sb_choice *c, unsigned n, unsigned from) {
  unsigned best = from;
  for (unsigned j = from + 1; j < n && c[j].cost == c[from].cost; j++)
    if (c[j].loss <= c[best].loss) best = j;
  return best;
}

/* The steps along the lower hull of the choices from `from` on that cost at most `room` more. */
static unsigned hull_of(const sb_choice *c, unsigned n, unsigned from, uint64_t room,
                        hull_step *out) {
  unsigned count = 0;
  for (unsigned j = from + 1; j < n && c[j].cost - c[from].cost <= room; j++)
    for (;;) {
      const unsigned before = count ? out[count - 1].to : from;
      const double saved = c[before].loss - c[j].loss;
      const uint64_t weight = c[j].cost - c[before].cost;
      if (saved < 0 || (weight == 0 && count == 0)) break;
      const double density = weight ? saved / (double)weight : INFINITY;
      if (count > 0 &&
          density > out[count - 1].density) { /* over the hull, or no better at the same cost */
        count--;
        continue;
      }
      out[count++] = (hull_step){j, weight, density};
      break;
    }
  return count;
}

/* The choices of item i that the budget carries at all. */
static unsigned choices_of(const solver *s, size_t i, sb_choice *c) {
  unsigned n = s->k->choices(s->k->context, i, c);
  while (n > 1 && c[n - 1].cost - c[0].cost > s->most) n--;
  return n;
}

static sb_status check_item(const solver *s, size_t i, const sb_choice *c, unsigned n) {
  bool good = n >= 1 && n <= s->k->most && s->k->most <= SB_CHOICES && s->k->id[i] >> 60 == 0;
  for (unsigned j = 0; good && j < n; j++)
    good = isfinite(c[j].loss) && (j == 0 || c[j].cost >= c[j - 1].cost);
  return good ? SB_OK
              : sb_fail(
                    SB_ERR_INTERNAL,
                    "allocation: the choices of item %llu are not ordered by cost, or not finite",
                    (unsigned long long)s->k->id[i]);
}

/* Everything at its cheapest choice. Collective. */
static sb_status start(solver *s, uint64_t budget) {
  sb_choice c[SB_CHOICES];
  sb_status status = steps_create(&s->x, s->k->count * (s->k->most - 1));
  for (size_t i = 0; status == SB_OK && i < s->k->count; i++) {
    const unsigned n = s->k->choices(s->k->context, i, c);
    status = check_item(s, i, c, n);
    if (status != SB_OK) break;
    s->chosen[i] = (uint8_t)best_of_cost(c, n, 0);
    s->least += c[0].cost;
  }
  SB_AGREE(s->world, status);
  SB_TRY(sb_mpi_sum_u64(&s->least, 1, s->world->comm));
  s->most = s->room = budget > s->least ? budget - s->least : 0;
  return SB_OK;
}

static void list_item(solver *s, size_t i) {
  sb_choice c[SB_CHOICES];
  hull_step h[SB_CHOICES];
  const unsigned n = choices_of(s, i, c), count = hull_of(c, n, s->chosen[i], s->room, h);
  for (unsigned j = 0; j < count; j++) {
    s->x.key[s->x.count] = sb_select_key(h[j].density);
    s->x.id[s->x.count] = s->k->id[i] << CHOICE_BITS | h[j].to;
    s->x.weight[s->x.count++] = h[j].weight;
  }
}

static void list_steps(solver *s) {
  const size_t count = s->open ? s->open_count : s->k->count;
  s->x.count = 0;
  for (size_t i = 0; i < count; i++) list_item(s, s->open ? s->open[i] : i);
}

/* Index of the item of a step; `from` is that of the step before. */
static size_t item_of(const solver *s, uint64_t step, size_t from) {
  while (s->k->id[from] != step >> CHOICE_BITS) from++;
  return from;
}

/* Takes the best steps up to the first that does not fit. *saved: the loss they save, as a multiple
 * of `unit`; may be NULL. Collective. */
static sb_status take_best(solver *s, double unit, sb_exact *saved, sb_selection *cut) {
  sb_choice c[SB_CHOICES];
  sb_status status = SB_OK;
  size_t i = 0;
  list_steps(s);
  SB_TRY(
      sb_select_prefix(s->x.key, s->x.id, s->x.weight, s->x.count, s->room, s->world->comm, cut));
  for (size_t k = 0; k < s->x.count; k++) {
    if (!sb_selection_takes(cut, s->x.key[k], s->x.id[k])) continue;
    const unsigned to = s->x.id[k] & ((1u << CHOICE_BITS) - 1);
    i = item_of(s, s->x.id[k], i);
    if (saved) {
      s->k->choices(s->k->context, i, c);
      const sb_status added = sb_exact_add(saved, (c[s->chosen[i]].loss - c[to].loss) / unit);
      SB_THEN(added);
    }
    s->chosen[i] = (uint8_t)to;
  }
  s->room -= cut->taken_weight;
  return sb_world_agree(s->world, status);
}

/* Items with steps that fit: no other will have one, because the room only shrinks. Local. */
static sb_status remember_open(solver *s) {
  size_t items = 0, i = 0, n = 0;
  for (size_t k = 0; k < s->x.count; k++)
    items += k == 0 || s->x.id[k] >> CHOICE_BITS != s->x.id[k - 1] >> CHOICE_BITS;
  SB_TRY(sb_alloc_raw(&s->open, items, sizeof *s->open, "steps of the allocation"));
  for (size_t k = 0; k < s->x.count; k++) {
    if (k > 0 && s->x.id[k] >> CHOICE_BITS == s->x.id[k - 1] >> CHOICE_BITS) continue;
    s->open[n++] = i = item_of(s, s->x.id[k], i);
  }
  s->open_count = n;
  return SB_OK;
}

/* Spends the room on steps that fit into it. *saved is what they save of the loss, added in units
 * of `unit` so that sums are in range. Every round takes at least one step, as long as there is
 * any. Collective. */
static sb_status fill(solver *s, double unit, double *saved) {
  sb_exact sum = {0};
  sb_status status = SB_OK;
  sb_selection cut = {.taken_count = 1};
  for (int round = 0; round < ROUNDS && s->room > 0 && cut.taken_count > 0; round++) {
    SB_GO(take_best(s, unit, &sum, &cut));
    if (round == 0) SB_GO(sb_world_agree(s->world, remember_open(s)));
  }
  SB_GO(sb_exact_allreduce(&sum, 1, s->world->comm));
  *saved = sb_exact_value(&sum) * unit;
done:
  sb_free(&s->open);
  return status;
}

/* Regret of the second best choice of an item that stands at its best one; infinite where there is
 * no other. */
static double second_regret(const solver *s, const sb_choice *c, unsigned n, unsigned at) {
  double least = INFINITY;
  for (unsigned j = 0; j < n; j++)
    if (j != at) {
      const double cost = (double)(int64_t)(c[j].cost - c[at].cost);
      least = fmin(least, c[j].loss - c[at].loss + s->price * cost);
    }
  return least;
}

/* The items with the nearest second best choices, of those that can take part in a better solution.
 * The steps' arrays hold them meanwhile. Collective. */
static sb_status nearest(solver *s, const uint8_t *base, sb_selection *cut) {
  sb_choice c[SB_CHOICES];
  s->x.count = 0;
  for (size_t i = 0; i < s->k->count; i++) {
    const unsigned n = choices_of(s, i, c);
    const double regret = second_regret(s, c, n, base[i]);
    if (!(regret < s->gap)) continue;
    s->x.key[s->x.count] = sb_select_key(-regret);
    s->x.id[s->x.count] = s->k->id[i] << CHOICE_BITS;
    s->x.weight[s->x.count++] = 1;
  }
  return sb_select_prefix(s->x.key, s->x.id, s->x.weight, s->x.count, CORE, s->world->comm, cut);
}

static int by_regret(const void *a, const void *b) {
  const sb_core_member *x = a, *y = b;
  if (x->regret != y->regret) return x->regret < y->regret ? -1 : 1;
  return x->id < y->id ? -1 : x->id > y->id;
}

/* All members on every rank, in one order. Collective. */
static sb_status gather(const solver *s, const uint8_t *base, const sb_selection *cut,
                        sb_core_member *all) {
  sb_core_member mine[CORE];
  size_t own = 0, i = 0, *starts = NULL;
  uint64_t *counts = NULL;
  sb_status status;
  memset(mine, 0, sizeof mine); /* padding travels too */
  for (size_t k = 0; k < s->x.count && own < CORE; k++) {
    if (!sb_selection_takes(cut, s->x.key[k], s->x.id[k])) continue;
    sb_core_member *m = &mine[own++];
    i = item_of(s, s->x.id[k], i);
    m->id = s->k->id[i];
    m->count = choices_of(s, i, m->choices);
    m->at = base[i];
    m->regret = second_regret(s, m->choices, m->count, m->at);
  }
  SB_GO(sb_alloc(&counts, (size_t)s->world->size, sizeof *counts, "the core of the allocation"));
  SB_GO(
      sb_alloc(&starts, (size_t)s->world->size + 1, sizeof *starts, "the core of the allocation"));
done:
  status = sb_world_agree(s->world, status);
  if (status == SB_OK) {
    counts[s->world->rank] = own;
    status = sb_mpi_sum_u64(counts, (size_t)s->world->size, s->world->comm);
  }
  if (status == SB_OK) {
    for (int r = 0; r < s->world->size; r++) starts[r + 1] = starts[r] + counts[r] * sizeof *all;
    status = sb_mpi_allgather_bytes(all, mine, starts, s->world->comm);
  }
  if (status == SB_OK) qsort(all, cut->taken_count, sizeof *all, by_regret);
  sb_free(&counts);
  sb_free(&starts);
  return status;
}

/* Makes the core's choices this rank's where they are better than what the fill has saved: the
 * other items go back to `base`. Collective; every rank solves the same core. */
static sb_status improve(solver *s, const uint8_t *base, uint64_t room, double *saved,
                         bool *better) {
  sb_core_member all[CORE];
  uint8_t chosen[CORE];
  sb_selection cut;
  double most = *saved;
  int64_t used = 0;
  SB_TRY(nearest(s, base, &cut));
  *better = false;
  if (cut.taken_count == 0) return SB_OK;
  SB_TRY(gather(s, base, &cut, all));
  SB_AGREE(s->world, sb_core_solve(all, cut.taken_count, s->price, room, chosen, &most, &used));
  if (!(most > *saved)) return SB_OK;
  memcpy(s->chosen, base, s->k->count);
  for (size_t k = 0; k < cut.taken_count; k++) {
    size_t low = 0, high = s->k->count;
    while (low < high) {
      const size_t middle = (low + high) / 2;
      if (s->k->id[middle] < all[k].id)
        low = middle + 1;
      else
        high = middle;
    }
    if (low < s->k->count && s->k->id[low] == all[k].id) s->chosen[low] = chosen[k];
  }
  s->room = room - (uint64_t)used;
  *saved = most;
  *better = true;
  return SB_OK;
}

/* From the relaxation's choices on: the fill, the core, and a fill of
 * what that leaves. Collective. */
static sb_status round_up(solver *s, const uint8_t *base) {
  const uint64_t room = s->room;
  const double relaxed = s->price * (double)room; /* what the relaxation saves with the room */
  double saved = 0, more = 0;
  bool better = false;
  SB_TRY(fill(s, relaxed > 0 ? relaxed : 1, &saved));
  s->gap = fmax(relaxed - saved, 0);
  if (!(s->gap > 0)) return SB_OK;
  SB_TRY(improve(s, base, room, &saved, &better));
  if (better) SB_TRY(fill(s, relaxed, &more));
  s->gap = fmax(relaxed - saved - more, 0);
  return SB_OK;
}

static sb_status solve(solver *s, uint64_t budget) {
  sb_selection cut;
  uint8_t *base = NULL;
  sb_status status;
  SB_TRY(start(s, budget));
  if (s->room == 0) return SB_OK;
  SB_TRY(take_best(s, 1, NULL, &cut));
  if (cut.all || s->room == 0) return SB_OK;
  s->price = sb_select_value(cut.key);
  SB_AGREE(s->world, sb_alloc_raw(&base, s->k->count, 1, "choices"));
  memcpy(base, s->chosen, s->k->count);
  status = round_up(s, base);
  sb_free(&base);
  return status;
}

size_t sb_knapsack_bytes(size_t count, unsigned most) {
  const steps x = {0};
  const size_t step = sizeof *x.key + sizeof *x.id + sizeof *x.weight;
  /* beside steps: the choices of the relaxation, and the items that are still open */
  return count * ((most - 1) * step + 1 + sizeof(size_t)) + sb_core_bytes(CORE);
}

sb_status sb_knapsack_solve(const sb_world *world, const sb_knapsack *k, uint64_t budget,
                            uint8_t *chosen, sb_knapsack_result *result) {
  solver s = {.world = world, .k = k, .chosen = chosen};
  const sb_status status = solve(&s, budget);
  *result = (sb_knapsack_result){s.least + (s.most - s.room), s.gap, s.price};
  steps_free(&s.x);
  return status;
}

sb_status sb_knapsack_loss(const sb_world *world, const sb_knapsack *k, const uint8_t *chosen,
                           double *loss) {
  sb_choice c[SB_CHOICES];
  sb_exact sum = {0};
  sb_status status = SB_OK;
  double largest = 0, unit;
  for (size_t i = 0; i < k->count; i++) {
    k->choices(k->context, i, c);
    largest = fmax(largest, fabs(c[chosen[i]].loss));
  }
  SB_TRY(sb_exact_unit(largest, world->comm, &unit));
  for (size_t i = 0; i < k->count && status == SB_OK; i++) {
    k->choices(k->context, i, c);
    status = sb_exact_add(&sum, c[chosen[i]].loss / unit);
  }
  SB_AGREE(world, status);
  SB_TRY(sb_exact_allreduce(&sum, 1, world->comm));
  *loss = sb_exact_value(&sum) * unit;
  return SB_OK;
}
