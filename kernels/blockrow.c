#include "kernels/blockrow.h"

#include "base/memory.h"
#include "kernels/blockrow_layout.h"
#include "kernels/cpu/cpu_group.h"

size_t sb_block_code_bytes(size_t rows, size_t cols, unsigned bits) {
  return rows * sb_bitstring_bytes(cols, bits);
}

size_t sb_block_bytes(size_t rows, size_t cols, unsigned bits, sb_symmetry symmetry) {
  const sb_block_layout b = sb_block_layout_of(rows, cols, bits, symmetry);
  return sb_block_layout_bytes(&b);
}

size_t sb_blockrow_map_bytes(const sb_tiling *grid) {
  return sb_bitmap_bytes(sb_tiling_block_cols(grid));
}

size_t sb_blockrow_bytes(const sb_tiling *grid, size_t i, const uint8_t *bits,
                         sb_symmetry symmetry) {
  size_t bytes = sb_blockrow_map_bytes(grid);
  for (size_t j = 0; j < sb_tiling_block_cols(grid); j++)
    bytes +=
        sb_block_bytes(sb_tiling_rows_of(grid, i), sb_tiling_cols_of(grid, j), bits[j], symmetry);
  return bytes;
}

size_t sb_blockrow_parts(sb_blockrow_part *parts, const sb_tiling *grid, size_t i,
                         const uint8_t *bits, sb_symmetry symmetry) {
  size_t count = 0, rows = sb_tiling_rows_of(grid, i);
  parts[count++] = (sb_blockrow_part){(uint32_t)sb_blockrow_map_bytes(grid), 0};
  for (size_t j = 0; j < sb_tiling_block_cols(grid); j++) {
    const sb_block_layout b =
        sb_block_layout_of(rows, sb_tiling_cols_of(grid, j), bits[j], symmetry);
    parts[count++] = (sb_blockrow_part){(uint32_t)b.zeros, 16};
    if (b.codes > b.zeros)
      parts[count++] = (sb_blockrow_part){(uint32_t)(b.codes - b.zeros),
                                          b.bits == 1 ? 16 : (uint8_t)(32 + b.bits)};
    parts[count++] = (sb_blockrow_part){(uint32_t)(rows * b.code_bytes), (uint8_t)b.bits};
  }
  return count;
}

static sb_block_layout layout_of(const sb_tiling *grid, size_t i, size_t j, unsigned bits,
                                 sb_symmetry symmetry) {
  return sb_block_layout_of(sb_tiling_rows_of(grid, i), sb_tiling_cols_of(grid, j), bits, symmetry);
}

/* A group without its codes, as it is stored. */
typedef struct stored_group {
  uint16_t scale, base;
  uint8_t zero;
} stored_group;

static stored_group stored(const sb_group *group, const sb_block_layout *b) {
  const bool zero_point = b->symmetry == SB_ASYMMETRIC && b->bits > 1;
  return (stored_group){sb_grid_to_fp16(group->scale), sb_grid_to_fp16(group->base),
                        zero_point ? (uint8_t)group->center : 0};
}

/* Zero points are packed eight rows at a time: eight of them fill whole bytes. */
static void put_group(uint8_t *block, const sb_block_layout *b, size_t r, stored_group g,
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

static sb_group get_group(const uint8_t *block, const sb_block_layout *b, size_t r,
                          uint8_t *pending) {
  const bool zero_point = b->symmetry == SB_ASYMMETRIC && b->bits > 1;
  if (zero_point && r % 8 == 0)
    sb_bitstring_unpack(pending, block + b->zeros + r / 8 * b->bits, sb_min_size(8, b->rows - r),
                        b->bits);
  return sb_block_group(block, b, r, zero_point ? pending[r % 8] : 0);
}

/* The codes of n weights on a grid; writes whole lanes. */
static void codes_of(uint8_t *codes, const sb_group *group, const float *w, size_t n) {
  for (size_t i = 0; i < n; i += LANES) {
    const lanes_mask m = lanes_first(n - i);
    lanes_store_codes(codes + i, m, cpu_group_codes(group, lanes_load(w + i, m)));
  }
}

static uint8_t *put_map(uint8_t *out, const sb_tiling *grid, const uint8_t *bits) {
  const size_t map = sb_blockrow_map_bytes(grid), columns = sb_tiling_block_cols(grid);
  memcpy(out, bits, columns);
  memset(out + columns, 0, map - columns);
  return out + map;
}

void sb_blockrow_choose(sb_group *groups, uint8_t *codes, const void *w, sb_dtype w_dtype,
                        const sb_tiling *grid, size_t i, const uint8_t *bits, sb_symmetry symmetry,
                        const float *importance) {
  float room[SB_GROUP_MAX];
  const size_t rows = sb_tiling_rows_of(grid, i);
  for (size_t j = 0; j < sb_tiling_block_cols(grid); j++)
    for (size_t r = 0; r < rows; r++) {
      const size_t at = r * grid->cols + j * grid->block_cols, n = sb_tiling_cols_of(grid, j);
      const float *x = lanes_floats(room, w, w_dtype, at, n);
      groups[j * rows + r] =
          cpu_group_for(x, importance, j * grid->block_cols, n, bits[j], symmetry);
      codes_of(codes + at, &groups[j * rows + r], x, n);
    }
}

void sb_blockrow_pack(uint8_t *out, const sb_group *groups, const uint8_t *codes,
                      const sb_tiling *grid, size_t i, const uint8_t *bits, sb_symmetry symmetry) {
  uint8_t *block = put_map(out, grid, bits), pending[8];
  for (size_t j = 0; j < sb_tiling_block_cols(grid); j++) {
    const sb_block_layout b = layout_of(grid, i, j, bits[j], symmetry);
    for (size_t r = 0; r < b.rows; r++) {
      put_group(block, &b, r, stored(&groups[j * b.rows + r], &b), pending);
      sb_bitstring_pack(block + b.codes + r * b.code_bytes,
                        codes + r * grid->cols + j * grid->block_cols, b.cols, b.bits);
    }
    block += b.codes + b.rows * b.code_bytes;
  }
}

void sb_blockrow_encode(uint8_t *out, const void *w, sb_dtype w_dtype, const sb_tiling *grid,
                        size_t i, const uint8_t *bits, sb_symmetry symmetry,
                        const float *importance) {
  uint8_t *block = put_map(out, grid, bits), pending[8], codes[SB_GROUP_MAX];
  float room[SB_GROUP_MAX];
  for (size_t j = 0; j < sb_tiling_block_cols(grid); j++) {
    const sb_block_layout b = layout_of(grid, i, j, bits[j], symmetry);
    for (size_t r = 0; r < b.rows; r++) {
      const float *x =
          lanes_floats(room, w, w_dtype, r * grid->cols + j * grid->block_cols, b.cols);
      const sb_group group =
          cpu_group_for(x, importance, j * grid->block_cols, b.cols, b.bits, symmetry);
      put_group(block, &b, r, stored(&group, &b), pending);
      codes_of(codes, &group, x, b.cols);
      sb_bitstring_pack(block + b.codes + r * b.code_bytes, codes, b.cols, b.bits);
    }
    block += b.codes + b.rows * b.code_bytes;
  }
}

sb_status sb_blockrow_read_bits(uint8_t *bits, const uint8_t *packed, size_t bytes,
                                const sb_tiling *grid, size_t i, sb_symmetry symmetry) {
  size_t block_cols = sb_tiling_block_cols(grid), map = sb_blockrow_map_bytes(grid);
  if (bytes < map)
    return sb_fail(SB_ERR_FORMAT, "block row %zu has %zu bytes, its bit map alone needs %zu", i,
                   bytes, map);
  for (size_t j = 0; j < block_cols; j++)
    if (packed[j] < SB_MIN_BITS || packed[j] > SB_MAX_BITS)
      return sb_fail(SB_ERR_FORMAT, "block row %zu, block %zu: %u bits, possible are %d to %d", i,
                     j, packed[j], SB_MIN_BITS, SB_MAX_BITS);
  memcpy(bits, packed, block_cols);
  size_t expected = sb_blockrow_bytes(grid, i, bits, symmetry);
  if (bytes != expected)
    return sb_fail(SB_ERR_FORMAT, "block row %zu has %zu bytes, its bit map asks for %zu", i, bytes,
                   expected);
  return SB_OK;
}

void sb_blockrow_decode(void *out, sb_dtype out_dtype, const uint8_t *packed, const sb_tiling *grid,
                        size_t i, size_t first, size_t end, sb_symmetry symmetry) {
  const uint8_t *bits = packed, *block = packed + sb_blockrow_map_bytes(grid);
  uint8_t pending[8], codes[SB_GROUP_MAX];
  for (size_t j = 0; j < end; j++) {
    const sb_block_layout b = layout_of(grid, i, j, bits[j], symmetry);
    for (size_t r = 0; j >= first && r < b.rows; r++) {
      const sb_group group = get_group(block, &b, r, pending);
      sb_bitstring_unpack(codes, block + b.codes + r * b.code_bytes, b.cols, b.bits);
      for (size_t c = 0; c < b.cols; c += LANES) {
        const lanes_mask m = lanes_first(b.cols - c);
        lanes_store_as(out, out_dtype, r * grid->cols + j * grid->block_cols + c, m,
                       cpu_group_values(&group, lanes_load_codes(codes + c, m)));
      }
    }
    block += b.codes + b.rows * b.code_bytes;
  }
}
