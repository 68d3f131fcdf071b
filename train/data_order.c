#include "train/data_order.h"

#include "base/random.h"

enum { ROUNDS = 8 };

/* Bits of half a word, such that two halves hold all numbers below n. */
static unsigned half_bits(uint64_t n) {
  unsigned bits = 2;
  while (bits < 64 && (n - 1) >> bits) bits++;
  return (bits + 1) / 2;
}

static uint64_t feistel(uint64_t key, uint64_t x, unsigned half) {
  const uint64_t mask = (UINT64_C(1) << half) - 1;
  uint64_t left = x >> half, right = x & mask;
  for (uint64_t round = 0; round < ROUNDS; round++) {
    const uint64_t next = left ^ (sb_mix64_with(key + round, right) & mask);
    left = right;
    right = next;
  }
  return left << half | right;
}

uint64_t sb_data_permuted(uint64_t key, uint64_t i, uint64_t n) {
  const unsigned half = half_bits(n);
  do i = feistel(key, i, half);
  while (i >= n);
  return i;
}

/* floor(n w / sum) */
static uint64_t share(uint64_t n, uint64_t weight, uint64_t sum) {
  return (uint64_t)((unsigned __int128)n * weight / sum);
}

sb_data_place sb_data_order_at(const sb_data_order *order, uint64_t n) {
  uint64_t sum = 0;
  size_t s = 0;
  for (size_t i = 0; i < order->count; i++) sum += order->sources[i].weight;
  for (; s + 1 < order->count; s++) {
    const uint64_t weight = order->sources[s].weight, before = share(n, weight, sum);
    if (share(n + 1, weight, sum) > before) {
      n = before;
      break;
    }
    n -= before;
    sum -= weight;
  }
  const uint64_t windows = order->sources[s].windows, pass = n / windows;
  const uint64_t key = sb_mix64_with(sb_mix64_with(order->seed, s), pass);
  return (sb_data_place){s, pass, sb_data_permuted(key, n % windows, windows)};
}
