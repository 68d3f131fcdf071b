/* One block of trellis codes on the CPU (kernels/shared/trellis.h): from weights to the nearest
 * codes, and back. It goes patch by patch (cpu_transform.h), so no memory of the block's size is
 * needed. All functions run in one thread. */
#ifndef SB_KERNELS_CPU_CPU_TRELLIS_BLOCK_H
#define SB_KERNELS_CPU_CPU_TRELLIS_BLOCK_H

#include "kernels/alphabet.h"
#include "kernels/cpu/cpu_transform.h"
#include "kernels/cpu/cpu_viterbi.h"

/* The weights of a block and its factors; `at` as for a patch, with the block's first element,
 * row and column. */
typedef struct sb_cpu_trellis_source {
  const void *w;
  sb_dtype dtype;
  sb_cpu_patch_place at;
} sb_cpu_trellis_source;

/* Writes S of a block to s, at the places of the source's. O(rows cols). */
void sb_cpu_trellis_transform_block(const sb_block_shape *, const sb_cpu_trellis_source *,
                                    float *s);

/* Codes a block, each tile to the nearest walk; `viterbi` is of its kind and width. Writes its
 * codes (sb_alphabet.code_bytes) to `codes` and the weights that they stand for to `out`, of
 * out_dtype, at the places of the source's; either may be NULL. Returns the block's scale, fp16.
 * O(rows cols 2^L) */
uint16_t sb_cpu_trellis_nearest(const sb_block_shape *, const sb_cpu_trellis_source *,
                                sb_viterbi *viterbi, uint8_t *codes, void *out, sb_dtype out_dtype);

/* Writes the weights of codes to `out`, of out_dtype. O(rows cols). */
void sb_cpu_trellis_decode(const sb_block_shape *, const uint8_t *codes, uint16_t scale,
                           const sb_cpu_patch_place *at, void *out, sb_dtype out_dtype);

#endif
