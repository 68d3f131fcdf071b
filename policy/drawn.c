#include "policy/drawn.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"

enum { BY_LINEAR, BY_LAYER, BY_KIND, WAYS };

typedef struct ticket {
  uint64_t first, second; /* the order; the second decides within a layer or kind */
  size_t linear;
} ticket;

static int compare(const void *a, const void *b) {
  const ticket *x = a, *y = b;
  if (x->first != y->first) return x->first < y->first ? -1 : 1;
  return x->second < y->second ? -1 : x->second > y->second;
}

static uint64_t hash_of_kind(const sb_linear *linear) {
  uint64_t hash = 0;
  for (const char *c = sb_linear_kind(linear); *c; c++) hash = sb_mix64_with(hash, (uint64_t)*c);
  return hash;
}

static ticket ticket_of(const sb_profile *profile, uint64_t key, int way, size_t i) {
  const sb_linear *linear = &profile->model.linears[i];
  const uint64_t set = way == BY_LAYER ? linear->layer : way == BY_KIND ? hash_of_kind(linear) : i;
  return (ticket){sb_mix64_with(key, set), sb_mix64_with(~key, i), i};
}

/* The precisions of fewest and of most bits; the high one where there is one alone. */
static void find_pair(const sb_profile *profile, sb_precision *low, sb_precision *rest) {
  *low = profile->precisions[0];
  *rest = profile->precision_count > 1 ? profile->precisions[0] : SB_PRECISION_HIGH;
  for (size_t p = 1; p < profile->precision_count; p++) {
    const sb_precision other = profile->precisions[p];
    if (sb_precision_bits(other) < sb_precision_bits(*low)) *low = other;
    if (sb_precision_bits(other) > sb_precision_bits(*rest)) *rest = other;
  }
}

sb_status sb_drawn_policy(const sb_profile *profile, double share, uint64_t seed, size_t number,
                          sb_precision_map *map) {
  const size_t count = profile->model.count;
  const uint64_t key = sb_mix64_with(seed, number);
  sb_precision low, rest;
  ticket *tickets;
  double all = 0, taken = 0;
  SB_TRY(sb_alloc(&tickets, count, sizeof *tickets, "a random policy"));
  find_pair(profile, &low, &rest);
  for (size_t i = 0; i < count; i++) {
    tickets[i] = ticket_of(profile, key, (int)(number % WAYS), i);
    all += (double)sb_linear_work(&profile->model.linears[i]);
  }
  qsort(tickets, count, sizeof *tickets, compare);
  for (size_t k = 0; k < count; k++) {
    const size_t i = tickets[k].linear;
    const double work = (double)sb_linear_work(&profile->model.linears[i]);
    const bool fits = taken + work <= share * all;
    if (fits) taken += work;
    for (int g = 0; g < SB_GEMM_KINDS; g++) map->gemms[i][g] = fits ? low : rest;
  }
  sb_free(&tickets);
  return SB_OK;
}
