/* Multiplication with packed trellis codes on the device, against products in double with the
 * weights as unpack_blocks gives them. */
#include "kernels/blockrow.h"
#include "tests/gpu/device.h"
#include "tests/gpu/trellis_blocks.h"

typedef struct problem {
  sb_tiling tiling;
  unsigned least, most; /* bits */
  size_t tokens, skew;
} problem;

/* Blocks for the tensor cores: every width, runs of parts of block rows and of several, one launch
 * of tokens and more. Then what they do not take: other blocks, ragged edges, packed rows that
 * begin anywhere. Then so many tokens that gemm does it. */
static const problem problems[] = {
    {{128, 128, 128, 128}, 1, 1, 1, 0},    {{256, 384, 128, 128}, 1, 8, 1, 0},
    {{128, 1408, 128, 128}, 1, 8, 3, 0},   {{512, 256, 128, 128}, 2, 4, 8, 0},
    {{256, 256, 128, 128}, 1, 8, 20, 0},   {{256, 256, 128, 128}, 1, 8, 2, 4},
    {{100, 200, 64, 64}, 1, 8, 3, 0},      {{7, 129, 3, 128}, 1, 8, 9, 0},
    {{33, 17, 16, 5}, 1, 8, 1, 1},         {{192, 320, 128, 128}, 1, 8, 257, 0},
    {{1, 1, 128, 128}, 2, 2, 1, 0},
#ifndef SB_ON_STAND_IN
    {{4096, 8192, 128, 128}, 1, 8, 1, 0},  {{4096, 8192, 128, 128}, 3, 3, 16, 0},
    {{4096, 8192, 128, 128}, 2, 4, 40, 0}, {{4096, 8192, 128, 128}, 1, 8, 512, 0},
#endif
};

/* A run on the device, and what it is held against. */
typedef struct data {
  size_t rows, cols, tokens;
  float *w, *x, *y, *before;
  double *size; /* [tokens, rows] */
} data;

/* The size that errors are counted by (ops/packed.h), for the rows of block row i:
 *
 *   size(t, r) = |row factor r| * sum over the blocks of |x o col_factors| |S|
 *
 * An error of 1 unit is 2^-24 of it. S has the norm of W over its factors. */
static void measure_row(data *d, const trellis_matrix *m, size_t i) {
  const size_t first = i * m->tiling.block_rows, end = first + sb_tiling_rows_of(&m->tiling, i);
  for (size_t j = 0; j < sb_tiling_block_cols(&m->tiling); j++) {
    const size_t col = j * m->tiling.block_cols, stop = col + sb_tiling_cols_of(&m->tiling, j);
    double squares = 0.0;
    for (size_t r = first; r < end; r++)
      for (size_t c = col; c < stop; c++)
        squares += pow((double)d->w[r * d->cols + c] / (double)sb_f16_to_f32(m->row_factors[r]) /
                           (double)sb_f16_to_f32(m->col_factors[c]),
                       2.0);
    for (size_t t = 0; t < d->tokens; t++) {
      double inputs = 0.0;
      for (size_t c = col; c < stop; c++)
        inputs +=
            pow((double)d->x[t * d->cols + c] * (double)sb_f16_to_f32(m->col_factors[c]), 2.0);
      for (size_t r = first; r < end; r++)
        d->size[t * d->rows + r] +=
            fabs((double)sb_f16_to_f32(m->row_factors[r])) * sqrt(squares * inputs);
    }
  }
}

static void check(const data *d, sb_compute compute, bool add) {
  const size_t step = d->rows * d->cols > 1 << 24 ? 61 : 1;
  const bool rounds = compute == SB_COMPUTE_BF16 && d->tokens > 256; /* gemm takes bf16 weights */
  for (size_t t = 0; t < d->tokens; t++)
    for (size_t r = 0; r < d->rows; r += step) {
      double sum = add ? (double)d->before[t * d->rows + r] : 0.0;
      for (size_t c = 0; c < d->cols; c++) {
        float w = d->w[r * d->cols + c];
        if (rounds) w = sb_bf16_to_f32(sb_f32_to_bf16(w));
        sum += (double)d->x[t * d->cols + c] * (double)w;
      }
      const double error = fabs((double)d->y[t * d->rows + r] - sum),
                   units = error / ((d->size[t * d->rows + r] + fabs(sum)) * 0x1p-24);
      if (!(units <= 4.0))
        fail_msg("%zu x %zu, token %zu, row %zu: %.9g, expected %.9g: %.3g units", d->rows, d->cols,
                 t, r, (double)d->y[t * d->rows + r], sum, units);
    }
}

static void multiply(size_t which, sb_compute compute, sb_code_kind kind) {
  const problem *p = &problems[which];
  trellis_matrix m = trellis_random(&p->tiling, kind, p->least, p->most, p->skew, which + 1);
  data d = {p->tiling.rows, p->tiling.cols, p->tokens, NULL, NULL, NULL, NULL, NULL};
  const size_t xs = d.tokens * d.cols, ys = d.tokens * d.rows, ws = d.rows * d.cols;
  sb_packed matrix;
  uint64_t seed = which + 3;
  d.w = trellis_make(ws, 4);
  d.x = trellis_make(xs, 4);
  d.y = trellis_make(ys, 4);
  d.before = trellis_make(ys, 4);
  d.size = trellis_make(ys, sizeof *d.size);
  for (size_t i = 0; i < xs; i++) d.x[i] = uniform(&seed);
  for (size_t i = 0; compute == SB_COMPUTE_BF16 && i < xs; i++)
    d.x[i] = sb_bf16_to_f32(sb_f32_to_bf16(d.x[i]));
  for (size_t i = 0; i < ys; i++) d.before[i] = uniform(&seed);
  const uint8_t *packed = (uint8_t *)gpu_put(m.memory, m.bytes) + m.skew;
  const uint16_t *col_factors = gpu_put(m.col_factors, 2 * d.cols);
  float *w = gpu_put(d.w, ws * 4);
  const void *x = gpu_put_operands(d.x, xs);
  assert_ok(gpu->op->unpack_blocks(gpu, NULL, w, SB_F32, packed, m.offsets, &m.tiling, m.bits, kind,
                                   col_factors));
  gpu_get(d.w, w, ws * 4);
  for (size_t i = 0; i < sb_tiling_block_rows(&m.tiling); i++) measure_row(&d, &m, i);
  assert_ok(gpu->op->packed_create(gpu, NULL, packed, m.offsets, &m.tiling, m.bits, kind,
                                   col_factors, &matrix));
  for (int add = 0; add < 2; add++) { /* twice with one matrix: a call leaves nothing behind */
    for (size_t i = 0; i < ys; i++) d.y[i] = add ? d.before[i] : NAN;
    float *y = gpu_put(d.y, ys * 4);
    assert_ok(gpu->op->packed_gemm(gpu, NULL, y, x, d.tokens, matrix, add));
    gpu_get(d.y, y, ys * 4);
    check(&d, compute, add);
  }
  gpu->op->packed_destroy(gpu, matrix);
  gpu_drop();
  sb_free(&d.w);
  sb_free(&d.x);
  sb_free(&d.y);
  sb_free(&d.before);
  sb_free(&d.size);
  trellis_release(&m);
}

static void equals_unpacked(void **state) {
  const sb_compute compute = gpu->operand == SB_BF16 ? SB_COMPUTE_BF16 : SB_COMPUTE_F32;
  (void)state;
  for (size_t i = 0; i < sizeof problems / sizeof *problems; i++)
    for (int k = 0; k < TRELLIS_KINDS; k++) multiply(i, compute, trellis_kinds[k]);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(equals_unpacked)};
  return GPU_RUN(tests, GPU_F32 | GPU_BF16);
}
