/* Sixteen floats at a time on every processor: one AVX-512 register, two AVX2 registers, or a plain
 * array, with the same bits. Results that go into files need that. (vec.h follows the width of the
 * processor instead.)
 *
 * A product whose result is added is lanes_fma, fused in all forms. A product that must not be
 * fused has to be exact (kernels/shared/grid.h), since compilers may fuse it. SB_PORTABLE_LANES
 * chooses the plain form on any processor. */
#ifndef SB_KERNELS_CPU_LANES_H
#define SB_KERNELS_CPU_LANES_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/dtype.h"

#define SB_LANES_INLINE static inline __attribute__((always_inline))

enum { LANES = 16 };

#if defined(__AVX2__) && !defined(SB_PORTABLE_LANES)
#include <immintrin.h>

/* The last steps of a sum, the same in both vector forms: adds lanes i and i + 4, then 2, 1. */
SB_LANES_INLINE float lanes_sum_of_eight(__m256 eight) {
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
SB_LANES_INLINE double lanes_sum_of_four(__m256d four) {
  const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
  return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}
#endif

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__) &&                      \
    defined(__AVX512DQ__) && !defined(SB_PORTABLE_LANES)
typedef __m512 lanes;
typedef __mmask16 lanes_mask;

/* A mask of the first n lanes; of all lanes if n >= 16. */
SB_LANES_INLINE lanes_mask lanes_first(size_t n) {
  return (lanes_mask)(n >= LANES ? 0xffffu : (1u << n) - 1u);
}
SB_LANES_INLINE lanes lanes_set(float x) {
  return _mm512_set1_ps(x);
}
/* Loads set lanes outside the mask to 0. Loads and stores do not touch their memory. */
SB_LANES_INLINE lanes lanes_load(const float *p, lanes_mask m) {
  return _mm512_maskz_loadu_ps(m, p);
}
SB_LANES_INLINE lanes lanes_load_bf16(const uint16_t *p, lanes_mask m) {
  return _mm512_castsi512_ps(
      _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(m, p)), 16));
}
SB_LANES_INLINE lanes lanes_load_f16(const uint16_t *p, lanes_mask m) {
  return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(m, p));
}
SB_LANES_INLINE void lanes_store(float *p, lanes_mask m, lanes x) {
  _mm512_mask_storeu_ps(p, m, x);
}
SB_LANES_INLINE void lanes_store_bf16(uint16_t *p, lanes_mask m, lanes x) {
  const __m512i bits = _mm512_castps_si512(x);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
  const __m512i nan = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
  const __m512i out = _mm512_mask_mov_epi32(rounded, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), nan);
  _mm256_mask_storeu_epi16(p, m, _mm512_cvtepi32_epi16(_mm512_srli_epi32(out, 16)));
}
SB_LANES_INLINE void lanes_store_f16(uint16_t *p, lanes_mask m, lanes x) {
  _mm256_mask_storeu_epi16(p, m, _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
}
/* Whole numbers 0 .. 255 and back. */
SB_LANES_INLINE void lanes_store_codes(uint8_t *p, lanes_mask m, lanes x) {
  _mm_mask_storeu_epi8(p, m, _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(x)));
}
SB_LANES_INLINE lanes lanes_load_codes(const uint8_t *p, lanes_mask m) {
  return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(m, p)));
}
SB_LANES_INLINE lanes lanes_add(lanes a, lanes b) {
  return _mm512_add_ps(a, b);
}
SB_LANES_INLINE lanes lanes_sub(lanes a, lanes b) {
  return _mm512_sub_ps(a, b);
}
SB_LANES_INLINE lanes lanes_mul(lanes a, lanes b) {
  return _mm512_mul_ps(a, b);
}
/* a * b + c, rounded once. */
SB_LANES_INLINE lanes lanes_fma(lanes a, lanes b, lanes c) {
  return _mm512_fmadd_ps(a, b, c);
}
/* Minimum and maximum; b if either is NaN. */
SB_LANES_INLINE lanes lanes_min(lanes a, lanes b) {
  return _mm512_min_ps(a, b);
}
SB_LANES_INLINE lanes lanes_max(lanes a, lanes b) {
  return _mm512_max_ps(a, b);
}
SB_LANES_INLINE lanes lanes_abs(lanes a) {
  return _mm512_abs_ps(a);
}
SB_LANES_INLINE lanes lanes_rint(lanes a) {
  return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
SB_LANES_INLINE lanes lanes_only(lanes_mask m, lanes a) {
  return _mm512_maskz_mov_ps(m, a);
}
SB_LANES_INLINE float lanes_lowest(lanes a) {
  return _mm512_reduce_min_ps(a);
}
SB_LANES_INLINE float lanes_highest(lanes a) {
  return _mm512_reduce_max_ps(a);
}
/* Lanes i and i + 8 are added, then i and i + 4, 2, 1. */
SB_LANES_INLINE float lanes_sum(lanes a) {
  return lanes_sum_of_eight(_mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1)));
}
/* Sixteen doubles that floats are added to. */
typedef struct lanes_total {
  __m512d low, high;
} lanes_total;
SB_LANES_INLINE void lanes_add_to(lanes_total *total, lanes a) {
  total->low = _mm512_add_pd(total->low, _mm512_cvtps_pd(_mm512_castps512_ps256(a)));
  total->high = _mm512_add_pd(total->high, _mm512_cvtps_pd(_mm512_extractf32x8_ps(a, 1)));
}
/* In the order of lanes_sum. */
SB_LANES_INLINE double lanes_total_sum(const lanes_total *total) {
  const __m512d eight = _mm512_add_pd(total->low, total->high);
  return lanes_sum_of_four(
      _mm256_add_pd(_mm512_castpd512_pd256(eight), _mm512_extractf64x4_pd(eight, 1)));
}

#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__) && !defined(SB_PORTABLE_LANES)
typedef struct lanes {
  __m256 low, high;
} lanes;
typedef unsigned lanes_mask; /* the number of leading lanes */

SB_LANES_INLINE lanes_mask lanes_first(size_t n) {
  return n >= LANES ? LANES : (unsigned)n;
}
/* All bits of the lanes 8 half .. 8 half + 7 that are among the first m. */
SB_LANES_INLINE __m256i lanes_bits(lanes_mask m, int half) {
  static const int32_t all_then_none[2 * LANES] = {-1, -1, -1, -1, -1, -1, -1, -1,
                                                   -1, -1, -1, -1, -1, -1, -1, -1};
  return _mm256_loadu_si256((const __m256i *)(all_then_none + LANES + 8 * half - m));
}
#define LANES_BOTH(expression_low, expression_high)                                                \
  return (lanes) {                                                                                 \
    expression_low, expression_high                                                                \
  }

SB_LANES_INLINE lanes lanes_set(float x) {
  LANES_BOTH(_mm256_set1_ps(x), _mm256_set1_ps(x));
}
SB_LANES_INLINE lanes lanes_load(const float *p, lanes_mask m) {
  if (m == LANES) LANES_BOTH(_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8));
  LANES_BOTH(_mm256_maskload_ps(p, lanes_bits(m, 0)), _mm256_maskload_ps(p + 8, lanes_bits(m, 1)));
}
SB_LANES_INLINE __m256 lanes_of_bf16(const uint16_t *p) {
  return _mm256_castsi256_ps(
      _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p)), 16));
}
SB_LANES_INLINE __m256 lanes_of_f16(const uint16_t *p) {
  return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}
SB_LANES_INLINE lanes lanes_load_bf16(const uint16_t *p, lanes_mask m) {
  uint16_t room[LANES] = {0};
  if (m < LANES) p = memcpy(room, p, m * sizeof *p);
  LANES_BOTH(lanes_of_bf16(p), lanes_of_bf16(p + 8));
}
SB_LANES_INLINE lanes lanes_load_f16(const uint16_t *p, lanes_mask m) {
  uint16_t room[LANES] = {0};
  if (m < LANES) p = memcpy(room, p, m * sizeof *p);
  LANES_BOTH(lanes_of_f16(p), lanes_of_f16(p + 8));
}
SB_LANES_INLINE void lanes_store(float *p, lanes_mask m, lanes x) {
  if (m == LANES) {
    _mm256_storeu_ps(p, x.low);
    _mm256_storeu_ps(p + 8, x.high);
  } else {
    _mm256_maskstore_ps(p, lanes_bits(m, 0), x.low);
    _mm256_maskstore_ps(p + 8, lanes_bits(m, 1), x.high);
  }
}
/* Sixteen numbers of 32 bits, each below 2^16, as numbers of 16 bits. */
SB_LANES_INLINE __m256i lanes_narrow(__m256i low, __m256i high) {
  return _mm256_permute4x64_epi64(_mm256_packus_epi32(low, high), 0xd8);
}
SB_LANES_INLINE __m256i lanes_to_bf16(__m256 x) {
  const __m256i bits = _mm256_castps_si256(x);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
  const __m256i nan = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
  const __m256i is_nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
  return _mm256_srli_epi32(_mm256_blendv_epi8(rounded, nan, is_nan), 16);
}
SB_LANES_INLINE void lanes_store_16_bits(uint16_t *p, lanes_mask m, __m256i x) {
  uint16_t room[LANES];
  _mm256_storeu_si256((__m256i *)(m < LANES ? room : p), x);
  if (m < LANES) memcpy(p, room, m * sizeof *p);
}
SB_LANES_INLINE void lanes_store_bf16(uint16_t *p, lanes_mask m, lanes x) {
  lanes_store_16_bits(p, m, lanes_narrow(lanes_to_bf16(x.low), lanes_to_bf16(x.high)));
}
SB_LANES_INLINE void lanes_store_f16(uint16_t *p, lanes_mask m, lanes x) {
  lanes_store_16_bits(p, m,
                      _mm256_set_m128i(_mm256_cvtps_ph(x.high, _MM_FROUND_TO_NEAREST_INT),
                                       _mm256_cvtps_ph(x.low, _MM_FROUND_TO_NEAREST_INT)));
}
/* Whole numbers 0 .. 255 and back. */
SB_LANES_INLINE void lanes_store_codes(uint8_t *p, lanes_mask m, lanes x) {
  const __m256i wide = lanes_narrow(_mm256_cvtps_epi32(x.low), _mm256_cvtps_epi32(x.high));
  const __m128i bytes =
      _mm_packus_epi16(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1));
  uint8_t room[LANES];
  _mm_storeu_si128((__m128i *)(m < LANES ? room : p), bytes);
  if (m < LANES) memcpy(p, room, m);
}
SB_LANES_INLINE lanes lanes_load_codes(const uint8_t *p, lanes_mask m) {
  uint8_t room[LANES] = {0};
  if (m < LANES) p = memcpy(room, p, m);
  const __m128i bytes = _mm_loadu_si128((const __m128i *)p);
  LANES_BOTH(_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes)),
             _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128(bytes, 8))));
}
SB_LANES_INLINE lanes lanes_add(lanes a, lanes b) {
  LANES_BOTH(_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high));
}
SB_LANES_INLINE lanes lanes_sub(lanes a, lanes b) {
  LANES_BOTH(_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high));
}
SB_LANES_INLINE lanes lanes_mul(lanes a, lanes b) {
  LANES_BOTH(_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high));
}
SB_LANES_INLINE lanes lanes_fma(lanes a, lanes b, lanes c) {
  LANES_BOTH(_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high));
}
SB_LANES_INLINE lanes lanes_min(lanes a, lanes b) {
  LANES_BOTH(_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high));
}
SB_LANES_INLINE lanes lanes_max(lanes a, lanes b) {
  LANES_BOTH(_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high));
}
SB_LANES_INLINE lanes lanes_abs(lanes a) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  LANES_BOTH(_mm256_andnot_ps(sign, a.low), _mm256_andnot_ps(sign, a.high));
}
SB_LANES_INLINE lanes lanes_rint(lanes a) {
  LANES_BOTH(_mm256_round_ps(a.low, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
             _mm256_round_ps(a.high, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
SB_LANES_INLINE lanes lanes_only(lanes_mask m, lanes a) {
  LANES_BOTH(_mm256_and_ps(a.low, _mm256_castsi256_ps(lanes_bits(m, 0))),
             _mm256_and_ps(a.high, _mm256_castsi256_ps(lanes_bits(m, 1))));
}
#undef LANES_BOTH
SB_LANES_INLINE float lanes_lowest(lanes a) {
  const __m256 eight = _mm256_min_ps(a.low, a.high);
  const __m128 four = _mm_min_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_min_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_min_ss(two, _mm_movehdup_ps(two)));
}
SB_LANES_INLINE float lanes_highest(lanes a) {
  const __m256 eight = _mm256_max_ps(a.low, a.high);
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}
/* Lanes i and i + 8 are added, then i and i + 4, 2, 1. */
SB_LANES_INLINE float lanes_sum(lanes a) {
  return lanes_sum_of_eight(_mm256_add_ps(a.low, a.high));
}
/* Sixteen doubles that floats are added to. */
typedef struct lanes_total {
  __m256d at[4];
} lanes_total;
SB_LANES_INLINE void lanes_add_to(lanes_total *total, lanes a) {
  total->at[0] = _mm256_add_pd(total->at[0], _mm256_cvtps_pd(_mm256_castps256_ps128(a.low)));
  total->at[1] = _mm256_add_pd(total->at[1], _mm256_cvtps_pd(_mm256_extractf128_ps(a.low, 1)));
  total->at[2] = _mm256_add_pd(total->at[2], _mm256_cvtps_pd(_mm256_castps256_ps128(a.high)));
  total->at[3] = _mm256_add_pd(total->at[3], _mm256_cvtps_pd(_mm256_extractf128_ps(a.high, 1)));
}
/* In the order of lanes_sum. */
SB_LANES_INLINE double lanes_total_sum(const lanes_total *total) {
  return lanes_sum_of_four(_mm256_add_pd(_mm256_add_pd(total->at[0], total->at[2]),
                                         _mm256_add_pd(total->at[1], total->at[3])));
}

#else

typedef struct lanes {
  float at[LANES];
} lanes;
typedef unsigned lanes_mask; /* the number of leading lanes */

#define LANES_EACH(expression)                                                                     \
  lanes out;                                                                                       \
  for (unsigned i = 0; i < LANES; i++) out.at[i] = (expression);                                   \
  return out

SB_LANES_INLINE lanes_mask lanes_first(size_t n) {
  return n >= LANES ? LANES : (unsigned)n;
}
SB_LANES_INLINE lanes lanes_set(float x) {
  LANES_EACH(x);
}
SB_LANES_INLINE lanes lanes_load(const float *p, lanes_mask m) {
  lanes out = {{0}};
  memcpy(out.at, p, m * sizeof *p);
  return out;
}
SB_LANES_INLINE lanes lanes_load_bf16(const uint16_t *p, lanes_mask m) {
  LANES_EACH(i < m ? sb_bf16_to_f32(p[i]) : 0.0f);
}
SB_LANES_INLINE lanes lanes_load_f16(const uint16_t *p, lanes_mask m) {
  LANES_EACH(i < m ? sb_f16_to_f32(p[i]) : 0.0f);
}
SB_LANES_INLINE void lanes_store(float *p, lanes_mask m, lanes x) {
  memcpy(p, x.at, m * sizeof *p);
}
SB_LANES_INLINE void lanes_store_bf16(uint16_t *p, lanes_mask m, lanes x) {
  for (unsigned i = 0; i < m; i++) p[i] = sb_f32_to_bf16(x.at[i]);
}
SB_LANES_INLINE void lanes_store_f16(uint16_t *p, lanes_mask m, lanes x) {
  for (unsigned i = 0; i < m; i++) p[i] = sb_f32_to_f16(x.at[i]);
}
SB_LANES_INLINE void lanes_store_codes(uint8_t *p, lanes_mask m, lanes x) {
  for (unsigned i = 0; i < m; i++) p[i] = (uint8_t)x.at[i];
}
SB_LANES_INLINE lanes lanes_load_codes(const uint8_t *p, lanes_mask m) {
  LANES_EACH(i < m ? (float)p[i] : 0.0f);
}
SB_LANES_INLINE lanes lanes_add(lanes a, lanes b) {
  LANES_EACH(a.at[i] + b.at[i]);
}
SB_LANES_INLINE lanes lanes_sub(lanes a, lanes b) {
  LANES_EACH(a.at[i] - b.at[i]);
}
SB_LANES_INLINE lanes lanes_mul(lanes a, lanes b) {
  LANES_EACH(a.at[i] * b.at[i]);
}
SB_LANES_INLINE lanes lanes_fma(lanes a, lanes b, lanes c) {
  LANES_EACH(fmaf(a.at[i], b.at[i], c.at[i]));
}
SB_LANES_INLINE lanes lanes_min(lanes a, lanes b) {
  LANES_EACH(a.at[i] < b.at[i] ? a.at[i] : b.at[i]);
}
SB_LANES_INLINE lanes lanes_max(lanes a, lanes b) {
  LANES_EACH(a.at[i] > b.at[i] ? a.at[i] : b.at[i]);
}
SB_LANES_INLINE lanes lanes_abs(lanes a) {
  LANES_EACH(fabsf(a.at[i]));
}
SB_LANES_INLINE lanes lanes_rint(lanes a) {
  LANES_EACH(rintf(a.at[i]));
}
SB_LANES_INLINE lanes lanes_only(lanes_mask m, lanes a) {
  LANES_EACH(i < m ? a.at[i] : 0.0f);
}
SB_LANES_INLINE float lanes_lowest(lanes a) {
  float low = a.at[0];
  for (unsigned i = 1; i < LANES; i++) low = a.at[i] < low ? a.at[i] : low;
  return low;
}
SB_LANES_INLINE float lanes_highest(lanes a) {
  float high = a.at[0];
  for (unsigned i = 1; i < LANES; i++) high = a.at[i] > high ? a.at[i] : high;
  return high;
}
SB_LANES_INLINE float lanes_sum(lanes a) {
  for (unsigned width = LANES / 2; width > 0; width /= 2)
    for (unsigned i = 0; i < width; i++) a.at[i] += a.at[i + width];
  return a.at[0];
}
typedef struct lanes_total {
  double at[LANES];
} lanes_total;
SB_LANES_INLINE void lanes_add_to(lanes_total *total, lanes a) {
  for (unsigned i = 0; i < LANES; i++) total->at[i] += (double)a.at[i];
}
SB_LANES_INLINE double lanes_total_sum(const lanes_total *total) {
  lanes_total t = *total;
  for (unsigned width = LANES / 2; width > 0; width /= 2)
    for (unsigned i = 0; i < width; i++) t.at[i] += t.at[i + width];
  return t.at[0];
}
#undef LANES_EACH
#endif

/* The n weights from element `first` of src on, as floats: in src itself if it holds floats, else
 * converted into `room`. */
SB_LANES_INLINE const float *lanes_floats(float *room, const void *src, sb_dtype dtype,
                                          size_t first, size_t n) {
  const uint16_t *half = (const uint16_t *)src + first;
  if (dtype == SB_F32) return (const float *)src + first;
  if (dtype == SB_BF16) {
    for (size_t i = 0; i < n; i += LANES) {
      const lanes_mask m = lanes_first(n - i);
      lanes_store(room + i, m, lanes_load_bf16(half + i, m));
    }
  } else {
    for (size_t i = 0; i < n; i += LANES) {
      const lanes_mask m = lanes_first(n - i);
      lanes_store(room + i, m, lanes_load_f16(half + i, m));
    }
  }
  return room;
}

/* Stores up to 16 values at dst + first as `dtype`. */
SB_LANES_INLINE void lanes_store_as(void *dst, sb_dtype dtype, size_t first, lanes_mask m,
                                    lanes x) {
  if (dtype == SB_F32)
    lanes_store((float *)dst + first, m, x);
  else if (dtype == SB_BF16)
    lanes_store_bf16((uint16_t *)dst + first, m, x);
  else
    lanes_store_f16((uint16_t *)dst + first, m, x);
}

#endif
