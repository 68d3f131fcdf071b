/* Trellis codes in plain C: the reference of the other kernels, and the kernels of processors
 * without AVX2. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels/shared/trellis.h"

#define PT_LANES  16
#define PT_TOKENS 4
#define PT_INLINE static inline
#define PT_UNROLL(n)

typedef struct pt {
  int32_t at[PT_LANES]; /* halves: the low 16 bits and the high ones */
} pt;
typedef struct pf {
  float at[PT_LANES];
} pf;

PT_INLINE int32_t both(int low, int high) {
  return (int32_t)(((uint32_t)low & 0xffffu) | (uint32_t)high << 16);
}
PT_INLINE int low_half(int32_t x) {
  return (int16_t)(x & 0xffff);
}
PT_INLINE int high_half(int32_t x) {
  return (int16_t)(x >> 16);
}

PT_INLINE pt pt_set(int32_t x) {
  pt out;
  for (int i = 0; i < PT_LANES; i++) out.at[i] = x;
  return out;
}
PT_INLINE pt pt_load(const int16_t *p) {
  pt out;
  memcpy(out.at, p, sizeof out.at);
  return out;
}
PT_INLINE void pt_store(int16_t *p, pt a) {
  memcpy(p, a.at, sizeof a.at);
}
PT_INLINE pt pt_dot(pt sum, pt a, pt b) {
  for (int i = 0; i < PT_LANES; i++)
    sum.at[i] = (int32_t)((uint32_t)sum.at[i] + (uint32_t)(low_half(a.at[i]) * low_half(b.at[i])) +
                          (uint32_t)(high_half(a.at[i]) * high_half(b.at[i])));
  return sum;
}
PT_INLINE pf pf_int(pt a) {
  pf out;
  for (int i = 0; i < PT_LANES; i++) out.at[i] = (float)a.at[i];
  return out;
}
PT_INLINE pf pt_even(pt a) {
  pf out;
  for (int i = 0; i < PT_LANES; i++) out.at[i] = (float)low_half(a.at[i]);
  return out;
}
PT_INLINE pf pt_odd(pt a) {
  pf out;
  for (int i = 0; i < PT_LANES; i++) out.at[i] = (float)high_half(a.at[i]);
  return out;
}
PT_INLINE pf pf_set(float x) {
  pf out;
  for (int i = 0; i < PT_LANES; i++) out.at[i] = x;
  return out;
}
PT_INLINE pf pf_load(const float *p) {
  pf out;
  memcpy(out.at, p, sizeof out.at);
  return out;
}
PT_INLINE void pf_store(float *p, pf a) {
  memcpy(p, a.at, sizeof a.at);
}
PT_INLINE pf pf_mul(pf a, pf b) {
  for (int i = 0; i < PT_LANES; i++) a.at[i] *= b.at[i];
  return a;
}
PT_INLINE pf pf_fma(pf a, pf b, pf c) {
  for (int i = 0; i < PT_LANES; i++) c.at[i] = fmaf(a.at[i], b.at[i], c.at[i]);
  return c;
}

PT_INLINE void pf_four(float *out, size_t ld, pf a, pf b, pf c, pf d) {
  for (int i = 0; i < PT_LANES; i++) {
    float *row = out + (size_t)i * ld;
    row[0] = a.at[i], row[1] = b.at[i], row[2] = c.at[i], row[3] = d.at[i];
  }
}

/* ---- levels ---- */

#define PT_ORDER(K)         0u
#define PT_WIDTHS_OF_ORDERS 1, 1, 1

PT_INLINE unsigned pt_row(unsigned K, unsigned n, unsigned lane) {
  (void)K;
  return n * PT_LANES + lane;
}

typedef sb_trellis pt_code;

PT_INLINE pt_code pt_code_of(const sb_trellis *t) {
  return *t;
}
PT_INLINE pt pt_levels(const uint8_t *tile, const pt_code *code, unsigned n, unsigned K,
                       bool natural) {
  (void)natural;
  const unsigned bytes = 32 * K;
  const uint32_t mask = (1u << code->state_bits) - 1u;
  pt out;
  for (unsigned i = 0; i < PT_LANES; i++) {
    const unsigned s = 2 * (n * PT_LANES + i), at = s * K / 8, first = s * K % 8;
    uint32_t window = 0; /* four bytes have both states */
    for (unsigned k = 0; k < 4; k++)
      window |= (uint32_t)tile[at + k < bytes ? at + k : at + k - bytes] << 8 * k;
    out.at[i] = both(sb_trellis_level(code, window >> first & mask),
                     sb_trellis_level(code, window >> (first + K) & mask));
  }
  return out;
}

#include "kernels/cpu/cpu_trellis_kernels.h"

const sb_trellis_kernels sb_trellis_plain = {"plain C", PT_TOKENS, levels, dot,
                                             in_order,  columns,   rows,   multiply};
