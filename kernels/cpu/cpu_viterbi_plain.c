/* Viterbi's steps in plain C. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define VV_INLINE static inline __attribute__((always_inline))

typedef struct vv {
  uint16_t at[32];
} vv;

#define VV_EACH(expression)                                                                        \
  vv out;                                                                                          \
  for (unsigned i = 0; i < 32; i++) out.at[i] = (uint16_t)(expression);                            \
  return out

VV_INLINE int within(int x) {
  return x > INT16_MAX ? INT16_MAX : x < INT16_MIN ? INT16_MIN : x;
}
VV_INLINE vv vv_set(uint16_t x) {
  VV_EACH(x);
}
VV_INLINE vv vv_load(const void *p) {
  vv out;
  memcpy(out.at, p, sizeof out.at);
  return out;
}
VV_INLINE void vv_store(uint16_t *p, vv a) {
  memcpy(p, a.at, sizeof a.at);
}
VV_INLINE vv vv_repeat(const uint16_t *p, size_t n) {
  VV_EACH(p[i % n]);
}
VV_INLINE vv vv_difference(vv a, vv b) {
  VV_EACH(within((int16_t)a.at[i] - (int16_t)b.at[i]));
}
VV_INLINE vv vv_double(vv a) {
  VV_EACH(within(2 * (int16_t)a.at[i]));
}
VV_INLINE vv vv_far(vv a, int n) {
  VV_EACH(((int16_t)a.at[i] < 0 ? -(int16_t)a.at[i] : (int16_t)a.at[i]) >> n);
}
VV_INLINE vv vv_square(vv a) {
  VV_EACH(((int16_t)a.at[i] * (int16_t)a.at[i] + 0x4000) >> 15);
}
VV_INLINE vv vv_sum(vv a, vv b) {
  VV_EACH(a.at[i] + b.at[i] > UINT16_MAX ? UINT16_MAX : a.at[i] + b.at[i]);
}
VV_INLINE vv vv_least(vv a, vv b) {
  VV_EACH(a.at[i] < b.at[i] ? a.at[i] : b.at[i]);
}
VV_INLINE void vv_spread(uint16_t *p, size_t run, unsigned width, vv a) {
  for (unsigned l = 0; l < 32; l++) p[(l & ((1u << width) - 1)) * run + (l >> width)] = a.at[l];
}

#include "kernels/cpu/cpu_viterbi_step.h"

const sb_viterbi_kernels sb_viterbi_plain = {"plain C", step};
