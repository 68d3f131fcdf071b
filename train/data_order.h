/* The order in which training takes the windows of its token sources.
 *
 * The sample with number n (step x batch + place in the batch) is known from n alone, so a run that
 * starts at any step reads nothing of what came before. Two choices are made:
 *
 *   source   The first source of weights w_0, w_1, ... has every sample n with
 *            floor((n + 1) w_0 / sum w) > floor(n w_0 / sum w); those left over are numbered anew
 *            and shared out by the same rule among the others. So each beginning of the order holds
 *            the sources by their weights, to less than one sample for each source split off.
 *   window   A source's samples run through its windows again and again. Each such pass has an
 *            order of its own: a keyed permutation (a Feistel network of eight rounds over the next
 *            even power of two, walked until it falls among the windows: Black and Rogaway, CT-RSA
 *            2002), so each window comes once in a pass.
 *
 * Pure, local, the same on every machine. */
#ifndef SB_TRAIN_DATA_ORDER_H
#define SB_TRAIN_DATA_ORDER_H

#include <stddef.h>
#include <stdint.h>

typedef struct sb_data_source {
  uint64_t weight;  /* 1 .. 2^62 / sources */
  uint64_t windows; /* 1 .. 2^62 */
} sb_data_source;

typedef struct sb_data_order {
  uint64_t seed;
  size_t count; /* of sources, at least 1 */
  const sb_data_source *sources;
} sb_data_order;

typedef struct sb_data_place {
  size_t source;
  uint64_t pass;   /* how often the source has been gone through before */
  uint64_t window; /* of the source */
} sb_data_place;

/* The place of sample n. O(sources), and some 4 x 8 rounds at most on average. */
sb_data_place sb_data_order_at(const sb_data_order *order, uint64_t n);

/* The place of i in a permutation of [0, n), n at least 1, that `key` chooses. */
uint64_t sb_data_permuted(uint64_t key, uint64_t i, uint64_t n);

#endif
