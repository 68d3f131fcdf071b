/* The packed form of one block row (docs/format.md). A frame of a shard holds one, and
 * unpack_blocks reads it.
 *
 * - bit map: one byte per block, which names its alphabet and width (kernels/alphabet.h)
 * - in trellis codes: scales of the blocks, fp16; factors of the rows, fp16
 * - on grids with scales of 6 bits: the anchors of the blocks, a byte each. All parts up to here
 * are padded with zeros to a multiple of 16 bytes each
 * - then every block as its alphabet lays it out; in trellis codes, tile after tile
 *   (kernels/shared/trellis.h); on the integer grid of b bits, with r rows and c columns:
 *   - scales: fp16[r]; or one bit string of r scales of 6 bits (kernels/shared/block_scale.h)
 *   - on asymmetric grids of b >= 2: r zero points of b bits, as one bit string
 *   - on asymmetric grids of b = 1: bases, fp16[r]
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
#include "kernels/trellis_coder.h"

/* `bits` are widths, 1..8; the kind of codes says the alphabet. A packed block row's own bit map
 * does as well. */

/* Bytes of a block of rows x cols at `bits`, without its byte in the bit map; with its scale in
 * trellis codes. O(1). */
size_t sb_block_bytes(size_t rows, size_t cols, unsigned bits, sb_code_kind code_kind);
/* Bytes of its codes alone. */
size_t sb_block_code_bytes(size_t rows, size_t cols, unsigned bits, sb_code_kind code_kind);
/* Bytes of the bit map of a block row. */
size_t sb_blockrow_map_bytes(const sb_tiling *tiling);
/* What the block rows of a matrix hold beside their blocks, in bytes: bit maps, padding, and the
 * factors of rows in trellis codes. O(1). */
uint64_t sb_matrix_overhead(const sb_tiling *tiling, sb_code_kind code_kind);
/* Bytes of block row i. bits [block columns] are the widths of its blocks. */
size_t sb_blockrow_bytes(const sb_tiling *tiling, size_t i, const uint8_t *bits,
                         sb_code_kind code_kind);

/* Least and most bytes that block row i can have, at any widths of its blocks. O(1). */
void sb_blockrow_range(const sb_tiling *tiling, size_t i, sb_code_kind code_kind, size_t *least,
                       size_t *most);

/* Fills `parts` with the runs of one kind in block row i, in order: the bit map, of kind 0;
 * anchors, of kind 0; in trellis codes the scales and factors, of kind 16; then the parts of every
 * block's alphabet. io/sections.h compresses runs of a kind together. Returns their number, at most
 * 2 + SB_BLOCK_PARTS * block columns. */
size_t sb_blockrow_parts(sb_block_part *parts, const sb_tiling *tiling, size_t i,
                         const uint8_t *bits, sb_code_kind code_kind);

/* Packing to grids has two steps. The first chooses grids and codes, here the nearest ones:
 *
 *   grids[j * rows + r]          the grid of row r of block j
 *   codes[r * tiling->cols + c]  the code of weight (r, c)
 *
 * `w` [rows of i, tiling->cols] holds the weights of the block row, of w_dtype. importance
 * [tiling->cols] asks for fitted grids (kernels/shared/grid.h), NULL for plain ones.
 * Error-compensated rounding fills the same two arrays another way. Local, one thread. */
void sb_blockrow_choose(sb_grid *grids, uint8_t *codes, const void *w, sb_dtype w_dtype,
                        const sb_tiling *tiling, size_t i, const uint8_t *bits,
                        sb_code_kind code_kind, const float *importance);
/* The second step packs them. Codes are below 2^bits, scales and bases are fp16 numbers, and zero
 * points are whole numbers below 2^bits. In trellis codes the scale of a block is that of its first
 * row's grid, whose other members are ignored, and row_factors [rows of i] are fp16; on grids they
 * are NULL. Writes sb_blockrow_bytes to `out`. Local, one thread. */
void sb_blockrow_pack(uint8_t *out, const sb_grid *grids, const uint8_t *codes,
                      const sb_tiling *tiling, size_t i, const uint8_t *bits,
                      sb_code_kind code_kind, const uint16_t *row_factors);
/* Both steps at once, without the arrays. */
void sb_blockrow_encode(uint8_t *out, const void *w, sb_dtype w_dtype, const sb_tiling *tiling,
                        size_t i, const uint8_t *bits, sb_code_kind code_kind,
                        const float *importance);

/* The same for trellis codes: the nearest ones to w, whose columns have the factors col_factors
 * [tiling->cols], fp16; row_key is that of sb_transform_sign, and `coder` has all widths of `bits`.
 * Local, one thread.
 */
void sb_blockrow_encode_trellis(uint8_t *out, const void *w, sb_dtype w_dtype,
                                const sb_tiling *tiling, size_t i, const uint8_t *bits,
                                sb_code_kind code_kind, uint64_t row_key,
                                const uint16_t *col_factors, const sb_trellis_coder *coder);

/* True if the bit map of a packed block row is that of the widths `bits`. Local. */
bool sb_blockrow_has_bits(const uint8_t *packed, const sb_tiling *tiling, const uint8_t *bits,
                          sb_code_kind code_kind);
/* True if the bit map of a packed block row names possible widths of its kind of codes, a block row
 * of these widths has `bytes` bytes, and in trellis codes scales and factors are finite numbers
 * other than 0; otherwise `flaw` names the fault. Local. */
bool sb_blockrow_is_valid(const uint8_t *packed, size_t bytes, const sb_tiling *tiling, size_t i,
                          sb_code_kind code_kind, sb_flaw *flaw);
/* Reads the bit map of a packed block row of `bytes` bytes. SB_ERR_FORMAT names the flaw of an
 * invalid one; the caller adds the tensor's name. Local. */
sb_status sb_blockrow_read_bits(uint8_t *bits, const uint8_t *packed, size_t bytes,
                                const sb_tiling *tiling, size_t i, sb_code_kind code_kind);

/* Decodes the blocks [first, end) of block row i into their places in out[rows of i, tiling->cols]
 * of out_dtype, a weight type. sb_blockrow_read_bits must have checked `packed`. col_factors
 * [tiling->cols], fp16, for trellis codes; NULL on grids. Local, one thread. */
void sb_blockrow_decode(void *out, sb_dtype out_dtype, const uint8_t *packed,
                        const sb_tiling *tiling, size_t i, size_t first, size_t end,
                        sb_code_kind code_kind, const uint16_t *col_factors);

/* On grids, the reverse of sb_blockrow_pack: the grids and codes of block row i, in the same two
 * arrays. sb_blockrow_read_bits must have checked `packed`. Local, one thread. */
void sb_blockrow_unpack(sb_grid *grids, uint8_t *codes, const uint8_t *packed,
                        const sb_tiling *tiling, size_t i, sb_code_kind code_kind);

/* On grids: where the numbers that scale a group (row r of block j) are, as offsets in bytes from
 * the start of the packed block row. */
typedef struct sb_scale_place {
  size_t r, j;
  size_t scale; /* of its fp16 scale; of the string of the block's scales where these have 6 bits */
  size_t anchor; /* of the block's anchor (shared/block_scale.h); SIZE_MAX where scales are fp16 */
  size_t base;   /* of its fp16 base; SIZE_MAX where it has none */
} sb_scale_place;
/* Visits every group of block row i, block by block. Local. */
typedef void (*sb_blockrow_scale)(void *context, const sb_scale_place *place);
void sb_blockrow_scales(const sb_tiling *tiling, size_t i, const uint8_t *bits,
                        sb_code_kind code_kind, sb_blockrow_scale visit, void *context);
/* Reads a scale, or writes one: the nearest that the block's anchor has. A scale above 0 stays so
 * where it has 6 bits. The anchor stays. O(1). */
float sb_scale_at(const uint8_t *packed, const sb_scale_place *place);
void sb_scale_put(uint8_t *packed, const sb_scale_place *place, float scale);

#endif
