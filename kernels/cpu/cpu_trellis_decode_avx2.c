/* Trellis codes with AVX2. A shuffle of bytes gives every lane of 32 bits those of two states, or
 * of four, and two shifts bring each of two into its half. */
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/shared/trellis.h"

#define PT_LANES     8
#define PT_TOKENS    3
#define PT_INLINE    static inline __attribute__((always_inline))
#define PT_PRAGMA(x) _Pragma(#x)
#define PT_UNROLL(n) PT_PRAGMA(GCC unroll n)

typedef __m256i pt;
typedef __m256 pf;

PT_INLINE pt pt_set(int32_t x) {
  return _mm256_set1_epi32(x);
}
PT_INLINE pt pt_halves(int x) {
  return _mm256_set1_epi16((short)x);
}
PT_INLINE pt pt_load(const int16_t *p) {
  return _mm256_loadu_si256((const __m256i *)p);
}
PT_INLINE void pt_store(int16_t *p, pt a) {
  _mm256_storeu_si256((__m256i *)p, a);
}
PT_INLINE pt pt_dot(pt sum, pt a, pt b) {
  return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
}
PT_INLINE pf pf_int(pt a) {
  return _mm256_cvtepi32_ps(a);
}
PT_INLINE pf pt_even(pt a) {
  return pf_int(_mm256_srai_epi32(_mm256_slli_epi32(a, 16), 16));
}
PT_INLINE pf pt_odd(pt a) {
  return pf_int(_mm256_srai_epi32(a, 16));
}
PT_INLINE pf pf_set(float x) {
  return _mm256_set1_ps(x);
}
PT_INLINE pf pf_load(const float *p) {
  return _mm256_loadu_ps(p);
}
PT_INLINE void pf_store(float *p, pf a) {
  _mm256_storeu_ps(p, a);
}
PT_INLINE pf pf_mul(pf a, pf b) {
  return _mm256_mul_ps(a, b);
}
PT_INLINE pf pf_fma(pf a, pf b, pf c) {
  return _mm256_fmadd_ps(a, b, c);
}

PT_INLINE void pf_four(float *out, size_t ld, pf a, pf b, pf c, pf d) {
  const __m256d ab0 = _mm256_castps_pd(_mm256_unpacklo_ps(a, b)),
                ab2 = _mm256_castps_pd(_mm256_unpackhi_ps(a, b)),
                cd0 = _mm256_castps_pd(_mm256_unpacklo_ps(c, d)),
                cd2 = _mm256_castps_pd(_mm256_unpackhi_ps(c, d));
  const __m256 row[4] = {_mm256_castpd_ps(_mm256_unpacklo_pd(ab0, cd0)),
                         _mm256_castpd_ps(_mm256_unpackhi_pd(ab0, cd0)),
                         _mm256_castpd_ps(_mm256_unpacklo_pd(ab2, cd2)),
                         _mm256_castpd_ps(_mm256_unpackhi_pd(ab2, cd2))};
  PT_UNROLL(4)
  for (size_t i = 0; i < 4; i++) {
    _mm_storeu_ps(out + i * ld, _mm256_castps256_ps128(row[i]));
    _mm_storeu_ps(out + (4 + i) * ld, _mm256_extractf128_ps(row[i], 1));
  }
}

/* ---- states ---- */

/* A lane of 32 bits holds `per` states: 4 up to 3 bits a weight, else 2. Two of them are a step. */
#define PT_PER(K)           ((K) <= 3 ? 4u : 2u)
#define PT_ORDER(K)         ((K) <= 3 ? 0u : 1u)
#define PT_WIDTHS_OF_ORDERS 1, 4, 4

PT_INLINE unsigned pt_row(unsigned K, unsigned n, unsigned lane) {
  const unsigned steps = PT_PER(K) / 2;
  return n / steps * steps * PT_LANES + lane * steps + n % steps;
}

/* Sixteen bytes with those of 4 per states from state 4 per g on, at the index that `first` gets.
 */
PT_INLINE __m128i sixteen(const uint8_t *tile, unsigned K, unsigned per, unsigned g,
                          unsigned *first) {
  const unsigned used = per * K / 2, begin = g * used, last = 32 * K - 16,
                 base = begin < last ? begin : last;
  const __m128i bytes = _mm_loadu_si128((const __m128i *)(tile + base));
  *first = begin - base;
  if (begin + used + 2 <= 32 * K) return bytes;
  *first = 0; /* beyond the end the ring goes on at the head */
  switch (begin - last) {
#define JOINED(n)                                                                                  \
  case n:                                                                                          \
    return _mm_alignr_epi8(_mm_loadu_si128((const __m128i *)tile), bytes, n)
    JOINED(8);
    JOINED(9);
    JOINED(10);
    JOINED(11);
    JOINED(12);
    JOINED(13);
    JOINED(14);
  default:
    return _mm_alignr_epi8(_mm_loadu_si128((const __m128i *)tile), bytes, 15);
#undef JOINED
  }
}

/* Four bytes from the first bit of states per d, per d + 1, ... on, for d = 0 .. 3. */
PT_INLINE __m128i lanes(unsigned K, unsigned per, unsigned first) {
#define LANE(d) (int)(0x03020100u + 0x01010101u * (first + per * K * (d) / 8))
  return _mm_setr_epi32(LANE(0), LANE(1), LANE(2), LANE(3));
#undef LANE
}

PT_INLINE __m256i windows(const uint8_t *tile, unsigned K, unsigned per, unsigned n) {
  const unsigned steps = per / 2, f = n / steps, step = n % steps;
  unsigned first[2];
  const __m128i low = sixteen(tile, K, per, 2 * f, &first[0]),
                high = sixteen(tile, K, per, 2 * f + 1, &first[1]);
  const __m256i all =
      _mm256_shuffle_epi8(_mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1),
                          _mm256_set_m128i(lanes(K, per, first[1]), lanes(K, per, first[0])));
#define AT(d) (int)(per * K * (d) % 8 + 2 * K * step)
  const __m256i at = _mm256_setr_epi32(AT(0), AT(1), AT(2), AT(3), AT(0), AT(1), AT(2), AT(3));
#undef AT
  const __m256i even = _mm256_srlv_epi32(all, at),
                odd = _mm256_sllv_epi32(all, _mm256_sub_epi32(pt_set((int)(16 - K)), at));
  return _mm256_blend_epi16(even, odd, 0xaa);
}

/* ---- levels ---- */

typedef struct pt_code {
  __m256i multiplier;          /* in 16 bits; products have their 14 bits at the top */
  __m256i left;                /* 1 << by how much z's second byte is shifted */
  __m256i first[2], second[2]; /* of 16 and 16 intervals: middles; or lower and upper edges */
} pt_code;

PT_INLINE pt_code pt_code_of(const sb_trellis *t) {
  int8_t first[32], second[32];
  for (int i = 0; i < 32; i++) {
    first[i] = (int8_t)(sb_trellis_is_wide(t) ? sb_trellis_edge(i) : sb_trellis_middle(i));
    second[i] = (int8_t)sb_trellis_edge(i + 1);
  }
#define HALF(table, h) _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(table) + (h)))
  return (pt_code){pt_halves((int)(t->multiplier << (t->state_bits > 14 ? 0 : 2))),
                   pt_halves(t->state_bits < 14 ? 1 << (14 - t->state_bits) : 1),
                   {HALF(first, 0), HALF(first, 1)},
                   {HALF(second, 0), HALF(second, 1)}};
#undef HALF
}

/* Entry j of a table of 32, for every lane of 16 bits. Shuffles give 0 for a byte with its highest
 * bit. */
PT_INLINE __m256i entry(const __m256i table[2], __m256i j) {
  const __m256i low = _mm256_add_epi16(j, pt_halves(0x8070)),
                high = _mm256_xor_si256(low, pt_halves(0x80));
  return _mm256_or_si256(_mm256_shuffle_epi8(table[0], low), _mm256_shuffle_epi8(table[1], high));
}

PT_INLINE pt pt_levels(const uint8_t *tile, const pt_code *code, unsigned n, unsigned K,
                       bool natural) {
  const __m256i window = windows(tile, K, natural ? 2 : PT_PER(K), n),
                z = _mm256_blendv_epi8(window, _mm256_mullo_epi16(window, code->left),
                                       pt_halves(0xff00)),
                p = _mm256_mullo_epi16(z, code->multiplier);
  /* intervals i and -1 - i have opposite numbers */
  const __m256i sign = _mm256_srai_epi16(p, 15),
                j = _mm256_xor_si256(_mm256_srai_epi16(p, 10), sign), near = entry(code->first, j);
  if (K <= SB_TRELLIS_NARROW) return _mm256_sub_epi16(_mm256_xor_si256(near, sign), sign);
  const __m256i far = entry(code->second, j),
                edge =
                    _mm256_blendv_epi8(near, _mm256_sub_epi16(_mm256_setzero_si256(), far), sign),
                rest =
                    _mm256_mullo_epi16(_mm256_and_si256(_mm256_srli_epi16(p, 2), pt_halves(0xff)),
                                       _mm256_sub_epi16(far, near));
  return _mm256_srai_epi16(
      _mm256_add_epi16(_mm256_sub_epi16(_mm256_slli_epi16(edge, 8), edge), rest), 5);
}

#include "kernels/cpu/cpu_trellis_kernels.h"

const sb_trellis_kernels sb_trellis_avx2 = {"AVX2",   PT_TOKENS, levels, dot,
                                            in_order, columns,   rows,   multiply};
