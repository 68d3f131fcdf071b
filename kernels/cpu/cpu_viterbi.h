/* The nearest codes of a tile: Viterbi's algorithm over the states of a trellis
 * (kernels/shared/trellis.h), with all costs in integers, so that every implementation, on
 * processors and GPUs, chooses the same codes.
 *
 * The walk. Weights are taken in the order n = 0 .. 255 in which new bits enter states at the top:
 * n = s, in EXL3 n = 255 - s. From state S a walk goes on to (S >> K) + b 2^(L - K) for any code b,
 * so walks that agree in S >> K, their *group*, have the same future. M(g), a u16, is the cost of
 * the best walk to group g. A step is
 *
 *   M'(g) = min over o < 2^K of  M(S mod 2^(L - K)) (+) cost(level(S), target),   S = g 2^K + o
 *
 * where (+) is an addition that saturates at 65535, and ties go to the lowest o.
 *
 * Costs. Targets and levels become whole numbers of 16 bits: u = level * f and, with one float
 * operation each, t = rint(clamp(target * (f / scale))). Their difference d = t - u is saturated to
 * 16 bits, and so is 2^h d; the cost is the square of that over 2^15, rounded. f and h depend on
 * the kind and width of the trellis: a typical error of a weight costs 7 to 100. Where h > 0,
 * floor(|d| / 2^(10 - h)) is added, so that among levels too far for a square the nearest wins.
 *
 * Padding. The code of a weight that is absent is 0, so a walk has one way there, at no cost:
 * M'(g) = M((g 2^K) mod 2^(L - K)).
 *
 * Normalising. Before step n = 16, 32, ... the least M is subtracted from all, with (-) saturating
 * at 0.
 *
 * Tail-biting, in two passes as EXL3's encoder does it. The first starts at n = 128 with M = 0 and
 * runs around the ring to n = 127; its best walk (the lowest of equal groups) crosses the border
 * between n = 255 and n = 0 in some group. The second starts at n = 0 in that group, with all other
 * M at 65535, and is traced back from the same group after n = 255. */
#ifndef SB_KERNELS_CPU_CPU_VITERBI_H
#define SB_KERNELS_CPU_CPU_VITERBI_H

#include "base/status.h"
#include "kernels/shared/trellis.h"

/* What one thread needs to code tiles of one trellis: tables of levels and room for a pass, 2^L +
 * 257 x 2^(L - K) numbers of 16 bits and some KB. */
typedef struct sb_viterbi sb_viterbi;
sb_status sb_viterbi_create(const sb_trellis *trellis, sb_viterbi **out);
/* The same with given kernels (cpu_viterbi_kernels.h), which this processor must be able to run;
 * and those that it runs fastest. */
struct sb_viterbi_kernels;
sb_status sb_viterbi_create_with(const sb_trellis *trellis,
                                 const struct sb_viterbi_kernels *kernels, sb_viterbi **out);
const struct sb_viterbi_kernels *sb_viterbi_kernels_best(void);
void sb_viterbi_destroy(sb_viterbi **viterbi);

/* Codes a tile, whose weights stand in the order of the trellis (sb_trellis_place).
 *
 * target  [256] in the coordinates of values; finite
 * scale   of the tile's block, above 0: value = scale * number
 * absent  [256], true for padding, which gets code 0; NULL: no weight is
 * code    [256] gets the codes
 * value   [256] gets their values; NULL: not asked for
 *
 * O(2^L) a weight; cannot fail. */
void sb_viterbi_tile(sb_viterbi *viterbi, float scale, const float *target, const bool *absent,
                     uint8_t *code, float *value);

/* Codes a panel: rows x cols weights of one block from the corner of one of its tiles on, to the
 * block's end, or to that of a tile. Weight (r, c) is s[r * s_ld + c], and its code and value go to
 * the same place of `codes` and of `values` (or NULL), which may be `s`. */
void sb_viterbi_panel(sb_viterbi *viterbi, float scale, size_t rows, size_t cols, const float *s,
                      size_t s_ld, uint8_t *codes, size_t codes_ld, float *values,
                      size_t values_ld);

#endif
