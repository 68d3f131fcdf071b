/* Products with packed trellis codes, every set of kernels that this processor has, against weights
 * that are read bit by bit from the descriptions in kernels/blockrow.h, kernels/shared/trellis.h
 * and kernels/shared/transform.h, transformed by the definition, and multiplied in double
 * precision. */
#include "tests/kernels/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/dtype.h"
#include "base/random.h"
#include "kernels/blockrow.h"
#include "kernels/cpu/cpu_packed.h"
#include "tests/kernels/naive.h"

enum { THREADS = 3 };

typedef struct packed_case {
  sb_tiling tiling;
  sb_code_kind code_kind;
  uint8_t *bits, *packed;
  uint16_t *col_factors;
  size_t *offsets;
  double *w;     /* weights */
  double *norms; /* [rows, block columns]: |row factor| * Frobenius norm of the block */
} packed_case;

/* ---- weights by the definition ---- */

static unsigned ring_bit(const packed_case *c, const uint8_t *tile, unsigned b) {
  if (c->code_kind != SB_TRELLIS_EXL3) return tile[b / 8] >> b % 8 & 1u;
  return tile[b / 32 * 4 + 3 - b % 32 / 8] >> (7 - b % 8) & 1u;
}

/* The number of weight s of a tile. */
static double number_of(const packed_case *c, const uint8_t *tile, unsigned width, unsigned s) {
  const bool exl3 = c->code_kind == SB_TRELLIS_EXL3;
  const sb_trellis t = sb_trellis_of(c->code_kind, width);
  const unsigned bits = 256 * width;
  uint32_t state = 0;
  for (unsigned i = 0; i < t.state_bits; i++)
    if (exl3)
      state = 2 * state + ring_bit(c, tile, ((s + 1) * width + bits - 16 + i) % bits);
    else
      state += ring_bit(c, tile, (s * width + i) % bits) << i;
  if (!exl3) {
    const unsigned z = state % 256 + 256 * (t.state_bits == 12 ? state / 64 : state / 256),
                   p = (t.state_bits == 16 ? z * t.multiplier / 4 : z * t.multiplier) % 16384;
    const int i = p / 256 < 32 ? (int)(p / 256) : (int)(p / 256) - 64,
              step = sb_trellis_edge(i + 1) - sb_trellis_edge(i);
    return width <= 3 ? sb_trellis_middle(i)
                      : floor((255 * sb_trellis_edge(i) + (int)(p % 256) * step) / 32.0);
  }
  uint32_t product = state * t.multiplier;
  int sum = 0;
  for (int i = 0; i < 4; i++, product /= 256) sum += (int)(product % 256);
  return (double)sb_f16_to_f32(
      sb_f32_to_f16((float)((1024 + sum) * 0.00676727294921875 - 10.3828125)));
}

/* Row and column of weight s in its tile. */
static void place_of(const packed_case *c, unsigned s, size_t *row, size_t *col) {
  if (c->code_kind == SB_TRELLIS_EXL3) { /* rows of EXL3 are columns here */
    const unsigned lane = s / 8, j = s % 8;
    *col = 2 * (lane % 4) + j % 2 + j / 2 % 2 * 8;
    *row = lane / 4 + j / 4 * 8;
  } else {
    *row = s / 2 % 64;
    *col = s % 2 + s / 128 * 2;
  }
}

/* x[i * step] for i < n: runs of at most 128, each times a Hadamard matrix. */
static void turn(double *x, size_t n, size_t step) {
  for (size_t first = 0, run; first < n; first += run) {
    double out[128];
    for (run = 128; run > n - first;) run /= 2;
    for (size_t i = 0; i < run; i++) {
      out[i] = 0.0;
      for (size_t k = 0; k < run; k++)
        out[i] += (__builtin_popcountll(i & k) % 2 ? -1 : 1) * x[(first + k) * step];
    }
    for (size_t i = 0; i < run; i++) x[(first + i) * step] = out[i] / sqrt((double)run);
  }
}

/* The block's numbers times its scale at w [rows, cols], and their norm; returns the bytes of its
 * codes. */
static size_t read_block(const packed_case *c, const uint8_t *codes, unsigned width, size_t rows,
                         size_t cols, double scale, double *w, size_t ld, double *norm) {
  const size_t tall = c->code_kind == SB_TRELLIS_EXL3 ? 16 : 64, wide = 256 / tall;
  const size_t down = (rows + tall - 1) / tall, across = (cols + wide - 1) / wide;
  double squares = 0.0;
  for (size_t n = 0; n < down * across; n++)
    for (unsigned s = 0; s < 256; s++) {
      size_t row, col;
      place_of(c, s, &row, &col);
      row += n % down * tall;
      col += n / down * wide;
      if (row >= rows || col >= cols) continue;
      const double value = scale * number_of(c, codes + n * 32 * width, width, s);
      w[row * ld + col] = value;
      squares += value * value;
    }
  *norm = sqrt(squares);
  return down * across * 32 * width;
}

static double half_at(const uint8_t *p, size_t k) {
  return (double)sb_f16_to_f32((uint16_t)(p[2 * k] | p[2 * k + 1] << 8));
}

static size_t sixteens(size_t bytes) {
  return (bytes + 15) / 16 * 16;
}

static void read_block_row(packed_case *c, size_t i) {
  const sb_tiling *g = &c->tiling;
  const size_t rows = sb_tiling_rows_of(g, i), columns = sb_tiling_block_cols(g), ld = g->cols;
  const uint8_t *scales = c->packed + c->offsets[i] + sixteens(columns),
                *factors = scales + sixteens(2 * columns), *codes = factors + sixteens(2 * rows);
  for (size_t j = 0; j < columns; j++) {
    const size_t cols = sb_tiling_cols_of(g, j), first = j * g->block_cols;
    double *w = c->w + i * g->block_rows * ld + first, norm;
    codes += read_block(c, codes, c->bits[i * columns + j], rows, cols, half_at(scales, j), w, ld,
                        &norm);
    for (size_t r = 0; r < rows; r++) turn(w + r * ld, cols, 1);
    for (size_t col = 0; col < cols; col++) turn(w + col, rows, ld);
    for (size_t r = 0; r < rows; r++) {
      const double factor = half_at(factors, r);
      for (size_t col = 0; col < cols; col++)
        w[r * ld + col] *= factor * (double)sb_f16_to_f32(c->col_factors[first + col]);
      c->norms[(i * g->block_rows + r) * columns + j] = fabs(factor) * norm;
    }
  }
}

/* ---- cases ---- */

static uint16_t random_half(uint64_t seed, double least, double most) {
  const double u = (double)(sb_mix64(seed) >> 11) * 0x1p-53;
  return sb_f32_to_f16((float)((least + (most - least) * u) * (sb_mix64(seed + 1) & 1 ? -1 : 1)));
}

/* Random codes, factors and scales; 3 bytes between block rows and none to spare. */
static void make_case(packed_case *c, const uint8_t *widths, size_t width_count, uint64_t seed) {
  const sb_tiling *g = &c->tiling;
  const size_t rows = sb_tiling_block_rows(g), columns = sb_tiling_block_cols(g);
  c->bits = (uint8_t *)check_zeros(rows * columns);
  c->offsets = (size_t *)check_zeros(2 * rows);
  c->col_factors = (uint16_t *)check_zeros(g->cols);
  c->w = check_double_zeros(g->rows * g->cols);
  c->norms = check_double_zeros(g->rows * columns);
  size_t bytes = 0;
  for (size_t k = 0; k < rows * columns; k++)
    c->bits[k] = widths[(k * 7 + k / columns * 3) % width_count];
  for (size_t i = 0; i < rows; i++) {
    c->offsets[i] = bytes + 3 * i;
    bytes += sb_blockrow_bytes(g, i, c->bits + i * columns, c->code_kind);
  }
  bytes += 3 * (rows - 1);
  c->packed = malloc(bytes);
  assert_non_null(c->packed);
  for (size_t k = 0; k < bytes; k++) c->packed[k] = (uint8_t)sb_mix64_with(seed, k);
  for (size_t k = 0; k < g->cols; k++) c->col_factors[k] = random_half(seed + 3 * k, 0.5, 2.0);
  for (size_t i = 0; i < rows; i++) {
    uint8_t *at = c->packed + c->offsets[i];
    for (size_t j = 0; j < columns; j++)
      at[j] = (uint8_t)(c->bits[i * columns + j] + 16 * (c->code_kind - SB_TRELLIS_12 + 1));
    at += sixteens(columns);
    for (size_t k = 0; k < (sixteens(2 * columns) + sixteens(2 * sb_tiling_rows_of(g, i))) / 2;
         k++) {
      const uint16_t half = random_half(seed + 7 * k + i, 1e-3, 1e-2);
      memcpy(at + 2 * k, &half, 2);
    }
    read_block_row(c, i);
  }
}

static void free_case(packed_case *c) {
  free(c->packed);
  check_done();
}

/* ---- products ---- */

static void product(const packed_case *c, sb_cpu_level level, int threads, float *y, const float *x,
                    size_t T, bool add) {
  sb_backend *b = NULL;
  sb_packed w = NULL;
  assert_ok(sb_backend_cpu_create(SB_COMPUTE_F32, threads, &b));
  ((sb_cpu *)b->impl)->packed = sb_packed_kernels_at(level);
  assert_ok(b->op->packed_create(b, NULL, c->packed, c->offsets, &c->tiling, c->bits, c->code_kind,
                                 c->col_factors, &w));
  assert_ok(b->op->packed_gemm(b, NULL, y, x, T, w, add));
  b->op->packed_destroy(b, w);
  b->op->destroy(b);
}

/* y = x W' (+ before), and of every number what its rounding is measured by. */
typedef struct expected {
  const float *x, *before;
  double *y, *size;
  size_t T;
  bool add;
} expected;

/* The tolerance is 8 epsilons of the measure that ops/packed.h names. */
static void check_level(const packed_case *c, sb_cpu_level level, const expected *e) {
  const size_t count = e->T * c->tiling.rows;
  float *got[THREADS];
  for (int n = 0; n < THREADS; n++) {
    got[n] = check_zeros(count);
    memcpy(got[n], e->before, count * sizeof(float));
    if (!e->add) memset(got[n], 0xff, count * sizeof(float)); /* NaN: nothing of it may be left */
    product(c, level, n + 1, got[n], e->x, e->T, e->add);
    if (n > 0) check_same("another number of threads", got[n], got[0], count);
  }
  for (size_t i = 0; i < count; i++) {
    const double allowed = 8 * 0x1p-23 * (e->size[i] + fabs(e->y[i]));
    if (!(fabs((double)got[0][i] - e->y[i]) <= allowed))
      fail_msg("%s, %zu x %zu in %zu x %zu, %u bits first, kind %d, %zu tokens: item %zu is %.9g, "
               "expected %.9g, %.2g allowed",
               sb_packed_kernels_at(level)->name, c->tiling.rows, c->tiling.cols,
               c->tiling.block_rows, c->tiling.block_cols, c->bits[0], (int)c->code_kind, e->T, i,
               (double)got[0][i], e->y[i], allowed);
  }
}

/* size[t, r] = sum over blocks of norms of the block's row and of the x it meets. */
static void measure(const packed_case *c, double *size, const float *x, size_t T) {
  const sb_tiling *g = &c->tiling;
  const size_t columns = sb_tiling_block_cols(g);
  for (size_t t = 0; t < T; t++)
    for (size_t j = 0; j < columns; j++) {
      double squares = 0.0;
      for (size_t k = 0; k < sb_tiling_cols_of(g, j); k++) {
        const size_t col = j * g->block_cols + k;
        const double scaled =
            (double)x[t * g->cols + col] * (double)sb_f16_to_f32(c->col_factors[col]);
        squares += scaled * scaled;
      }
      for (size_t r = 0; r < g->rows; r++)
        size[t * g->rows + r] += sqrt(squares) * c->norms[r * columns + j];
    }
}

static void check_product(const packed_case *c, size_t T, bool add) {
  const size_t rows = c->tiling.rows, cols = c->tiling.cols;
  float *x = check_random(T * cols, 2.0f, 77 + T),
        *before = check_random(T * rows, add ? 1.0f : 0.0f, 3);
  double *wide = check_double(x, T * cols);
  const expected e = {x, before, check_double(before, T * rows), check_double_zeros(T * rows),
                      T, add};
  naive_gemm(false, true, T, rows, cols, 1.0, wide, cols, c->w, cols, 1.0, e.y, rows);
  measure(c, e.size, x, T);
  for (int level = 0; level < SB_CPU_LEVELS; level++)
    if (sb_packed_kernels_at((sb_cpu_level)level)) check_level(c, (sb_cpu_level)level, &e);
}

static const uint8_t mix[] = {3, 1, 8, 2, 5, 4, 7, 6};

/* The mix, and one uniform width. */
static void check_shape(sb_tiling tiling, uint8_t width, const size_t *tokens, size_t counts) {
  for (int kind = SB_TRELLIS_12; kind < SB_CODE_KINDS; kind++)
    for (int uniform = 0; uniform < 2; uniform++) {
      packed_case c = {.tiling = tiling, .code_kind = (sb_code_kind)kind};
      make_case(&c, uniform ? &width : mix, uniform ? 1 : sizeof mix, 100u + width);
      for (size_t t = 0; t < counts; t++) check_product(&c, tokens[t], (t + width) % 2 == 0);
      free_case(&c);
    }
}

static void every_shape(void **state) {
  (void)state;
  static const sb_tiling shapes[] = {
      {1, 1, 128, 128},     {128, 256, 128, 128}, {33, 300, 128, 128},
      {300, 130, 128, 128}, {47, 170, 20, 64},    {70, 90, 9, 24},
      {66, 400, 64, 384},   {21, 7, 4, 3},        {290, 40, 256, 16},
  };
  static const size_t tokens[] = {1, 2, 5, 9, 31};
  for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
    check_shape(shapes[s], (uint8_t)(1 + s % 8), tokens, sizeof tokens / sizeof *tokens);
  static const size_t long_ones[] = {390}; /* more than are multiplied with a strip at a time */
  check_shape((sb_tiling){34, 48, 32, 32}, 2, long_ones, 1);
}

/* An x that is no number makes all outputs that it meets no numbers, and no others. */
static void no_numbers(void **state) {
  (void)state;
  const float bad[] = {INFINITY, -INFINITY, NAN};
  packed_case c = {.tiling = {40, 64, 32, 32}, .code_kind = SB_TRELLIS_12};
  make_case(&c, mix, sizeof mix, 9);
  for (size_t k = 0; k < 3; k++) {
    float *x = check_random(2 * 64, 1.0f, 4), *y = check_zeros(2 * 40);
    x[33] = bad[k];
    product(&c, SB_CPU_LEVELS - 1 - (sb_packed_kernels_at(SB_CPU_AVX512) ? 0 : 1), 2, y, x, 2,
            false);
    for (size_t r = 0; r < 40; r++) {
      assert_false(isfinite(y[r]));
      assert_true(isfinite(y[40 + r]));
    }
  }
  free_case(&c);
}

static void refusals(void **state) {
  (void)state;
  sb_backend *b = check_backend(SB_COMPUTE_F32);
  packed_case c = {.tiling = {40, 40, 32, 32}, .code_kind = SB_TRELLIS_14};
  sb_packed w = NULL;
  make_case(&c, mix, sizeof mix, 1);
  c.bits[3] = c.bits[3] == 8 ? 7 : 8;
  assert_int_equal(b->op->packed_create(b, NULL, c.packed, c.offsets, &c.tiling, c.bits,
                                        c.code_kind, c.col_factors, &w),
                   SB_ERR_INTERNAL);
  assert_non_null(strstr(sb_message(), "block row 1"));
  assert_null(w);
  free_case(&c);
  b->op->destroy(b);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(every_shape), cmocka_unit_test(no_numbers),
                                     cmocka_unit_test(refusals)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
