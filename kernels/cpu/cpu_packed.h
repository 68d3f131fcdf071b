/* The inside of multiplication with packed weights (packed_create, packed_gemm).
 *
 * Codes are never put in order. Eight codes of b bits are b bytes, a *chunk*; sixteen chunks, 128
 * codes, are a *piece*, and vectors run over its chunks: lane l of step s, s = 0 .. 7, is code 8 l
 * + s. So one shuffle of bytes gives every lane its chunk, and a shift by s b the codes of step s.
 * Instead x is brought into that order, once a call: place 16 s + l of a piece is its column 8 l +
 * s. What a block's width does not fill of its last piece is 0 there.
 *
 * A row's weights are scale x code + offset in each block, offset being the value of code 0. So
 *   y = sum over blocks of scale x (sum code x) + offset x (sum x),
 * and sum x is the same for all rows. That is what few tokens take (`few`); for more of them a
 * block's rows are decoded into a tile that stays in cache, and multiplied from there.
 *
 * The three sets of kernels are one text, cpu_packed_kernels.h, over vectors of plain C, AVX2 and
 * AVX-512. */
#ifndef SB_KERNELS_CPU_CPU_PACKED_H
#define SB_KERNELS_CPU_CPU_PACKED_H

#include "kernels/cpu/cpu.h"

enum {
  SB_PACKED_PIECE = 128, /* codes */
  SB_PACKED_ROWS = 128,  /* rows of an item of work, at most */
  SB_PACKED_STEP = 16,   /* items begin at multiples of this many rows of their block row */
  SB_PACKED_FEW = 8,     /* tokens, at most, for which codes are multiplied as they are unpacked */
};

/* Rows [row, row + rows) of block row i. */
typedef struct sb_packed_item {
  size_t i, row, rows;
} sb_packed_item;

struct sb_packed_impl {
  const uint8_t *packed;
  sb_tiling tiling;
  sb_symmetry symmetry;
  uint8_t *bits;         /* [blocks] */
  size_t *blocks;        /* [blocks] where each begins in `packed` */
  sb_packed_item *items; /* the whole matrix, cut by bytes, large ones first */
  size_t item_count;
};

/* Length of block column j's part of a prepared x, where it begins, and the length of all. */
static inline size_t sb_packed_width(const sb_tiling *tiling, size_t j) {
  return (sb_tiling_cols_of(tiling, j) + SB_PACKED_PIECE - 1) / SB_PACKED_PIECE * SB_PACKED_PIECE;
}
static inline size_t sb_packed_start(const sb_tiling *tiling, size_t j) {
  return j == 0 ? 0 : j * sb_packed_width(tiling, 0);
}
static inline size_t sb_packed_length(const sb_tiling *tiling) {
  const size_t last = sb_tiling_block_cols(tiling) - 1;
  return sb_packed_start(tiling, last) + sb_packed_width(tiling, last);
}

/* The prepared x of `few`: T is 1, 2, 4 or 8, unused tokens are 0. */
typedef struct sb_packed_input {
  const float *x;    /* [sb_packed_length / 16, T, 16] */
  const float *sums; /* [block columns, T] sums of x over a block column */
  size_t T;
} sb_packed_input;

struct sb_packed_kernels {
  const char *name;
  size_t lanes; /* of a vector */
  size_t group; /* tokens that `multiply` takes at a time, at most */
  /* out[rows, T] = the rows of the item times x. scratch: sb_packed_scratch floats, 64-byte
   * aligned. */
  void (*few)(float *out, const struct sb_packed_impl *w, const sb_packed_item *item,
              const sb_packed_input *input, float *scratch);
  /* tile[rows, ld] = the item's weights in block column j, in the order of a prepared x; where that
   * is 0 they mean nothing. */
  void (*decode)(float *tile, size_t ld, const struct sb_packed_impl *w, const sb_packed_item *item,
                 size_t j);
  /* out[rows, width] += tile[rows, ld, of which n] x[n, width]; width is a multiple of `lanes`, at
   * most `group`; rows are a multiple of 8. */
  void (*multiply)(float *out, const float *tile, size_t ld, const float *x, size_t rows, size_t n,
                   size_t width);
};

/* Floats of scratch of `few`: running sums of 16 lanes, as many as stay in the first cache; then
 * scales and offsets of an item's rows, and what offsets amount to. */
enum {
  SB_PACKED_SUMS = 16 * 2 * SB_PACKED_ROWS,
  SB_PACKED_SCRATCH = SB_PACKED_SUMS + 2 * SB_PACKED_ROWS + SB_PACKED_ROWS * SB_PACKED_FEW
};

/* Fastest last. */
typedef enum sb_packed_level {
  SB_PACKED_PLAIN,
  SB_PACKED_AVX2,
  SB_PACKED_AVX512,
  SB_PACKED_LEVELS
} sb_packed_level;

extern const sb_packed_kernels sb_packed_plain, sb_packed_avx2, sb_packed_avx512;

/* The kernels of a level; NULL where this processor has not what they need: AVX2 and FMA; AVX-512
 * with F, BW, VL, DQ and VBMI. */
const sb_packed_kernels *sb_packed_kernels_at(sb_packed_level level);
/* Those of the highest level that it has. */
const sb_packed_kernels *sb_packed_kernels_best(void);

#endif
