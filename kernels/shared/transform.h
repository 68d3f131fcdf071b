/* Signs and Hadamard transforms of trellis-coded blocks, for C and CUDA C++.
 *
 * A side of a block is cut into runs, each of the largest power of two, up to 128, that fits into
 * what is left; each run has a Sylvester Hadamard matrix in natural order over the root of its
 * length, which is its own inverse. Runs lie inside blocks, so blocks stay independent.
 *
 * The order of operations is the same on every device, and every operation is rounded to f32:
 * - a run takes butterflies (a, b) -> (a + b, a - b) with strides 1, 2, 4, ..., a at the lower
 *   index, then one product with the norm;
 * - of a block, the runs of every row come first, then those of every column;
 * - to transformed coordinates: w / (row factor * column factor), then the transforms; back: the
 *   transforms, then (value * row factor) * column factor. */
#ifndef SB_KERNELS_SHARED_TRANSFORM_H
#define SB_KERNELS_SHARED_TRANSFORM_H

#include <stddef.h>
#include <stdint.h>

#include "base/device.h"

enum { SB_HADAMARD_MOST = 128 };

/* Length of the run that begins where `left` channels of a block are left. */
SB_HOST_DEVICE static inline size_t sb_hadamard_run(size_t left) {
  size_t n = SB_HADAMARD_MOST;
  while (n > left) n /= 2;
  return n;
}

/* 1 / sqrt(n) for a power of two n, rounded to nearest. */
SB_HOST_DEVICE static inline float sb_hadamard_norm(size_t n) {
  float norm = 1.0f;
  for (; n >= 4; n /= 4) norm *= 0.5f;
  return n == 2 ? norm * 0.70710678118654752f : norm;
}

/* The sign of number i of a vector: -1 where the hash of (key, i) is odd. */
SB_HOST_DEVICE static inline float sb_transform_sign(uint64_t key, uint64_t i) {
  uint64_t x = key + (i + 1u) * 0x9E3779B97F4A7C15u; /* SplitMix64 */
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
  x = (x ^ x >> 27) * 0x94D049BB133111EBu;
  return (x ^ x >> 31) & 1u ? -1.0f : 1.0f;
}

#endif
