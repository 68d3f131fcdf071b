/* The kernels of cpu_viterbi_kernels.h over one kind of vectors. Each of cpu_viterbi_plain.c,
 * cpu_viterbi_avx2.c and cpu_viterbi_avx512.c includes this file once, after it has defined
 *
 *   vv                       32 numbers of 16 bits
 *   vv_set, vv_load, vv_store
 *   vv_repeat(p, n)          the n numbers at p again and again; n is 16, 4 or 1
 *   vv_difference(a, b)      a - b, signed, saturated
 *   vv_double(a)             a + a, signed, saturated
 *   vv_far(a, n)             |a| >> n
 *   vv_square(a)             (a a + 2^14) >> 15, as an unsigned number
 *   vv_sum(a, b), vv_least(a, b)
 *                            a + b, saturated, and the smaller one, unsigned
 *   vv_spread(p, run, K, a)  number l of a to p[(l mod 2^K) run + floor(l / 2^K)], for K of 1 to 4
 *   VV_INLINE                marks functions that must see their arguments as constants */
#include "kernels/cpu/cpu_viterbi_kernels.h"

enum { VV_LANES = SB_VITERBI_LANES };

/* Every number to a run of its own. */
VV_INLINE void spread_far(uint16_t *p, size_t run, vv a) {
  uint16_t lanes[VV_LANES];
  vv_store(lanes, a);
  for (size_t l = 0; l < VV_LANES; l++) p[l * run] = lanes[l];
}

/* A step with `width`, `together` and `shift` as constants, but for wide codes' width. together:
 * how many groups after one another read numbers of `now` that lie side by side. */
VV_INLINE void step_of(const sb_viterbi_step *a, unsigned width, size_t together, int shift) {
  const size_t codes = (size_t)1 << width, run = a->groups >> width;
  const vv target = vv_set((uint16_t)a->target);
  for (size_t g = 0; g < a->groups; g += VV_LANES) {
    const int16_t *levels = a->levels + g * codes;
    const uint16_t *now = a->now + (together == VV_LANES ? g & (run - 1) : 0);
    vv best = vv_set(UINT16_MAX);
    for (size_t o = 0; o < codes; o++) {
      vv d = vv_difference(target, vv_load(levels + o * VV_LANES));
      const vv far = shift > 0 ? vv_far(d, 10 - shift) : vv_set(0);
      for (int i = 0; i < shift; i++) d = vv_double(d);
      const vv so_far = together == VV_LANES ? vv_load(now + o * run)
                        : run > 0            ? vv_repeat(now + o * run, together)
                                             : vv_set(now[o & (a->groups - 1)]);
      const vv cost = shift > 0 ? vv_sum(vv_square(d), far) : vv_square(d);
      best = vv_least(best, vv_sum(so_far, cost));
    }
    if (run == 0)
      vv_store(a->next + g, best);
    else if (width <= 4)
      vv_spread(a->next + (g >> width), run, width, best);
    else
      spread_far(a->next + (g & (codes - 1)) * run + (g >> width), run, best);
  }
}

/* Widths of 4 and more: `run` decides how much of `now` lies side by side. */
VV_INLINE void wide_step(const sb_viterbi_step *a, unsigned width, int shift) {
  const size_t run = a->groups >> width;
  if (run >= VV_LANES)
    step_of(a, width, VV_LANES, shift);
  else if (run == 16)
    step_of(a, width, 16, shift);
  else if (run == 4)
    step_of(a, width, 4, shift);
  else
    step_of(a, width, 1, shift);
}

static void step(const sb_viterbi_step *a) {
  if (a->width == 1)
    step_of(a, 1, VV_LANES, 0);
  else if (a->width == 2)
    step_of(a, 2, VV_LANES, 0);
  else if (a->width == 3)
    step_of(a, 3, VV_LANES, 0);
  else if (a->width == 4)
    wide_step(a, 4, 1);
  else if (a->shift == 2)
    wide_step(a, a->width, 2);
  else if (a->shift == 3)
    wide_step(a, a->width, 3);
  else
    wide_step(a, a->width, 4);
}
