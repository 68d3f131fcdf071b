/* The kernels of cpu_trellis_decode.h over one kind of vectors. Each of
 * cpu_trellis_decode_plain.c, _avx2.c and _avx512.c includes this file once, after it has defined
 *
 *   PT_LANES             lanes of a vector of 32 bits: 8 or 16; twice as many of 16 bits
 *   PT_TOKENS            most tokens per pass of `multiply`
 *   pt, pf               a vector of integers of 16 or 32 bits; a vector of floats
 *   pt_code              what levels depend on beside the state's bits
 *   pt_code_of(t)        the pt_code of a trellis
 *   pt_levels(tile, &code, n, K, natural)
 *                        levels of vector n of a tile of width K, as numbers of 16 bits: weights
 *                        2 PT_LANES n .. if `natural`, else those of pt_row. Reads the tile's bytes
 *                        alone
 *   pt_row(K, n, lane)   where not natural: the row of the two weights, side by side, in lane
 *                        `lane` of vector n, for n < PT_DOWN; n + PT_DOWN: two columns further
 *   PT_ORDER(K)          number of that order, below SB_STRIP_ORDERS
 *   pt_set(x)            x in every lane of 32 bits
 *   pt_store(p, a), pt_load(p)
 *   pt_dot(sum, a, b)    sum + a b of both halves of every lane of 32 bits
 *   pt_even(a), pt_odd(a) the low halves, and the high ones, of lanes of 32 bits, as floats
 *   pf_int(a)            floats of 32-bit lanes
 *   pf_four(out, ld, a, b, c, d)   lane i of the four, side by side, to out + i ld
 *   pf_set, pf_load, pf_store, pf_fma(a, b, c), pf_mul
 *   PT_INLINE, PT_UNROLL(n)   as in cpu_packed_kernels.h */
#include <string.h>

#include "kernels/cpu/cpu_trellis_decode.h"

enum {
  PT_DOWN = SB_STRIP_ROWS / PT_LANES, /* vectors of a pair of columns */
  PT_PASS = 4,                        /* of these, as many as are summed at once */
  PT_AHEAD = 16 * 1024                /* bytes by which prefetches run ahead */
};

/* Calls `call` with the width and the rule of levels as constants. */
#define PT_EACH_WIDTH(width, call)                                                                 \
  switch (width) {                                                                                 \
  case 1:                                                                                          \
    call(1);                                                                                       \
    break;                                                                                         \
  case 2:                                                                                          \
    call(2);                                                                                       \
    break;                                                                                         \
  case 3:                                                                                          \
    call(3);                                                                                       \
    break;                                                                                         \
  case 4:                                                                                          \
    call(4);                                                                                       \
    break;                                                                                         \
  case 5:                                                                                          \
    call(5);                                                                                       \
    break;                                                                                         \
  case 6:                                                                                          \
    call(6);                                                                                       \
    break;                                                                                         \
  case 7:                                                                                          \
    call(7);                                                                                       \
    break;                                                                                         \
  default:                                                                                         \
    call(8);                                                                                       \
    break;                                                                                         \
  }

/* ---- levels in the order of a tile ---- */

PT_INLINE void levels_of(int16_t *levels, const sb_trellis *t, const sb_strip *strip, unsigned K) {
  const pt_code code = pt_code_of(t);
  for (size_t n = 0; n < strip->tiles; n++) {
    const uint8_t *tile = strip->codes + n * strip->stride;
    int16_t *out = levels + n * SB_TRELLIS_TILE;
    PT_UNROLL(16)
    for (unsigned v = 0; v < 2 * PT_DOWN; v++)
      pt_store(out + 2 * PT_LANES * v, pt_levels(tile, &code, v, K, true));
  }
}

static void levels(int16_t *out, const sb_trellis *t, const sb_strip *strip){
#define LEVELS(K) levels_of(out, t, strip, K)
    PT_EACH_WIDTH(t->width, LEVELS)
#undef LEVELS
}

/* ---- few tokens ---- */

/* Adds to rows of `sums` what the integers of one token come to. */
PT_INLINE void add_sums(float *sums, pt high, pt low, float scale) {
  const pf value = pf_fma(pf_int(high), pf_set((float)SB_STRIP_UNIT), pf_int(low));
  pf_store(sums, pf_fma(value, pf_set(scale), pf_load(sums)));
}

/* PT_PASS vectors of rows, from vector `first` of a pair of columns on, through all tiles. */
PT_INLINE void dot_pass(float *sums, const pt_code *code, const sb_strip *strip, float scale,
                        const sb_strip_input *const *x, unsigned K, unsigned tokens,
                        unsigned first) {
  pt high[SB_STRIP_PAIR][PT_PASS], low[SB_STRIP_PAIR][PT_PASS];
  PT_UNROLL(2)
  for (unsigned k = 0; k < tokens; k++) PT_UNROLL(4)
  for (unsigned v = 0; v < PT_PASS; v++) {
    high[k][v] = pt_set(0);
    low[k][v] = pt_set(0);
  }
  for (size_t n = 0; n < strip->tiles; n++) {
    const uint8_t *tile = strip->codes + n * strip->stride;
    __builtin_prefetch(tile + PT_AHEAD, 0, 2);
    if (K > 2) __builtin_prefetch(tile + PT_AHEAD + 64, 0, 2);
    PT_UNROLL(2)
    for (unsigned pair = 0; pair < 2; pair++) PT_UNROLL(4)
    for (unsigned v = 0; v < PT_PASS; v++) {
      const pt level = pt_levels(tile, code, pair * PT_DOWN + first + v, K, false);
      PT_UNROLL(2)
      for (unsigned k = 0; k < tokens; k++) {
        const int32_t *at = x[k]->pairs + 4 * n + 2 * pair;
        high[k][v] = pt_dot(high[k][v], level, pt_set(at[0]));
        low[k][v] = pt_dot(low[k][v], level, pt_set(at[1]));
      }
    }
  }
  PT_UNROLL(2)
  for (unsigned k = 0; k < tokens; k++) PT_UNROLL(4)
  for (unsigned v = 0; v < PT_PASS; v++)
    add_sums(sums + k * SB_STRIP_SUMS + PT_ORDER(K) * SB_STRIP_ROWS + (first + v) * PT_LANES,
             high[k][v], low[k][v], scale * x[k]->scale);
}

PT_INLINE void dot_tokens(float *sums, const sb_trellis *t, const sb_strip *strip, float scale,
                          const sb_strip_input *const *x, unsigned K, unsigned tokens) {
  const pt_code code = pt_code_of(t);
  PT_UNROLL(2)
  for (unsigned first = 0; first < PT_DOWN; first += PT_PASS)
    dot_pass(sums, &code, strip, scale, x, K, tokens, first);
}

static void dot(float *sums, const sb_trellis *t, const sb_strip *strip, float scale,
                const sb_strip_input *x, size_t input_stride, size_t tokens) {
  const sb_strip_input *both[SB_STRIP_PAIR] = {x, x + input_stride};
#define ONE(K) dot_tokens(sums, t, strip, scale, both, K, 1)
#define TWO(K) dot_tokens(sums, t, strip, scale, both, K, 2)
  if (tokens == 1) {
    PT_EACH_WIDTH(t->width, ONE)
  } else {
    PT_EACH_WIDTH(t->width, TWO)
  }
#undef ONE
#undef TWO
}

static void in_order(float *out, const float *sums) {
  memset(out, 0, SB_STRIP_ROWS * sizeof *out);
  static const unsigned width_of_order[SB_STRIP_ORDERS] = {PT_WIDTHS_OF_ORDERS};
  for (unsigned order = 0; order < SB_STRIP_ORDERS; order++)
    for (unsigned i = 0; i < SB_STRIP_ROWS; i++)
      out[pt_row(width_of_order[order], i / PT_LANES, i % PT_LANES)] +=
          sums[order * SB_STRIP_ROWS + i];
}

/* ---- more tokens ---- */

static void columns(float *out, const int16_t *levels, size_t tiles, float scale) {
  const pf by = pf_set(scale);
  for (size_t pair = 0; pair < 2 * tiles; pair++, levels += 2 * SB_STRIP_ROWS)
    for (size_t r = 0; r < SB_STRIP_ROWS; r += PT_LANES) {
      const pt both = pt_load(levels + 2 * r);
      pf_store(out + 2 * pair * SB_STRIP_ROWS + r, pf_mul(by, pt_even(both)));
      pf_store(out + (2 * pair + 1) * SB_STRIP_ROWS + r, pf_mul(by, pt_odd(both)));
    }
}

static void rows(float *out, size_t ld, const int16_t *levels, size_t tiles, float scale) {
  const pf by = pf_set(scale);
  for (size_t n = 0; n < tiles; n++, levels += SB_TRELLIS_TILE)
    for (size_t r = 0; r < SB_STRIP_ROWS; r += PT_LANES) {
      const pt left = pt_load(levels + 2 * r), right = pt_load(levels + 2 * (SB_STRIP_ROWS + r));
      pf_four(out + r * ld + 4 * n, ld, pf_mul(by, pt_even(left)), pf_mul(by, pt_odd(left)),
              pf_mul(by, pt_even(right)), pf_mul(by, pt_odd(right)));
    }
}

/* Lanes are rows: each x is spread over a vector, so no sum runs across lanes. */
PT_INLINE void multiply_tokens(float *out, size_t out_ld, const float *columns, size_t n,
                               const float *x, size_t ld, size_t tokens) {
  PT_UNROLL(2)
  for (unsigned first = 0; first < PT_DOWN; first += PT_PASS) {
    pf sum[PT_TOKENS][PT_PASS];
    PT_UNROLL(6)
    for (size_t k = 0; k < tokens; k++) PT_UNROLL(4)
    for (unsigned v = 0; v < PT_PASS; v++)
      sum[k][v] = pf_load(out + k * out_ld + (first + v) * PT_LANES);
    for (size_t c = 0; c < n; c++) {
      pf w[PT_PASS];
      PT_UNROLL(4)
      for (unsigned v = 0; v < PT_PASS; v++)
        w[v] = pf_load(columns + c * SB_STRIP_ROWS + (first + v) * PT_LANES);
      PT_UNROLL(6)
      for (size_t k = 0; k < tokens; k++) {
        const pf here = pf_set(x[k * ld + c]);
        PT_UNROLL(4)
        for (unsigned v = 0; v < PT_PASS; v++) sum[k][v] = pf_fma(here, w[v], sum[k][v]);
      }
    }
    PT_UNROLL(6)
    for (size_t k = 0; k < tokens; k++) PT_UNROLL(4)
    for (unsigned v = 0; v < PT_PASS; v++)
      pf_store(out + k * out_ld + (first + v) * PT_LANES, sum[k][v]);
  }
}

static void multiply(float *out, size_t out_ld, const float *columns, size_t n, const float *x,
                     size_t ld, size_t T) {
  for (; T >= PT_TOKENS; T -= PT_TOKENS, out += PT_TOKENS * out_ld, x += PT_TOKENS * ld)
    multiply_tokens(out, out_ld, columns, n, x, ld, PT_TOKENS);
  for (; T > 0; T--, out += out_ld, x += ld) multiply_tokens(out, out_ld, columns, n, x, ld, 1);
}
