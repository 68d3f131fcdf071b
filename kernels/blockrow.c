#include "kernels/blockrow.h"

#include <string.h>

#include "kernels/code_kind.h"
#include "kernels/cpu/cpu_trellis_block.h"
#include "kernels/shared/blockrow_layout.h"

/* A block of a row, and its alphabet. */
typedef struct block {
  sb_block_shape shape;
  const sb_alphabet *alphabet;
} block;

/* `bits` is a width or a byte of a bit map. */
static block block_at(size_t rows, size_t cols, unsigned bits, sb_code_kind code_kind) {
  const unsigned width = sb_alphabet_width((uint8_t)bits);
  return (block){{rows, cols, width, code_kind},
                 sb_alphabet_of(sb_alphabet_byte(width, code_kind))};
}

static block block_of(const sb_tiling *tiling, size_t i, size_t j, unsigned bits,
                      sb_code_kind code_kind) {
  return block_at(sb_tiling_rows_of(tiling, i), sb_tiling_cols_of(tiling, j), bits, code_kind);
}

size_t sb_block_bytes(size_t rows, size_t cols, unsigned bits, sb_code_kind code_kind) {
  const block b = block_at(rows, cols, bits, code_kind);
  return b.alphabet->bytes(&b.shape);
}

size_t sb_block_code_bytes(size_t rows, size_t cols, unsigned bits, sb_code_kind code_kind) {
  const block b = block_at(rows, cols, bits, code_kind);
  return b.alphabet->code_bytes(&b.shape);
}

/* Bytes of a block where blocks stand: a trellis' scale is in the head. */
static size_t bytes_in_place(const block *b) {
  return sb_is_trellis(b->shape.code_kind) ? b->alphabet->code_bytes(&b->shape)
                                           : b->alphabet->bytes(&b->shape);
}

static sb_blockrow_head head_of(const sb_tiling *tiling, size_t i, sb_code_kind code_kind) {
  return sb_blockrow_head_of(sb_tiling_block_cols(tiling), sb_tiling_rows_of(tiling, i), code_kind);
}

uint64_t sb_matrix_overhead(const sb_tiling *tiling, sb_code_kind code_kind) {
  const size_t rows = sb_tiling_block_rows(tiling), columns = sb_tiling_block_cols(tiling);
  if (rows == 0) return 0;
  const size_t whole = head_of(tiling, 0, code_kind).codes,
               last = head_of(tiling, rows - 1, code_kind).codes;
  const size_t counted = sb_is_trellis(code_kind) ? 2 * columns : 0; /* with the blocks */
  return (uint64_t)(rows - 1) * (whole - counted) + (last - counted);
}

size_t sb_blockrow_map_bytes(const sb_tiling *tiling) {
  return sb_bitmap_bytes(sb_tiling_block_cols(tiling));
}

size_t sb_blockrow_bytes(const sb_tiling *tiling, size_t i, const uint8_t *bits,
                         sb_code_kind code_kind) {
  size_t bytes = head_of(tiling, i, code_kind).codes;
  for (size_t j = 0; j < sb_tiling_block_cols(tiling); j++) {
    const block b = block_of(tiling, i, j, bits[j], code_kind);
    bytes += bytes_in_place(&b);
  }
  return bytes;
}

void sb_blockrow_range(const sb_tiling *tiling, size_t i, sb_code_kind code_kind, size_t *least,
                       size_t *most) {
  const size_t rows = sb_tiling_rows_of(tiling, i), whole = tiling->cols / tiling->block_cols,
               rest = tiling->cols % tiling->block_cols;
  *least = *most = head_of(tiling, i, code_kind).codes;
  for (int last = 0; last < 2; last++) { /* the blocks of full width, and one that is less wide */
    const size_t cols = last ? rest : tiling->block_cols, count = last ? rest > 0 : whole;
    size_t low = SIZE_MAX, high = 0;
    for (unsigned bits = SB_MIN_BITS; count > 0 && bits <= SB_MAX_BITS; bits++) {
      const block b = block_at(rows, cols, bits, code_kind);
      const size_t bytes = bytes_in_place(&b);
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
  const sb_blockrow_head head = head_of(tiling, i, code_kind);
  parts[count++] = (sb_block_part){(uint32_t)sb_blockrow_map_bytes(tiling), 0};
  if (sb_grid_scale_bits(code_kind) != 16)
    parts[count++] = (sb_block_part){(uint32_t)(head.codes - head.anchors), 0};
  if (sb_is_trellis(code_kind)) {
    parts[count++] = (sb_block_part){(uint32_t)(head.codes - head.scales), 16};
  }
  for (size_t j = 0; j < sb_tiling_block_cols(tiling); j++) {
    const block b = block_of(tiling, i, j, bits[j], code_kind);
    count += b.alphabet->parts(&b.shape, parts + count);
  }
  return count;
}

/* ---- writing ---- */

/* The head; scales and factors of a trellis are zeros still. Returns the place of the blocks. */
static uint8_t *put_head(uint8_t *out, const sb_tiling *tiling, size_t i, const uint8_t *bits,
                         sb_code_kind code_kind) {
  const sb_blockrow_head head = head_of(tiling, i, code_kind);
  const size_t columns = sb_tiling_block_cols(tiling);
  for (size_t j = 0; j < columns; j++) out[j] = sb_alphabet_byte(bits[j], code_kind);
  memset(out + columns, 0, head.codes - columns);
  return out + head.codes;
}

/* The anchor of block j, where blocks have one. */
static void put_anchor(uint8_t *out, const sb_tiling *tiling, size_t j, sb_code_kind code_kind,
                       uint8_t anchor) {
  if (sb_grid_scale_bits(code_kind) != 16) out[sb_blockrow_map_bytes(tiling) + j] = anchor;
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
                      sb_code_kind code_kind, const uint16_t *row_factors) {
  const sb_blockrow_head head = head_of(tiling, i, code_kind);
  uint8_t *at = put_head(out, tiling, i, bits, code_kind);
  if (sb_is_trellis(code_kind))
    memcpy(out + head.row_factors, row_factors, 2 * sb_tiling_rows_of(tiling, i));
  for (size_t j = 0; j < sb_tiling_block_cols(tiling); j++) {
    const block b = block_of(tiling, i, j, bits[j], code_kind);
    const sb_grid *own = grids + j * b.shape.rows;
    const uint16_t scale = sb_grid_to_fp16(own->scale);
    put_anchor(out, tiling, j, code_kind,
               b.alphabet->pack(&b.shape, at, own, codes + j * tiling->block_cols, tiling->cols));
    if (sb_is_trellis(code_kind)) memcpy(out + head.scales + 2 * j, &scale, 2);
    at += bytes_in_place(&b);
  }
}

void sb_blockrow_encode(uint8_t *out, const void *w, sb_dtype w_dtype, const sb_tiling *tiling,
                        size_t i, const uint8_t *bits, sb_code_kind code_kind,
                        const float *importance) {
  uint8_t *at = put_head(out, tiling, i, bits, code_kind);
  for (size_t j = 0; j < sb_tiling_block_cols(tiling); j++) {
    const block b = block_of(tiling, i, j, bits[j], code_kind);
    const sb_block_source weights = weights_of(w, w_dtype, tiling, j, importance);
    put_anchor(out, tiling, j, code_kind, b.alphabet->encode(&b.shape, at, &weights));
    at += b.alphabet->bytes(&b.shape);
  }
}

void sb_blockrow_encode_trellis(uint8_t *out, const void *w, sb_dtype w_dtype,
                                const sb_tiling *tiling, size_t i, const uint8_t *bits,
                                sb_code_kind code_kind, uint64_t row_key,
                                const uint16_t *col_factors, const sb_trellis_coder *coder) {
  const sb_blockrow_head head = head_of(tiling, i, code_kind);
  uint8_t *at = put_head(out, tiling, i, bits, code_kind);
  for (size_t r = 0; r < sb_tiling_rows_of(tiling, i); r++) {
    const float sign = sb_transform_sign(row_key, i * tiling->block_rows + r);
    const double squares =
        sb_cpu_row_squares(w, w_dtype, r * tiling->cols, tiling->cols, col_factors);
    const uint16_t factor = sb_trellis_row_factor(code_kind, bits[0], squares, tiling->cols, sign);
    memcpy(out + head.row_factors + 2 * r, &factor, 2);
  }
  for (size_t j = 0; j < sb_tiling_block_cols(tiling); j++) {
    const block b = block_of(tiling, i, j, bits[j], code_kind);
    const size_t col = j * tiling->block_cols;
    const sb_cpu_trellis_source from = {
        w, w_dtype, {col, tiling->cols, out + head.row_factors, col_factors + col}};
    const uint16_t scale =
        sb_cpu_trellis_nearest(&b.shape, &from, coder->of[b.shape.bits], at, NULL, w_dtype);
    memcpy(out + head.scales + 2 * j, &scale, 2);
    at += bytes_in_place(&b);
  }
}

/* ---- reading ---- */

static uint8_t anchor_at(const uint8_t *packed, const sb_tiling *tiling, size_t j,
                         sb_code_kind code_kind) {
  return sb_blockrow_anchor(packed, sb_tiling_block_cols(tiling), j, code_kind);
}

bool sb_blockrow_has_bits(const uint8_t *packed, const sb_tiling *tiling, const uint8_t *bits,
                          sb_code_kind code_kind) {
  for (size_t j = 0; j < sb_tiling_block_cols(tiling); j++)
    if (packed[j] != sb_alphabet_byte(bits[j], code_kind)) return false;
  return true;
}

static bool map_is_valid(const uint8_t *packed, const sb_tiling *tiling, size_t i,
                         sb_code_kind code_kind, sb_flaw *flaw) {
  const unsigned number = sb_alphabet_number(code_kind);
  for (size_t j = 0; j < sb_tiling_block_cols(tiling); j++) {
    const unsigned found = packed[j] >> 4, width = sb_alphabet_width(packed[j]);
    if (found != number)
      return sb_flaw_found(flaw, "block row %zu, block %zu: codes of alphabet %u, expected %u (%s)",
                           i, j, found, number, sb_code_kind_names[code_kind]);
    if (!sb_alphabet_of(packed[j]))
      return sb_flaw_found(flaw, "block row %zu, block %zu: %u bits, possible are %d to %d", i, j,
                           width, SB_MIN_BITS, SB_MAX_BITS);
  }
  return true;
}

/* fp16 numbers of a trellis' head are finite, and not 0. */
static bool halves_are_valid(const uint8_t *halves, size_t count, size_t i, const char *what,
                             sb_flaw *flaw) {
  for (size_t k = 0; k < count; k++) {
    const unsigned magnitude = (unsigned)(halves[2 * k] | halves[2 * k + 1] << 8) & 0x7fffu;
    if (magnitude == 0 || magnitude >= 0x7c00u)
      return sb_flaw_found(flaw, "block row %zu: %s %zu is %s", i, what, k,
                           magnitude == 0 ? "0" : "not a finite number");
  }
  return true;
}

bool sb_blockrow_is_valid(const uint8_t *packed, size_t bytes, const sb_tiling *tiling, size_t i,
                          sb_code_kind code_kind, sb_flaw *flaw) {
  const sb_blockrow_head head = head_of(tiling, i, code_kind);
  if (bytes < head.codes)
    return sb_flaw_found(flaw, "block row %zu has %zu bytes, its bit map%s need%s %zu", i, bytes,
                         sb_is_trellis(code_kind) ? ", scales and factors" : " alone",
                         sb_is_trellis(code_kind) ? "" : "s", head.codes);
  if (!map_is_valid(packed, tiling, i, code_kind, flaw)) return false;
  const size_t expected = sb_blockrow_bytes(tiling, i, packed, code_kind);
  if (bytes != expected)
    return sb_flaw_found(flaw, "block row %zu has %zu bytes, its bit map asks for %zu", i, bytes,
                         expected);
  return !sb_is_trellis(code_kind) ||
         (halves_are_valid(packed + head.scales, sb_tiling_block_cols(tiling), i, "scale of block",
                           flaw) &&
          halves_are_valid(packed + head.row_factors, sb_tiling_rows_of(tiling, i), i,
                           "factor of row", flaw));
}

sb_status sb_blockrow_read_bits(uint8_t *bits, const uint8_t *packed, size_t bytes,
                                const sb_tiling *tiling, size_t i, sb_code_kind code_kind) {
  sb_flaw flaw;
  if (!sb_blockrow_is_valid(packed, bytes, tiling, i, code_kind, &flaw))
    return sb_fail(SB_ERR_FORMAT, "%s", flaw.text);
  for (size_t j = 0; j < sb_tiling_block_cols(tiling); j++)
    bits[j] = (uint8_t)sb_alphabet_width(packed[j]);
  return SB_OK;
}

void sb_blockrow_decode(void *out, sb_dtype out_dtype, const uint8_t *packed,
                        const sb_tiling *tiling, size_t i, size_t first, size_t end,
                        sb_code_kind code_kind, const uint16_t *col_factors) {
  const sb_blockrow_head head = head_of(tiling, i, code_kind);
  const uint8_t *at = packed + head.codes;
  for (size_t j = 0; j < end; j++) {
    const block b = block_of(tiling, i, j, packed[j], code_kind);
    const size_t col = j * tiling->block_cols;
    uint16_t scale;
    if (j >= first && sb_is_trellis(code_kind)) {
      const sb_cpu_patch_place place = {col, tiling->cols, packed + head.row_factors,
                                        col_factors + col};
      memcpy(&scale, packed + head.scales + 2 * j, 2);
      sb_cpu_trellis_decode(&b.shape, at, scale, &place, out, out_dtype);
    } else if (j >= first) {
      b.alphabet->decode(&b.shape, anchor_at(packed, tiling, j, code_kind), at, out, out_dtype, col,
                         tiling->cols);
    }
    at += bytes_in_place(&b);
  }
}

void sb_blockrow_unpack(sb_grid *grids, uint8_t *codes, const uint8_t *packed,
                        const sb_tiling *tiling, size_t i, sb_code_kind code_kind) {
  const uint8_t *at = packed + head_of(tiling, i, code_kind).codes;
  for (size_t j = 0; j < sb_tiling_block_cols(tiling); j++) {
    const block b = block_of(tiling, i, j, packed[j], code_kind);
    b.alphabet->unpack(&b.shape, anchor_at(packed, tiling, j, code_kind), at,
                       grids + j * b.shape.rows, codes + j * tiling->block_cols, tiling->cols);
    at += bytes_in_place(&b);
  }
}

void sb_blockrow_scales(const sb_tiling *tiling, size_t i, const uint8_t *bits,
                        sb_code_kind code_kind, sb_blockrow_scale visit, void *context) {
  const sb_blockrow_head head = head_of(tiling, i, code_kind);
  const bool anchors = sb_grid_scale_bits(code_kind) != 16;
  size_t at = head.codes;
  for (size_t j = 0; j < sb_tiling_block_cols(tiling); j++) {
    const block b = block_of(tiling, i, j, bits[j], code_kind);
    for (size_t r = 0; r < b.shape.rows; r++) {
      size_t scale, base;
      b.alphabet->scale(&b.shape, r, &scale, &base);
      visit(context, &(sb_scale_place){.r = r,
                                       .j = j,
                                       .scale = at + scale,
                                       .anchor = anchors ? head.anchors + j : SIZE_MAX,
                                       .base = base == SIZE_MAX ? SIZE_MAX : at + base});
    }
    at += b.alphabet->bytes(&b.shape);
  }
}

float sb_scale_at(const uint8_t *packed, const sb_scale_place *place) {
  if (place->anchor == SIZE_MAX) return sb_grid_from_fp16(sb_element16(packed + place->scale, 0));
  return sb_scale6_value(packed[place->anchor],
                         sb_bitstring_get(packed + place->scale, place->r, SB_SCALE6_BITS));
}

void sb_scale_put(uint8_t *packed, const sb_scale_place *place, float scale) {
  const uint16_t half = sb_grid_to_fp16(scale);
  if (place->anchor == SIZE_MAX)
    memcpy(packed + place->scale, &half, sizeof half);
  else
    sb_bitstring_put(packed + place->scale, place->r, SB_SCALE6_BITS,
                     sb_scale6_code(packed[place->anchor], scale));
}
