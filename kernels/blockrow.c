#include "kernels/blockrow.h"

#include <string.h>

#include "kernels/shared/blockrow_layout.h"

/* A block of a row, its bytes, and its alphabet. */
typedef struct block {
  sb_block_shape shape;
  const sb_alphabet *alphabet;
} block;

static block block_of(const sb_tiling *tiling, size_t i, size_t j, uint8_t byte,
                      sb_code_kind code_kind) {
  return (block){{sb_tiling_rows_of(tiling, i), sb_tiling_cols_of(tiling, j),
                  sb_alphabet_width(byte), code_kind},
                 sb_alphabet_of(byte)};
}

size_t sb_block_bytes(size_t rows, size_t cols, unsigned bits, sb_code_kind code_kind) {
  const sb_block_shape shape = {rows, cols, sb_alphabet_width((uint8_t)bits), code_kind};
  return sb_alphabet_of((uint8_t)bits)->bytes(&shape);
}

size_t sb_block_code_bytes(size_t rows, size_t cols, unsigned bits) {
  const sb_block_shape shape = {rows, cols, sb_alphabet_width((uint8_t)bits), SB_GRID_ASYMMETRIC};
  return sb_alphabet_of((uint8_t)bits)->code_bytes(&shape);
}

size_t sb_blockrow_map_bytes(const sb_tiling *tiling) {
  return sb_bitmap_bytes(sb_tiling_block_cols(tiling));
}

size_t sb_blockrow_bytes(const sb_tiling *tiling, size_t i, const uint8_t *bits,
                         sb_code_kind code_kind) {
  size_t bytes = sb_blockrow_map_bytes(tiling);
  for (size_t j = 0; j < sb_tiling_block_cols(tiling); j++) {
    const block b = block_of(tiling, i, j, bits[j], code_kind);
    bytes += b.alphabet->bytes(&b.shape);
  }
  return bytes;
}

void sb_blockrow_range(const sb_tiling *tiling, size_t i, sb_code_kind code_kind, size_t *least,
                       size_t *most) {
  const size_t rows = sb_tiling_rows_of(tiling, i), whole = tiling->cols / tiling->block_cols,
               rest = tiling->cols % tiling->block_cols;
  *least = *most = sb_blockrow_map_bytes(tiling);
  for (int last = 0; last < 2; last++) { /* the blocks of full width, and one that is less wide */
    const size_t cols = last ? rest : tiling->block_cols, count = last ? rest > 0 : whole;
    size_t low = SIZE_MAX, high = 0;
    for (unsigned bits = SB_MIN_BITS; count > 0 && bits <= SB_MAX_BITS; bits++) {
      const size_t bytes = sb_block_bytes(rows, cols, bits, code_kind);
      low = bytes < low ? bytes : low;
      high = bytes > high ? bytes : high;
    }
    *least += count > 0 ? count * low : 0;
    *most += count * high;
  }
}

size_t sb_blockrow_parts(sb_block_part *parts, const sb_tiling *tiling, size_t i,
                         const uint8_t *bits, sb_code_kind code_kind) {
  size_t count = 0;
  parts[count++] = (sb_block_part){(uint32_t)sb_blockrow_map_bytes(tiling), 0};
  for (size_t j = 0; j < sb_tiling_block_cols(tiling); j++) {
    const block b = block_of(tiling, i, j, bits[j], code_kind);
    count += b.alphabet->parts(&b.shape, parts + count);
  }
  return count;
}

/* ---- writing ---- */

static uint8_t *put_map(uint8_t *out, const sb_tiling *tiling, const uint8_t *bits) {
  const size_t map = sb_blockrow_map_bytes(tiling), columns = sb_tiling_block_cols(tiling);
  memcpy(out, bits, columns);
  memset(out + columns, 0, map - columns);
  return out + map;
}

/* Block j of a block row's weights. */
static sb_block_source weights_of(const void *w, sb_dtype dtype, const sb_tiling *tiling, size_t j,
                                  const float *importance) {
  const size_t first = j * tiling->block_cols;
  return (sb_block_source){w, dtype, first, tiling->cols, importance ? importance + first : NULL};
}

void sb_blockrow_choose(sb_grid *grids, uint8_t *codes, const void *w, sb_dtype w_dtype,
                        const sb_tiling *tiling, size_t i, const uint8_t *bits,
                        sb_code_kind code_kind, const float *importance) {
  for (size_t j = 0; j < sb_tiling_block_cols(tiling); j++) {
    const block b = block_of(tiling, i, j, bits[j], code_kind);
    const sb_block_source weights = weights_of(w, w_dtype, tiling, j, importance);
    sb_alphabet_grid_choose(&b.shape, grids + j * b.shape.rows, codes + j * tiling->block_cols,
                            tiling->cols, &weights);
  }
}

void sb_blockrow_pack(uint8_t *out, const sb_grid *grids, const uint8_t *codes,
                      const sb_tiling *tiling, size_t i, const uint8_t *bits,
                      sb_code_kind code_kind) {
  uint8_t *at = put_map(out, tiling, bits);
  for (size_t j = 0; j < sb_tiling_block_cols(tiling); j++) {
    const block b = block_of(tiling, i, j, bits[j], code_kind);
    b.alphabet->pack(&b.shape, at, grids + j * b.shape.rows, codes + j * tiling->block_cols,
                     tiling->cols);
    at += b.alphabet->bytes(&b.shape);
  }
}

void sb_blockrow_encode(uint8_t *out, const void *w, sb_dtype w_dtype, const sb_tiling *tiling,
                        size_t i, const uint8_t *bits, sb_code_kind code_kind,
                        const float *importance) {
  uint8_t *at = put_map(out, tiling, bits);
  for (size_t j = 0; j < sb_tiling_block_cols(tiling); j++) {
    const block b = block_of(tiling, i, j, bits[j], code_kind);
    const sb_block_source weights = weights_of(w, w_dtype, tiling, j, importance);
    b.alphabet->encode(&b.shape, at, &weights);
    at += b.alphabet->bytes(&b.shape);
  }
}

/* ---- reading ---- */

bool sb_blockrow_is_valid(const uint8_t *packed, size_t bytes, const sb_tiling *tiling, size_t i,
                          sb_code_kind code_kind, sb_flaw *flaw) {
  const size_t block_cols = sb_tiling_block_cols(tiling), map = sb_blockrow_map_bytes(tiling);
  if (bytes < map)
    return sb_flaw_found(flaw, "block row %zu has %zu bytes, its bit map alone needs %zu", i, bytes,
                         map);
  for (size_t j = 0; j < block_cols; j++)
    if (!sb_alphabet_of(packed[j]))
      return sb_flaw_found(flaw, "block row %zu, block %zu: %u bits, possible are %d to %d", i, j,
                           packed[j], SB_MIN_BITS, SB_MAX_BITS);
  const size_t expected = sb_blockrow_bytes(tiling, i, packed, code_kind);
  return bytes == expected ||
         sb_flaw_found(flaw, "block row %zu has %zu bytes, its bit map asks for %zu", i, bytes,
                       expected);
}

sb_status sb_blockrow_read_bits(uint8_t *bits, const uint8_t *packed, size_t bytes,
                                const sb_tiling *tiling, size_t i, sb_code_kind code_kind) {
  sb_flaw flaw;
  if (!sb_blockrow_is_valid(packed, bytes, tiling, i, code_kind, &flaw))
    return sb_fail(SB_ERR_FORMAT, "%s", flaw.text);
  memcpy(bits, packed, sb_tiling_block_cols(tiling));
  return SB_OK;
}

void sb_blockrow_decode(void *out, sb_dtype out_dtype, const uint8_t *packed,
                        const sb_tiling *tiling, size_t i, size_t first, size_t end,
                        sb_code_kind code_kind) {
  const uint8_t *at = packed + sb_blockrow_map_bytes(tiling);
  for (size_t j = 0; j < end; j++) {
    const block b = block_of(tiling, i, j, packed[j], code_kind);
    if (j >= first)
      b.alphabet->decode(&b.shape, at, out, out_dtype, j * tiling->block_cols, tiling->cols);
    at += b.alphabet->bytes(&b.shape);
  }
}

void sb_blockrow_scales(const sb_tiling *tiling, size_t i, const uint8_t *bits,
                        sb_code_kind code_kind, sb_blockrow_scale visit, void *context) {
  size_t at = sb_blockrow_map_bytes(tiling);
  for (size_t j = 0; j < sb_tiling_block_cols(tiling); j++) {
    const block b = block_of(tiling, i, j, bits[j], code_kind);
    for (size_t r = 0; r < b.shape.rows; r++) {
      size_t scale, base;
      b.alphabet->scale(&b.shape, r, &scale, &base);
      visit(context, r, j, at + scale, base == SIZE_MAX ? SIZE_MAX : at + base);
    }
    at += b.alphabet->bytes(&b.shape);
  }
}
