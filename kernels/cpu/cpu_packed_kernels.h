/* The kernels of cpu_packed.h over one kind of vectors. Each of cpu_packed_plain.c,
 * cpu_packed_avx2.c and cpu_packed_avx512.c includes this file once, after it has defined
 *
 *   PV_LANES                 lanes of a vector: 8 or 16
 *   PV_VECTORS               most vectors of tokens per pass over a tile: 3 or 4
 *   pv, pv_words             a vector of floats, of 32-bit words
 *   pv_set, pv_load, pv_store
 *   pv_fma, pv_sum           a b + c; the sum of all lanes, in a fixed order
 *   pv_halves, pv_bytes      floats from PV_LANES fp16 numbers, from PV_LANES bytes
 *   pv_numbers(out, string, n, b)
 *                            sb_bitstring_unpack, for a b that is not a constant;
 *                            `out` has room for SB_PACKED_ROWS numbers
 *   pv_chunks(piece, b, h, &low, &high)
 *                            chunks h * PV_LANES + lane of a piece of b-bit codes:
 *                            `low` gets bits 0 .. 31, `high` the last 32 bits if b > 4;
 *                            reads no byte beyond the piece, and at most 15 before it
 *   pv_code(low, high, b, s)
 *                            the codes of step s, as floats
 *   PV_FEW_TOGETHER(tokens)  rows per pass with few tokens: 1, 2 or 4
 *   PV_TILE_ROWS(vectors)    rows of a tile per pass with `vectors` vectors of tokens: 4 or 8
 *   PV_INLINE                marks functions that must see their arguments as constants
 *   PV_UNROLL(n)             stands before a loop of at most n steps
 *
 * If PV_INLINE inlines, b is a constant in every call but that of pv_numbers. */
#include "kernels/blockrow.h"
#include "kernels/cpu/cpu_packed.h"

enum {
  PV_PARTS = 16 / PV_LANES, /* vectors per step of a piece */
  PV_AHEAD = 32 * 1024,     /* bytes by which prefetches run ahead */
  PV_TOGETHER = 4           /* most rows per pass with few tokens */
};

/* ---- reading packed blocks ---- */

/* The codes of an item's rows in one block. */
typedef struct rows_of_block {
  const uint8_t *codes; /* codes of the first row */
  size_t stride;        /* bytes per row */
  size_t pieces;        /* whole pieces per row */
  size_t rest;          /* bytes of the piece after them, 0 if none */
  unsigned bits;
} rows_of_block;

static rows_of_block rows_at(const struct sb_packed_impl *w, const sb_packed_item *item, size_t j) {
  const size_t k = item->i * sb_tiling_block_cols(&w->tiling) + j;
  const size_t rows = sb_tiling_rows_of(&w->tiling, item->i),
               cols = sb_tiling_cols_of(&w->tiling, j);
  const unsigned b = w->bits[k];
  rows_of_block out = {
      .stride = sb_bitstring_bytes(cols, b), .pieces = cols / SB_PACKED_PIECE, .bits = b};
  out.rest = out.stride - out.pieces * 16 * b;
  out.codes = w->packed + w->blocks[k] + sb_block_bytes(rows, cols, b, w->code_kind) -
              sb_block_code_bytes(rows, cols, b, w->code_kind) + item->row * out.stride;
  return out;
}

/* Prefetches into the second cache, PV_AHEAD bytes ahead. The distance covers some blocks: narrow
 * blocks take long for few bytes, and so make up for the time that wide ones wait. */
PV_INLINE void ask_ahead(const uint8_t *p, size_t bytes) {
  for (size_t at = 0; at < bytes; at += 64) __builtin_prefetch(p + at + PV_AHEAD, 0, 2);
}

/* The scales of the item's rows; `scale` has room for whole vectors. */
static void read_scales(float *scale, const uint8_t *block, const sb_block_layout *layout,
                        const sb_packed_item *item) {
  uint16_t halves[SB_PACKED_ROWS];
  uint8_t codes[SB_PACKED_ROWS];
  if (layout->scale_bits == 16) {
    ask_ahead(block + 2 * item->row, 2 * item->rows);
    memcpy(halves, block + 2 * item->row, 2 * item->rows);
    for (size_t r = 0; r < item->rows; r += PV_LANES) pv_store(scale + r, pv_halves(halves + r));
    return;
  }
  /* items begin at multiples of 16 rows, 12 bytes of scales */
  ask_ahead(block + item->row / 8 * SB_SCALE6_BITS, item->rows);
  pv_numbers(codes, block + item->row / 8 * SB_SCALE6_BITS, item->rows, SB_SCALE6_BITS);
  for (size_t r = 0; r < item->rows; r++) scale[r] = sb_scale6_value(layout->anchor, codes[r]);
}

/* Reads scales and offsets of the item's rows in block column j. `scale` and `offset` have room for
 * whole vectors. */
static void read_groups(float *scale, float *offset, const struct sb_packed_impl *w,
                        const sb_packed_item *item, size_t j) {
  const size_t k = item->i * sb_tiling_block_cols(&w->tiling) + j;
  const uint8_t *block = w->packed + w->blocks[k];
  const unsigned b = w->bits[k];
  const sb_block_layout layout = sb_packed_layout(w, item->i, j);
  const bool zeros = sb_has_zero_point(w->code_kind, b), bases = sb_has_base(w->code_kind, b);
  const pv middle = pv_set(sb_grid_middle(w->code_kind, b)), none = pv_set(0.0f),
           minus = pv_set(-1.0f);
  uint16_t base[SB_PACKED_ROWS];
  uint8_t zero[SB_PACKED_ROWS];
  read_scales(scale, block, &layout, item);
  if (zeros) pv_numbers(zero, block + layout.zeros + item->row / 8 * b, item->rows, b);
  if (bases) memcpy(base, block + layout.zeros + 2 * item->row, 2 * item->rows);
  for (size_t r = 0; r < item->rows; r += PV_LANES) {
    const pv by = pv_load(scale + r), center = zeros ? pv_bytes(zero + r) : middle;
    pv_store(offset + r,
             pv_fma(pv_fma(minus, by, none), center, bases ? pv_halves(base + r) : none));
  }
}

/* The start of piece p of a row. A piece that is not whole is copied to `room` first, so that
 * pv_chunks may read a whole one. */
PV_INLINE const uint8_t *piece_at(const rows_of_block *block, const uint8_t *row, size_t p,
                                  unsigned b, uint8_t room[16 + SB_PACKED_PIECE]) {
  if (p < block->pieces) return row + p * 16 * b;
  memset(room, 0, 16 + SB_PACKED_PIECE);
  memcpy(room + 16, row + p * 16 * b, block->rest);
  return room + 16;
}

/* ---- few tokens: codes are multiplied as they are unpacked ----
 *
 * Every lane has its own running sum. Lanes are added once, after the last block. */

/* sum[n, t] += the codes of piece n times x[8, tokens, 16], for `together` rows. */
PV_INLINE void few_piece(pv *sum, const uint8_t *const *pieces, const float *x, size_t tokens,
                         size_t together, unsigned b) {
  PV_UNROLL(2)
  for (unsigned h = 0; h < PV_PARTS; h++) {
    pv_words low[PV_TOGETHER], high[PV_TOGETHER];
    PV_UNROLL(4)
    for (size_t n = 0; n < together; n++) pv_chunks(pieces[n], b, h, &low[n], &high[n]);
    PV_UNROLL(8)
    for (unsigned s = 0; s < 8; s++) PV_UNROLL(4)
    for (size_t n = 0; n < together; n++) {
      const pv code = pv_code(low[n], high[n], b, s);
      PV_UNROLL(8)
      for (size_t t = 0; t < tokens; t++)
        sum[n * tokens + t] =
            pv_fma(code, pv_load(x + (s * tokens + t) * 16 + h * PV_LANES), sum[n * tokens + t]);
    }
  }
}

/* sums[n, t] += scale[n] * (sum of code * x) in every lane, for `together` rows from `row` on.
 * `single`: a row is one whole piece. */
PV_INLINE void few_together(float *restrict sums, const rows_of_block *block, const uint8_t *row,
                            const float *restrict scale, const float *restrict x, size_t tokens,
                            size_t together, unsigned b, bool single) {
  uint8_t room[PV_TOGETHER][16 + SB_PACKED_PIECE];
  const size_t pieces = single ? 1 : block->pieces + (block->rest > 0),
               stride = single ? 16 * b : block->stride;
  pv sum[PV_TOGETHER * SB_PACKED_FEW];
  PV_UNROLL(8)
  for (size_t k = 0; k < together * tokens; k++) sum[k] = pv_set(0.0f);
  ask_ahead(row, together * stride);
  for (size_t p = 0; p < pieces; p++) {
    const uint8_t *piece[PV_TOGETHER];
    PV_UNROLL(4)
    for (size_t n = 0; n < together; n++)
      piece[n] = single ? row + n * stride : piece_at(block, row + n * stride, p, b, room[n]);
    few_piece(sum, piece, x + p * SB_PACKED_PIECE * tokens, tokens, together, b);
  }
  PV_UNROLL(4)
  for (size_t n = 0; n < together; n++) {
    const pv by = pv_set(scale[n]);
    PV_UNROLL(8)
    for (size_t t = 0; t < tokens; t++) {
      float *total = sums + (n * tokens + t) * PV_LANES;
      pv_store(total, pv_fma(by, sum[n * tokens + t], pv_load(total)));
    }
  }
}

/* few_together for all rows of a block. */
PV_INLINE void few_rows(float *restrict sums, const rows_of_block *block,
                        const float *restrict scale, const float *restrict x, size_t rows,
                        size_t tokens, unsigned b, bool single) {
  const size_t together = PV_FEW_TOGETHER(tokens);
  size_t r = 0;
  for (; r + together <= rows; r += together)
    few_together(sums + r * tokens * PV_LANES, block, block->codes + r * block->stride, scale + r,
                 x, tokens, together, b, single);
  for (; r < rows; r++)
    few_together(sums + r * tokens * PV_LANES, block, block->codes + r * block->stride, scale + r,
                 x, tokens, 1, b, single);
}

/* Calls `call` with the width `bits` as a constant. */
#define PV_EACH_WIDTH(bits, call)                                                                  \
  switch (bits) {                                                                                  \
  case 1:                                                                                          \
    call(1);                                                                                       \
    break;                                                                                         \
  case 2:                                                                                          \
    call(2);                                                                                       \
    break;                                                                                         \
  case 3:                                                                                          \
    call(3);                                                                                       \
    break;                                                                                         \
  case 4:                                                                                          \
    call(4);                                                                                       \
    break;                                                                                         \
  case 5:                                                                                          \
    call(5);                                                                                       \
    break;                                                                                         \
  case 6:                                                                                          \
    call(6);                                                                                       \
    break;                                                                                         \
  case 7:                                                                                          \
    call(7);                                                                                       \
    break;                                                                                         \
  default:                                                                                         \
    call(8);                                                                                       \
    break;                                                                                         \
  }

/* out[rows, T] = the item's rows times x, over all block columns; `tokens` is T as a constant. */
PV_INLINE void few_tokens(float *out, const struct sb_packed_impl *w, const sb_packed_item *item,
                          const sb_packed_input *input, float *scratch, size_t tokens) {
  float *scale = scratch + SB_PACKED_SUMS, *offset = scale + SB_PACKED_ROWS,
        *rest = offset + SB_PACKED_ROWS;
  const size_t rows = item->rows;
  memset(scratch, 0, rows * tokens * PV_LANES * sizeof *scratch);
  memset(rest, 0, rows * tokens * sizeof *rest);
  for (size_t j = 0; j < sb_tiling_block_cols(&w->tiling); j++) {
    const rows_of_block block = rows_at(w, item, j);
    const float *x = input->x + sb_packed_start(&w->tiling, j) * tokens,
                *sum = input->sums + j * tokens;
    read_groups(scale, offset, w, item, j);
    for (size_t t = 0; t < tokens; t++)
      for (size_t r = 0; r < rows; r++) rest[t * rows + r] += offset[r] * sum[t];
#define SINGLE(b) few_rows(scratch, &block, scale, x, rows, tokens, b, true)
#define ANY(b)    few_rows(scratch, &block, scale, x, rows, tokens, b, false)
    if (block.pieces == 1 && block.rest == 0) {
      PV_EACH_WIDTH(block.bits, SINGLE)
    } else {
      PV_EACH_WIDTH(block.bits, ANY)
    }
#undef SINGLE
#undef ANY
  }
  for (size_t r = 0; r < rows; r++)
    for (size_t t = 0; t < tokens; t++)
      out[r * tokens + t] =
          pv_sum(pv_load(scratch + (r * tokens + t) * PV_LANES)) + rest[t * rows + r];
}

/* More tokens take fewer rows per pass, so that running sums stay in the first cache. */
static void few(float *out, const struct sb_packed_impl *w, const sb_packed_item *item,
                const sb_packed_input *input, float *scratch) {
  const size_t T = input->T, room = SB_PACKED_SUMS / 16 / T,
               most = room < SB_PACKED_ROWS ? room : SB_PACKED_ROWS;
  for (size_t r = 0; r < item->rows; r += most) {
    const sb_packed_item part = {item->i, item->row + r,
                                 item->rows - r < most ? item->rows - r : most};
    float *here = out + r * T;
    switch (T) {
    case 1:
      few_tokens(here, w, &part, input, scratch, 1);
      break;
    case 2:
      few_tokens(here, w, &part, input, scratch, 2);
      break;
    case 4:
      few_tokens(here, w, &part, input, scratch, 4);
      break;
    default:
      few_tokens(here, w, &part, input, scratch, 8);
      break;
    }
  }
}

/* ---- more tokens: rows are decoded into a tile, which is multiplied ---- */

PV_INLINE void decode_rows(float *tile, size_t ld, const rows_of_block *block, const float *scale,
                           const float *offset, size_t rows, unsigned b) {
  uint8_t room[16 + SB_PACKED_PIECE];
  const size_t pieces = block->pieces + (block->rest > 0);
  for (size_t r = 0; r < rows; r++) {
    const uint8_t *row = block->codes + r * block->stride;
    const pv by = pv_set(scale[r]), from = pv_set(offset[r]);
    ask_ahead(row, block->stride);
    for (size_t p = 0; p < pieces; p++) {
      const uint8_t *piece = piece_at(block, row, p, b, room);
      float *here = tile + r * ld + p * SB_PACKED_PIECE;
      PV_UNROLL(2)
      for (unsigned h = 0; h < PV_PARTS; h++) {
        pv_words low, high;
        pv_chunks(piece, b, h, &low, &high);
        PV_UNROLL(8)
        for (unsigned s = 0; s < 8; s++)
          pv_store(here + 16 * s + h * PV_LANES, pv_fma(pv_code(low, high, b, s), by, from));
      }
    }
  }
}

static void decode(float *tile, size_t ld, const struct sb_packed_impl *w,
                   const sb_packed_item *item, size_t j) {
  float scale[SB_PACKED_ROWS], offset[SB_PACKED_ROWS];
  const rows_of_block block = rows_at(w, item, j);
  read_groups(scale, offset, w, item, j);
#define DECODE(b) decode_rows(tile, ld, &block, scale, offset, item->rows, b)
  PV_EACH_WIDTH(block.bits, DECODE)
#undef DECODE
}

/* Lanes are tokens: each weight is spread over a vector, so no sum runs across lanes. */
PV_INLINE void multiply_rows(float *out, const float *tile, size_t ld, const float *x, size_t rows,
                             size_t n, size_t vectors) {
  enum { MOST = 8 };
  const size_t width = vectors * PV_LANES, step = PV_TILE_ROWS(vectors);
  for (size_t first = 0; first < rows; first += step) {
    const float *w = tile + first * ld;
    float *y = out + first * width;
    pv sum[MOST][PV_VECTORS];
    PV_UNROLL(8)
    for (size_t r = 0; r < step; r++) PV_UNROLL(8)
    for (size_t v = 0; v < vectors; v++) sum[r][v] = pv_load(y + r * width + v * PV_LANES);
    for (size_t c = 0; c < n; c++) {
      pv here[PV_VECTORS];
      PV_UNROLL(8)
      for (size_t v = 0; v < vectors; v++) here[v] = pv_load(x + c * width + v * PV_LANES);
      PV_UNROLL(8)
      for (size_t r = 0; r < step; r++) {
        const pv weight = pv_set(w[r * ld + c]);
        PV_UNROLL(8)
        for (size_t v = 0; v < vectors; v++) sum[r][v] = pv_fma(weight, here[v], sum[r][v]);
      }
    }
    PV_UNROLL(8)
    for (size_t r = 0; r < step; r++) PV_UNROLL(8)
    for (size_t v = 0; v < vectors; v++) pv_store(y + r * width + v * PV_LANES, sum[r][v]);
  }
}

static void multiply(float *out, const float *tile, size_t ld, const float *x, size_t rows,
                     size_t n, size_t width) {
  switch (width / PV_LANES) {
  case 1:
    multiply_rows(out, tile, ld, x, rows, n, 1);
    break;
  case 2:
    multiply_rows(out, tile, ld, x, rows, n, 2);
    break;
  case 3:
    multiply_rows(out, tile, ld, x, rows, n, 3);
    break;
  default:
    multiply_rows(out, tile, ld, x, rows, n, PV_VECTORS);
    break;
  }
}
