/* Packed block rows (kernels/blockrow.h): what passes sb_blockrow_is_valid can be decoded, visited
 * and listed without leaving it.
 *
 * Input: u8 rows, u16 columns, u8 rows and u16 columns of a block, u8 number of the block row, u8
 * kind of codes, then the packed bytes. */
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "io/bytes.h"
#include "kernels/blockrow.h"
#include "tests/fuzz/target.h"
#include "tests/support/random.h"

enum { HEAD = 8, MOST = 4096, MOST_COLS = 256 };

static const uint16_t *ones(void) {
  static uint16_t factors[1 << 16]; /* as many as columns can be said */
  for (size_t i = 0; i < 1 << 16; i++) factors[i] = 0x3c00;
  return factors;
}

static void encode_trellis(uint8_t *out, const float *w, const sb_tiling *t, size_t i,
                           const uint8_t *bits, sb_code_kind code_kind) {
  sb_trellis_coder *coders = NULL;
  fuzz_require(sb_trellis_coders_create(1, code_kind, bits, sb_tiling_block_cols(t), &coders) ==
               SB_OK);
  sb_blockrow_encode_trellis(out, w, SB_F32, t, i, bits, code_kind, 1, ones(), coders);
  sb_trellis_coders_free(1, &coders);
}

static void seed(fuzz_take take, void *context, sb_tiling t, size_t i, sb_code_kind code_kind) {
  uint8_t input[MOST], bits[MOST_COLS];
  float *w = malloc(t.rows * t.cols * sizeof *w);
  uint64_t random = t.cols;
  for (size_t k = 0; k < t.rows * t.cols; k++) w[k] = uniform(&random);
  for (size_t j = 0; j < sb_tiling_block_cols(&t); j++)
    bits[j] = (uint8_t)(1 + (j + t.block_cols) % 8);
  input[0] = (uint8_t)t.rows;
  input[1] = (uint8_t)t.cols;
  input[2] = (uint8_t)(t.cols >> 8);
  input[3] = (uint8_t)t.block_rows;
  input[4] = (uint8_t)t.block_cols;
  input[5] = (uint8_t)(t.block_cols >> 8);
  input[6] = (uint8_t)i;
  input[7] = (uint8_t)code_kind;
  w += i * t.block_rows * t.cols;
  if (sb_is_trellis(code_kind))
    encode_trellis(input + HEAD, w, &t, i, bits, code_kind);
  else
    sb_blockrow_encode(input + HEAD, w, SB_F32, &t, i, bits, code_kind, NULL);
  w -= i * t.block_rows * t.cols;
  take(context, input, HEAD + sb_blockrow_bytes(&t, i, bits, code_kind));
  free(w);
}

static void seeds(fuzz_take take, void *context) {
  for (unsigned s = 0; s <= SB_GRID_SIGNED; s++) {
    seed(take, context, (sb_tiling){8, 32, 4, 16}, 1, (sb_code_kind)s);
    seed(take, context, (sb_tiling){5, 67, 4, 8}, 1, (sb_code_kind)s);
    seed(take, context, (sb_tiling){16, 40, 16, 33}, 0, (sb_code_kind)s);
    seed(take, context, (sb_tiling){3, 9, 1, 1}, 2, (sb_code_kind)s);
    seed(take, context, (sb_tiling){4, 20, 200, 1000}, 0, (sb_code_kind)s);
  }
  seed(take, context, (sb_tiling){9, 67, 5, 8}, 0, SB_GRID_ASYMMETRIC_6BIT);
  seed(take, context, (sb_tiling){16, 40, 16, 33}, 0, SB_GRID_SYMMETRIC_6BIT);
  seed(take, context, (sb_tiling){70, 24, 65, 12}, 1, SB_TRELLIS_12);
  seed(take, context, (sb_tiling){64, 12, 64, 8}, 0, SB_TRELLIS_14);
  seed(take, context, (sb_tiling){16, 16, 16, 16}, 0, SB_TRELLIS_EXL3);
}

typedef struct visited {
  const uint8_t *packed;
  size_t bytes, groups;
  unsigned sum;
} visited;

static void visit(void *context, const sb_scale_place *p) {
  visited *v = context;
  fuzz_require(p->scale + 2 <= v->bytes && (p->base == SIZE_MAX || p->base + 2 <= v->bytes));
  v->sum += sb_scale_at(v->packed, p) > 0;
  v->groups++;
}

static void use(const uint8_t *packed, size_t bytes, const sb_tiling *t, size_t i,
                sb_code_kind code_kind) {
  const size_t cols = sb_tiling_block_cols(t), rows = sb_tiling_rows_of(t, i);
  uint8_t bits[MOST_COLS];
  fuzz_require(sb_blockrow_read_bits(bits, packed, bytes, t, i, code_kind) == SB_OK);
  sb_block_part *parts = malloc((2 + SB_BLOCK_PARTS * cols) * sizeof *parts);
  size_t sum = 0;
  for (size_t n = sb_blockrow_parts(parts, t, i, bits, code_kind); n > 0; n--)
    sum += parts[n - 1].bytes;
  fuzz_require(sum == bytes);
  free(parts);
  visited v = {packed, bytes, 0, 0};
  if (!sb_is_trellis(code_kind)) {
    sb_blockrow_scales(t, i, bits, code_kind, visit, &v);
    fuzz_require(v.groups == rows * cols);
  }
  uint16_t *halves = malloc(rows * t->cols * sizeof *halves);
  float *floats = malloc(rows * t->cols * sizeof *floats);
  sb_blockrow_decode(halves, SB_BF16, packed, t, i, 0, cols, code_kind, ones());
  sb_blockrow_decode(floats, SB_F32, packed, t, i, 0, cols, code_kind, ones());
  free(halves);
  free(floats);
}

/* The head of an input: a tiling, which block row, and its kind of codes. */
static sb_tiling take_head(fuzz_cursor *in, size_t *i, sb_code_kind *code_kind) {
  sb_tiling t;
  t.rows = fuzz_u8(in);
  t.cols = fuzz_u16(in);
  t.block_rows = fuzz_u8(in);
  t.block_cols = fuzz_u16(in);
  *i = fuzz_u8(in);
  *code_kind = (sb_code_kind)(fuzz_u8(in) % SB_CODE_KINDS);
  return t;
}

static void run(const uint8_t *data, size_t size) {
  fuzz_cursor in = {data, size};
  size_t i;
  sb_code_kind code_kind;
  const sb_tiling t = take_head(&in, &i, &code_kind);
  if (t.rows == 0 || t.cols == 0) return;
  if (!fuzz_settle(sb_limit_check_block("manifest", t.block_rows, t.block_cols))) return;
  if (i >= sb_tiling_block_rows(&t) || sb_tiling_block_cols(&t) > MOST_COLS) return;
  sb_flaw flaw;
  if (sb_blockrow_is_valid(in.at, in.left, &t, i, code_kind, &flaw))
    use(in.at, in.left, &t, i, code_kind);
  else
    fuzz_require(flaw.text[0] != 0);
}

/* The block row gets as many columns as its bytes have room for: widths that changed would
 * otherwise ask for another size, and nothing behind the bit map would be read. */
static void mend(uint8_t *data, size_t size) {
  if (size < HEAD + 16) return;
  fuzz_cursor in = {data, HEAD};
  size_t i;
  sb_code_kind code_kind;
  sb_tiling t = take_head(&in, &i, &code_kind);
  if (t.rows == 0 || t.block_rows == 0 || t.block_cols == 0 || i >= sb_tiling_block_rows(&t))
    return;
  for (size_t j = HEAD; j < size && j < HEAD + MOST_COLS; j++) { /* widths that can be, mostly */
    const bool in_map = (j - HEAD) * t.block_cols < t.cols;
    if (in_map)
      data[j] =
          sb_alphabet_byte(sb_alphabet_of(data[j]) ? data[j] & 15u : 1u + data[j] % 8, code_kind);
  }
  for (t.cols = 1; t.cols < 2048; t.cols++) {
    if (sb_tiling_block_cols(&t) > size - HEAD) return;
    for (size_t j = 0; j < sb_tiling_block_cols(&t); j++)
      if (!sb_alphabet_of(data[HEAD + j])) return;
    const size_t bytes = sb_blockrow_bytes(&t, i, data + HEAD, code_kind);
    if (bytes < size - HEAD) continue;
    if (bytes > size - HEAD) return; /* it grows with the columns */
    data[1] = (uint8_t)t.cols;
    data[2] = (uint8_t)(t.cols >> 8);
    return;
  }
}

const fuzz_target fuzz_block_row = {"block_row", MOST, NULL, seeds, mend, run};
