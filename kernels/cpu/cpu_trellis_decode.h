/* Trellis codes (kernels/shared/trellis.h) read and multiplied in registers: the kernels under
 * unpack_blocks and packed_gemm.
 *
 * A *strip* is 64 rows of a block, one below another, and a run of its tiles to the right, at most
 * 128 columns: `tiles` tiles of own kinds, 64 x 4. EXL3's tiles are 16 x 16, so a strip of theirs
 * is four tiles high; it has slower kernels.
 *
 * Levels are integers below 2^10, and a row of x that was brought to integers once is multiplied
 * with them in integers, exactly: x is two numbers of 16 bits, high and low, so that nothing of a
 * float is lost that its neighbours in the run do not dwarf. That is less work than to make floats
 * of levels, until several tokens share the floats.
 *
 * cpu_trellis_kernels.h has the text of the kernels. It is compiled over plain C, AVX2 and AVX-512.
 * All functions run in one thread. */
#ifndef SB_KERNELS_CPU_CPU_TRELLIS_DECODE_H
#define SB_KERNELS_CPU_CPU_TRELLIS_DECODE_H

#include "kernels/shared/trellis.h"

enum {
  SB_STRIP_ROWS = 64,
  SB_STRIP_COLS = 128, /* most columns of a strip */
  SB_STRIP_TILES = SB_STRIP_COLS / 4,
  SB_STRIP_LEVELS = SB_STRIP_ROWS * SB_STRIP_COLS,
  SB_STRIP_UNIT = 1 << 15,                        /* of high numbers of an x, in low ones */
  SB_STRIP_PAIR = 2,                              /* most tokens of `dot` */
  SB_STRIP_ORDERS = 3,                            /* orders of rows in which `dot` has its sums */
  SB_STRIP_SUMS = SB_STRIP_ORDERS * SB_STRIP_ROWS /* floats for the sums of a token */
};

/* x of one token over the columns of a strip, ready for `dot`: column c is
 * scale * (SB_STRIP_UNIT high + low), to 2^-30 of the largest. Entry 2 p + h of `pairs` holds
 * columns 2 p (the low half) and 2 p + 1: their high numbers for h = 0, their low ones for h = 1.
 */
typedef struct sb_strip_input {
  float scale;
  int32_t pairs[SB_STRIP_COLS];
} sb_strip_input;

/* Fills `out` from x [cols]; columns from `cols` on are 0. Where an x is infinite or no number, so
 * is the scale, and with it the sums. */
void sb_strip_input_make(sb_strip_input *out, const float *x, size_t cols);

/* Codes of a strip: where its first tile begins, bytes from a tile to the one on its right, number
 * of tiles side by side. rows: of the block, up to 64. */
typedef struct sb_strip {
  const uint8_t *codes;
  size_t stride, tiles, rows;
} sb_strip;

/* The strip that begins at (row, col) of a block of `rows` rows and has `cols` columns; row is a
 * multiple of 64, col one of 128. */
sb_strip sb_strip_of(const sb_trellis *, const uint8_t *codes, size_t rows, size_t row, size_t col,
                     size_t cols);

typedef struct sb_trellis_kernels {
  const char *name;
  size_t group; /* most tokens per pass of `multiply` */
  /* levels[256 n + s] = the level of weight s of tile n. */
  void (*levels)(int16_t *levels, const sb_trellis *, const sb_strip *);
  /* sums += scale * (the strip times x), for `tokens` = 1 or 2 tokens, whose inputs lie
   * input_stride apart. sums [tokens, SB_STRIP_ORDERS, 64], in an order of rows that suits the
   * width. */
  void (*dot)(float *sums, const sb_trellis *, const sb_strip *, float scale,
              const sb_strip_input *x, size_t input_stride, size_t tokens);
  /* out[64] = the sums of one token, row by row. */
  void (*in_order)(float *out, const float *sums);
  /* columns[c, 64] = scale * level of column c of the strip. */
  void (*columns)(float *columns, const int16_t *levels, size_t tiles, float scale);
  /* out[64 rows, 4 tiles], rows ld floats apart: the same. */
  void (*rows)(float *out, size_t ld, const int16_t *levels, size_t tiles, float scale);
  /* out[T, 64] += columns[n, 64] times x[T, n]; rows of `out` are out_ld floats apart, of x ld. */
  void (*multiply)(float *out, size_t out_ld, const float *columns, size_t n, const float *x,
                   size_t ld, size_t T);
} sb_trellis_kernels;

/* columns[c, 64] = the values of column c of the strip under the block's scale, of any kind; what
 * stands in rows beyond the block is arbitrary, and may be what stood there. */
void sb_strip_columns(const sb_trellis_kernels *, float *columns, const sb_trellis *,
                      const sb_strip *, float scale);
/* The same, row by row: element (r, c) at out[r * ld + c]. Writes whole tiles: 64 rows of
 * SB_STRIP_COLS columns may be written, and what lies beyond the block is arbitrary. */
void sb_strip_rows(const sb_trellis_kernels *, float *out, size_t ld, const sb_trellis *,
                   const sb_strip *, float scale);

/* The fastest kernels that this processor can run. */
const sb_trellis_kernels *sb_trellis_kernels_best(void);

extern const sb_trellis_kernels sb_trellis_plain, sb_trellis_avx2, sb_trellis_avx512;

#endif
