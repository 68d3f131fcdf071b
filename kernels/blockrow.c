#include "kernels/blockrow.h"

#include "base/memory.h"
#include "kernels/shared/blockrow_layout.h"
#include "kernels/cpu/cpu_group.h"

size_t sb_block_code_bytes(size_t rows, size_t cols, unsigned bits) {
  return rows * sb_bitstring_bytes(cols, bits);
}

size_t sb_block_bytes(size_t rows, size_t cols, unsigned bits, sb_symmetry symmetry) {
  const sb_block_layout b = sb_block_layout_of(rows, cols, bits, symmetry);
  return sb_block_layout_bytes(&b);
}

size_t sb_blockrow_map_bytes(const sb_tiling *tiling) {
  return sb_bitmap_bytes(sb_tiling_block_cols(tiling));
}

size_t sb_blockrow_bytes(const sb_tiling *tiling, size_t i, const uint8_t *bits,
                         sb_symmetry symmetry) {
  size_t bytes = sb_blockrow_map_bytes(tiling);
  for (size_t j = 0; j < sb_tiling_block_cols(tiling); j++)
    bytes += sb_block_bytes(sb_tiling_rows_of(tiling, i), sb_tiling_cols_of(tiling, j), bits[j],
                            symmetry);
  return bytes;
}

size_t sb_blockrow_parts(sb_blockrow_part *parts, const sb_tiling *tiling, size_t i,
                         const uint8_t *bits, sb_symmetry symmetry) {
  size_t count = 0, rows = sb_tiling_rows_of(tiling, i);
  parts[count++] = (sb_blockrow_part){(uint32_t)sb_blockrow_map_bytes(tiling), 0};
  for (size_t j = 0; j < sb_tiling_block_cols(tiling); j++) {
    const sb_block_layout b =
        sb_block_layout_of(rows, sb_tiling_cols_of(tiling, j), bits[j], symmetry);
    parts[count++] = (sb_blockrow_part){(uint32_t)b.zeros, 16};
    if (b.codes > b.zeros)
      parts[count++] = (sb_blockrow_part){(uint32_t)(b.codes - b.zeros),
                                          b.bits == 1 ? 16 : (uint8_t)(32 + b.bits)};
    parts[count++] = (sb_blockrow_part){(uint32_t)(rows * b.code_bytes), (uint8_t)b.bits};
  }
  return count;
}

static sb_block_layout layout_of(const sb_tiling *tiling, size_t i, size_t j, unsigned bits,
                                 sb_symmetry symmetry) {
  return sb_block_layout_of(sb_tiling_rows_of(tiling, i), sb_tiling_cols_of(tiling, j), bits,
                            symmetry);
}

/* A group without its codes, as it is stored. */
typedef struct stored_grid {
  uint16_t scale, base;
  uint8_t zero;
} stored_grid;

static stored_grid stored(const sb_grid *grid, const sb_block_layout *b) {
  const bool zero_point = b->symmetry == SB_ASYMMETRIC && b->bits > 1;
  return (stored_grid){sb_grid_to_fp16(grid->scale), sb_grid_to_fp16(grid->base),
                       zero_point ? (uint8_t)grid->center : 0};
}

/* Zero points are packed eight rows at a time: eight of them fill whole bytes. */
static void put_grid(uint8_t *block, const sb_block_layout *b, size_t r, stored_grid g,
                     uint8_t *pending) {
  memcpy(block + 2 * r, &g.scale, 2);
  if (b->symmetry == SB_SYMMETRIC) return;
  if (b->bits == 1) {
    memcpy(block + b->zeros + 2 * r, &g.base, 2);
    return;
  }
  pending[r % 8] = g.zero;
  if (r % 8 == 7 || r + 1 == b->rows)
    sb_bitstring_pack(block + b->zeros + r / 8 * b->bits, pending, r % 8 + 1, b->bits);
}

static sb_grid get_grid(const uint8_t *block, const sb_block_layout *b, size_t r,
                        uint8_t *pending) {
  const bool zero_point = b->symmetry == SB_ASYMMETRIC && b->bits > 1;
  if (zero_point && r % 8 == 0)
    sb_bitstring_unpack(pending, block + b->zeros + r / 8 * b->bits, sb_min_size(8, b->rows - r),
                        b->bits);
  return sb_block_grid(block, b, r, zero_point ? pending[r % 8] : 0);
}

/* The codes of n weights on a grid; writes whole lanes. */
static void codes_of(uint8_t *codes, const sb_grid *grid, const float *w, size_t n) {
  for (size_t i = 0; i < n; i += LANES) {
    const lanes_mask m = lanes_first(n - i);
    lanes_store_codes(codes + i, m, cpu_grid_codes(grid, lanes_load(w + i, m)));
  }
}

static uint8_t *put_map(uint8_t *out, const sb_tiling *tiling, const uint8_t *bits) {
  const size_t map = sb_blockrow_map_bytes(tiling), columns = sb_tiling_block_cols(tiling);
  memcpy(out, bits, columns);
  memset(out + columns, 0, map - columns);
  return out + map;
}

void sb_blockrow_choose(sb_grid *grids, uint8_t *codes, const void *w, sb_dtype w_dtype,
                        const sb_tiling *tiling, size_t i, const uint8_t *bits,
                        sb_symmetry symmetry, const float *importance) {
  float room[SB_GROUP_MAX];
  const size_t rows = sb_tiling_rows_of(tiling, i);
  for (size_t j = 0; j < sb_tiling_block_cols(tiling); j++)
    for (size_t r = 0; r < rows; r++) {
      const size_t at = r * tiling->cols + j * tiling->block_cols, n = sb_tiling_cols_of(tiling, j);
      const float *x = lanes_floats(room, w, w_dtype, at, n);
      grids[j * rows + r] =
          cpu_grid_for(x, importance, j * tiling->block_cols, n, bits[j], symmetry);
      codes_of(codes + at, &grids[j * rows + r], x, n);
    }
}

void sb_blockrow_pack(uint8_t *out, const sb_grid *grids, const uint8_t *codes,
                      const sb_tiling *tiling, size_t i, const uint8_t *bits,
                      sb_symmetry symmetry) {
  uint8_t *block = put_map(out, tiling, bits), pending[8];
  for (size_t j = 0; j < sb_tiling_block_cols(tiling); j++) {
    const sb_block_layout b = layout_of(tiling, i, j, bits[j], symmetry);
    for (size_t r = 0; r < b.rows; r++) {
      put_grid(block, &b, r, stored(&grids[j * b.rows + r], &b), pending);
      sb_bitstring_pack(block + b.codes + r * b.code_bytes,
                        codes + r * tiling->cols + j * tiling->block_cols, b.cols, b.bits);
    }
    block += b.codes + b.rows * b.code_bytes;
  }
}

void sb_blockrow_encode(uint8_t *out, const void *w, sb_dtype w_dtype, const sb_tiling *tiling,
                        size_t i, const uint8_t *bits, sb_symmetry symmetry,
                        const float *importance) {
  uint8_t *block = put_map(out, tiling, bits), pending[8], codes[SB_GROUP_MAX];
  float room[SB_GROUP_MAX];
  for (size_t j = 0; j < sb_tiling_block_cols(tiling); j++) {
    const sb_block_layout b = layout_of(tiling, i, j, bits[j], symmetry);
    for (size_t r = 0; r < b.rows; r++) {
      const float *x =
          lanes_floats(room, w, w_dtype, r * tiling->cols + j * tiling->block_cols, b.cols);
      const sb_grid grid =
          cpu_grid_for(x, importance, j * tiling->block_cols, b.cols, b.bits, symmetry);
      put_grid(block, &b, r, stored(&grid, &b), pending);
      codes_of(codes, &grid, x, b.cols);
      sb_bitstring_pack(block + b.codes + r * b.code_bytes, codes, b.cols, b.bits);
    }
    block += b.codes + b.rows * b.code_bytes;
  }
}

bool sb_blockrow_is_valid(const uint8_t *packed, size_t bytes, const sb_tiling *tiling, size_t i,
                          sb_symmetry symmetry, sb_flaw *flaw) {
  const size_t block_cols = sb_tiling_block_cols(tiling), map = sb_blockrow_map_bytes(tiling);
  if (bytes < map)
    return sb_flaw_found(flaw, "block row %zu has %zu bytes, its bit map alone needs %zu", i, bytes,
                         map);
  for (size_t j = 0; j < block_cols; j++)
    if (packed[j] < SB_MIN_BITS || packed[j] > SB_MAX_BITS)
      return sb_flaw_found(flaw, "block row %zu, block %zu: %u bits, possible are %d to %d", i, j,
                           packed[j], SB_MIN_BITS, SB_MAX_BITS);
  const size_t expected = sb_blockrow_bytes(tiling, i, packed, symmetry);
  return bytes == expected ||
         sb_flaw_found(flaw, "block row %zu has %zu bytes, its bit map asks for %zu", i, bytes,
                       expected);
}

sb_status sb_blockrow_read_bits(uint8_t *bits, const uint8_t *packed, size_t bytes,
                                const sb_tiling *tiling, size_t i, sb_symmetry symmetry) {
  sb_flaw flaw;
  if (!sb_blockrow_is_valid(packed, bytes, tiling, i, symmetry, &flaw))
    return sb_fail(SB_ERR_FORMAT, "%s", flaw.text);
  memcpy(bits, packed, sb_tiling_block_cols(tiling));
  return SB_OK;
}

void sb_blockrow_decode(void *out, sb_dtype out_dtype, const uint8_t *packed,
                        const sb_tiling *tiling, size_t i, size_t first, size_t end,
                        sb_symmetry symmetry) {
  const uint8_t *bits = packed, *block = packed + sb_blockrow_map_bytes(tiling);
  uint8_t pending[8], codes[SB_GROUP_MAX];
  for (size_t j = 0; j < end; j++) {
    const sb_block_layout b = layout_of(tiling, i, j, bits[j], symmetry);
    for (size_t r = 0; j >= first && r < b.rows; r++) {
      const sb_grid grid = get_grid(block, &b, r, pending);
      sb_bitstring_unpack(codes, block + b.codes + r * b.code_bytes, b.cols, b.bits);
      for (size_t c = 0; c < b.cols; c += LANES) {
        const lanes_mask m = lanes_first(b.cols - c);
        lanes_store_as(out, out_dtype, r * tiling->cols + j * tiling->block_cols + c, m,
                       cpu_grid_values(&grid, lanes_load_codes(codes + c, m)));
      }
    }
    block += b.codes + b.rows * b.code_bytes;
  }
}
