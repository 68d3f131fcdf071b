/* Packed weights with AVX2: a vector has eight chunks. Codes of up to 3 bits become floats by a
 * lookup in a register. */
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/cpu/cpu_trellis_decode.h"
#include "kernels/shared/bitstring.h"

#define PV_LANES       8
#define PV_VECTORS     3
#define PV_AVX2_INLINE static inline __attribute__((always_inline))

typedef __m256 pv;
typedef __m256i pv_words;

PV_AVX2_INLINE pv pv_set(float x) {
  return _mm256_set1_ps(x);
}
PV_AVX2_INLINE pv pv_load(const float *p) {
  return _mm256_loadu_ps(p);
}
PV_AVX2_INLINE void pv_store(float *p, pv a) {
  _mm256_storeu_ps(p, a);
}
PV_AVX2_INLINE pv pv_fma(pv a, pv b, pv c) {
  return _mm256_fmadd_ps(a, b, c);
}
PV_AVX2_INLINE float pv_sum(pv a) {
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

PV_AVX2_INLINE pv pv_halves(const uint16_t *p) {
  return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}
PV_AVX2_INLINE pv pv_bytes(const uint8_t *p) {
  return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}

PV_AVX2_INLINE void pv_numbers(uint8_t *out, const uint8_t *string, size_t n, unsigned b) {
  sb_bitstring_unpack(out, string, n, b);
}

PV_AVX2_INLINE __m128i sixteen(const uint8_t *p) {
  return _mm_loadu_si128((const __m128i *)p);
}

/* From the last 16 bytes up to the end of a pair of chunks: first and last 4 bytes of either. */
PV_AVX2_INLINE __m256i pairs(const uint8_t *end_low, const uint8_t *end_high, unsigned b) {
  const __m256i bytes = _mm256_set_m128i(sixteen(end_high - 16), sixteen(end_low - 16));
  const int first = (int)((16 - 2 * b) * 0x01010101u) + 0x03020100, chunk = (int)(b * 0x01010101u),
            last = (int)((b - 4) * 0x01010101u);
  return _mm256_shuffle_epi8(bytes, _mm256_setr_epi32(first, first + last, first + chunk,
                                                      first + chunk + last, first, first + last,
                                                      first + chunk, first + chunk + last));
}

PV_AVX2_INLINE void pv_chunks(const uint8_t *piece, unsigned b, unsigned h, pv_words *low,
                              pv_words *high) {
  const uint8_t *at = piece + 8 * b * h;
  if (b == 1) {
    *low = *high = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)at));
  } else if (b == 2) {
    *low = *high = _mm256_cvtepu16_epi32(sixteen(at));
  } else if (b == 3) { /* 24 bytes, read as two times 16 that overlap */
    const __m256i bytes = _mm256_set_m128i(sixteen(at + 8), sixteen(at));
    *low = *high = _mm256_shuffle_epi8(
        bytes, _mm256_setr_epi8(0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11, -1, 4, 5, 6, -1,
                                7, 8, 9, -1, 10, 11, 12, -1, 13, 14, 15, -1));
  } else if (b == 4) {
    *low = *high = _mm256_loadu_si256((const __m256i *)at);
  } else { /* chunks 0, 1, 4, 5 and 2, 3, 6, 7: so they end up in order */
    const __m256 even = _mm256_castsi256_ps(pairs(at + 2 * b, at + 6 * b, b));
    const __m256 odd = _mm256_castsi256_ps(pairs(at + 4 * b, at + 8 * b, b));
    *low = _mm256_castps_si256(_mm256_shuffle_ps(even, odd, _MM_SHUFFLE(2, 0, 2, 0)));
    *high = _mm256_castps_si256(_mm256_shuffle_ps(even, odd, _MM_SHUFFLE(3, 1, 3, 1)));
  }
}

PV_AVX2_INLINE pv pv_code(pv_words low, pv_words high, unsigned b, unsigned s) {
  if (b <= 3) {
    /* The lookup uses the 3 lowest bits; for narrower codes the table repeats. */
    const __m256 one = _mm256_setr_ps(0, 1, 0, 1, 0, 1, 0, 1),
                 two = _mm256_setr_ps(0, 1, 2, 3, 0, 1, 2, 3),
                 three = _mm256_setr_ps(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_permutevar8x32_ps(b == 1   ? one
                                    : b == 2 ? two
                                             : three,
                                    _mm256_srli_epi32(low, (int)(s * b)));
  }
  const __m256i word = s < 4 || b == 4 ? _mm256_srli_epi32(low, (int)(s * b))
                                       : _mm256_srli_epi32(high, (int)(32 - 8 * b + s * b));
  return _mm256_cvtepi32_ps(_mm256_and_si256(word, _mm256_set1_epi32((int)((1u << b) - 1u))));
}

#define PV_FEW_TOGETHER(tokens) ((tokens) == 1 ? 4u : (tokens) == 2 ? 2u : 1u)
#define PV_TILE_ROWS(vectors)   ((vectors) <= 1 ? 8u : 4u)
#define PV_INLINE               static inline __attribute__((always_inline))
#define PV_PRAGMA(x)            _Pragma(#x)
#define PV_UNROLL(n)            PV_PRAGMA(GCC unroll n)
#include "kernels/cpu/cpu_packed_kernels.h"

const sb_packed_kernels sb_packed_avx2 = {"AVX2", PV_LANES, PV_LANES *PV_VECTORS, few,
                                          decode, multiply, &sb_trellis_avx2};
