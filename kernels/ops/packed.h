/* Products with packed weights, which are never decoded as a whole. */
#ifndef SB_KERNELS_OPS_PACKED_H
#define SB_KERNELS_OPS_PACKED_H

#include "kernels/ops/common.h"
#include "kernels/shared/grid_types.h"
#include "kernels/shared/tiling.h"

#define SB_PACKED_OPS(OP)                                                                          \
  OP(packed_create)                                                                                \
  OP(packed_destroy)                                                                               \
  OP(packed_gemm)                                                                                  \
  OP(embed_packed)

/* A matrix in packed block rows (kernels/blockrow.h), ready for multiplication. */
typedef struct sb_packed_impl *sb_packed;

/* *out = the matrix of the block rows at `packed`. sb_blockrow_read_bits must have checked this
 * device memory. It is read in place and must stay until packed_destroy, as must col_factors: of a
 * matrix in trellis codes, fp16 [cols] in device memory; NULL on grids. Any mix of widths 1 .. 8,
 * any tiling that can be packed. offsets [block rows] (bytes, any alignment) and bits [blocks] are
 * host memory and are not read after the call. Time and memory: O(blocks); nothing is unpacked. */
typedef sb_status sb_packed_create_fn(sb_backend *, sb_stream, const uint8_t *packed,
                                      const size_t *offsets, const sb_tiling *, const uint8_t *bits,
                                      sb_code_kind, const uint16_t *col_factors, sb_packed *out);
typedef void sb_packed_destroy_fn(sb_backend *, sb_packed); /* NULL is allowed */

/* y[T,rows] = x[T,cols] W', or += if `add`. x is an operand, y f32; they do not overlap. Any
 * T >= 1.
 *
 * Products and sums are in f32 at least; every backend has its own order of sums. So the result
 * equals gemm on the weights of unpack_blocks up to y's own rounding and a small multiple of
 *
 *   epsilon of f32 * sum of |x| (|w| + |lowest level of w's group|)
 *
 * on grids. In trellis codes (ops/trellis.h) the transforms spread roundings over a block: the
 * multiple is one of
 *
 *   epsilon of f32 * |row factor| * sum over the row's blocks of |x o col_factors| |S|
 *
 * with the Euclidean norm of the part of x that the block meets and the Frobenius norm of its S.
 * Where an x is infinite or no number, so are all y of its token.
 *
 * A device that computes in bf16 also rounds weights when it leaves many tokens to gemm. */
typedef sb_status sb_packed_gemm_fn(sb_backend *, sb_stream, void *y, const void *x, size_t T,
                                    sb_packed w, bool add);

/* As embed (ops/head.h), from rows where they lie packed: x[t] = row ids[t] - v0 of the table, for
 * the tokens whose row it has; other rows of x are left alone. x is [T,cols] of type act, with the
 * bits of unpack_blocks. On grids, else SB_ERR_INTERNAL. O(T cols). */
typedef sb_status sb_embed_packed_fn(sb_backend *, sb_stream, void *x, const uint32_t *ids,
                                     sb_packed table, size_t T, size_t v0);

#endif
