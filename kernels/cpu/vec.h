/* One register of floats in the compiler's vector types: sixteen with AVX-512, eight elsewhere.
 *
 * Sums over memory are taken lane by lane and folded in a fixed tree, so that they depend neither
 * on alignment nor on what the vectoriser makes of a loop. */
#ifndef SB_KERNELS_CPU_VEC_H
#define SB_KERNELS_CPU_VEC_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifdef __AVX__
#include <immintrin.h>
#endif

#define SB_INLINE static inline __attribute__((always_inline))

#ifdef __AVX512F__
#define SB_LANES 16
#define SB_EACH_LANE(x)                                                                            \
  { x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x }
#define SB_LANE_NUMBERS                                                                            \
  { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 }
#else
#define SB_LANES 8
#define SB_EACH_LANE(x)                                                                            \
  { x, x, x, x, x, x, x, x }
#define SB_LANE_NUMBERS                                                                            \
  { 0, 1, 2, 3, 4, 5, 6, 7 }
#endif

typedef float sb_vf __attribute__((vector_size(4 * SB_LANES)));
typedef int32_t sb_vi __attribute__((vector_size(4 * SB_LANES)));
typedef float sb_vf_memory __attribute__((vector_size(4 * SB_LANES), aligned(4), may_alias));

SB_INLINE sb_vf sb_vf_load(const float *p) {
  return *(const sb_vf_memory *)p;
}
SB_INLINE void sb_vf_store(float *p, sb_vf v) {
  *(sb_vf_memory *)p = v;
}
SB_INLINE sb_vf sb_vf_set(float x) {
  return (sb_vf)SB_EACH_LANE(x);
}
SB_INLINE sb_vi sb_vi_set(int32_t x) {
  return (sb_vi)SB_EACH_LANE(x);
}

/* Load and store of the first n < SB_LANES items of p. A load puts `fill` in the other lanes. */
SB_INLINE sb_vf sb_vf_load_part(const float *p, size_t n, float fill) {
#ifdef __AVX512F__
  return _mm512_mask_loadu_ps(_mm512_set1_ps(fill), (__mmask16)((1u << n) - 1u), p);
#else
  float lane[SB_LANES];
  for (size_t i = 0; i < SB_LANES; i++) lane[i] = i < n ? p[i] : fill;
  return sb_vf_load(lane);
#endif
}
SB_INLINE void sb_vf_store_part(float *p, sb_vf v, size_t n) {
#ifdef __AVX512F__
  _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1u), v);
#else
  float lane[SB_LANES];
  sb_vf_store(lane, v);
  for (size_t i = 0; i < n; i++) p[i] = lane[i];
#endif
}

SB_INLINE sb_vf sb_vf_select(sb_vi mask, sb_vf yes, sb_vf no) {
#if defined(__AVX__) && !defined(__AVX512F__)
  return _mm256_blendv_ps(no, yes, (sb_vf)mask);
#else
  return (sb_vf)((mask & (sb_vi)yes) | (~mask & (sb_vi)no));
#endif
}
/* a > b ? a : b, and a < b ? a : b. Both give b if either is NaN. */
SB_INLINE sb_vf sb_vf_max(sb_vf a, sb_vf b) {
#ifdef __AVX512F__
  return _mm512_max_ps(a, b);
#elif defined(__AVX__)
  return _mm256_max_ps(a, b);
#else
  return sb_vf_select(a > b, a, b);
#endif
}
SB_INLINE sb_vf sb_vf_min(sb_vf a, sb_vf b) {
#ifdef __AVX512F__
  return _mm512_min_ps(a, b);
#elif defined(__AVX__)
  return _mm256_min_ps(a, b);
#else
  return sb_vf_select(a < b, a, b);
#endif
}

/* a > b ? a : b. */
SB_INLINE sb_vi sb_vi_max(sb_vi a, sb_vi b) {
#ifdef __AVX512F__
  return (sb_vi)_mm512_max_epi32((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
  return (sb_vi)_mm256_max_epi32((__m256i)a, (__m256i)b);
#else
  const sb_vi mask = a > b;
  return (mask & a) | (~mask & b);
#endif
}
/* The bits of |x|: their order as numbers is that of magnitudes, infinity and NaN on top. */
SB_INLINE sb_vi sb_vi_magnitude(sb_vf x) {
  return (sb_vi)x & sb_vi_set(0x7fffffff);
}

SB_INLINE float sb_vf_sum(sb_vf v) {
  float lane[SB_LANES];
  sb_vf_store(lane, v);
  for (int width = SB_LANES / 2; width > 0; width /= 2)
    for (int i = 0; i < width; i++) lane[i] += lane[i + width];
  return lane[0];
}
SB_INLINE float sb_vf_highest(sb_vf v) {
  float lane[SB_LANES], high;
  sb_vf_store(lane, v);
  high = lane[0];
  for (int i = 1; i < SB_LANES; i++) high = lane[i] > high ? lane[i] : high;
  return high;
}

/* e^x within 2 units in the last place, subnormal results included. 0 from -104 down, inf above
 * 88.73; NaN stays NaN.
 *
 *   x   = n ln2 + r with |r| <= ln2 / 2
 *   e^r = 1 + r + r^2 p(r), p the minimax polynomial of degree 4 (relative error 3.1e-9)
 *
 * n reaches from -150 to 128. AVX-512 has an instruction that scales by 2^n. Other processors
 * multiply by two factors; the first product is exact, so the bits are the same. */
SB_INLINE sb_vf sb_vf_exp(sb_vf x) {
  const sb_vf magic =
      sb_vf_set(0x1.8p23f); /* adding it leaves the nearest integer in the low bits */
  x = sb_vf_max(sb_vf_set(-104.0f), sb_vf_min(sb_vf_set(89.0f), x));
  sb_vf shifted = x * sb_vf_set(0x1.715476p+0f) + magic;
  sb_vf n = shifted - magic;
  sb_vf r = x - n * sb_vf_set(0x1.62e400p-1f); /* 15 bits of ln2: n times it is exact */
  r = r - n * sb_vf_set(0x1.7f7d1cp-20f);
  sb_vf p = sb_vf_set(0x1.6a243ap-10f);
  p = p * r + sb_vf_set(0x1.1239e0p-7f);
  p = p * r + sb_vf_set(0x1.5558f2p-5f);
  p = p * r + sb_vf_set(0x1.555492p-3f);
  p = p * r + sb_vf_set(0x1.fffffcp-2f);
  p = p * (r * r) + r + sb_vf_set(1.0f);
#ifdef __AVX512F__
  return _mm512_scalef_ps(p, n);
#else
  sb_vi whole = (sb_vi)shifted - (sb_vi)magic, half = whole >> 1;
  sb_vf first = (sb_vf)((half + sb_vi_set(127)) << 23);
  sb_vf second = (sb_vf)((whole - half + sb_vi_set(127)) << 23);
  return p * first * second;
#endif
}

#endif
