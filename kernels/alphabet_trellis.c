#include "kernels/alphabet_trellis.h"

#include "base/memory.h"

static sb_trellis trellis_of(const sb_block_shape *shape) {
  return sb_trellis_of(shape->code_kind, shape->bits);
}

size_t sb_trellis_block_bytes(const sb_block_shape *shape) {
  const sb_trellis t = trellis_of(shape);
  return sb_trellis_tiles(&t, shape->rows, shape->cols) * sb_trellis_tile_bytes(&t);
}

void sb_trellis_block_pack(const sb_block_shape *shape, uint8_t *bytes, const uint8_t *codes,
                           size_t ld) {
  const sb_trellis t = trellis_of(shape);
  uint8_t tile[SB_TRELLIS_TILE];
  for (size_t col = 0; col < shape->cols; col += t.tile_cols)
    for (size_t row = 0; row < shape->rows; row += t.tile_rows) {
      for (unsigned s = 0; s < SB_TRELLIS_TILE; s++) {
        unsigned r, c;
        sb_trellis_place(&t, s, &r, &c);
        const bool absent = row + r >= shape->rows || col + c >= shape->cols;
        tile[s] = absent ? 0 : codes[(row + r) * ld + col + c];
      }
      sb_trellis_pack(&t, bytes, tile);
      bytes += sb_trellis_tile_bytes(&t);
    }
}

/* Decodes the tile whose first rows x cols weights go to `out`. */
static void decode_tile(const sb_trellis *t, const uint8_t *tile, float scale, size_t rows,
                        size_t cols, float *out, size_t ld) {
  for (unsigned s = 0; s < SB_TRELLIS_TILE; s++) {
    unsigned r, c;
    sb_trellis_place(t, s, &r, &c);
    if (r >= rows || c >= cols) continue;
    const int level = sb_trellis_level(t, sb_trellis_state(t, tile, s));
    out[r * ld + c] = scale * sb_trellis_number(t, level);
  }
}

void sb_trellis_block_decode(const sb_block_shape *shape, const uint8_t *bytes, float scale,
                             float *out, size_t ld) {
  const sb_trellis t = trellis_of(shape);
  for (size_t col = 0; col < shape->cols; col += t.tile_cols)
    for (size_t row = 0; row < shape->rows; row += t.tile_rows) {
      decode_tile(&t, bytes, scale, sb_min_size(t.tile_rows, shape->rows - row),
                  sb_min_size(t.tile_cols, shape->cols - col), out + row * ld + col, ld);
      bytes += sb_trellis_tile_bytes(&t);
    }
}

/* ---- as an alphabet ---- */

static size_t trellis_bytes(const sb_block_shape *shape) {
  return sb_trellis_block_bytes(shape) + sizeof(uint16_t);
}

static size_t trellis_parts(const sb_block_shape *shape, sb_block_part parts[SB_BLOCK_PARTS]) {
  parts[0] = (sb_block_part){(uint32_t)sb_trellis_block_bytes(shape), 0};
  return 1;
}

static void trellis_pack(const sb_block_shape *shape, uint8_t *block, const sb_grid *grids,
                         const uint8_t *codes, size_t ld) {
  (void)grids;
  sb_trellis_block_pack(shape, block, codes, ld);
}

const sb_alphabet sb_alphabet_trellis = {.name = "trellis",
                                         .bytes = trellis_bytes,
                                         .code_bytes = sb_trellis_block_bytes,
                                         .parts = trellis_parts,
                                         .pack = trellis_pack};
