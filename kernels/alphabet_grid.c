/* The integer grid as an alphabet. docs/format.md has its bytes, kernels/shared/grid.h its levels.
 */
#include <string.h>

#include "base/memory.h"
#include "kernels/alphabet.h"
#include "kernels/cpu/cpu_group.h"
#include "kernels/shared/blockrow_layout.h"

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
  parts[count++] = (sb_block_part){(uint32_t)b.zeros, 16};
  if (b.codes > b.zeros)
    parts[count++] =
        (sb_block_part){(uint32_t)(b.codes - b.zeros), b.bits == 1 ? 16 : (uint8_t)(32 + b.bits)};
  parts[count++] = (sb_block_part){(uint32_t)(b.rows * b.code_bytes), (uint8_t)b.bits};
  return count;
}

static void grid_scale(const sb_block_shape *s, size_t r, size_t *scale, size_t *base) {
  *scale = 2 * r;
  *base = sb_has_base(s->code_kind, s->bits) ? grid_layout(s).zeros + 2 * r : SIZE_MAX;
}

/* ---- the grid of a row, without its codes ---- */

typedef struct row_grid {
  uint16_t scale, base;
  uint8_t zero;
} row_grid;

static row_grid stored(const sb_grid *grid, const sb_block_layout *b) {
  const bool zero_point = sb_has_zero_point(b->code_kind, b->bits);
  return (row_grid){sb_grid_to_fp16(grid->scale), sb_grid_to_fp16(grid->base),
                    zero_point ? (uint8_t)grid->center : 0};
}

/* Zero points are packed eight rows at a time: eight of them fill whole bytes. */
static void put_grid(uint8_t *block, const sb_block_layout *b, size_t r, row_grid g,
                     uint8_t *pending) {
  memcpy(block + 2 * r, &g.scale, 2);
  if (sb_has_base(b->code_kind, b->bits)) memcpy(block + b->zeros + 2 * r, &g.base, 2);
  if (!sb_has_zero_point(b->code_kind, b->bits)) return;
  pending[r % 8] = g.zero;
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

static void grid_encode(const sb_block_shape *s, uint8_t *block, const sb_block_source *weights) {
  const sb_block_layout b = grid_layout(s);
  uint8_t pending[8], codes[SB_GROUP_MAX];
  float room[SB_GROUP_MAX];
  for (size_t r = 0; r < b.rows; r++) {
    const sb_grid grid = choose_row(s, weights, r, codes, room);
    put_grid(block, &b, r, stored(&grid, &b), pending);
    sb_bitstring_pack(block + b.codes + r * b.code_bytes, codes, b.cols, b.bits);
  }
}

static void grid_pack(const sb_block_shape *s, uint8_t *block, const sb_grid *grids,
                      const uint8_t *codes, size_t ld) {
  const sb_block_layout b = grid_layout(s);
  uint8_t pending[8];
  for (size_t r = 0; r < b.rows; r++) {
    put_grid(block, &b, r, stored(&grids[r], &b), pending);
    sb_bitstring_pack(block + b.codes + r * b.code_bytes, codes + r * ld, b.cols, b.bits);
  }
}

static void grid_unpack(const sb_block_shape *s, const uint8_t *block, sb_grid *grids,
                        uint8_t *codes, size_t ld) {
  const sb_block_layout b = grid_layout(s);
  uint8_t pending[8];
  for (size_t r = 0; r < b.rows; r++) {
    grids[r] = get_grid(block, &b, r, pending);
    sb_bitstring_unpack(codes + r * ld, block + b.codes + r * b.code_bytes, b.cols, b.bits);
  }
}

static void grid_decode(const sb_block_shape *s, const uint8_t *block, void *out, sb_dtype dtype,
                        size_t first, size_t ld) {
  const sb_block_layout b = grid_layout(s);
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
