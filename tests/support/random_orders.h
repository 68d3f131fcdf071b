/* Random legal orders, the same on every rank. */
#ifndef SB_TESTS_SUPPORT_RANDOM_ORDERS_H
#define SB_TESTS_SUPPORT_RANDOM_ORDERS_H

#include <stdlib.h>

#include "model/fused.h"
#include "tests/support/random.h"

/* Never the identity, unless there is no other. */
static inline void random_shuffle(uint32_t *numbers, size_t n, uint64_t *state) {
  for (size_t i = 0; i < n; i++) numbers[i] = (uint32_t)i;
  for (size_t i = n; i > 1; i--) {
    const size_t j = draw(state, i);
    const uint32_t t = numbers[i - 1];
    numbers[i - 1] = numbers[j];
    numbers[j] = t;
  }
  for (size_t i = 0; i < n; i++)
    if (numbers[i] != i) return;
  for (size_t i = 0; i < n; i++) numbers[i] = (uint32_t)((i + 1) % n);
}

/* Which symmetries of model/fused.h are used. */
enum { RESIDUAL = 1, MLP = 2, GROUPS = 4, QUERIES = 8, VALUES = 16, ALL_CLASSES = 31 };

static inline sb_status random_fused(const sb_arch *arch, unsigned classes, uint64_t seed,
                                     sb_orders *out) {
  const sb_config *c = &arch->config;
  const size_t each = c->heads / c->kv_heads, d = c->head_dim;
  sb_status status = sb_orders_create(arch, SB_REORDER_FUSED, out);
  if (status != SB_OK) return status;
  if (classes & RESIDUAL) random_shuffle(sb_fused_residual(arch, out), c->hidden, &seed);
  for (size_t layer = 0; layer < c->layers; layer++) {
    uint32_t *groups = calloc(c->kv_heads, sizeof *groups),
             *queries = calloc(c->heads, sizeof *queries),
             *values = calloc(c->kv_heads * d, sizeof *values);
    for (size_t g = 0; g < c->kv_heads; g++) {
      groups[g] = (uint32_t)g;
      for (size_t j = 0; j < each; j++) queries[g * each + j] = (uint32_t)j;
      for (size_t i = 0; i < d; i++) values[g * d + i] = (uint32_t)i;
    }
    if (classes & MLP) random_shuffle(sb_fused_mlp(arch, out, layer), c->intermediate, &seed);
    if (classes & GROUPS) random_shuffle(groups, c->kv_heads, &seed);
    for (size_t g = 0; g < c->kv_heads; g++) {
      if (classes & QUERIES) random_shuffle(queries + g * each, each, &seed);
      if (classes & VALUES) random_shuffle(values + g * d, d, &seed);
    }
    sb_fused_set_heads(arch, out, layer, &(sb_fused_heads){groups, queries, values});
    free(groups);
    free(queries);
    free(values);
  }
  return SB_OK;
}

/* Settled for blocks of that size. */
static inline sb_status random_indexed(const sb_arch *arch, size_t block_rows, size_t block_cols,
                                       uint64_t seed, sb_orders *out) {
  sb_status status = sb_orders_create(arch, SB_REORDER_INDEXED, out);
  if (status != SB_OK) return status;
  for (size_t i = 0; i < out->count; i++)
    random_shuffle(out->orders[i].from, out->orders[i].size, &seed);
  sb_orders_settle(out, block_rows, block_cols);
  return SB_OK;
}

#endif
