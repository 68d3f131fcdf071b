#include "alloc/core.h"

#include <math.h>
#include <stdbool.h>

#include "base/memory.h"

enum { STATES = 1 << 14, WINDOW = 8 };

/* A partial solution: what the members so far cost and lose more than where they stand. */
typedef struct state {
  int64_t cost;
  double loss, regret;
  uint32_t parent; /* in the list before */
  uint8_t choice;
} state;

/* Lists are ascending in cost and falling in loss. */
typedef struct list {
  size_t count;
  state *at; /* [STATES + 2] */
} list;

typedef struct trace {
  uint32_t *parent; /* [members, STATES + 2] */
  uint8_t *choice;
} trace;

typedef struct core {
  double price;
  int64_t room, window;
  int64_t interval; /* of storage, of which one state stays */
  double limit;     /* regrets that still can be better than the best known */
} core;

/* One choice of a member, as the difference it makes. */
typedef struct option {
  int64_t cost;
  double loss, regret;
  uint8_t choice;
  size_t head; /* next state of the list before that it is to be added to */
} option;

/* Number of the interval that a cost lies in; costs within the room and above it share none. */
static int64_t interval_of(const core *c, int64_t cost) {
  return cost <= c->room ? (c->room - cost) / c->interval : -1 - (cost - c->room - 1) / c->interval;
}

static void keep(const core *c, list *to, state s) {
  state *last = to->count ? &to->at[to->count - 1] : NULL;
  if (s.regret >= c->limit || s.cost > c->room + c->window || s.cost < -c->window) return;
  if (last && s.loss >= last->loss) return;
  if (last && interval_of(c, s.cost) == interval_of(c, last->cost)) {
    if (s.regret < last->regret) *last = s;
    return;
  }
  to->at[to->count++] = s;
}

/* The choices of a member that can matter: those that no cheaper one beats. */
static unsigned options_of(const core *c, const sb_core_member *m, option *out) {
  unsigned n = 0;
  double least = INFINITY;
  const sb_choice here = m->choices[m->at];
  for (unsigned j = 0; j < m->count; j++) {
    const int64_t cost = (int64_t)(m->choices[j].cost - here.cost);
    const double loss = m->choices[j].loss - here.loss, regret = loss + c->price * (double)cost;
    if (j == m->at || (regret < c->limit && m->choices[j].loss < least))
      out[n++] = (option){cost, loss, j == m->at ? 0 : regret, (uint8_t)j, 0};
    least = fmin(least, m->choices[j].loss);
  }
  return n;
}

/* All states of `from` with all options of a member, merged in the order of cost. */
static void extend(const core *c, const list *from, const sb_core_member *m, list *to) {
  option o[SB_CHOICES];
  const unsigned n = options_of(c, m, o);
  to->count = 0;
  for (;;) {
    option *next = NULL;
    state s = {0};
    for (unsigned j = 0; j < n; j++) {
      if (o[j].head == from->count) continue;
      const state *base = &from->at[o[j].head];
      const int64_t cost = base->cost + o[j].cost;
      const double loss = base->loss + o[j].loss;
      if (next && (cost > s.cost || (cost == s.cost && loss >= s.loss))) continue;
      next = &o[j];
      s = (state){cost, loss, base->regret + o[j].regret, (uint32_t)o[j].head, o[j].choice};
    }
    if (!next) return;
    next->head++;
    keep(c, to, s);
  }
}

/* The state of least loss within the room: the last one there. */
static bool best_within(const core *c, const list *l, size_t *best) {
  size_t low = 0, high = l->count;
  while (low < high) {
    const size_t middle = (low + high) / 2;
    if (l->at[middle].cost <= c->room)
      low = middle + 1;
    else
      high = middle;
  }
  *best = low - 1;
  return low > 0;
}

static int64_t largest_step(const sb_core_member *m, size_t count) {
  int64_t most = 1;
  for (size_t k = 0; k < count; k++)
    for (unsigned j = 0; j < m[k].count; j++) {
      const int64_t step = (int64_t)(m[k].choices[j].cost - m[k].choices[m[k].at].cost);
      most = step > most ? step : -step > most ? -step : most;
    }
  return most;
}

typedef struct found {
  bool any;
  size_t members, state; /* after how many members, which one */
  double saved;
  int64_t used;
} found;

static void search(core *c, const sb_core_member *m, size_t count, list lists[2], trace *t,
                   found *best) {
  lists[0].at[0] = (state){0};
  lists[0].count = 1;
  for (size_t k = 0; k < count && c->limit > 0; k++) {
    const list *from = &lists[k % 2];
    list *to = &lists[(k + 1) % 2];
    size_t at;
    extend(c, from, &m[k], to);
    for (size_t i = 0; i < to->count; i++) {
      t->parent[k * (STATES + 2) + i] = to->at[i].parent;
      t->choice[k * (STATES + 2) + i] = to->at[i].choice;
    }
    if (best_within(c, to, &at) && -to->at[at].loss > best->saved) {
      *best = (found){true, k + 1, at, -to->at[at].loss, to->at[at].cost};
      c->limit = c->price * (double)c->room - best->saved;
    }
  }
}

size_t sb_core_bytes(size_t count) {
  const trace t = {0};
  return (STATES + 2) * (2 * sizeof(state) + count * (sizeof *t.parent + sizeof *t.choice));
}

sb_status sb_core_solve(const sb_core_member *m, size_t count, double price, uint64_t room,
                        uint8_t *chosen, double *saved, int64_t *used) {
  list lists[2] = {{0}};
  trace t = {0};
  found best = {.saved = *saved};
  sb_status status;
  core c = {.price = price, .room = (int64_t)room, .limit = price * (double)room - *saved};
  c.window = WINDOW * largest_step(m, count);
  c.interval = (c.room + 2 * c.window) / STATES + 1;
  SB_GO(sb_alloc_raw(&lists[0].at, STATES + 2, sizeof(state), "the core of the allocation"));
  SB_GO(sb_alloc_raw(&lists[1].at, STATES + 2, sizeof(state), "the core of the allocation"));
  SB_GO(sb_alloc_raw(&t.parent, count * (STATES + 2), sizeof *t.parent,
                     "the core of the allocation"));
  SB_GO(sb_alloc_raw(&t.choice, count * (STATES + 2), 1, "the core of the allocation"));
  search(&c, m, count, lists, &t, &best);
  if (best.any) {
    for (size_t k = best.members; k < count; k++) chosen[k] = (uint8_t)m[k].at;
    for (size_t k = best.members, at = best.state; k-- > 0;) {
      chosen[k] = t.choice[k * (STATES + 2) + at];
      at = t.parent[k * (STATES + 2) + at];
    }
    *saved = best.saved;
    *used = best.used;
  }
done:
  sb_free(&lists[0].at);
  sb_free(&lists[1].at);
  sb_free(&t.parent);
  sb_free(&t.choice);
  return status;
}
