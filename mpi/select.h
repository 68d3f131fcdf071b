/* Takes the best items of a distributed list until their weights fill a budget: the exact answer of
 * a sort, without a rank that holds or sorts the list.
 *
 * Items are ordered by (key descending, id ascending). Keys are 64-bit integers whose order is the
 * order of preference; sb_select_key maps doubles to them. Ids are distinct over all ranks. The
 * answer depends on the items only, not on how they are spread over ranks.
 *
 * Method: a histogram of the weights over 2^13 equal intervals of the keys still in question,
 * all-reduced. The interval in which the budget runs out is refined in the same way, then the ids
 * of the items that share the key found. An item is looked at again only while it lies in the
 * interval in question. Local work is O(n) in practice (at most 10 rounds of O(n)), memory 8
 * bytes per item of the interval, and messages some 10 all-reduces of 2^13 integers for any
 * number of items. */
#ifndef SB_MPI_SELECT_H
#define SB_MPI_SELECT_H

#include <mpi.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/status.h"

/* An order-preserving integer: a < b as doubles (no NaN) exactly when key(a) < key(b); -0
 * and 0 are equal. */
static inline uint64_t sb_select_key(double value) {
  uint64_t bits;
  value += 0.0; /* -0 becomes +0 */
  memcpy(&bits, &value, sizeof bits);
  return bits >> 63 ? ~bits : bits | UINT64_C(1) << 63;
}

/* The double of a key. */
static inline double sb_select_value(uint64_t key) {
  const uint64_t bits = key >> 63 ? key & ~(UINT64_C(1) << 63) : ~key;
  double value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

/* The first item that is NOT taken; every item ordered before it is. `all` when
 * nothing is left out. */
typedef struct sb_selection {
  bool all;
  uint64_t key;
  uint64_t id;
  uint64_t taken_weight; /* over all ranks */
  uint64_t taken_count;
} sb_selection;

/* Takes items from the front of the order as long as the sum of their weights stays <= budget;
 * stops at the first item that does not fit (a prefix of the order, not a knapsack). Weights
 * are positive integers (bits of storage), total below 2^63. Collective; n may be 0 on some
 * ranks, the budget must be equal on all. The arrays are not modified. A weight of 0, a total
 * of 2^63 or more, ids that repeat at the cut: SB_ERR_INTERNAL; memory: SB_ERR_MEMORY; in both
 * cases on all ranks. */
sb_status sb_select_prefix(const uint64_t *keys, const uint64_t *ids, const uint64_t *weights,
                           size_t n, uint64_t budget, MPI_Comm comm, sb_selection *out);

/* True when the item comes before the selection's cut. Local. */
static inline bool sb_selection_takes(const sb_selection *s, uint64_t key, uint64_t id) {
  return s->all || key > s->key || (key == s->key && id < s->id);
}

#endif
