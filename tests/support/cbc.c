#include "tests/support/cbc.h"

#include <coin/Cbc_C_Interface.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>

#include "base/memory.h"

/* Sums of what is best at a price of storage. */
typedef struct priced {
  double cost;
  double least_loss; /* of all items, whatever it costs */
} priced;

static priced at_price(const sb_knapsack *k, double price) {
  sb_choice c[SB_CHOICES];
  priced sum = {0};
  for (size_t i = 0; i < k->count; i++) {
    const unsigned n = k->choices(k->context, i, c);
    unsigned best = 0;
    double least = c[0].loss;
    for (unsigned j = 1; j < n; j++) {
      if (c[j].loss + price * (double)c[j].cost < c[best].loss + price * (double)c[best].cost)
        best = j;
      least = fmin(least, c[j].loss);
    }
    sum.cost += (double)c[best].cost;
    sum.least_loss += least;
  }
  return sum;
}

/* Loss that a bit of storage is worth at the budget, by bisection; 0 where all items can have their
 * least loss. */
static double price_of(const sb_knapsack *k, double budget) {
  double low = 0, high = 1e-30;
  if (at_price(k, low).cost <= budget) return 0;
  while (at_price(k, high).cost > budget && high < 1e30) high *= 1e3;
  for (int i = 0; i < 60; i++) {
    const double middle = low > 0 ? sqrt(low * high) : high * 1e-3;
    if (at_price(k, middle).cost > budget)
      low = middle;
    else
      high = middle;
  }
  return high;
}

typedef struct program {
  int items, columns;
  int *first; /* [items + 1] columns of each item */
  int *start, *row;
  double *value, *low, *high, *objective, *row_low, *row_high;
} program;

static void program_free(program *p) {
  sb_free(&p->first);
  sb_free(&p->start);
  sb_free(&p->row);
  sb_free(&p->value);
  sb_free(&p->low);
  sb_free(&p->high);
  sb_free(&p->objective);
  sb_free(&p->row_low);
  sb_free(&p->row_high);
}

static sb_status program_create(const sb_knapsack *k, program *p) {
  if (k->count > INT_MAX / (2 * SB_CHOICES))
    return sb_fail(SB_ERR_RANGE, "%zu items are too many for CBC", k->count);
  const size_t room = k->count * SB_CHOICES;
  p->items = (int)k->count;
  SB_TRY(sb_alloc(&p->first, k->count + 1, sizeof *p->first, "integer program"));
  SB_TRY(sb_alloc(&p->start, room + 1, sizeof *p->start, "integer program"));
  SB_TRY(sb_alloc(&p->row, 2 * room, sizeof *p->row, "integer program"));
  SB_TRY(sb_alloc(&p->value, 2 * room, sizeof *p->value, "integer program"));
  SB_TRY(sb_alloc(&p->low, room, sizeof *p->low, "integer program"));
  SB_TRY(sb_alloc(&p->high, room, sizeof *p->high, "integer program"));
  SB_TRY(sb_alloc(&p->objective, room, sizeof *p->objective, "integer program"));
  SB_TRY(sb_alloc(&p->row_low, k->count + 1, sizeof *p->row_low, "integer program"));
  return sb_alloc(&p->row_high, k->count + 1, sizeof *p->row_high, "integer program");
}

/* Column by column; row 0 is the budget, in units of `step` bits above the cheapest choices. A
 * power of two, so that whole bits stay exact. */
static void program_fill(const sb_knapsack *k, uint64_t room, double step, double worth,
                         program *p) {
  sb_choice c[SB_CHOICES];
  for (int i = 0; i < p->items; i++) {
    const unsigned n = k->choices(k->context, (size_t)i, c);
    double least = c[0].loss;
    for (unsigned j = 1; j < n; j++) least = fmin(least, c[j].loss);
    p->first[i] = p->columns;
    for (unsigned j = 0; j < n; j++) {
      const int at = p->columns++;
      p->start[at] = 2 * at;
      p->row[2 * at] = 0;
      p->value[2 * at] = (double)(c[j].cost - c[0].cost) / step;
      p->row[2 * at + 1] = i + 1;
      p->value[2 * at + 1] = 1;
      p->high[at] = 1;
      p->objective[at] = (c[j].loss - least) / worth;
    }
    p->row_low[i + 1] = p->row_high[i + 1] = 1;
  }
  p->first[p->items] = p->columns;
  p->start[p->columns] = 2 * p->columns;
  p->row_low[0] = -1e30;
  p->row_high[0] = (double)room / step;
}

static sb_status read_solution(const sb_knapsack *k, const program *p, Cbc_Model *model,
                               uint8_t *chosen) {
  const double *x = Cbc_getColSolution(model);
  if (!x || Cbc_isProvenInfeasible(model) || Cbc_isAbandoned(model))
    return sb_fail(SB_ERR_NUMERIC, "CBC ends with status %d and no solution; give it more time",
                   Cbc_status(model));
  for (size_t i = 0; i < k->count; i++) {
    int best = p->first[i];
    for (int at = best + 1; at < p->first[i + 1]; at++)
      if (x[at] > x[best]) best = at;
    if (x[best] < 0.999)
      return sb_fail(SB_ERR_NUMERIC, "CBC ends without a whole solution; give it more time");
    chosen[i] = (uint8_t)(best - p->first[i]);
  }
  return SB_OK;
}

sb_status sb_cbc_solve(const sb_knapsack *k, uint64_t budget, double gap, double seconds,
                       uint8_t *chosen, sb_optimum *out) {
  sb_choice c[SB_CHOICES];
  const uint64_t least = sb_optimum_least(k);
  const double price = price_of(k, (double)budget), floor_loss = at_price(k, price).least_loss;
  double step = 1, worth;
  program p = {0};
  Cbc_Model *model = NULL;
  char limit[32];
  sb_status status;
  if (budget < least)
    return sb_fail(SB_ERR_RANGE,
                   "the budget of %llu bits is below the %llu of the cheapest choices",
                   (unsigned long long)budget, (unsigned long long)least);
  for (size_t i = 0; i < k->count; i++) {
    const unsigned n = k->choices(k->context, i, c);
    while (step < (double)(c[n - 1].cost - c[0].cost)) step *= 2;
  }
  worth = price > 0 ? price * step : 1;
  SB_GO(program_create(k, &p));
  program_fill(k, budget - least, step, worth, &p);
  model = Cbc_newModel();
  Cbc_setLogLevel(model, 0);
  Cbc_loadProblem(model, p.columns, p.items + 1, p.start, p.row, p.value, p.low, p.high,
                  p.objective, p.row_low, p.row_high);
  for (int i = 0; i < p.columns; i++) Cbc_setInteger(model, i);
  Cbc_setAllowableGap(model, 0);
  Cbc_setAllowableFractionGap(model, gap);
  snprintf(limit, sizeof limit, "%.0f", seconds);
  Cbc_setParameter(model, "seconds", limit);
  Cbc_solve(model);
  SB_GO(read_solution(k, &p, model, chosen));
  *out = sb_optimum_of(k, chosen);
  /* Where it stops at the allowed gap, CBC calls its solution the bound. */
  out->bound = fmin(out->loss - gap * (out->loss - floor_loss),
                    floor_loss + Cbc_getBestPossibleObjValue(model) * worth);
  if (out->cost > budget)
    SB_GO(sb_fail(SB_ERR_NUMERIC, "CBC's solution of %llu bits is over the budget of %llu",
                  (unsigned long long)out->cost, (unsigned long long)budget));
done:
  if (model) Cbc_deleteModel(model);
  program_free(&p);
  return status;
}
