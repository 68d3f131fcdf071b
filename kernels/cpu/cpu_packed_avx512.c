/* Packed weights with AVX-512: the byte shuffle (VBMI) gives every lane its chunk in one step.
 * Codes of up to 4 bits become floats by a lookup in a register. */
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/cpu/cpu_trellis_decode.h"
#include "kernels/shared/bitstring.h"

#define PV_LANES         16
#define PV_VECTORS       4
#define PV_AVX512_INLINE static inline __attribute__((always_inline))

typedef __m512 pv;
typedef __m512i pv_words;

PV_AVX512_INLINE pv pv_set(float x) {
  return _mm512_set1_ps(x);
}
PV_AVX512_INLINE pv pv_load(const float *p) {
  return _mm512_loadu_ps(p);
}
PV_AVX512_INLINE void pv_store(float *p, pv a) {
  _mm512_storeu_ps(p, a);
}
PV_AVX512_INLINE pv pv_fma(pv a, pv b, pv c) {
  return _mm512_fmadd_ps(a, b, c);
}
PV_AVX512_INLINE float pv_sum(pv a) {
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

PV_AVX512_INLINE pv pv_halves(const uint16_t *p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}
PV_AVX512_INLINE pv pv_bytes(const uint8_t *p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p)));
}

/* 64 at a time: eight bits from any place of a lane of 64 into each of its bytes. */
PV_AVX512_INLINE void pv_numbers(uint8_t *out, const uint8_t *string, size_t n, unsigned b) {
  const __m512i lane = _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7),
                byte = _mm512_set1_epi64(0x0706050403020100);
  const __m512i each = _mm512_set1_epi64(0x0101010101010101 * (long long)b);
  const __m512i from = _mm512_add_epi64(_mm512_mullo_epi64(lane, each), byte);
  const __m512i shift = _mm512_mullo_epi64(byte, _mm512_set1_epi64((long long)b));
  const __m512i mask = _mm512_set1_epi8((char)((1u << b) - 1u));
  for (size_t i = 0; i < n; i += 64, string += 8 * b) {
    const size_t bytes = sb_bitstring_bytes(n - i < 64 ? n - i : 64, b);
    const __m512i all = _mm512_maskz_loadu_epi8(~(__mmask64)0 >> (64 - bytes), string);
    const __m512i numbers = _mm512_multishift_epi64_epi8(shift, _mm512_permutexvar_epi8(from, all));
    _mm512_storeu_si512(out + i, _mm512_and_si512(numbers, mask));
  }
}

/* The number b in every byte. */
PV_AVX512_INLINE uint32_t bytes_of(unsigned b) {
  return b * 0x01010101u;
}

PV_AVX512_INLINE void pv_chunks(const uint8_t *piece, unsigned b, unsigned h, pv_words *low,
                                pv_words *high) {
  (void)h; /* a vector has all chunks */
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  /* Bytes b l, b l + 1, ... for lane l; b l is below 128, so that bytes do not carry. */
  const __m512i first = _mm512_add_epi32(
      _mm512_mullo_epi32(lane, _mm512_set1_epi32((int)bytes_of(b))), _mm512_set1_epi32(0x03020100));
  if (b == 4) {
    *low = *high = _mm512_loadu_si512(piece);
  } else if (b < 4) {
    /* Lanes of chunks below 4 bytes get bytes of the next chunk, too; pv_code ignores them. */
    const __m512i bytes = _mm512_maskz_loadu_epi8(((__mmask64)1 << 16 * b) - 1, piece);
    *low = *high = _mm512_permutexvar_epi8(first, bytes);
  } else {
    const __m512i head = _mm512_loadu_si512(piece);
    const __m512i tail =
        b == 8 ? _mm512_loadu_si512(piece + 64)
               : _mm512_maskz_loadu_epi8(((__mmask64)1 << (16 * b - 64) % 64) - 1, piece + 64);
    const __m512i last = _mm512_add_epi32(first, _mm512_set1_epi32((int)bytes_of(b - 4)));
    *low = _mm512_permutex2var_epi8(head, first, tail);
    *high = _mm512_permutex2var_epi8(head, last, tail);
  }
}

PV_AVX512_INLINE pv pv_code(pv_words low, pv_words high, unsigned b, unsigned s) {
  if (b <= 4) {
    /* The lookup uses the 4 lowest bits; for narrower codes the table repeats. */
    const __m512 one = _mm512_setr_ps(0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1);
    const __m512 two = _mm512_setr_ps(0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3);
    const __m512 three = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7);
    const __m512 four = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512 table = b == 1 ? one : b == 2 ? two : b == 3 ? three : four;
    return _mm512_permutexvar_ps(_mm512_srli_epi32(low, s * b), table);
  }
  const __m512i word =
      s < 4 ? _mm512_srli_epi32(low, s * b) : _mm512_srli_epi32(high, 32 - 8 * b + s * b);
  return _mm512_cvtepi32_ps(_mm512_and_si512(word, _mm512_set1_epi32((int)((1u << b) - 1u))));
}

#define PV_FEW_TOGETHER(tokens) ((tokens) <= 2 ? 4u : (tokens) == 4 ? 2u : 1u)
#define PV_TILE_ROWS(vectors)   ((vectors) <= 2 ? 8u : 4u)
#define PV_INLINE               static inline __attribute__((always_inline))
#define PV_PRAGMA(x)            _Pragma(#x)
#define PV_UNROLL(n)            PV_PRAGMA(GCC unroll n)
#include "kernels/cpu/cpu_packed_kernels.h"

const sb_packed_kernels sb_packed_avx512 = {"AVX-512", PV_LANES, PV_LANES *PV_VECTORS, few,
                                            decode,    multiply, &sb_trellis_avx512};
