/* The packed form of one block row: what a frame of a shard holds and what unpack_blocks reads
 * (docs/format.md).
 *
 * - bit map: one byte per block, which names its alphabet and width (kernels/alphabet.h); padded
 *   with zeros to a multiple of 16 bytes
 * - then every block as its alphabet lays it out; on the integer grid of b bits, with r rows and c
 *   columns:
 *   - scales: fp16[r]
 *   - asymmetric, b >= 2: r zero points of b bits, as one bit string
 *   - asymmetric, b = 1: bases, fp16[r]
 *   - codes: r bit strings of c codes of b bits
 *
 * A bit string holds its numbers one after another, least significant bit first, and is padded to
 * whole bytes. Numbers of 16 bits are little-endian. With r and c multiples of 128 every part
 * starts at a multiple of 16 bytes. */
#ifndef SB_KERNELS_BLOCKROW_H
#define SB_KERNELS_BLOCKROW_H

#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "base/status.h"
#include "kernels/alphabet.h"
#include "kernels/shared/grid.h"
#include "kernels/shared/tiling.h"

/* Bytes of a block of rows x cols at `bits` (1..8), without its byte in the bit map. O(1). */
size_t sb_block_bytes(size_t rows, size_t cols, unsigned bits, sb_symmetry symmetry);
/* Of these, the bytes of codes alone. */
size_t sb_block_code_bytes(size_t rows, size_t cols, unsigned bits);
/* Bytes of the bit map of a block row. */
size_t sb_blockrow_map_bytes(const sb_tiling *tiling);
/* Bytes of block row i whose blocks have bits[0 .. block columns). */
size_t sb_blockrow_bytes(const sb_tiling *tiling, size_t i, const uint8_t *bits,
                         sb_symmetry symmetry);

/* The parts of block row i in order, for compression that treats like with like (io/sections.h):
 * the bit map, of kind 0, and those of every block's alphabet, at most 1 + SB_BLOCK_PARTS per
 * block. Returns their number. */
size_t sb_blockrow_parts(sb_block_part *parts, const sb_tiling *tiling, size_t i,
                         const uint8_t *bits, sb_symmetry symmetry);

/* Packing is two steps. First the grids and codes are chosen, here the nearest ones: groups[j *
 * rows + r] is the grid of row r of block j, codes[r * grid->cols + c] the code of a weight. `w` is
 * the first weight of the block row's rows, [rows of i, grid->cols] of w_dtype; importance
 * [grid->cols] asks for fitted grids (kernels/shared/grid.h), NULL for plain ones. Other ways to
 * choose them (error-compensated rounding) fill the same two arrays. Local, one thread. */
void sb_blockrow_choose(sb_grid *grids, uint8_t *codes, const void *w, sb_dtype w_dtype,
                        const sb_tiling *tiling, size_t i, const uint8_t *bits,
                        sb_symmetry symmetry, const float *importance);
/* Then they are packed. Codes are below 2^bits; scales and bases are fp16 numbers, zero points
 * whole numbers below 2^bits. `out` has sb_blockrow_bytes, all of which are written. Local, one
 * thread. */
void sb_blockrow_pack(uint8_t *out, const sb_grid *grids, const uint8_t *codes,
                      const sb_tiling *tiling, size_t i, const uint8_t *bits, sb_symmetry symmetry);
/* Both steps at once, without the arrays. */
void sb_blockrow_encode(uint8_t *out, const void *w, sb_dtype w_dtype, const sb_tiling *tiling,
                        size_t i, const uint8_t *bits, sb_symmetry symmetry,
                        const float *importance);

/* Whether a packed block row of `bytes` bytes has widths that are possible in its bit map, and the
 * size that the map asks for; `flaw` says what is wrong. Local. */
bool sb_blockrow_is_valid(const uint8_t *packed, size_t bytes, const sb_tiling *tiling, size_t i,
                          sb_symmetry symmetry, sb_flaw *flaw);
/* Reads the bit map of a packed block row of `bytes` bytes. SB_ERR_FORMAT with the flaw of
 * one that is not valid (the caller knows the tensor's name). Local. */
sb_status sb_blockrow_read_bits(uint8_t *bits, const uint8_t *packed, size_t bytes,
                                const sb_tiling *tiling, size_t i, sb_symmetry symmetry);

/* Decodes the blocks [first, end) of block row i into their places in out[rows of i, grid->cols] of
 * out_dtype (a weight type); `packed` has been checked by sb_blockrow_read_bits. Local, one thread.
 */
void sb_blockrow_decode(void *out, sb_dtype out_dtype, const uint8_t *packed,
                        const sb_tiling *tiling, size_t i, size_t first, size_t end,
                        sb_symmetry symmetry);

/* Calls back for every group of block row i, block by block: row r of block j, and where its scale
 * lies in the packed block row (bytes from its beginning), and its base, or SIZE_MAX where it has
 * none. Local. */
typedef void (*sb_blockrow_scale)(void *context, size_t r, size_t j, size_t scale, size_t base);
void sb_blockrow_scales(const sb_tiling *tiling, size_t i, const uint8_t *bits,
                        sb_symmetry symmetry, sb_blockrow_scale visit, void *context);

#endif
