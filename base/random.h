/* Numbers that look random and follow from other numbers. Pure, local, the same on every machine.
 * For C and CUDA C++. */
#ifndef SB_BASE_RANDOM_H
#define SB_BASE_RANDOM_H

#include <stdint.h>

#include "base/device.h"

/* The finisher of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): a bijection of 64 bits in which
 * each bit of x moves half of the bits of the result. sb_mix64(0) is 0. */
SB_HOST_DEVICE static inline uint64_t sb_mix64(uint64_t x) {
  x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
  return x ^ (x >> 31);
}

/* A key made of another one and a number: a tree of keys needs no order of drawing. */
static inline uint64_t sb_mix64_with(uint64_t key, uint64_t number) {
  return sb_mix64(key ^ sb_mix64(number + UINT64_C(0x9e3779b97f4a7c15)));
}

#endif
