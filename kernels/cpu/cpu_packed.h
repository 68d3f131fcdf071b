/* The inside of multiplication with packed weights (packed_create, packed_gemm). What follows is
 * about grids; cpu_packed_trellis.c has trellis codes.
 *
 * Order of codes. Eight codes of b bits are b bytes: a *chunk*. Sixteen chunks, 128 codes, are a
 * *piece*. Vectors run over the chunks of a piece, in eight steps s = 0 .. 7:
 *
 *   lane l of step s         is code 8 l + s of the piece
 *   place 16 s + l of the x  is column 8 l + s of the piece
 *
 * So one shuffle of bytes gives every lane its chunk, a shift by s * b gives the codes of step s,
 * and codes are never put in order. Instead each call sorts x once (the *prepared* x). Columns of
 * the last piece beyond the block's width are 0 in it.
 *
 * Few tokens (`few`). A row's weights in a block are scale * code + offset; offset is the value of
 * code 0. So
 *
 *   y = sum over blocks of scale * (sum of code * x) + offset * (sum of x)
 *
 * and all rows share the sum of x. More tokens (`decode`, `multiply`): a block's rows are decoded
 * into a tile that stays in cache, and the tile is multiplied.
 *
 * cpu_packed_kernels.h has the text of the kernels. It is compiled three times, over vectors of
 * plain C, AVX2 and AVX-512. */
#ifndef SB_KERNELS_CPU_CPU_PACKED_H
#define SB_KERNELS_CPU_CPU_PACKED_H

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/cpu_level.h"
#include "kernels/shared/blockrow_layout.h"

enum {
  SB_PACKED_PIECE = 128, /* codes per piece */
  SB_PACKED_ROWS = 128,  /* most rows of an item of work */
  SB_PACKED_STEP = 16,   /* items begin at multiples of this many rows of their block row, and at
                            whole strips (cpu_trellis_decode.h) in trellis codes */
  SB_PACKED_FEW = 8,     /* most tokens that `few` takes */
};

/* An item of work: rows [row, row + rows) of block row i. */
typedef struct sb_packed_item {
  size_t i, row, rows;
} sb_packed_item;

struct sb_packed_impl {
  const uint8_t *packed;
  sb_tiling tiling;
  sb_code_kind code_kind;
  const uint16_t *col_factors; /* [cols], fp16; NULL on grids */
  uint8_t *bits;               /* [blocks] */
  size_t *frames;              /* [block rows]: offset of each in `packed` */
  size_t *blocks;        /* [blocks]: offset of each in `packed`; of its codes, in trellis codes */
  sb_packed_item *items; /* the whole matrix, cut by bytes, large ones first */
  size_t item_count;
};

/* The layout of block (i, j) of a matrix on grids, with its anchor. */
static inline sb_block_layout sb_packed_layout(const struct sb_packed_impl *w, size_t i, size_t j) {
  const size_t columns = sb_tiling_block_cols(&w->tiling);
  sb_block_layout b =
      sb_block_layout_of(sb_tiling_rows_of(&w->tiling, i), sb_tiling_cols_of(&w->tiling, j),
                         w->bits[i * columns + j], w->code_kind);
  b.anchor = sb_blockrow_anchor(w->packed + w->frames[i], columns, j, w->code_kind);
  return b;
}

/* A prepared x of one token. width: floats of block column j's part. start: index of its first
 * float. length: floats of all parts. */
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

/* The prepared x of `few`. T is 1, 2, 4 or 8; tokens beyond the caller's are 0. */
typedef struct sb_packed_input {
  const float *x;    /* [sb_packed_length / 16, T, 16] */
  const float *sums; /* [block columns, T] sums of x over a block column */
  size_t T;
} sb_packed_input;

struct sb_packed_kernels {
  const char *name;
  size_t lanes; /* lanes of a vector */
  size_t group; /* most tokens per call of `multiply` */
  /* out[rows, T] = the rows of the item times x. scratch: SB_PACKED_SCRATCH floats, 64-byte
   * aligned. */
  void (*few)(float *out, const struct sb_packed_impl *w, const sb_packed_item *item,
              const sb_packed_input *input, float *scratch);
  /* tile[rows, ld] = the item's weights in block column j, in the order of a prepared x. Weights
   * beyond the block's width are arbitrary; they meet zeros of x. */
  void (*decode)(float *tile, size_t ld, const struct sb_packed_impl *w, const sb_packed_item *item,
                 size_t j);
  /* out[rows, width] += tile[rows, n] x[n, width]; rows of the tile are ld floats apart. width is a
   * multiple of `lanes`, at most `group`; rows are a multiple of 8. */
  void (*multiply)(float *out, const float *tile, size_t ld, const float *x, size_t rows, size_t n,
                   size_t width);
  const struct sb_trellis_kernels *trellis; /* cpu_trellis_decode.h */
};

/* Scratch of `few`, in floats: running sums of 16 lanes, as many as stay in the first cache; scales
 * and offsets of an item's rows; sums of offset * x. */
enum {
  SB_PACKED_SUMS = 16 * 2 * SB_PACKED_ROWS,
  SB_PACKED_SCRATCH = SB_PACKED_SUMS + 2 * SB_PACKED_ROWS + SB_PACKED_ROWS * SB_PACKED_FEW
};

extern const sb_packed_kernels sb_packed_plain, sb_packed_avx2, sb_packed_avx512;

/* The kernels of a level; NULL if this processor cannot run them. */
const sb_packed_kernels *sb_packed_kernels_at(sb_cpu_level level);

/* y = x W', or += if `add`, for a matrix in trellis codes. */
sb_status sb_cpu_packed_trellis(sb_backend *, const struct sb_packed_impl *w, float *y,
                                const float *x, size_t T, bool add);

#endif
