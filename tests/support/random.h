/* Reproducible random data: functions of a seed or an index alone, so that any rank can compute
 * them for itself. */
#ifndef SB_TESTS_SUPPORT_RANDOM_H
#define SB_TESTS_SUPPORT_RANDOM_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Mixes bits (the finaliser of SplitMix64). */
static inline uint64_t mix(uint64_t x) {
  x += UINT64_C(0x9e3779b97f4a7c15);
  x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
  return x ^ (x >> 31);
}

/* A checksum of the bits of `count` floats, beginning with `sum`. */
static inline uint64_t checksum(uint64_t sum, const float *x, size_t count) {
  for (size_t i = 0; i < count; i++) {
    uint32_t bits;
    memcpy(&bits, &x[i], sizeof bits);
    sum = mix(sum ^ bits);
  }
  return sum;
}

/* The next random number below `bound`, which is at least 1. */
static inline uint64_t draw(uint64_t *state, uint64_t bound) {
  return mix((*state)++) % bound;
}

/* The next random number in [-1, 1). */
static inline float uniform(uint64_t *state) {
  return (float)(int32_t)(uint32_t)(mix((*state)++) >> 32) * 0x1p-31f;
}

static inline void fill_random(void *dst, size_t bytes, uint64_t seed) {
  uint8_t *out = dst;
  for (size_t i = 0; i < bytes; i++) out[i] = (uint8_t)(mix(seed * 1000003 + i) >> 56);
}

#endif
