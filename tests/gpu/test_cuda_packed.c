/* Multiplication with packed weights on the device, against products in double with the weights as
 * unpack_blocks gives them. */
#include "kernels/blockrow.h"
#include "tests/gpu/device.h"
#include "tests/kernels/blocks.h"
#include "tests/support/grid_kinds.h"

typedef struct problem {
  sb_tiling tiling;
  unsigned least, most; /* bits */
  size_t tokens, skew;  /* bytes that the packed rows begin after a multiple of 16 */
} problem;

/* Blocks for the tensor cores: every width, runs of parts of block rows and of several, all numbers
 * of tiles of tokens, more tokens than one pass takes. Then what they do not take: other blocks,
 * ragged edges, packed rows that begin anywhere. Then so many tokens that gemm does it. Then runs
 * of more blocks than the ring of copies has stages: on the stand-in, which has few
 * multiprocessors, 55 blocks do that; on a device it takes matrices of the size of models. */
static const problem problems[] = {
    {{128, 128, 128, 128}, 1, 1, 1, 0},     {{256, 384, 128, 128}, 1, 8, 1, 0},
    {{128, 2560, 128, 128}, 1, 8, 3, 0},    {{512, 256, 128, 128}, 2, 4, 8, 0},
    {{256, 256, 128, 128}, 1, 8, 9, 0},     {{128, 384, 128, 128}, 5, 8, 20, 0},
    {{128, 256, 128, 128}, 1, 8, 40, 0},    {{128, 256, 128, 128}, 1, 8, 70, 0},
    {{256, 256, 128, 128}, 1, 8, 2, 4},     {{100, 200, 64, 64}, 1, 8, 3, 0},
    {{7, 129, 3, 128}, 1, 8, 9, 0},         {{33, 17, 16, 5}, 1, 8, 1, 0},
    {{192, 320, 128, 128}, 1, 8, 257, 0},   {{1, 1, 128, 128}, 2, 2, 1, 0},
    {{640, 1408, 128, 128}, 1, 8, 4, 0},
#ifndef SB_ON_STAND_IN
    {{4096, 8192, 128, 128}, 1, 8, 1, 0},   {{4096, 8192, 128, 128}, 3, 3, 4, 0},
    {{4096, 8192, 128, 128}, 1, 8, 16, 0},  {{4096, 8192, 128, 128}, 2, 4, 64, 0},
    {{4096, 8192, 128, 128}, 1, 8, 512, 0}, {{4100, 8192, 128, 128}, 1, 8, 16, 0},
    {{4096, 8100, 128, 128}, 1, 8, 4, 0},
#endif
};

static void *make(size_t count, size_t size) {
  void *out = NULL;
  assert_ok(sb_alloc(&out, count, size, "test"));
  return out;
}

typedef struct data {
  uint8_t *bits, *packed, *memory;
  size_t *offsets, rows, cols;
  float *w, *x, *y, *before;
} data;

static void pack(data *d, const problem *p, sb_code_kind code_kind, uint64_t seed) {
  const size_t block_rows = sb_tiling_block_rows(&p->tiling),
               columns = sb_tiling_block_cols(&p->tiling);
  uint64_t s = seed * 7919;
  d->rows = p->tiling.rows;
  d->cols = p->tiling.cols;
  d->bits = make(block_rows * columns, 1);
  d->offsets = make(block_rows + 1, sizeof *d->offsets);
  d->w = make(d->rows * d->cols, 4);
  fill_bits(d->bits, block_rows * columns, p->least, p->most, seed);
  for (size_t r = 0; r < d->rows; r++) {
    const float shift = 0.3f * uniform(&s); /* zero points in the middle and at the ends */
    for (size_t c = 0; c < d->cols; c++) d->w[r * d->cols + c] = uniform(&s) + shift;
  }
  for (size_t i = 0; i < block_rows; i++)
    d->offsets[i + 1] =
        d->offsets[i] + sb_blockrow_bytes(&p->tiling, i, d->bits + i * columns, code_kind);
  d->memory = make(d->offsets[block_rows] + p->skew, 1);
  d->packed = d->memory + p->skew;
  for (size_t i = 0; i < block_rows; i++)
    sb_blockrow_encode(d->packed + d->offsets[i], d->w + i * p->tiling.block_rows * d->cols, SB_F32,
                       &p->tiling, i, d->bits + i * columns, code_kind, NULL);
}

/* An error of 1 unit is 2^-24 of sum |x| (|w| + |lowest level|), as the contract counts;
 * in bf16 arithmetic x is bf16 numbers, and weights are rounded to 2^-9 of themselves
 * where gemm takes them. */
static void check(const data *d, const problem *p, sb_compute compute, bool add) {
  /* of a large matrix one row in 61, which meets every place in a block */
  const size_t step = d->rows * d->cols > 1 << 24 ? 61 : 1;
  const double limit = 24.0 * fmax(1.0, (double)d->cols / 2560.0); /* sums in f32, one by one */
  for (size_t t = 0; t < p->tokens; t++)
    for (size_t r = 0; r < d->rows; r += step) {
      double sum = add ? (double)d->before[t * d->rows + r] : 0.0, size = fabs(sum);
      for (size_t c = 0; c < d->cols; c++) {
        float x = d->x[t * d->cols + c], w = d->w[r * d->cols + c];
        if (compute == SB_COMPUTE_BF16) x = sb_bf16_to_f32(sb_f32_to_bf16(x));
        if (compute == SB_COMPUTE_BF16 && p->tokens > 256) w = sb_bf16_to_f32(sb_f32_to_bf16(w));
        sum += (double)x * (double)w;
        size += fabs((double)x) * (fabs((double)w) + 1.3);
      }
      const double error = fabs((double)d->y[t * d->rows + r] - sum),
                   units = error / (size * 0x1p-24);
      /* tensor cores, and their stand-in, add 16 products at a time; then come 8 of those a block,
       * and the blocks */
      if (!(units <= limit))
        fail_msg("%zu x %zu, token %zu, row %zu: %.9g, expected %.9g: %.3g units", d->rows, d->cols,
                 t, r, (double)d->y[t * d->rows + r], sum, units);
    }
}

static void multiply(size_t which, sb_compute compute, sb_code_kind code_kind) {
  const problem *p = &problems[which];
  data d = {0};
  sb_packed matrix;
  uint64_t seed = which + 3;
  pack(&d, p, code_kind, which);
  const size_t ys = p->tokens * d.rows, xs = p->tokens * d.cols, ws = d.rows * d.cols;
  d.x = make(xs, 4);
  d.y = make(ys, 4);
  d.before = make(ys, 4);
  for (size_t i = 0; i < xs; i++) d.x[i] = uniform(&seed);
  for (size_t i = 0; i < ys; i++) d.before[i] = uniform(&seed);
  const uint8_t *packed =
      (uint8_t *)gpu_put(d.memory, d.offsets[sb_tiling_block_rows(&p->tiling)] + p->skew) + p->skew;
  float *w = gpu_put(d.w, ws * 4);
  const void *x = gpu_put_operands(d.x, xs);
  assert_ok(gpu->op->unpack_blocks(gpu, NULL, w, SB_F32, packed, d.offsets, &p->tiling, d.bits,
                                   code_kind, NULL));
  gpu_get(d.w, w, ws * 4);
  assert_ok(gpu->op->packed_create(gpu, NULL, packed, d.offsets, &p->tiling, d.bits, code_kind,
                                   NULL, &matrix));
  for (int add = 0; add < 2; add++) { /* twice with one matrix: a call leaves nothing behind */
    for (size_t i = 0; i < ys; i++) d.y[i] = add ? d.before[i] : NAN;
    float *y = gpu_put(d.y, ys * 4);
    assert_ok(gpu->op->packed_gemm(gpu, NULL, y, x, p->tokens, matrix, add));
    gpu_get(d.y, y, ys * 4);
    check(&d, p, compute, add);
  }
  gpu->op->packed_destroy(gpu, matrix);
  gpu_drop();
  check_done();
  sb_free(&d.bits);
  sb_free(&d.offsets);
  sb_free(&d.memory);
  sb_free(&d.w);
  sb_free(&d.x);
  sb_free(&d.y);
  sb_free(&d.before);
}

static void equals_unpacked(void **state) {
  const sb_compute compute = gpu->operand == SB_BF16 ? SB_COMPUTE_BF16 : SB_COMPUTE_F32;
  (void)state;
  for (size_t i = 0; i < sizeof problems / sizeof *problems; i++) {
    for (int s = 0; s < (i % 3 == 0 ? KIND_TURNS : 2); s++)
      multiply(i, compute, kind_of_turn(0, s));
    if (i % 3 == 1) multiply(i, compute, i % 2 ? SB_GRID_ASYMMETRIC_6BIT : SB_GRID_SYMMETRIC_6BIT);
  }
}

static void bad_bits_are_refused(void **state) {
  const sb_tiling tiling = {4, 4, 4, 4};
  const size_t offset = 0;
  const uint8_t bits = 0, packed[64] = {0};
  sb_packed matrix;
  (void)state;
  assert_int_equal(gpu->op->packed_create(gpu, NULL, packed, &offset, &tiling, &bits,
                                          SB_GRID_ASYMMETRIC, NULL, &matrix),
                   SB_ERR_INTERNAL);
  assert_null(matrix);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(equals_unpacked),
      cmocka_unit_test(bad_bits_are_refused),
  };
  return GPU_RUN(tests, GPU_F32 | GPU_BF16);
}
