/* Viterbi's steps with AVX2: two vectors have 32 groups. */
#include <immintrin.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VV_INLINE static inline __attribute__((always_inline))

typedef struct vv {
  __m256i low, high;
} vv;

VV_INLINE vv vv_both(__m256i low, __m256i high) {
  return (vv){low, high};
}
VV_INLINE vv vv_set(uint16_t x) {
  return vv_both(_mm256_set1_epi16((short)x), _mm256_set1_epi16((short)x));
}
VV_INLINE vv vv_load(const void *p) {
  return vv_both(_mm256_loadu_si256(p), _mm256_loadu_si256((const __m256i *)p + 1));
}
VV_INLINE void vv_store(uint16_t *p, vv a) {
  _mm256_storeu_si256((__m256i *)p, a.low);
  _mm256_storeu_si256((__m256i *)p + 1, a.high);
}
VV_INLINE vv vv_repeat(const uint16_t *p, size_t n) {
  const __m256i x = n == 16  ? _mm256_loadu_si256((const __m256i *)p)
                    : n == 4 ? _mm256_broadcastq_epi64(_mm_loadl_epi64((const __m128i *)p))
                             : _mm256_set1_epi16((short)*p);
  return vv_both(x, x);
}
VV_INLINE vv vv_difference(vv a, vv b) {
  return vv_both(_mm256_subs_epi16(a.low, b.low), _mm256_subs_epi16(a.high, b.high));
}
VV_INLINE vv vv_double(vv a) {
  return vv_both(_mm256_adds_epi16(a.low, a.low), _mm256_adds_epi16(a.high, a.high));
}
VV_INLINE vv vv_far(vv a, int n) {
  const __m128i by = _mm_cvtsi32_si128(n);
  return vv_both(_mm256_srl_epi16(_mm256_abs_epi16(a.low), by),
                 _mm256_srl_epi16(_mm256_abs_epi16(a.high), by));
}
VV_INLINE vv vv_square(vv a) {
  return vv_both(_mm256_mulhrs_epi16(a.low, a.low), _mm256_mulhrs_epi16(a.high, a.high));
}
VV_INLINE vv vv_sum(vv a, vv b) {
  return vv_both(_mm256_adds_epu16(a.low, b.low), _mm256_adds_epu16(a.high, b.high));
}
VV_INLINE vv vv_least(vv a, vv b) {
  return vv_both(_mm256_min_epu16(a.low, b.low), _mm256_min_epu16(a.high, b.high));
}

/* Number l of 16 at place (l mod 2^K) 2^(4 - K) + l / 2^K: within each half, then between them. */
VV_INLINE __m256i by_code(__m256i a, unsigned width) {
  const __m128i pairs = _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15),
                fours = _mm_setr_epi8(0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15);
  if (width == 1)
    return _mm256_permute4x64_epi64(_mm256_shuffle_epi8(a, _mm256_broadcastsi128_si256(pairs)),
                                    0xd8);
  if (width == 2)
    return _mm256_permutevar8x32_epi32(_mm256_shuffle_epi8(a, _mm256_broadcastsi128_si256(fours)),
                                       _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
  return _mm256_unpacklo_epi16(_mm256_permute4x64_epi64(a, 0x10),
                               _mm256_permute4x64_epi64(a, 0x32));
}

/* Four runs of four from the four lanes of a. */
VV_INLINE void put_fours(uint16_t *p, size_t run, __m256i a) {
  const __m128i low = _mm256_castsi256_si128(a), high = _mm256_extracti128_si256(a, 1);
  _mm_storel_epi64((__m128i *)p, low);
  _mm_storeh_pd((double *)(p + run), _mm_castsi128_pd(low));
  _mm_storel_epi64((__m128i *)(p + 2 * run), high);
  _mm_storeh_pd((double *)(p + 3 * run), _mm_castsi128_pd(high));
}

VV_INLINE void vv_spread(uint16_t *p, size_t run, unsigned width, vv a) {
  if (width == 4) { /* numbers l and l + 16 side by side */
    uint32_t pairs[16];
    const __m256i first = _mm256_unpacklo_epi16(a.low, a.high),
                  last = _mm256_unpackhi_epi16(a.low, a.high);
    _mm256_storeu_si256((__m256i *)pairs, _mm256_permute2x128_si256(first, last, 0x20));
    _mm256_storeu_si256((__m256i *)pairs + 1, _mm256_permute2x128_si256(first, last, 0x31));
    for (size_t o = 0; o < 16; o++) __builtin_memcpy(p + o * run, &pairs[o], sizeof *pairs);
    return;
  }
  const __m256i low = by_code(a.low, width), high = by_code(a.high, width);
  if (width == 1) {
    _mm256_storeu_si256((__m256i *)p, _mm256_permute2x128_si256(low, high, 0x20));
    _mm256_storeu_si256((__m256i *)(p + run), _mm256_permute2x128_si256(low, high, 0x31));
  } else if (width == 2) {
    put_fours(p, run, low);
    put_fours(p + 4, run, high);
  } else { /* pairs of the same code side by side: codes 0, 1, 4, 5, and 2, 3, 6, 7 */
    const __m256i first = _mm256_unpacklo_epi32(low, high), last = _mm256_unpackhi_epi32(low, high);
    put_fours(p, run, _mm256_permute2x128_si256(first, last, 0x20));
    put_fours(p + 4 * run, run, _mm256_permute2x128_si256(first, last, 0x31));
  }
}

#include "kernels/cpu/cpu_viterbi_step.h"

const sb_viterbi_kernels sb_viterbi_avx2 = {"AVX2", step};
