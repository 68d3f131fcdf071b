/* Blocks of trellis codes as bytes (kernels/shared/trellis.h has codes, tiles and their order). The
 * bytes of a block are those of its tiles, one after another; its scale stands in the head of its
 * block row (kernels/shared/blockrow_layout.h).
 *
 * Values are in transformed coordinates (kernels/shared/transform.h). sb_viterbi_panel of
 * kernels/cpu/cpu_viterbi.h finds codes. All functions run in one thread, in O(rows * cols). */
#ifndef SB_KERNELS_ALPHABET_TRELLIS_H
#define SB_KERNELS_ALPHABET_TRELLIS_H

#include "kernels/alphabet.h"
#include "kernels/shared/trellis.h"

/* Bytes of the codes of a block. O(1). */
size_t sb_trellis_block_bytes(const sb_block_shape *shape);

/* One tile, sb_trellis_tile_bytes: from the codes of its first rows x cols weights, those of
 * padding being 0; and to their values under the block's scale. Weight (r, c) is number r * ld + c.
 */
void sb_trellis_tile_encode(const sb_trellis *, uint8_t *tile, size_t rows, size_t cols,
                            const uint8_t *codes, size_t ld);
void sb_trellis_tile_decode(const sb_trellis *, const uint8_t *tile, float scale, size_t rows,
                            size_t cols, float *out, size_t ld);

/* Writes the bytes of a block. The code of element (r, c) is codes[r * ld + c]. */
void sb_trellis_block_pack(const sb_block_shape *shape, uint8_t *bytes, const uint8_t *codes,
                           size_t ld);

/* Element (r, c) of `out`, at r * ld + c, becomes its value under the block's scale. */
void sb_trellis_block_decode(const sb_block_shape *shape, const uint8_t *bytes, float scale,
                             float *out, size_t ld);

#endif
