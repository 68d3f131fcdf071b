/* The integer grid as an alphabet. docs/format.md has its bytes, kernels/shared/grid.h its levels.
 */
#include <math.h>
#include <string.h>

#include "base/check.h"
#include "base/memory.h"
#include "kernels/alphabet.h"
#include "kernels/cpu/cpu_group.h"
#include "kernels/shared/blockrow_layout.h"

enum { ROWS_MAX = 1024 }; /* most rows of a block (sb_limit_check_block) */

static sb_block_layout grid_layout(const sb_block_shape *s) {
  return sb_block_layout_of(s->rows, s->cols, s->bits, s->code_kind);
}

/* ---- sizes ---- */

static size_t grid_bytes(const sb_block_shape *s) {
  const sb_block_layout b = grid_layout(s);
  return sb_block_layout_bytes(&b);
}

static size_t grid_code_bytes(const sb_block_shape *s) {
  return s->rows * sb_bitstring_bytes(s->cols, s->bits);
}

static size_t grid_parts(const sb_block_shape *s, sb_block_part parts[SB_BLOCK_PARTS]) {
  const sb_block_layout b = grid_layout(s);
  size_t count = 0;
  parts[count++] =
      (sb_block_part){(uint32_t)b.zeros, b.scale_bits == 16 ? 16 : (uint8_t)SB_PART_SCALES6};
  if (b.codes > b.zeros)
    parts[count++] =
        (sb_block_part){(uint32_t)(b.codes - b.zeros), b.bits == 1 ? 16 : (uint8_t)(32 + b.bits)};
  parts[count++] = (sb_block_part){(uint32_t)(b.rows * b.code_bytes), (uint8_t)b.bits};
  return count;
}

static void grid_scale(const sb_block_shape *s, size_t r, size_t *scale, size_t *base) {
  *scale = sb_grid_scale_bits(s->code_kind) == 16 ? 2 * r : 0;
  *base = sb_has_base(s->code_kind, s->bits) ? grid_layout(s).zeros + 2 * r : SIZE_MAX;
}

/* ---- the grid of a row, without its codes ---- */

/* The zero point or base of row r. Zero points are packed eight rows at a time: eight of them fill
 * whole bytes. */
static void put_offset(uint8_t *block, const sb_block_layout *b, size_t r, const sb_grid *grid,
                       uint8_t *pending) {
  const uint16_t base = sb_grid_to_fp16(grid->base);
  if (sb_has_base(b->code_kind, b->bits)) memcpy(block + b->zeros + 2 * r, &base, 2);
  if (!sb_has_zero_point(b->code_kind, b->bits)) return;
  pending[r % 8] = (uint8_t)grid->center;
  if (r % 8 == 7 || r + 1 == b->rows)
    sb_bitstring_pack(block + b->zeros + r / 8 * b->bits, pending, r % 8 + 1, b->bits);
}

static sb_grid get_grid(const uint8_t *block, const sb_block_layout *b, size_t r,
                        uint8_t *pending) {
  const bool zero_point = sb_has_zero_point(b->code_kind, b->bits);
  if (zero_point && r % 8 == 0)
    sb_bitstring_unpack(pending, block + b->zeros + r / 8 * b->bits, sb_min_size(8, b->rows - r),
                        b->bits);
  return sb_block_grid(block, b, r, zero_point ? pending[r % 8] : 0);
}

/* ---- the scales of a block ---- */

/* Writes the scales [rows] of a block. Returns its anchor, 0 where they are fp16. */
static uint8_t put_scales(uint8_t *block, const sb_block_layout *b, const float *scales) {
  float least = INFINITY, most = 0;
  uint8_t codes[ROWS_MAX];
  for (size_t r = 0; b->scale_bits == 16 && r < b->rows; r++) {
    const uint16_t half = sb_grid_to_fp16(scales[r]);
    memcpy(block + 2 * r, &half, 2);
  }
  if (b->scale_bits == 16) return 0;
  for (size_t r = 0; r < b->rows; r++) {
    if (scales[r] > 0 && scales[r] < least) least = scales[r];
    if (scales[r] > most) most = scales[r];
  }
  const uint8_t anchor = sb_anchor_of(least, most);
  for (size_t r = 0; r < b->rows; r++) codes[r] = (uint8_t)sb_scale6_code(anchor, scales[r]);
  sb_bitstring_pack(block, codes, b->rows, SB_SCALE6_BITS);
  return anchor;
}

/* ---- codes ---- */

/* The codes of n weights on a grid; writes whole lanes. */
static void nearest_codes(uint8_t *codes, const sb_grid *grid, const float *w, size_t n) {
  for (size_t i = 0; i < n; i += LANES) {
    const lanes_mask m = lanes_first(n - i);
    lanes_store_codes(codes + i, m, cpu_grid_codes(grid, lanes_load(w + i, m)));
  }
}

/* The nearest grid and codes of row r; `room` is scratch for its weights. */
static sb_grid choose_row(const sb_block_shape *s, const sb_block_source *w, size_t r,
                          uint8_t *codes, float room[SB_GROUP_MAX]) {
  const float *x = lanes_floats(room, w->data, w->dtype, w->first + r * w->ld, s->cols);
  const sb_grid grid = cpu_grid_for(x, w->importance, 0, s->cols, s->bits, s->code_kind);
  nearest_codes(codes, &grid, x, s->cols);
  return grid;
}

void sb_alphabet_grid_choose(const sb_block_shape *s, sb_grid *grids, uint8_t *codes, size_t ld,
                             const sb_block_source *weights) {
  float room[SB_GROUP_MAX];
  for (size_t r = 0; r < s->rows; r++) grids[r] = choose_row(s, weights, r, codes + r * ld, room);
}

static uint8_t grid_encode(const sb_block_shape *s, uint8_t *block,
                           const sb_block_source *weights) {
  const sb_block_layout b = grid_layout(s);
  uint8_t pending[8], codes[SB_GROUP_MAX];
  float room[SB_GROUP_MAX], scales[ROWS_MAX];
  for (size_t r = 0; r < b.rows; r++) {
    const sb_grid grid = choose_row(s, weights, r, codes, room);
    scales[r] = grid.scale;
    put_offset(block, &b, r, &grid, pending);
    sb_bitstring_pack(block + b.codes + r * b.code_bytes, codes, b.cols, b.bits);
  }
  return put_scales(block, &b, scales);
}

static uint8_t grid_pack(const sb_block_shape *s, uint8_t *block, const sb_grid *grids,
                         const uint8_t *codes, size_t ld) {
  const sb_block_layout b = grid_layout(s);
  uint8_t pending[8];
  float scales[ROWS_MAX];
  for (size_t r = 0; r < b.rows; r++) {
    scales[r] = grids[r].scale;
    put_offset(block, &b, r, &grids[r], pending);
    sb_bitstring_pack(block + b.codes + r * b.code_bytes, codes + r * ld, b.cols, b.bits);
  }
  return put_scales(block, &b, scales);
}

static void grid_unpack(const sb_block_shape *s, uint8_t anchor, const uint8_t *block,
                        sb_grid *grids, uint8_t *codes, size_t ld) {
  sb_block_layout b = grid_layout(s);
  b.anchor = anchor;
  uint8_t pending[8];
  for (size_t r = 0; r < b.rows; r++) {
    grids[r] = get_grid(block, &b, r, pending);
    sb_bitstring_unpack(codes + r * ld, block + b.codes + r * b.code_bytes, b.cols, b.bits);
  }
}

static void grid_decode(const sb_block_shape *s, uint8_t anchor, const uint8_t *block, void *out,
                        sb_dtype dtype, size_t first, size_t ld) {
  sb_block_layout b = grid_layout(s);
  b.anchor = anchor;
  uint8_t pending[8], codes[SB_GROUP_MAX];
  for (size_t r = 0; r < b.rows; r++) {
    const sb_grid grid = get_grid(block, &b, r, pending);
    sb_bitstring_unpack(codes, block + b.codes + r * b.code_bytes, b.cols, b.bits);
    for (size_t c = 0; c < b.cols; c += LANES) {
      const lanes_mask m = lanes_first(b.cols - c);
      lanes_store_as(out, dtype, first + r * ld + c, m,
                     cpu_grid_values(&grid, lanes_load_codes(codes + c, m)));
    }
  }
}

const sb_alphabet sb_alphabet_grid = {.name = "grid",
                                      .bytes = grid_bytes,
                                      .code_bytes = grid_code_bytes,
                                      .parts = grid_parts,
                                      .encode = grid_encode,
                                      .pack = grid_pack,
                                      .unpack = grid_unpack,
                                      .decode = grid_decode,
                                      .scale = grid_scale};
