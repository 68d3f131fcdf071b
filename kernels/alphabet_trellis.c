#include "kernels/alphabet_trellis.h"

static sb_trellis trellis_of(const sb_block_shape *shape) {
  return sb_trellis_of(shape->code_kind, shape->bits);
}

size_t sb_trellis_block_bytes(const sb_block_shape *shape) {
  const sb_trellis t = trellis_of(shape);
  return sb_trellis_tiles(&t, shape->rows, shape->cols) * sb_trellis_tile_bytes(&t);
}

void sb_trellis_tile_encode(const sb_trellis *t, uint8_t *tile, size_t rows, size_t cols,
                            const uint8_t *codes, size_t ld) {
  uint8_t code[SB_TRELLIS_TILE];
  for (unsigned s = 0; s < SB_TRELLIS_TILE; s++) {
    unsigned r, c;
    sb_trellis_place(t, s, &r, &c);
    code[s] = r >= rows || c >= cols ? 0 : codes[r * ld + c];
  }
  sb_trellis_pack(t, tile, code);
}

void sb_trellis_tile_decode(const sb_trellis *t, const uint8_t *tile, float scale, size_t rows,
                            size_t cols, float *out, size_t ld) {
  for (unsigned s = 0; s < SB_TRELLIS_TILE; s++) {
    unsigned r, c;
    sb_trellis_place(t, s, &r, &c);
    if (r >= rows || c >= cols) continue;
    const int level = sb_trellis_level(t, sb_trellis_state(t, tile, s));
    out[r * ld + c] = scale * sb_trellis_number(t, level);
  }
}

void sb_trellis_block_pack(const sb_block_shape *shape, uint8_t *bytes, const uint8_t *codes,
                           size_t ld) {
  const sb_trellis t = trellis_of(shape);
  for (size_t col = 0; col < shape->cols; col += t.tile_cols)
    for (size_t row = 0; row < shape->rows; row += t.tile_rows) {
      sb_trellis_tile_encode(&t, bytes, shape->rows - row, shape->cols - col,
                             codes + row * ld + col, ld);
      bytes += sb_trellis_tile_bytes(&t);
    }
}

void sb_trellis_block_decode(const sb_block_shape *shape, const uint8_t *bytes, float scale,
                             float *out, size_t ld) {
  const sb_trellis t = trellis_of(shape);
  for (size_t col = 0; col < shape->cols; col += t.tile_cols)
    for (size_t row = 0; row < shape->rows; row += t.tile_rows) {
      sb_trellis_tile_decode(&t, bytes, scale, shape->rows - row, shape->cols - col,
                             out + row * ld + col, ld);
      bytes += sb_trellis_tile_bytes(&t);
    }
}

/* ---- as an alphabet ---- */

static size_t bytes_with_scale(const sb_block_shape *shape) {
  return sb_trellis_block_bytes(shape) + sizeof(uint16_t);
}

static size_t code_part(const sb_block_shape *shape, sb_block_part parts[SB_BLOCK_PARTS]) {
  parts[0] = (sb_block_part){(uint32_t)sb_trellis_block_bytes(shape), SB_PART_TRELLIS};
  return 1;
}

static uint8_t pack(const sb_block_shape *shape, uint8_t *block, const sb_grid *grids,
                    const uint8_t *codes, size_t ld) {
  (void)grids; /* the scale stands in the head of the block row */
  sb_trellis_block_pack(shape, block, codes, ld);
  return 0;
}

const sb_alphabet sb_alphabet_trellis = {.name = "trellis",
                                         .bytes = bytes_with_scale,
                                         .code_bytes = sb_trellis_block_bytes,
                                         .parts = code_part,
                                         .pack = pack};
