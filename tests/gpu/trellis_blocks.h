/* Matrices of random trellis codes, which have every state, for tests of the device. */
#ifndef SB_TESTS_GPU_TRELLIS_BLOCKS_H
#define SB_TESTS_GPU_TRELLIS_BLOCKS_H

#include "kernels/blockrow.h"
#include "tests/kernels/blocks.h"

static const sb_code_kind trellis_kinds[] = {SB_TRELLIS_12, SB_TRELLIS_14, SB_TRELLIS_16,
                                             SB_TRELLIS_EXL3};
enum { TRELLIS_KINDS = sizeof trellis_kinds / sizeof *trellis_kinds };

static inline void *trellis_make(size_t count, size_t size) {
  void *out = NULL;
  assert_ok(sb_alloc(&out, count, size, "test"));
  return out;
}

/* n factors of either sign and magnitudes within 2^-spread .. 2^spread, about. */
static inline uint16_t *trellis_factors(size_t n, float spread, uint64_t seed) {
  uint16_t *out = trellis_make(n, sizeof *out);
  for (size_t i = 0; i < n; i++) {
    const float size = exp2f(spread * uniform(&seed));
    out[i] = sb_f32_to_f16(mix(seed + i) & 1 ? size : -size);
  }
  return out;
}

typedef struct trellis_matrix {
  sb_tiling tiling;
  uint8_t *bits;
  uint16_t *row_factors, *col_factors;
  size_t *offsets;          /* of block rows, from `packed` on */
  uint8_t *memory, *packed; /* packed = memory + skew */
  size_t bytes, skew;       /* of `memory` */
} trellis_matrix;

/* Widths least .. most; the packed rows begin `skew` bytes after a multiple of 16. */
static inline trellis_matrix trellis_random(const sb_tiling *tiling, sb_code_kind kind,
                                            unsigned least, unsigned most, size_t skew,
                                            uint64_t seed) {
  const size_t rows = sb_tiling_block_rows(tiling), columns = sb_tiling_block_cols(tiling);
  trellis_matrix m = {.tiling = *tiling, .skew = skew, .bytes = skew};
  uint64_t s = seed * 7919 + 1;
  m.bits = trellis_make(rows * columns, 1);
  m.offsets = trellis_make(rows, sizeof *m.offsets);
  m.row_factors = trellis_factors(tiling->rows, 1.0f, seed);
  m.col_factors = trellis_factors(tiling->cols, 0.5f, seed + 1);
  fill_bits(m.bits, rows * columns, least, most, seed);
  for (size_t i = 0; i < rows; i++) {
    m.offsets[i] = m.bytes - skew;
    m.bytes += sb_blockrow_bytes(tiling, i, m.bits + i * columns, kind);
  }
  m.memory = trellis_make(m.bytes, 1);
  m.packed = m.memory + skew;
  const size_t most_rows = sb_tiling_rows_of(tiling, 0);
  sb_grid *grids = trellis_make(most_rows * columns, sizeof *grids);
  uint8_t *codes = trellis_make(most_rows * tiling->cols, 1);
  for (size_t i = 0; i < rows; i++) {
    const size_t n = sb_tiling_rows_of(tiling, i);
    for (size_t j = 0; j < columns; j++) {
      const float scale = 0.01f * exp2f(uniform(&s));
      for (size_t r = 0; r < n; r++) grids[j * n + r].scale = sb_f16_to_f32(sb_f32_to_f16(scale));
    }
    for (size_t k = 0; k < n * tiling->cols; k++) {
      const unsigned width = m.bits[i * columns + k % tiling->cols / tiling->block_cols];
      codes[k] = (uint8_t)(mix(s++) >> 20 & ((1u << width) - 1u));
    }
    sb_blockrow_pack(m.packed + m.offsets[i], grids, codes, tiling, i, m.bits + i * columns, kind,
                     m.row_factors + i * tiling->block_rows);
  }
  sb_free(&grids);
  sb_free(&codes);
  return m;
}

static inline void trellis_release(trellis_matrix *m) {
  sb_free(&m->bits);
  sb_free(&m->row_factors);
  sb_free(&m->col_factors);
  sb_free(&m->offsets);
  sb_free(&m->memory);
}

#endif
