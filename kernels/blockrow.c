#include "kernels/blockrow.h"

#include "kernels/cpu/cpu_group.h"

static size_t string_bytes(size_t numbers, unsigned bits) {
  return (numbers * bits + 7) / 8;
}

size_t sb_block_code_bytes(size_t rows, size_t cols, unsigned bits) {
  return rows * string_bytes(cols, bits);
}

static size_t zero_bytes(size_t rows, unsigned bits, sb_symmetry symmetry) {
  if (symmetry == SB_SYMMETRIC) return 0;
  return bits == 1 ? 2 * rows : string_bytes(rows, bits);
}

size_t sb_block_bytes(size_t rows, size_t cols, unsigned bits, sb_symmetry symmetry) {
  return 2 * rows + zero_bytes(rows, bits, symmetry) + sb_block_code_bytes(rows, cols, bits);
}

size_t sb_blockrow_map_bytes(const sb_grid_shape *grid) {
  return (sb_grid_block_cols(grid) + 15) / 16 * 16;
}

size_t sb_blockrow_bytes(const sb_grid_shape *grid, size_t i, const uint8_t *bits, sb_symmetry symmetry) {
  size_t bytes = sb_blockrow_map_bytes(grid);
  for (size_t j = 0; j < sb_grid_block_cols(grid); j++)
    bytes += sb_block_bytes(sb_grid_rows_of(grid, i), sb_grid_cols_of(grid, j), bits[j], symmetry);
  return bytes;
}

size_t sb_blockrow_parts(sb_blockrow_part *parts, const sb_grid_shape *grid, size_t i, const uint8_t *bits, sb_symmetry symmetry) {
  size_t count = 0, rows = sb_grid_rows_of(grid, i);
  parts[count++] = (sb_blockrow_part){(uint32_t)sb_blockrow_map_bytes(grid), 0};
  for (size_t j = 0; j < sb_grid_block_cols(grid); j++) {
    unsigned b = bits[j];
    size_t zeros = zero_bytes(rows, b, symmetry);
    parts[count++] = (sb_blockrow_part){(uint32_t)(2 * rows), 16};
    if (zeros) parts[count++] = (sb_blockrow_part){(uint32_t)zeros, b == 1 ? 16 : (uint8_t)(32 + b)};
    parts[count++] = (sb_blockrow_part){(uint32_t)sb_block_code_bytes(rows, sb_grid_cols_of(grid, j), b), (uint8_t)b};
  }
  return count;
}

/* Appends numbers of `bits` bits to a bit string. */
typedef struct bit_writer {
  uint8_t *at;
  uint64_t pending;
  unsigned count;
} bit_writer;

static void put(bit_writer *w, unsigned number, unsigned bits) {
  w->pending |= (uint64_t)number << w->count;
  w->count += bits;
  while (w->count >= 8) {
    *w->at++ = (uint8_t)w->pending;
    w->pending >>= 8;
    w->count -= 8;
  }
}

static void flush(bit_writer *w) {
  if (w->count > 0) *w->at++ = (uint8_t)w->pending;
  w->pending = 0;
  w->count = 0;
}

/* Reads numbers of `bits` bits; never touches a byte beyond the string's last. */
typedef struct bit_reader {
  const uint8_t *at;
  uint64_t pending;
  unsigned count;
} bit_reader;

static unsigned get(bit_reader *r, unsigned bits) {
  while (r->count < bits) {
    r->pending |= (uint64_t)*r->at++ << r->count;
    r->count += 8;
  }
  unsigned number = (unsigned)(r->pending & ((1u << bits) - 1u));
  r->pending >>= bits;
  r->count -= bits;
  return number;
}

static void put_fp16(uint8_t *at, float value) {
  uint16_t half = sb_f32_to_f16(value);
  at[0] = (uint8_t)half;
  at[1] = (uint8_t)(half >> 8);
}

static float get_fp16(const uint8_t *at) {
  return sb_f16_to_f32((uint16_t)(at[0] | at[1] << 8));
}

static uint8_t *encode_block(uint8_t *out, const void *w, sb_dtype dtype, size_t at, size_t ld, size_t rows, size_t cols, unsigned bits,
                             sb_symmetry symmetry) {
  uint8_t *scales = out, *zeros = out + 2 * rows;
  bit_writer zero_writer = {zeros, 0, 0}, codes = {zeros + zero_bytes(rows, bits, symmetry), 0, 0};
  for (size_t r = 0; r < rows; r++) {
    float values[SB_GROUP_MAX];
    sb_group_range range;
    size_t padded = sb_cpu_load_group(values, w, dtype, at + r * ld, cols);
    sb_cpu_group_range(values, cols, padded, bits == 1, &range);
    const sb_group group = sb_group_choose(&range, bits, symmetry);
    put_fp16(scales + 2 * r, group.scale);
    if (symmetry == SB_ASYMMETRIC && bits == 1) put_fp16(zeros + 2 * r, group.base);
    if (symmetry == SB_ASYMMETRIC && bits > 1) put(&zero_writer, (unsigned)group.center, bits);
    for (size_t c = 0; c < padded; c++) values[c] = sb_group_code(&group, values[c]);
    for (size_t c = 0; c < cols; c++) put(&codes, (unsigned)values[c], bits);
    flush(&codes);
  }
  flush(&zero_writer);
  return codes.at;
}

void sb_blockrow_encode(uint8_t *out, const void *w, sb_dtype w_dtype, const sb_grid_shape *grid, size_t i, const uint8_t *bits,
                        sb_symmetry symmetry) {
  size_t block_cols = sb_grid_block_cols(grid), map = sb_blockrow_map_bytes(grid);
  memset(out, 0, map);
  memcpy(out, bits, block_cols);
  out += map;
  for (size_t j = 0; j < block_cols; j++)
    out = encode_block(out, w, w_dtype, j * grid->block_cols, grid->cols, sb_grid_rows_of(grid, i), sb_grid_cols_of(grid, j), bits[j],
                       symmetry);
}

sb_status sb_blockrow_read_bits(uint8_t *bits, const uint8_t *packed, size_t bytes, const sb_grid_shape *grid, size_t i, sb_symmetry symmetry) {
  size_t block_cols = sb_grid_block_cols(grid), map = sb_blockrow_map_bytes(grid);
  if (bytes < map) return sb_fail(SB_ERR_FORMAT, "block row %zu has %zu bytes, its bit map alone needs %zu", i, bytes, map);
  for (size_t j = 0; j < block_cols; j++)
    if (packed[j] < SB_MIN_BITS || packed[j] > SB_MAX_BITS)
      return sb_fail(SB_ERR_FORMAT, "block row %zu, block %zu: %u bits, possible are %d to %d", i, j, packed[j], SB_MIN_BITS, SB_MAX_BITS);
  memcpy(bits, packed, block_cols);
  size_t expected = sb_blockrow_bytes(grid, i, bits, symmetry);
  if (bytes != expected) return sb_fail(SB_ERR_FORMAT, "block row %zu has %zu bytes, its bit map asks for %zu", i, bytes, expected);
  return SB_OK;
}

static const uint8_t *decode_block(float *out, size_t ld, const uint8_t *packed, size_t rows, size_t cols, unsigned bits, sb_symmetry symmetry) {
  const uint8_t *scales = packed, *zeros = packed + 2 * rows, *codes = zeros + zero_bytes(rows, bits, symmetry);
  bit_reader zero_reader = {zeros, 0, 0};
  for (size_t r = 0; r < rows; r++) {
    float center = 0.5f * (float)((1u << bits) - 1u), base = 0.0f;
    if (symmetry == SB_ASYMMETRIC && bits == 1) base = get_fp16(zeros + 2 * r);
    if (symmetry == SB_ASYMMETRIC && bits > 1) center = (float)get(&zero_reader, bits);
    const sb_group group = sb_group_make(get_fp16(scales + 2 * r), center, base, bits);
    bit_reader reader = {codes, 0, 0};
    for (size_t c = 0; c < cols; c++) out[r * ld + c] = sb_group_value(&group, (float)get(&reader, bits));
    codes += string_bytes(cols, bits);
  }
  return codes;
}

void sb_blockrow_decode(float *out, const uint8_t *packed, const sb_grid_shape *grid, size_t i, sb_symmetry symmetry) {
  const uint8_t *bits = packed;
  packed += sb_blockrow_map_bytes(grid);
  for (size_t j = 0; j < sb_grid_block_cols(grid); j++)
    packed = decode_block(out + j * grid->block_cols, grid->cols, packed, sb_grid_rows_of(grid, i), sb_grid_cols_of(grid, j), bits[j], symmetry);
}
