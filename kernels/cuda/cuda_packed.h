/* Multiplication with packed weights on the device: how the work is laid out, and who does it.
 *
 * What a call costs is the bytes it reads, so work is cut by bytes. The blocks of a matrix, in the
 * order they lie in memory, are dealt to as many thread blocks as the device holds at once, in runs
 * of (to half a block) equally many bytes, whatever their widths; a run may begin and end inside a
 * block row. A mix of widths that averages 3 bits is thus as many bytes a thread block as 3 bits
 * everywhere, the bytes are fetched ahead in one stream of 16-byte copies that knows no widths, and
 * decoding a block takes about the same number of instructions at any width. A thread block adds up
 * what its run has of a block row (a segment) and leaves it; the one that comes last adds a row's
 * segments in order. So sums have one order, and no second pass is needed.
 *
 * Inside a block each warp has 16 rows and multiplies on the tensor cores. A row's 128 codes are
 * four strings of 32, one for each thread that holds numbers of that row; which code stands at
 * which place of the product is free as long as x is sorted alike, and so a thread unfolds its own
 * string in place: two codes to a register with a shift and a mask, becoming bf16 by the bits of
 * 128 + code. Codes minus a whole center are whole numbers below 256, exact in bf16; scales, and
 * what centers have of halves and bases, are applied to the block's sums in f32. x is an operand:
 * bf16 numbers are multiplied as they are, floats are split into three bf16 parts, which hold all
 * of them.
 *
 * That is for blocks of 128 x 128 that begin at multiples of 16 bytes, as shards have them, and up
 * to SB_CUDA_PACKED_TOKENS tokens; other geometries are multiplied row by row in f32
 * (cuda_packed_rows.cu), more tokens by gemm, some block rows at a time. */
#ifndef SB_KERNELS_CUDA_CUDA_PACKED_H
#define SB_KERNELS_CUDA_CUDA_PACKED_H

#include "kernels/cuda/cuda.h"

enum { SB_CUDA_PACKED_TOKENS = 256, SB_CUDA_PACKED_SIDE = 128 };

/* An entry of the table of blocks: the offset in `packed` of a block, up to 2^40 bytes, its bytes
 * where they are a multiple of 16 up to 2^16, and its bits. */
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
  const uint64_t *blocks;  /* [blocks] where a block lies and what it is: packed_offset and so on */
  const uint32_t *run;     /* [runs + 1] first block of each run */
  const uint32_t *segment; /* [runs] number of a run's first segment */
  const uint32_t *row;     /* [block rows + 1] number of a block row's first segment */
  unsigned *arrived;       /* [block rows] segments that have been left; 0 between calls */
} packed_tables;

struct sb_packed_impl {
  const uint8_t *packed;
  sb_tiling tiling;
  sb_symmetry symmetry;
  bool tiled; /* tensor cores take it */
  unsigned runs, segments;
  packed_tables at; /* parts of `tables` */
  void *tables;     /* device memory */
  size_t *offsets;  /* host copies of what packed_create was given */
  uint8_t *bits;
};

/* y[T, rows] (+)= x W' for T <= SB_CUDA_PACKED_TOKENS. */
sb_status sb_cuda_packed_tiles(sb_backend *, cudaStream_t, const sb_packed_impl *, float *y,
                               const void *x, size_t T, bool add);
sb_status sb_cuda_packed_rows(sb_backend *, cudaStream_t, const sb_packed_impl *, float *y,
                              const void *x, size_t T, bool add);

#endif
