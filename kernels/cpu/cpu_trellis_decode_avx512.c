/* Trellis codes with AVX-512. One shuffle of bytes (VBMI) gives every lane of 64 bits the bits of
 * up to 16 states that follow each other, and one multishift takes four of them out. A level is
 * a multiplication and a lookup in a register, and a product with x one step of VNNI: five
 * instructions for 32 weights, one more for every further 16 bits of x.
 *
 * A lane holds `per` states: 16 up to 3 bits a weight, 8 up to 6, else 4. Widths of one `per` share
 * an order of rows. */
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/shared/trellis.h"

#define PT_LANES     16
#define PT_TOKENS    6
#define PT_INLINE    static inline __attribute__((always_inline))
#define PT_PRAGMA(x) _Pragma(#x)
#define PT_UNROLL(n) PT_PRAGMA(GCC unroll n)

typedef __m512i pt;
typedef __m512 pf;

PT_INLINE pt pt_set(int32_t x) {
  return _mm512_set1_epi32(x);
}
PT_INLINE pt pt_halves(int x) {
  return _mm512_set1_epi16((short)x);
}
PT_INLINE pt pt_load(const int16_t *p) {
  return _mm512_loadu_si512(p);
}
PT_INLINE void pt_store(int16_t *p, pt a) {
  _mm512_storeu_si512(p, a);
}
PT_INLINE pt pt_dot(pt sum, pt a, pt b) {
  return _mm512_dpwssd_epi32(sum, a, b);
}
PT_INLINE pf pf_int(pt a) {
  return _mm512_cvtepi32_ps(a);
}
PT_INLINE pf pt_even(pt a) {
  return pf_int(_mm512_srai_epi32(_mm512_slli_epi32(a, 16), 16));
}
PT_INLINE pf pt_odd(pt a) {
  return pf_int(_mm512_srai_epi32(a, 16));
}
PT_INLINE pf pf_set(float x) {
  return _mm512_set1_ps(x);
}
PT_INLINE pf pf_load(const float *p) {
  return _mm512_loadu_ps(p);
}
PT_INLINE void pf_store(float *p, pf a) {
  _mm512_storeu_ps(p, a);
}
PT_INLINE pf pf_mul(pf a, pf b) {
  return _mm512_mul_ps(a, b);
}
PT_INLINE pf pf_fma(pf a, pf b, pf c) {
  return _mm512_fmadd_ps(a, b, c);
}

PT_INLINE void pf_four(float *out, size_t ld, pf a, pf b, pf c, pf d) {
  const __m512d ab0 = _mm512_castps_pd(_mm512_unpacklo_ps(a, b)),
                ab2 = _mm512_castps_pd(_mm512_unpackhi_ps(a, b)),
                cd0 = _mm512_castps_pd(_mm512_unpacklo_ps(c, d)),
                cd2 = _mm512_castps_pd(_mm512_unpackhi_ps(c, d));
  const __m512 row[4] = {_mm512_castpd_ps(_mm512_unpacklo_pd(ab0, cd0)),
                         _mm512_castpd_ps(_mm512_unpackhi_pd(ab0, cd0)),
                         _mm512_castpd_ps(_mm512_unpacklo_pd(ab2, cd2)),
                         _mm512_castpd_ps(_mm512_unpackhi_pd(ab2, cd2))};
  PT_UNROLL(4)
  for (size_t i = 0; i < 4; i++) {
    _mm_storeu_ps(out + i * ld, _mm512_castps512_ps128(row[i]));
    _mm_storeu_ps(out + (4 + i) * ld, _mm512_extractf32x4_ps(row[i], 1));
    _mm_storeu_ps(out + (8 + i) * ld, _mm512_extractf32x4_ps(row[i], 2));
    _mm_storeu_ps(out + (12 + i) * ld, _mm512_extractf32x4_ps(row[i], 3));
  }
}

/* ---- states ---- */

#define PT_PER(K)           ((K) <= 3 ? 16u : (K) <= 6 ? 8u : 4u)
#define PT_ORDER(K)         ((K) <= 3 ? 0u : (K) <= 6 ? 1u : 2u)
#define PT_WIDTHS_OF_ORDERS 1, 4, 8

/* Four states are a step of a lane; steps of a lane follow each other as vectors. */
PT_INLINE unsigned pt_row(unsigned K, unsigned n, unsigned lane) {
  const unsigned steps = PT_PER(K) / 4, fetch = n / steps, step = n % steps;
  return fetch * 16 * steps + lane / 2 * 2 * steps + 2 * step + lane % 2;
}

#define PT_BYTES(x) ((uint64_t)(x)*0x0101010101010101u)

/* Every lane q of 64 bits: the eight bytes from that of its first state on, `per` states a lane.
 * The first lane begins at byte 4 per K f / 32 of the tile. Bytes are loaded as 64 together; of the
 * last ones of a longer tile, the first four, which nothing needs, are replaced by the tile's head,
 * where the ring goes on. */
PT_INLINE __m512i fetch(const uint8_t *tile, unsigned K, unsigned per, unsigned f) {
  const unsigned all = 32 * K, begin = per * K * f, last = all > 64 ? all - 64 : 0,
                 base = begin < last ? begin : last;
  __m512i bytes = K == 1 ? _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)tile))
                         : _mm512_loadu_si512(tile + base);
  if (all > 64 && begin + per * K == all) {
    int32_t head;
    __builtin_memcpy(&head, tile, sizeof head);
    bytes = _mm512_mask_set1_epi32(bytes, 1, head);
  }
#define LANE(q)                                                                                    \
  (long long)((0x0706050403020100u + PT_BYTES(begin - base + per * K * (q) / 8)) &                 \
              0x3f3f3f3f3f3f3f3fu)
  return _mm512_permutexvar_epi8(
      _mm512_setr_epi64(LANE(0), LANE(1), LANE(2), LANE(3), LANE(4), LANE(5), LANE(6), LANE(7)),
      bytes);
#undef LANE
}

/* Where in its lane the eight bytes of four states begin, in bits. */
PT_INLINE __m512i places(unsigned K, unsigned per, unsigned step) {
  const uint64_t four = 0x0800080008000800u + K * 0x0303020201010000u;
#define LANE(q) (long long)(four + PT_BYTES(per * K * (q) % 8 + 4 * step * K))
  return _mm512_setr_epi64(LANE(0), LANE(1), LANE(2), LANE(3), LANE(4), LANE(5), LANE(6), LANE(7));
#undef LANE
}

/* ---- levels ---- */

/* Tables have the 64 numbers of the six bits that a shuffle of bytes reads, for i = 0 .. 31 and
 * then -32 .. -1. */
typedef struct pt_code {
  __m512i reach; /* from where the second byte of z is, to where it is in a window of 16 bits */
  __m512i multiplier;    /* in 16 bits */
  __m512i first, second; /* middles; or lower edges, and how far the next one is */
  bool longer;           /* the product's 14 bits are the highest of 16 */
} pt_code;

PT_INLINE pt_code pt_code_of(const sb_trellis *t) {
  int8_t first[64], second[64];
  for (int k = 0; k < 64; k++) {
    const int i = k < 32 ? k : k - 64;
    first[k] = (int8_t)(sb_trellis_is_wide(t) ? sb_trellis_edge(i) : sb_trellis_middle(i));
    second[k] = (int8_t)(sb_trellis_edge(i + 1) - sb_trellis_edge(i));
  }
  const int reach = t->state_bits < 14 ? (int)t->state_bits - 14 : 0;
  return (pt_code){pt_halves(reach * 256), pt_halves((int)t->multiplier), _mm512_loadu_si512(first),
                   _mm512_loadu_si512(second), t->state_bits > 14};
}

PT_INLINE pt pt_levels(const uint8_t *tile, const pt_code *code, unsigned n, unsigned K,
                       bool natural) {
  const unsigned per = natural ? 4 : PT_PER(K), steps = per / 4;
  const __m512i at = _mm512_add_epi8(places(K, per, n % steps), code->reach),
                z = _mm512_multishift_epi64_epi8(at, fetch(tile, K, per, n / steps));
  __m512i p = _mm512_mullo_epi16(z, code->multiplier);
  if (code->longer) p = _mm512_srli_epi16(p, 2);
  const __mmask64 high_bytes = 0xaaaaaaaaaaaaaaaau;
  const __m512i low = _mm512_maskz_permutexvar_epi8(high_bytes, p, code->first);
  if (K <= SB_TRELLIS_NARROW) return _mm512_srai_epi16(low, 8);
  const __m512i edges =
      _mm512_mask_permutexvar_epi8(low, ~high_bytes, _mm512_srli_epi16(p, 8), code->second);
  return _mm512_srai_epi16(_mm512_maddubs_epi16(_mm512_or_si512(p, pt_halves(0xff00)), edges), 5);
}

#include "kernels/cpu/cpu_trellis_kernels.h"

const sb_trellis_kernels sb_trellis_avx512 = {"AVX-512", PT_TOKENS, levels, dot,
                                              in_order,  columns,   rows,   multiply};
