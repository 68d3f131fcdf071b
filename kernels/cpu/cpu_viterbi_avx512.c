/* Viterbi's steps with AVX-512 (F, BW): a vector has 32 groups. */
#include <immintrin.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VV_INLINE static inline __attribute__((always_inline))

typedef __m512i vv;

VV_INLINE vv vv_set(uint16_t x) {
  return _mm512_set1_epi16((short)x);
}
VV_INLINE vv vv_load(const void *p) {
  return _mm512_loadu_si512(p);
}
VV_INLINE void vv_store(uint16_t *p, vv a) {
  _mm512_storeu_si512(p, a);
}
VV_INLINE vv vv_repeat(const uint16_t *p, size_t n) {
  if (n == 16) return _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)p));
  if (n == 4) return _mm512_broadcastq_epi64(_mm_loadl_epi64((const __m128i *)p));
  return vv_set(*p);
}
VV_INLINE vv vv_difference(vv a, vv b) {
  return _mm512_subs_epi16(a, b);
}
VV_INLINE vv vv_double(vv a) {
  return _mm512_adds_epi16(a, a);
}
VV_INLINE vv vv_far(vv a, int n) {
  return _mm512_srl_epi16(_mm512_abs_epi16(a), _mm_cvtsi32_si128(n));
}
VV_INLINE vv vv_square(vv a) {
  return _mm512_mulhrs_epi16(a, a);
}
VV_INLINE vv vv_sum(vv a, vv b) {
  return _mm512_adds_epu16(a, b);
}
VV_INLINE vv vv_least(vv a, vv b) {
  return _mm512_min_epu16(a, b);
}

/* For each width, the numbers of a vector in the order of l mod 2^K, then of l. */
static const uint16_t by_code[5][32] = {
    {0},
    {0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30,
     1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31},
    {0, 4, 8,  12, 16, 20, 24, 28, 1, 5, 9,  13, 17, 21, 25, 29,
     2, 6, 10, 14, 18, 22, 26, 30, 3, 7, 11, 15, 19, 23, 27, 31},
    {0, 8,  16, 24, 1, 9,  17, 25, 2, 10, 18, 26, 3, 11, 19, 27,
     4, 12, 20, 28, 5, 13, 21, 29, 6, 14, 22, 30, 7, 15, 23, 31},
    {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
     8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31}};

VV_INLINE void vv_spread(uint16_t *p, size_t run, unsigned width, vv a) {
  const __m512i x = _mm512_permutexvar_epi16(_mm512_loadu_si512(by_code[width]), a);
  if (width == 1) {
    _mm256_storeu_si256((__m256i *)p, _mm512_castsi512_si256(x));
    _mm256_storeu_si256((__m256i *)(p + run), _mm512_extracti64x4_epi64(x, 1));
    return;
  }
  const __m128i quarter[4] = {_mm512_castsi512_si128(x), _mm512_extracti32x4_epi32(x, 1),
                              _mm512_extracti32x4_epi32(x, 2), _mm512_extracti32x4_epi32(x, 3)};
  for (size_t q = 0; q < 4; q++) {
    if (width == 2) {
      _mm_storeu_si128((__m128i *)(p + q * run), quarter[q]);
    } else if (width == 3) {
      _mm_storel_epi64((__m128i *)(p + 2 * q * run), quarter[q]);
      _mm_storeh_pd((double *)(p + (2 * q + 1) * run), _mm_castsi128_pd(quarter[q]));
    } else {
      _mm_storeu_si32(p + 4 * q * run, quarter[q]);
      _mm_storeu_si32(p + (4 * q + 1) * run, _mm_srli_si128(quarter[q], 4));
      _mm_storeu_si32(p + (4 * q + 2) * run, _mm_srli_si128(quarter[q], 8));
      _mm_storeu_si32(p + (4 * q + 3) * run, _mm_srli_si128(quarter[q], 12));
    }
  }
}

#include "kernels/cpu/cpu_viterbi_step.h"

const sb_viterbi_kernels sb_viterbi_avx512 = {"AVX-512", step};
