/* Matrices in trellis codes: S and row factors against sums in double; block rows read by hand from
 * docs/format.md, against unpack_blocks; trellis_quantize against both. */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "kernels/blockrow.h"
#include "kernels/shared/transform.h"
#include "kernels/shared/trellis_scale.h"
#include "tests/kernels/check.h"

enum { KEY = 77 };

static const struct {
  sb_tiling tiling;
  sb_code_kind kind;
} cases[] = {
#ifdef SB_ON_STAND_IN /* a tile takes it up to seconds */
    {{64, 32, 64, 16}, SB_TRELLIS_12},   {{70, 10, 64, 8}, SB_TRELLIS_12},
#else
    {{128, 256, 128, 128}, SB_TRELLIS_12}, {{72, 200, 64, 128}, SB_TRELLIS_12},
    {{150, 140, 150, 140}, SB_TRELLIS_12}, {{64, 8, 64, 8}, SB_TRELLIS_16},
#endif
    {{5, 7, 3, 4}, SB_TRELLIS_12},       {{64, 8, 64, 8}, SB_TRELLIS_14},
    {{16, 32, 16, 16}, SB_TRELLIS_EXL3},
};
enum { CASES = sizeof cases / sizeof *cases };

typedef struct data {
  sb_backend *b;
  sb_tiling t;
  sb_code_kind kind;
  size_t n, columns, block_rows;
  float *w;
  uint8_t *bits;
  uint16_t *col_factors;
  float *col;
} data;

static data create(size_t k) {
  data d = {.b = check_backend(SB_COMPUTE_F32), .t = cases[k].tiling, .kind = cases[k].kind};
  d.n = d.t.rows * d.t.cols;
  d.columns = sb_tiling_block_cols(&d.t);
  d.block_rows = sb_tiling_block_rows(&d.t);
  d.w = check_random(d.n, 0.1f, k);
  d.bits = (uint8_t *)check_zeros(d.columns * d.block_rows);
  d.col_factors = (uint16_t *)check_zeros(d.t.cols);
  d.col = check_random(d.t.cols, 1.5f, k + 50);
  for (size_t j = 0; j < d.columns * d.block_rows; j++)
    d.bits[j] = (uint8_t)(1 + sb_mix64_with(k, j) % 8);
  for (size_t c = 0; c < d.t.cols; c++) {
    d.col_factors[c] = sb_f32_to_f16(d.col[c] < 0.0f ? d.col[c] - 0.5f : d.col[c] + 0.5f);
    d.col[c] = sb_f16_to_f32(d.col_factors[c]);
  }
  for (size_t c = 0; d.t.rows > 2 && c < d.t.cols; c++) d.w[2 * d.t.cols + c] = 0.0f;
  return d;
}

static sb_block_weights weights_of(const data *d) {
  return (sb_block_weights){d->w, SB_F32, &d->t, d->bits, d->kind};
}

/* Element (i, j) of the transform of a block's side of n. */
static double hadamard(size_t i, size_t j, size_t n) {
  size_t at = 0;
  for (;;) {
    size_t run = 128;
    while (run > n - at) run /= 2;
    if (i < at + run || j < at + run)
      return i < at || j < at || i >= at + run || j >= at + run
                 ? 0.0
                 : (__builtin_popcountll((i - at) & (j - at)) % 2 ? -1.0 : 1.0) / sqrt((double)run);
    at += run;
  }
}

/* A block [rows, cols] of x, from both sides, in double: the same there and back. */
static void turn(double *x, size_t ld, size_t rows, size_t cols) {
  double *half = calloc(rows * cols, sizeof *half);
  assert_non_null(half);
  for (size_t r = 0; r < rows; r++)
    for (size_t c = 0; c < cols; c++)
      for (size_t k = 0; k < cols; k++) half[r * cols + c] += x[r * ld + k] * hadamard(k, c, cols);
  for (size_t r = 0; r < rows; r++)
    for (size_t c = 0; c < cols; c++) {
      x[r * ld + c] = 0.0;
      for (size_t k = 0; k < rows; k++) x[r * ld + c] += hadamard(r, k, rows) * half[k * cols + c];
    }
  free(half);
}

static void turn_all(const data *d, double *x) {
  for (size_t i = 0; i < d->block_rows; i++)
    for (size_t j = 0; j < d->columns; j++)
      turn(x + i * d->t.block_rows * d->t.cols + j * d->t.block_cols, d->t.cols,
           sb_tiling_rows_of(&d->t, i), sb_tiling_cols_of(&d->t, j));
}

static void transforms(void **unused) {
  (void)unused;
  for (size_t k = 0; k < CASES; k++) {
    data d = create(k);
    const sb_block_weights w = weights_of(&d);
    const size_t first_row = 3 * d.t.block_rows;
    float *s = check_zeros(d.n);
    uint16_t *row_factors = (uint16_t *)check_zeros(d.t.rows);
    double *want = check_double_zeros(d.n);
    assert_ok(
        d.b->op->trellis_transform(d.b, NULL, s, row_factors, &w, first_row, KEY, d.col_factors));
    for (size_t r = 0; r < d.t.rows; r++) {
      const double factor = (double)sb_f16_to_f32(row_factors[r]);
      double squares = 0.0;
      for (size_t c = 0; c < d.t.cols; c++) squares += pow(d.w[r * d.t.cols + c] / d.col[c], 2.0);
      const double size = sqrt(squares / (double)d.t.cols),
                   gain = (double)sb_trellis_row_gain(
                       d.bits[r / d.t.block_rows * sb_tiling_block_cols(&d.t)]),
                   magnitude = fmax(d.kind == SB_TRELLIS_EXL3 ? gain * size : sqrt(size), 0x1p-24);
      const double sign = (double)sb_transform_sign(KEY, first_row + r);
      assert_true(fabs(sign * factor - magnitude) <= 0x1p-11 * magnitude);
      for (size_t c = 0; c < d.t.cols; c++)
        want[r * d.t.cols + c] = d.w[r * d.t.cols + c] / (factor * d.col[c]);
    }
    turn_all(&d, want);
    check_close("trellis_transform", s, want, d.n, 4e-6, 4.0); /* sums of 128 x 128 in f32 */
    d.b->op->destroy(d.b);
    check_done();
  }
}

/* The bytes of all block rows, each encoded to nearest. */
static uint8_t *encode(const data *d, size_t *offsets) {
  sb_trellis_coder *coders = NULL;
  size_t bytes = 1;
  for (size_t i = 0; i < d->block_rows; i++) {
    offsets[i] = bytes; /* at an odd address */
    bytes += sb_blockrow_bytes(&d->t, i, d->bits + i * d->columns, d->kind);
  }
  uint8_t *packed = (uint8_t *)check_zeros(bytes / 4 + 1);
  assert_ok(sb_trellis_coders_create(1, d->kind, d->bits, d->columns * d->block_rows, &coders));
  for (size_t i = 0; i < d->block_rows; i++)
    sb_blockrow_encode_trellis(packed + offsets[i], d->w + i * d->t.block_rows * d->t.cols, SB_F32,
                               &d->t, i, d->bits + i * d->columns, d->kind, KEY, d->col_factors,
                               coders);
  sb_trellis_coders_free(1, &coders);
  return packed;
}

static double half_at(const uint8_t *at) {
  return (double)sb_f16_to_f32((uint16_t)(at[0] + 256 * at[1]));
}

/* A block row by the description of the format; `out` gets its weights. Returns its bytes. */
static size_t read_by_hand(const data *d, size_t i, const uint8_t *row, double *out) {
  const size_t rows = sb_tiling_rows_of(&d->t, i), map = (d->columns + 15) / 16 * 16,
               scales = (2 * d->columns + 15) / 16 * 16, factors = (2 * rows + 15) / 16 * 16;
  const uint8_t *codes = row + map + scales + factors;
  for (size_t j = 0; j < d->columns; j++) {
    const unsigned width = d->bits[i * d->columns + j];
    const sb_trellis t = sb_trellis_of(d->kind, width);
    const size_t col = j * d->t.block_cols, cols = sb_tiling_cols_of(&d->t, j);
    assert_int_equal(row[j], (d->kind - SB_TRELLIS_12 + 1) << 4 | width);
    for (size_t left = 0; left < cols; left += t.tile_cols)
      for (size_t top = 0; top < rows; top += t.tile_rows) {
        for (unsigned s = 0; s < 256; s++) {
          unsigned r, c;
          sb_trellis_place(&t, s, &r, &c);
          const double number =
              (double)sb_trellis_number(&t, sb_trellis_level(&t, sb_trellis_state(&t, codes, s)));
          if (top + r < rows && left + c < cols)
            out[(top + r) * d->t.cols + col + left + c] = half_at(row + map + 2 * j) * number;
        }
        codes += 32 * width;
      }
    turn(out + col, d->t.cols, rows, cols);
    for (size_t r = 0; r < rows; r++)
      for (size_t c = col; c < col + cols; c++)
        out[r * d->t.cols + c] *= half_at(row + map + scales + 2 * r) * (double)d->col[c];
  }
  return (size_t)(codes - row);
}

static void block_rows(void **unused) {
  (void)unused;
  for (size_t k = 0; k < CASES; k++) {
    data d = create(k);
    const sb_block_weights w = weights_of(&d);
    size_t offsets[8];
    const uint8_t *packed = encode(&d, offsets);
    double *want = check_double_zeros(d.n);
    float *got = check_zeros(d.n), *quantized = check_zeros(d.n);
    for (size_t i = 0; i < d.block_rows; i++) {
      uint8_t bits[8];
      const size_t bytes =
          read_by_hand(&d, i, packed + offsets[i], want + i * d.t.block_rows * d.t.cols);
      assert_ok(sb_blockrow_read_bits(bits, packed + offsets[i], bytes, &d.t, i, d.kind));
      assert_memory_equal(bits, d.bits + i * d.columns, d.columns);
    }
    assert_ok(d.b->op->unpack_blocks(d.b, NULL, got, SB_F32, packed, offsets, &d.t, d.bits, d.kind,
                                     d.col_factors));
    check_close("unpack_blocks", got, want, d.n, 4e-6, 0.5);
    assert_ok(d.b->op->trellis_quantize(d.b, NULL, quantized, SB_F32, &w, KEY, d.col_factors));
    check_same("trellis_quantize", quantized, got, d.n);
    d.b->op->destroy(d.b);
    check_done();
  }
}

/* The mean squared error, relative to the weights', and a block that stays as it is. */
static void errors(void **unused) {
  (void)unused;
  const double most[] = {0.0, 0.31, 0.085, 0.025, 0.010}; /* of Gaussian numbers 0.28 .. 0.005 */
  for (unsigned width = 0; width <= 4; width++) {
    data d = create(0);
    const sb_block_weights w = weights_of(&d);
    float *got = check_zeros(d.n);
    double error = 0.0, all = 0.0;
    memset(d.bits, (int)width, d.columns * d.block_rows);
    assert_ok(d.b->op->trellis_quantize(d.b, NULL, got, SB_F32, &w, KEY, d.col_factors));
    for (size_t i = 0; i < d.n; i++) {
      error += pow((got[i] - d.w[i]) / d.col[i % d.t.cols], 2.0);
      all += pow(d.w[i] / d.col[i % d.t.cols], 2.0);
    }
    print_message("%u bits: relative error %.4f\n", width, error / all);
    assert_true(error <= most[width] * all);
    d.b->op->destroy(d.b);
    check_done();
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(transforms), cmocka_unit_test(block_rows),
                                     cmocka_unit_test(errors)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
