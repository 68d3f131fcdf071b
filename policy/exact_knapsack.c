#include "policy/exact_knapsack.h"

#include <stdbool.h>
#include <stdlib.h>

#include "base/memory.h"

enum { MOST = 1 << 16 };
static const char what[] = "the policy's knapsack";

/* A partial solution: what it weighs and loses more than the relaxation's choices. */
typedef struct state {
  int64_t weight, loss;
  sb_wide regret;
  uint32_t parent; /* in the list before */
  uint8_t choice;
} state;

/* Ascending in weight, falling in loss. */
typedef struct list {
  size_t count, room;
  state *at;
} list;

/* How the states of all lists came to be. */
typedef struct history {
  size_t count, room;
  uint32_t *parent;
  uint8_t *choice;
  size_t *first; /* [items] of the states after that item */
} history;

typedef struct search {
  sb_relaxation relaxed;
  int64_t *relief; /* [items + 1] weight that the items from here on can give back */
  int64_t best;    /* loss of the best solution known, against the relaxation's choices */
  sb_wide dropped; /* least regret of a state that was dropped for want of room */
  bool any_dropped;
  list lists[2];
  history past;
  uint64_t solutions;
} search;

/* ---- dynamic programming ---- */

static sb_status list_reserve(list *l, size_t room) {
  if (room <= l->room) return SB_OK;
  sb_free(&l->at);
  SB_TRY(sb_alloc_raw(&l->at, room, sizeof *l->at, what));
  l->room = room;
  return SB_OK;
}

/* Room for `more` states behind those of the history. */
static sb_status history_reserve(history *h, size_t more) {
  const size_t room = h->count + more;
  if (room <= h->room) return SB_OK;
  const size_t larger = room + h->room; /* at least twice as much */
  uint32_t *parent = realloc(h->parent, larger * sizeof *parent);
  if (parent) h->parent = parent;
  uint8_t *choice = realloc(h->choice, larger);
  if (choice) h->choice = choice;
  if (!parent || !choice)
    return sb_fail(SB_ERR_MEMORY, "%s: no memory for %zu partial solutions", what, larger);
  h->room = larger;
  return SB_OK;
}

/* One choice of the item at hand, as the difference that it makes. */
typedef struct option {
  int64_t weight, loss;
  sb_wide regret;
  size_t head; /* next state of the list before that it is to be added to */
  uint8_t choice;
} option;

static size_t options_of(const search *s, const sb_relaxed_item *it, option *out) {
  const sb_exact_choice here = it->choice[it->at];
  size_t n = 0;
  for (size_t j = 0; j < it->count; j++) {
    const sb_wide regret = sb_relaxation_regret(&s->relaxed, it, j);
    if (j != it->at && sb_relaxation_bound(&s->relaxed, regret) >= s->best) continue;
    out[n++] = (option){(int64_t)(it->choice[j].weight - here.weight),
                        it->choice[j].loss - here.loss, regret, 0, (uint8_t)j};
  }
  return n;
}

/* All states of `from` with all options of item i, merged in the order of weight. A state stays if
 * it can still become better than the best solution known and no lighter one has less loss. */
static void extend(search *s, size_t i, const list *from, list *to) {
  option o[UINT8_MAX];
  const size_t n = options_of(s, &s->relaxed.items[i], o);
  const int64_t heaviest = s->relaxed.room + s->relief[i + 1];
  to->count = 0;
  for (;;) {
    option *next = NULL;
    state t = {0};
    for (size_t j = 0; j < n; j++) {
      if (o[j].head == from->count) continue;
      const state *base = &from->at[o[j].head];
      const int64_t weight = base->weight + o[j].weight, loss = base->loss + o[j].loss;
      if (next && (weight > t.weight || (weight == t.weight && loss >= t.loss))) continue;
      next = &o[j];
      t = (state){weight, loss, base->regret + o[j].regret, (uint32_t)o[j].head, o[j].choice};
    }
    if (!next || t.weight > heaviest) break;
    next->head++;
    s->solutions++;
    if (to->count > 0 && t.loss >= to->at[to->count - 1].loss) continue;
    if (sb_relaxation_bound(&s->relaxed, t.regret) >= s->best) continue;
    to->at[to->count++] = t;
  }
}

/* Where there are more than MOST states, only the one of least regret stays of each interval of
 * weight. The least regret among those that go is remembered. */
static void thin(search *s, list *l) {
  if (l->count <= MOST) return;
  const int64_t low = l->at[0].weight, width = (l->at[l->count - 1].weight - low) / MOST + 1;
  size_t kept = 1;
  for (size_t k = 1; k < l->count; k++) {
    const state next = l->at[k];
    state *last = &l->at[kept - 1];
    if ((next.weight - low) / width != (last->weight - low) / width) {
      l->at[kept++] = next;
      continue;
    }
    const sb_wide regret = next.regret < last->regret ? last->regret : next.regret;
    if (next.regret < last->regret) *last = next;
    if (!s->any_dropped || regret < s->dropped) s->dropped = regret;
    s->any_dropped = true;
  }
  l->count = kept;
}

/* The lightest states come first and lose most: the last one within the room is the best. */
static bool best_within(const search *s, const list *l, size_t *best) {
  size_t low = 0, high = l->count;
  while (low < high) {
    const size_t middle = (low + high) / 2;
    if (l->at[middle].weight <= s->relaxed.room)
      low = middle + 1;
    else
      high = middle;
  }
  *best = low - 1;
  return low > 0 && l->at[low - 1].loss < s->best;
}

static sb_status remember(history *h, size_t i, const list *l) {
  SB_TRY(history_reserve(h, l->count));
  for (size_t k = 0; k < l->count; k++) {
    h->parent[h->count + k] = l->at[k].parent;
    h->choice[h->count + k] = l->at[k].choice;
  }
  h->first[i] = h->count;
  h->count += l->count;
  return SB_OK;
}

/* Writes the choices that lead to state `at` after items 0 .. i; the items behind stand where the
 * relaxation has them. */
static void trace_back(const search *s, size_t i, size_t at, uint8_t *choice) {
  for (size_t k = 0; k < s->relaxed.count; k++)
    choice[s->relaxed.items[k].number] = (uint8_t)s->relaxed.items[k].at;
  for (size_t k = i + 1; k-- > 0;) {
    choice[s->relaxed.items[k].number] = s->past.choice[s->past.first[k] + at];
    at = s->past.parent[s->past.first[k] + at];
  }
}

static sb_status improve(search *s, uint8_t *choice) {
  s->lists[0].at[0] = (state){0};
  s->lists[0].count = 1;
  for (size_t i = 0; i < s->relaxed.count && s->lists[i % 2].count > 0; i++) {
    const list *from = &s->lists[i % 2];
    list *to = &s->lists[(i + 1) % 2];
    size_t at;
    if (s->relaxed.items[i].count == 1) break; /* so have all behind it */
    SB_TRY(list_reserve(to, from->count * s->relaxed.items[i].count));
    extend(s, i, from, to);
    thin(s, to);
    SB_TRY(remember(&s->past, i, to));
    if (best_within(s, to, &at)) {
      s->best = to->at[at].loss;
      trace_back(s, i, at, choice);
    }
  }
  return SB_OK;
}

/* ---- the whole ---- */

static sb_status search_create(const sb_exact_items *items, uint64_t capacity, uint8_t *choice,
                               search *s) {
  sb_relaxation *r = &s->relaxed;
  SB_TRY(sb_relaxation_create(items, capacity, r));
  s->best = sb_relaxation_fill(r, choice);
  sb_relaxation_order(r);
  SB_TRY(sb_alloc(&s->relief, r->count + 1, sizeof *s->relief, what));
  SB_TRY(sb_alloc(&s->past.first, r->count, sizeof *s->past.first, what));
  for (size_t i = r->count; i-- > 0;) {
    const sb_relaxed_item *it = &r->items[i];
    const uint64_t back = it->choice[it->at].weight - it->choice[0].weight;
    s->relief[i] = s->relief[i + 1] + (int64_t)back;
  }
  return list_reserve(&s->lists[0], 1);
}

static void search_free(search *s) {
  sb_relaxation_free(&s->relaxed);
  sb_free(&s->relief);
  sb_free(&s->lists[0].at);
  sb_free(&s->lists[1].at);
  sb_free(&s->past.first);
  free(s->past.parent);
  free(s->past.choice);
}

/* From choices among an item's own to those of the caller's table, with their sums. */
static void conclude(const search *s, uint8_t *chosen, sb_exact_result *out) {
  const sb_relaxation *r = &s->relaxed;
  *out = (sb_exact_result){.solutions = s->solutions};
  for (size_t k = 0; k < r->count; k++) {
    const sb_relaxed_item *it = &r->items[k];
    const sb_exact_choice *c = &it->choice[chosen[it->number]];
    out->loss += c->loss;
    out->weight += c->weight;
    chosen[it->number] = it->index[chosen[it->number]];
  }
  out->bound = out->loss;
  if (s->any_dropped && sb_relaxation_bound(r, s->dropped) < s->best)
    out->bound = r->loss + sb_relaxation_bound(r, s->dropped);
  out->relaxed = (double)r->loss - (double)r->p * (double)r->room / (double)r->q;
}

sb_status sb_exact_solve(const sb_exact_items *items, uint64_t capacity, uint8_t *chosen,
                         sb_exact_result *out) {
  search s = {0};
  sb_status status;
  SB_GO(search_create(items, capacity, chosen, &s));
  SB_GO(improve(&s, chosen));
  conclude(&s, chosen, out);
done:
  search_free(&s);
  return status;
}
