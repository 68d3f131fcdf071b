/* Copies of one head's rows out of [T, heads * d] into dense, zero-padded tiles. */
#ifndef SB_KERNELS_CPU_CPU_PACK_H
#define SB_KERNELS_CPU_CPU_PACK_H

#include <stddef.h>

/* Queries or keys in a tile of attention. */
enum { SB_CPU_TILE_ROWS = 64 };

/* dst[64, padded] = the first d floats of `rows` rows of src, `stride` floats apart; the rest is
 * zero. padded >= d. */
void sb_cpu_pack_rows(float *dst, size_t padded, const float *src, size_t stride, size_t rows,
                      size_t d);

/* dst[padded, 64] = scale * the transpose of packed[64, padded]; padded is a multiple of 16. */
void sb_cpu_pack_transpose(float *dst, const float *packed, size_t padded, float scale);

#endif
