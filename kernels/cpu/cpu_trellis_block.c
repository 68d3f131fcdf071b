#include "kernels/cpu/cpu_trellis_block.h"

#include <string.h>

#include "base/memory.h"
#include "kernels/alphabet_trellis.h"
#include "kernels/cpu/cpu_trellis_decode.h"

/* A patch of a block: its first row and column there. */
typedef struct window {
  size_t row, col;
} window;

static size_t patches_of(const sb_block_shape *s) {
  return sb_div_up(s->rows, SB_TRELLIS_PATCH) * sb_div_up(s->cols, SB_TRELLIS_PATCH);
}

/* Patch number `index`, row-major. */
static window open_patch(sb_cpu_patch *p, const sb_block_shape *s, size_t index) {
  const size_t across = sb_div_up(s->cols, SB_TRELLIS_PATCH);
  const window at = {index / across * SB_TRELLIS_PATCH, index % across * SB_TRELLIS_PATCH};
  p->rows = sb_min_size(SB_TRELLIS_PATCH, s->rows - at.row);
  p->cols = sb_min_size(SB_TRELLIS_PATCH, s->cols - at.col);
  return at;
}

static sb_cpu_patch_place place_of(const sb_cpu_patch_place *block, window at) {
  return (sb_cpu_patch_place){block->first + at.row * block->ld + at.col, block->ld,
                              (const char *)block->row_factors + 2 * at.row,
                              (const char *)block->col_factors + 2 * at.col};
}

/* ---- tiles of a patch ---- */

/* The codes of the tile that begins at (row, col) of the patch. */
static size_t tile_at(const sb_trellis *t, const sb_block_shape *s, window at, size_t row,
                      size_t col) {
  const size_t i = (at.row + row) / t->tile_rows, j = (at.col + col) / t->tile_cols;
  return (j * sb_trellis_tiles_down(t, s->rows) + i) * sb_trellis_tile_bytes(t);
}

/* Codes the patch's S, whose values take its place. `codes`: those of the block, or NULL. */
static void round_patch(sb_cpu_patch *p, const sb_block_shape *s, window at, sb_viterbi *viterbi,
                        float scale, uint8_t *codes) {
  const sb_trellis t = sb_trellis_of(s->code_kind, s->bits);
  uint8_t code[SB_TRELLIS_PATCH * SB_TRELLIS_PATCH];
  sb_viterbi_panel(viterbi, scale, p->rows, p->cols, p->x, SB_PATCH_LD, code, SB_TRELLIS_PATCH,
                   p->x, SB_PATCH_LD);
  for (size_t col = 0; codes && col < p->cols; col += t.tile_cols)
    for (size_t row = 0; row < p->rows; row += t.tile_rows)
      sb_trellis_tile_encode(&t, codes + tile_at(&t, s, at, row, col), p->rows - row, p->cols - col,
                             code + row * SB_TRELLIS_PATCH + col, SB_TRELLIS_PATCH);
}

/* Fills the patch with the values of the block's codes. */
static void decode_patch(sb_cpu_patch *p, const sb_block_shape *s, window at, float scale,
                         const uint8_t *codes) {
  const sb_trellis t = sb_trellis_of(s->code_kind, s->bits);
  for (size_t row = 0; row < p->rows; row += SB_STRIP_ROWS) {
    const sb_strip strip = sb_strip_of(&t, codes, s->rows, at.row + row, at.col, p->cols);
    sb_strip_rows(sb_trellis_kernels_best(), p->x + row * SB_PATCH_LD, SB_PATCH_LD, &t, &strip,
                  scale);
  }
}

/* ---- blocks ---- */

/* The scale of a block. Leaves the last patch as S. */
static uint16_t scale_of(const sb_block_shape *s, const sb_cpu_trellis_source *from,
                         sb_cpu_patch *p) {
  double squares = 0.0;
  for (size_t i = 0; i < patches_of(s); i++) {
    const sb_cpu_patch_place at = place_of(&from->at, open_patch(p, s, i));
    sb_cpu_patch_forward(p, from->w, from->dtype, &at);
    squares += sb_cpu_patch_squares(p);
  }
  return sb_trellis_scale(s->code_kind, s->bits, squares, s->rows * s->cols);
}

void sb_cpu_trellis_transform_block(const sb_block_shape *shape, const sb_cpu_trellis_source *from,
                                    float *s) {
  sb_cpu_patch p;
  for (size_t i = 0; i < patches_of(shape); i++) {
    const sb_cpu_patch_place at = place_of(&from->at, open_patch(&p, shape, i));
    sb_cpu_patch_forward(&p, from->w, from->dtype, &at);
    for (size_t r = 0; r < p.rows; r++)
      memcpy(s + at.first + r * at.ld, p.x + r * SB_PATCH_LD, p.cols * sizeof *s);
  }
}

uint16_t sb_cpu_trellis_nearest(const sb_block_shape *s, const sb_cpu_trellis_source *from,
                                sb_viterbi *viterbi, uint8_t *codes, void *out,
                                sb_dtype out_dtype) {
  sb_cpu_patch p;
  const uint16_t scale = scale_of(s, from, &p);
  for (size_t i = 0; i < patches_of(s); i++) {
    const window w = open_patch(&p, s, i);
    const sb_cpu_patch_place at = place_of(&from->at, w);
    if (patches_of(s) > 1) sb_cpu_patch_forward(&p, from->w, from->dtype, &at);
    round_patch(&p, s, w, viterbi, sb_grid_from_fp16(scale), codes);
    if (out) sb_cpu_patch_back(&p, out, out_dtype, &at);
  }
  return scale;
}

void sb_cpu_trellis_decode(const sb_block_shape *s, const uint8_t *codes, uint16_t scale,
                           const sb_cpu_patch_place *block, void *out, sb_dtype out_dtype) {
  sb_cpu_patch p;
  for (size_t i = 0; i < patches_of(s); i++) {
    const window w = open_patch(&p, s, i);
    const sb_cpu_patch_place at = place_of(block, w);
    decode_patch(&p, s, w, sb_grid_from_fp16(scale), codes);
    sb_cpu_patch_back(&p, out, out_dtype, &at);
  }
}
