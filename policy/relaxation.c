#include "policy/relaxation.h"

#include <stdbool.h>
#include <stdlib.h>

#include "base/memory.h"

static const char what[] = "the policy's knapsack";

static uint64_t weight_of(const sb_exact_items *items, size_t i, bool most) {
  const sb_exact_choice *c = items->choice + i * items->choices;
  uint64_t weight = c[0].weight;
  for (size_t j = 1; j < items->choices; j++)
    if (most ? c[j].weight > weight : c[j].weight < weight) weight = c[j].weight;
  return weight;
}

uint64_t sb_exact_least(const sb_exact_items *items) {
  uint64_t sum = 0;
  for (size_t i = 0; i < items->count; i++) sum += weight_of(items, i, false);
  return sum;
}

uint64_t sb_exact_most(const sb_exact_items *items) {
  uint64_t sum = 0;
  for (size_t i = 0; i < items->count; i++) sum += weight_of(items, i, true);
  return sum;
}

/* The limits that keep sums within 64 bits and products within 128. */
static sb_status check(const sb_exact_items *items) {
  sb_wide weight = 0, loss = 0;
  bool negative = false;
  for (size_t i = 0; i < items->count; i++) {
    const sb_exact_choice *c = items->choice + i * items->choices;
    int64_t most = 0;
    for (size_t j = 0; j < items->choices; j++) {
      negative |= c[j].loss < 0;
      most = c[j].loss > most ? c[j].loss : most;
    }
    weight += weight_of(items, i, true);
    loss += most;
  }
  if (!negative && weight < (sb_wide)1 << 62 && loss < (sb_wide)1 << 60) return SB_OK;
  return sb_fail(SB_ERR_INTERNAL, "%s: weights or losses are outside their limits", what);
}

/* ---- items and their hulls ---- */

static void sort_choices(sb_relaxed_item *it) {
  for (size_t j = 1; j < it->count; j++)
    for (size_t k = j; k > 0; k--) {
      const sb_exact_choice a = it->choice[k - 1], b = it->choice[k];
      if (a.weight < b.weight || (a.weight == b.weight && a.loss <= b.loss)) break;
      const uint8_t index = it->index[k];
      it->choice[k] = a;
      it->choice[k - 1] = b;
      it->index[k] = it->index[k - 1];
      it->index[k - 1] = index;
    }
}

static void item_create(const sb_exact_items *items, size_t i, sb_relaxed_item *it) {
  size_t kept = 0;
  it->number = i;
  it->count = items->choices;
  for (size_t j = 0; j < items->choices; j++) {
    it->choice[j] = items->choice[i * items->choices + j];
    it->index[j] = (uint8_t)j;
  }
  sort_choices(it);
  for (size_t j = 0; j < it->count; j++)
    if (kept == 0 || it->choice[j].loss < it->choice[kept - 1].loss) {
      it->choice[kept] = it->choice[j];
      it->index[kept++] = it->index[j];
    }
  it->count = kept;
}

static sb_relaxed_step step_between(const sb_relaxed_item *it, size_t from, size_t to) {
  return (sb_relaxed_step){(uint32_t)it->number, (uint8_t)from, (uint8_t)to,
                           it->choice[from].loss - it->choice[to].loss,
                           it->choice[to].weight - it->choice[from].weight};
}

/* Negative where `a` saves more loss per weight. */
static int compare_rates(const sb_relaxed_step *a, const sb_relaxed_step *b) {
  const sb_wide left = (sb_wide)a->saved * (sb_wide)b->heavier,
                right = (sb_wide)b->saved * (sb_wide)a->heavier;
  return (left < right) - (left > right);
}

static int compare_steps(const void *left, const void *right) {
  const sb_relaxed_step *a = left, *b = right;
  const int rates = compare_rates(a, b);
  if (rates) return rates;
  if (a->item != b->item) return a->item < b->item ? -1 : 1;
  return (int)a->from - (int)b->from;
}

/* Appends the steps of an item's lower hull: their rates fall. */
static void add_hull(sb_relaxation *r, const sb_relaxed_item *it) {
  sb_relaxed_step *hull = r->steps + r->step_count;
  size_t n = 0;
  for (size_t to = 1; to < it->count; to++) {
    sb_relaxed_step next = step_between(it, n ? hull[n - 1].to : 0, to);
    while (n > 0 && compare_rates(&next, &hull[n - 1]) <= 0) {
      n--;
      next = step_between(it, hull[n].from, to);
    }
    hull[n++] = next;
  }
  r->step_count += n;
}

/* Takes steps, which sets the choices of the items, the price, the room and the loss. */
static void relax(sb_relaxation *r, uint64_t capacity, uint64_t least) {
  r->room = (int64_t)(capacity - least);
  qsort(r->steps, r->step_count, sizeof *r->steps, compare_steps);
  while (r->taken < r->step_count && r->steps[r->taken].heavier <= (uint64_t)r->room) {
    const sb_relaxed_step *next = &r->steps[r->taken++];
    r->items[next->item].at = next->to;
    r->room -= (int64_t)next->heavier;
  }
  const bool all = r->taken == r->step_count;
  r->p = all ? 0 : r->steps[r->taken].saved;
  r->q = all ? 1 : (sb_wide)r->steps[r->taken].heavier;
  for (size_t i = 0; i < r->count; i++) r->loss += r->items[i].choice[r->items[i].at].loss;
}

static sb_status allocate(const sb_exact_items *items, sb_relaxation *r) {
  const size_t all = items->count * items->choices;
  r->count = items->count;
  SB_TRY(sb_alloc(&r->items, items->count, sizeof *r->items, what));
  SB_TRY(sb_alloc(&r->choice, all, sizeof *r->choice, what));
  SB_TRY(sb_alloc(&r->index, all, 1, what));
  return sb_alloc(&r->steps, all, sizeof *r->steps, what);
}

void sb_relaxation_free(sb_relaxation *r) {
  sb_free(&r->items);
  sb_free(&r->choice);
  sb_free(&r->index);
  sb_free(&r->steps);
}

sb_status sb_relaxation_create(const sb_exact_items *items, uint64_t capacity, sb_relaxation *r) {
  *r = (sb_relaxation){0};
  SB_TRY(check(items));
  const uint64_t least = sb_exact_least(items), most = sb_exact_most(items);
  if (capacity < least)
    return sb_fail(SB_ERR_RANGE, "%s: the least weight is %llu, above the capacity of %llu", what,
                   (unsigned long long)least, (unsigned long long)capacity);
  const sb_status status = allocate(items, r);
  if (status != SB_OK) {
    sb_relaxation_free(r);
    return status;
  }
  for (size_t i = 0; i < items->count; i++) {
    r->items[i].choice = r->choice + i * items->choices;
    r->items[i].index = r->index + i * items->choices;
    item_create(items, i, &r->items[i]);
    add_hull(r, &r->items[i]);
  }
  relax(r, capacity < most ? capacity : most, least);
  return SB_OK;
}

/* ---- what a search asks ---- */

int64_t sb_relaxation_fill(const sb_relaxation *r, uint8_t *at) {
  int64_t room = r->room, loss = 0;
  for (size_t i = 0; i < r->count; i++) at[i] = (uint8_t)r->items[i].at;
  for (size_t k = r->taken; k < r->step_count; k++) {
    const sb_relaxed_step *next = &r->steps[k];
    if (at[next->item] != next->from || next->heavier > (uint64_t)room) continue;
    at[next->item] = next->to;
    room -= (int64_t)next->heavier;
    loss -= next->saved;
  }
  return loss;
}

sb_wide sb_relaxation_regret(const sb_relaxation *r, const sb_relaxed_item *it, size_t j) {
  const sb_wide loss = (sb_wide)it->choice[j].loss - it->choice[it->at].loss;
  const sb_wide weight = (sb_wide)it->choice[j].weight - (sb_wide)it->choice[it->at].weight;
  return r->q * loss + r->p * weight;
}

static int compare_items(const void *left, const void *right) {
  const sb_relaxed_item *a = left, *b = right;
  if (a->count == 1 || b->count == 1)
    if (a->count != b->count) return a->count == 1 ? 1 : -1; /* without a choice: last */
  if (a->regret != b->regret) return a->regret < b->regret ? -1 : 1;
  return a->number < b->number ? -1 : 1;
}

void sb_relaxation_order(sb_relaxation *r) {
  for (size_t i = 0; i < r->count; i++) {
    sb_relaxed_item *it = &r->items[i];
    bool any = false;
    for (size_t j = 0; j < it->count; j++) {
      if (j == it->at) continue;
      const sb_wide regret = sb_relaxation_regret(r, it, j);
      if (!any || regret < it->regret) it->regret = regret;
      any = true;
    }
  }
  qsort(r->items, r->count, sizeof *r->items, compare_items);
}

int64_t sb_relaxation_bound(const sb_relaxation *r, sb_wide regrets) {
  const sb_wide above = regrets - r->p * r->room;
  return (int64_t)(above >= 0 ? (above + r->q - 1) / r->q : above / r->q);
}
