/* Shared by the forward and the backward pass of attention: sizes, packed heads, and one tile of
 * scores.
 *
 * A tile is 64 queries x 64 keys, held transposed, S'[key][query]. Queries are then the vector
 * lanes, so the soft-max runs down columns without horizontal steps, and every product has a
 * row-major right operand.
 *
 * Heads are packed into dense rows of `padded` floats (d rounded up to 16), with T rounded up to 64
 * rows; padding is zero. Keys beyond T are later than every query, so the causal mask removes them.
 * Queries beyond T are computed and thrown away.
 *
 * A tile on the diagonal skips its sub-tiles of 16 x 16 above the diagonal: the keys 16 s .. 16 s +
 * 15 meet the queries from 16 s on. */
#ifndef SB_KERNELS_CPU_CPU_ATTENTION_H
#define SB_KERNELS_CPU_CPU_ATTENTION_H

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/cpu_pack.h"

/* Side of the sub-tiles on the diagonal. */
enum { SB_ATTENTION_SUB = 16 };

typedef struct sb_attention_shape {
  size_t T, heads, kv_heads, d;
  size_t group;  /* query heads per KV head */
  size_t tiles;  /* tiles of 64 tokens */
  size_t padded; /* d rounded up to 16 */
  size_t head;   /* floats of one packed head: tiles * 64 * padded */
  float scale;   /* 1 / sqrt(d) */
} sb_attention_shape;

/* Fills the shape; sizes of all packed heads together are checked for overflow. */
sb_status sb_attention_shape_of(sb_attention_shape *out, const sb_attention_args *x);

/* packed[kv_heads][tiles * 64][padded] = x[T, kv_heads * d], threaded. */
void sb_attention_pack(const sb_attention_shape *shape, int threads, float *packed, const float *x);

/* S'[64][64] = keys[64, padded] * queries_t[padded, 64]. On the diagonal, skips the sub-tiles above
 * it. */
void sb_attention_scores(const sb_attention_shape *shape, float *scores, const float *keys,
                         const float *queries_t, bool diagonal);

/* out[64 queries, padded] += X'[64 keys][64 queries] transposed * rows[64 keys, padded]; on the
 * diagonal query q takes the keys of its sub-tile and before. */
void sb_attention_from_keys(const sb_attention_shape *shape, float *out, const float *x,
                            const float *rows, bool diagonal);

/* out[64 keys, padded] += X'[64 keys][64 queries] * rows[64 queries, padded]; on the diagonal key k
 * takes the queries of its sub-tile and after. */
void sb_attention_from_queries(const sb_attention_shape *shape, float *out, const float *x,
                               const float *rows, bool diagonal);

/* Number of key rows that a tile of scores has for one vector of queries, from column c on: all 64,
 * or on the diagonal those of its sub-tile and before. The mask removes some of the latter. */
static inline size_t sb_attention_keys(size_t c, bool diagonal) {
  return diagonal ? (c / SB_ATTENTION_SUB + 1) * SB_ATTENTION_SUB : SB_CPU_TILE_ROWS;
}

#endif
