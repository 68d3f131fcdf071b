#include "policy/correlation.h"

#include <math.h>
#include <stdlib.h>

#include "base/memory.h"

typedef struct item {
  double value;
  size_t place;
} item;

static int compare(const void *a, const void *b) {
  const item *x = a, *y = b;
  return (x->value > y->value) - (x->value < y->value);
}

/* ranks[i] = the number of values below the i-th, plus half of those that equal it. */
static void rank(item *items, const double *values, size_t count, double *ranks) {
  for (size_t i = 0; i < count; i++) items[i] = (item){values[i], i};
  qsort(items, count, sizeof *items, compare);
  for (size_t first = 0, end; first < count; first = end) {
    for (end = first + 1; end < count && items[end].value == items[first].value;) end++;
    for (size_t i = first; i < end; i++)
      ranks[items[i].place] = ((double)first + (double)(end - 1)) / 2;
  }
}

static double correlation(const double *a, const double *b, size_t count) {
  const double mean = (double)(count - 1) / 2;
  double ab = 0, aa = 0, bb = 0;
  for (size_t i = 0; i < count; i++) {
    ab += (a[i] - mean) * (b[i] - mean);
    aa += (a[i] - mean) * (a[i] - mean);
    bb += (b[i] - mean) * (b[i] - mean);
  }
  return ab / sqrt(aa * bb);
}

sb_status sb_rank_correlation(const double *a, const double *b, size_t count, double *out) {
  item *items = NULL;
  double *ranks = NULL;
  sb_status status = sb_alloc(&items, count, sizeof *items, "ranks");
  SB_THEN(sb_alloc(&ranks, 2 * count, sizeof *ranks, "ranks"));
  if (status == SB_OK) {
    rank(items, a, count, ranks);
    rank(items, b, count, ranks + count);
    *out = count ? correlation(ranks, ranks + count, count) : NAN;
  }
  sb_free(&items);
  sb_free(&ranks);
  return status;
}
