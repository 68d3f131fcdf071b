/* Multiplication with packed weights on the device: three ways, and the layout of the work.
 *
 *   tensor cores           blocks of 128 x 128 that begin at multiples of 16 bytes, as shards have
 *   (cuda_packed_tiles.cu) them, and up to SB_CUDA_PACKED_TOKENS tokens
 *   rows in f32            any other tiling, up to SB_CUDA_PACKED_TOKENS tokens
 *   (cuda_packed_rows.cu)
 *   gemm                   more tokens: unpacks some block rows at a time
 *
 * Trellis codes take four steps (cuda_packed_factors.cu): x times the column factors, transformed;
 * the product with the codes, scaled by block; the transform back; times the row factors. The
 * second is on the tensor cores where tiles are of 64 x 4, too, else in f32, a weight a thread. The
 * rest is about tensor cores; a block's bytes are read there by a codec (cuda_packed_run.cuh), and
 * what is said of codes below is said of integer grids.
 *
 * Cut of the work. A call costs the bytes that it reads, so work is cut by bytes. The blocks of a
 * matrix, in the order of memory, are dealt to as many thread blocks as the device holds at once.
 * The part of one thread block is a *run*. Runs have equally many bytes, to half a block, and may
 * begin and end inside a block row. So a mix of widths that averages 3 bits costs the same as 3
 * bits everywhere: bytes are fetched ahead in one stream of 16-byte copies that knows no widths,
 * and decoding a block takes about the same number of instructions at any width.
 *
 * Order of sums. The part of a run that lies in one block row is a *segment*. A thread block leaves
 * the sums of each of its segments in memory. The thread block that finishes the last segment of a
 * block row adds all of its segments in order. So sums have one order, without a second pass.
 *
 * Inside a block each warp has 16 rows. The 128 codes of a row are four strings of 32, one per
 * thread that holds numbers of that row. The columns of a product may come in any order that x has
 * too, so a thread unfolds its own string in place. A shift and a mask give two codes per register;
 * they become bf16 by the bits of 128 + code. Codes minus a whole center are whole numbers below
 * 256, exact in bf16. Scales, bases and the halves of centers are applied to the block's sums in
 * f32. x is an operand: bf16 numbers are multiplied as they are, floats as three bf16 parts, whose
 * sum is exact. */
#ifndef SB_KERNELS_CUDA_CUDA_PACKED_H
#define SB_KERNELS_CUDA_CUDA_PACKED_H

#include "kernels/cuda/cuda.h"

extern "C" {
#include "kernels/shared/blockrow_layout.h"
}

/* Most tokens of the first two ways, and the side of a block on the tensor cores. */
enum { SB_CUDA_PACKED_TOKENS = 256, SB_CUDA_PACKED_SIDE = 128 };

/* An entry of the table of blocks, in 64 bits:
 *
 *   bits  0 .. 39  offset of the block in `packed`
 *   bits 40 .. 51  bytes of the block / 16; right for multiples of 16 below 2^16
 *   bits 56 .. 63  width of the block */
SB_HOST_DEVICE static inline uint64_t packed_entry(size_t offset, size_t bytes, unsigned bits) {
  return (uint64_t)offset | (uint64_t)(bytes / 16 & 0xfff) << 40 | (uint64_t)bits << 56;
}
SB_HOST_DEVICE static inline size_t packed_offset(uint64_t entry) {
  return (size_t)(entry & ((UINT64_C(1) << 40) - 1));
}
SB_HOST_DEVICE static inline unsigned packed_bytes(uint64_t entry) {
  return (unsigned)(entry >> 40 & 0xfff) * 16;
}
SB_HOST_DEVICE static inline unsigned packed_bits(uint64_t entry) {
  return (unsigned)(entry >> 56);
}

/* Tables on the device. */
typedef struct packed_tables {
  const uint64_t *blocks;  /* [blocks]: packed_entry of each block */
  const uint32_t *run;     /* [runs + 1]: first block of each run */
  const uint32_t *segment; /* [runs]: number of each run's first segment */
  const uint32_t *row;     /* [block rows + 1]: number of each block row's first segment */
  unsigned *arrived;       /* [block rows]: finished segments; 0 between calls */
  const float *scales;     /* [blocks], of trellis codes */
} packed_tables;

struct sb_packed_impl {
  const uint8_t *packed;
  sb_tiling tiling;
  sb_code_kind code_kind;
  bool tiled; /* the tensor cores take it */
  unsigned runs, segments;
  packed_tables at; /* pointers into `tables` */
  void *tables;     /* device memory */
  void *factors;    /* of trellis codes: device memory, with at.scales and row_factors [rows] */
  uint16_t *row_factors;
  const uint16_t *col_factors; /* device [cols]: an argument of packed_create */
  size_t *offsets;             /* host copies of two arguments of packed_create */
  uint8_t *bits;
};

/* The anchor of block (i, j); 0 where blocks have none. The first block of a block row stands
 * behind its head, whose last part the anchors are. */
SB_HOST_DEVICE static inline uint8_t packed_anchor(const uint8_t *packed, const uint64_t *blocks,
                                                   size_t columns, size_t i, size_t j,
                                                   sb_code_kind code_kind) {
  return sb_grid_scale_bits(code_kind) == 16
             ? 0
             : packed[packed_offset(blocks[i * columns]) - sb_bitmap_bytes(columns) + j];
}

/* y[T, rows] = x W', or += if `add`, for T <= SB_CUDA_PACKED_TOKENS. */
sb_status sb_cuda_packed_tiles(sb_backend *, cudaStream_t, const sb_packed_impl *, float *y,
                               const void *x, size_t T, bool add);
sb_status sb_cuda_packed_rows(sb_backend *, cudaStream_t, const sb_packed_impl *, float *y,
                              const void *x, size_t T, bool add);
sb_status sb_cuda_packed_trellis(sb_backend *, cudaStream_t, const sb_packed_impl *, float *y,
                                 const void *x, size_t T, bool add);

/* Reads the scales of blocks and the factors of rows out of packed trellis codes, once. */
sb_status sb_cuda_packed_trellis_create(sb_backend *, cudaStream_t, sb_packed_impl *,
                                        const uint16_t *col_factors);

#endif
