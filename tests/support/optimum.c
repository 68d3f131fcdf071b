#include "tests/support/optimum.h"

#include <math.h>

#include "base/memory.h"

static uint64_t greatest_common_divisor(uint64_t a, uint64_t b) {
  while (b != 0) {
    const uint64_t rest = a % b;
    a = b;
    b = rest;
  }
  return a;
}

/* Costs do not fall, so the first choice is the cheapest. */
uint64_t sb_optimum_least(const sb_knapsack *k) {
  sb_choice c[SB_CHOICES];
  uint64_t least = 0;
  for (size_t i = 0; i < k->count; i++) {
    k->choices(k->context, i, c);
    least += c[0].cost;
  }
  return least;
}

sb_optimum sb_optimum_of(const sb_knapsack *k, const uint8_t *chosen) {
  sb_choice c[SB_CHOICES];
  sb_optimum sum = {.bound = -INFINITY};
  for (size_t i = 0; i < k->count; i++) {
    k->choices(k->context, i, c);
    sum.loss += c[chosen[i]].loss;
    sum.cost += c[chosen[i]].cost;
  }
  return sum;
}

/* The unit in which all differences of costs are whole. */
static uint64_t unit_of(const sb_knapsack *k) {
  sb_choice c[SB_CHOICES];
  uint64_t unit = 0;
  for (size_t i = 0; i < k->count; i++) {
    const unsigned n = k->choices(k->context, i, c);
    for (unsigned j = 1; j < n; j++) unit = greatest_common_divisor(unit, c[j].cost - c[0].cost);
  }
  return unit ? unit : 1;
}

/* best[c] = least loss of the items so far with c units above their cheapest choices; taken[i][c]
 * the choice of item i there. Within a row from the back: what is read has not been overwritten. */
static void fill(const sb_knapsack *k, uint64_t unit, size_t capacity, double *best,
                 uint8_t *taken) {
  sb_choice c[SB_CHOICES];
  for (size_t i = 0; i < k->count; i++) {
    const unsigned n = k->choices(k->context, i, c);
    uint8_t *row = taken + i * (capacity + 1);
    for (size_t at = capacity + 1; at-- > 0;) {
      double least = INFINITY;
      for (unsigned j = 0; j < n; j++) {
        const uint64_t units = (c[j].cost - c[0].cost) / unit;
        if (units > at) break;
        if (best[at - units] + c[j].loss < least) {
          least = best[at - units] + c[j].loss;
          row[at] = (uint8_t)j;
        }
      }
      best[at] = least;
    }
  }
}

sb_status sb_optimum_dp(const sb_knapsack *k, uint64_t budget, uint8_t *chosen, sb_optimum *out) {
  sb_choice c[SB_CHOICES];
  const uint64_t least = sb_optimum_least(k), unit = unit_of(k);
  uint64_t most = 0;
  size_t capacity, bytes;
  double *best = NULL;
  uint8_t *taken = NULL;
  sb_status status;
  if (budget < least)
    return sb_fail(SB_ERR_RANGE,
                   "the budget of %llu bits is below the %llu of the cheapest choices",
                   (unsigned long long)budget, (unsigned long long)least);
  for (size_t i = 0; i < k->count; i++) {
    const unsigned n = k->choices(k->context, i, c);
    most += (c[n - 1].cost - c[0].cost) / unit;
  }
  capacity = (budget - least) / unit < most ? (budget - least) / unit : most;
  if (!sb_mul_size(k->count, capacity + 1, &bytes) || bytes > (size_t)1 << 30)
    return sb_fail(SB_ERR_RANGE,
                   "%zu items with %zu units of %llu bits are too many for dynamic programming",
                   k->count, capacity, (unsigned long long)unit);
  SB_GO(sb_alloc(&best, capacity + 1, sizeof *best, "best losses"));
  SB_GO(sb_alloc_raw(&taken, bytes, 1, "choices by storage"));
  fill(k, unit, capacity, best, taken);
  for (size_t i = k->count, at = capacity; i-- > 0;) {
    chosen[i] = taken[i * (capacity + 1) + at];
    k->choices(k->context, i, c);
    at -= (c[chosen[i]].cost - c[0].cost) / unit;
  }
  *out = sb_optimum_of(k, chosen);
  out->bound = out->loss;
done:
  sb_free(&best);
  sb_free(&taken);
  return status;
}
