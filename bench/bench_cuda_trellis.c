/* Trellis codes on a GPU: transforms and unpacking as fractions of what the same GPU copies, walks
 * in weights a second, and products with packed codes beside those of integer grids at the same
 * widths.
 *
 * bench_cuda_trellis [ROWS [COLS]], 8192 8192 where not given: a matrix of a 70B model. Each figure
 * is the best of a few rounds (cuda_timing.h). Operands go round among as many copies as overflow
 * the caches. Without a device: one line, and exit code 77. */
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"
#include "bench/cuda_timing.h"
#include "kernels/blockrow.h"
#include "kernels/cuda/cuda_device.h"
#include "tests/gpu/missing.h"

enum { SIDE = 128, COPIES = 64, WALKED = 512 /* rows whose codes are searched */ };
static const size_t overflow = 256u << 20; /* bytes that no cache holds */

/* ---- a matrix ---- */
typedef struct matrix {
  sb_tiling tiling;
  uint8_t *bits;
  void *w, *out; /* bf16 */
  float *s;
  uint16_t *row_factors, *col_factors;
} matrix;

static matrix make_matrix(size_t rows, size_t cols, unsigned width) {
  matrix m = {.tiling = {rows, cols, SIDE, SIDE}};
  const size_t blocks = sb_tiling_block_rows(&m.tiling) * sb_tiling_block_cols(&m.tiling);
  must(sb_alloc(&m.bits, blocks, 1, "bits"));
  for (size_t k = 0; k < blocks; k++) m.bits[k] = (uint8_t)width;
  m.w = filled(rows * cols * 2, false);
  m.out = device(rows * cols * 2);
  m.s = device(rows * cols * 4);
  m.row_factors = device(rows * 2);
  m.col_factors = filled(cols * 2, false);
  return m;
}
static void drop_matrix(matrix *m) {
  void *const all[] = {m->w, m->out, m->s, m->row_factors, m->col_factors};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) be->op->free(be, all[i]);
  sb_free(&m->bits);
}

static sb_block_weights weights_of(const matrix *m, sb_code_kind kind) {
  return (sb_block_weights){m->w, SB_BF16, &m->tiling, m->bits, kind};
}
static sb_status turn(const void *context, size_t round) {
  const matrix *m = context;
  (void)round;
  return be->op->hadamard(be, NULL, m->out, m->w, SB_BF16, m->tiling.rows, m->tiling.cols, SIDE,
                          m->col_factors, NULL);
}
static sb_status transform(const void *context, size_t round) {
  const matrix *m = context;
  const sb_block_weights w = weights_of(m, SB_TRELLIS_12);
  (void)round;
  return be->op->trellis_transform(be, NULL, m->s, m->row_factors, &w, 0, 1, m->col_factors);
}

static void report_transforms(size_t rows, size_t cols, double limit) {
  matrix m = make_matrix(rows, cols, 2);
  const double n = (double)rows * (double)cols;
  printf("%zu x %zu\n", rows, cols);
  report_rate("  hadamard, bf16", 4.0 * n, seconds_of((timed){turn, &m}), limit);
  report_rate("  trellis_transform, bf16", 8.0 * n, seconds_of((timed){transform, &m}), limit);
  drop_matrix(&m);
}

/* ---- walks ---- */
typedef struct walk {
  matrix m;
  sb_code_kind kind;
} walk;
static sb_status nearest(const void *context, size_t round) {
  const walk *a = context;
  const sb_block_weights w = weights_of(&a->m, a->kind);
  (void)round;
  return be->op->trellis_quantize(be, NULL, a->m.out, SB_BF16, &w, 1, a->m.col_factors);
}

static void report_walks(size_t cols) {
  static const struct {
    const char *name;
    sb_code_kind kind;
  } kinds[] = {{"2^12", SB_TRELLIS_12},
               {"2^14", SB_TRELLIS_14},
               {"2^16", SB_TRELLIS_16},
               {"EXL3", SB_TRELLIS_EXL3}};
  printf("trellis_quantize, %d x %zu: million weights a second\n  states   1 bit  2 bits  3 bits  "
         "4 bits  6 bits  8 bits\n",
         WALKED, cols);
  for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
    static const unsigned widths[] = {1, 2, 3, 4, 6, 8};
    printf("  %s", kinds[k].name);
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
      walk a = {make_matrix(WALKED, cols, widths[i]), kinds[k].kind};
      printf("%s%7.1f", i > 0 ? " " : "  ",
             (double)WALKED * (double)cols / seconds_of((timed){nearest, &a}) * 1e-6);
      drop_matrix(&a.m);
    }
    printf("\n");
  }
}

/* ---- packed codes ---- */
typedef struct packed {
  sb_packed w[COPIES];
  size_t copies, tokens, each, *offsets;
  sb_tiling tiling;
  uint8_t *bits;
  sb_code_kind kind;
  const uint8_t *all; /* any bytes: where scales are no numbers nothing takes longer */
  uint16_t *col_factors;
  const void *x; /* bf16 */
  float *y;
  void *out; /* bf16 */
} packed;

static packed make_packed(size_t rows, size_t cols, size_t tokens, unsigned width,
                          sb_code_kind kind) {
  packed p = {.tokens = tokens, .tiling = {rows, cols, SIDE, SIDE}, .kind = kind};
  const size_t block_rows = sb_tiling_block_rows(&p.tiling),
               across = sb_tiling_block_cols(&p.tiling);
  size_t bytes = 0;
  must(sb_alloc(&p.bits, block_rows * across, 1, "bits"));
  must(sb_alloc(&p.offsets, block_rows, sizeof *p.offsets, "offsets"));
  for (size_t k = 0; k < block_rows * across; k++) p.bits[k] = (uint8_t)width;
  for (size_t i = 0; i < block_rows; i++) {
    p.offsets[i] = bytes;
    bytes += sb_blockrow_bytes(&p.tiling, i, p.bits + i * across, kind);
  }
  p.copies = sb_min_size(COPIES, overflow / bytes + 1);
  p.each = (bytes + 255) / 256 * 256;
  p.all = filled(p.copies * p.each, true);
  p.x = filled(tokens * cols * 2, false);
  p.y = device(tokens * rows * 4);
  p.out = device(rows * cols * 2);
  p.col_factors = filled(cols * 2, false);
  for (size_t i = 0; i < p.copies; i++)
    must(be->op->packed_create(be, NULL, p.all + i * p.each, p.offsets, &p.tiling, p.bits, kind,
                               sb_is_trellis(kind) ? p.col_factors : NULL, &p.w[i]));
  return p;
}
static void drop_packed(packed *p) {
  for (size_t i = 0; i < p->copies; i++) be->op->packed_destroy(be, p->w[i]);
  void *const all[] = {(void *)p->all, (void *)p->x, p->y, p->out, p->col_factors};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) be->op->free(be, all[i]);
  sb_free(&p->bits);
  sb_free(&p->offsets);
}
static sb_status product(const void *context, size_t round) {
  const packed *p = context;
  return be->op->packed_gemm(be, NULL, p->y, p->x, p->tokens, p->w[round % p->copies], false);
}
static sb_status unpack(const void *context, size_t round) {
  const packed *p = context;
  return be->op->unpack_blocks(be, NULL, p->out, SB_BF16, p->all + round % p->copies * p->each,
                               p->offsets, &p->tiling, p->bits, p->kind, p->col_factors);
}

static double seconds_of_packed(size_t rows, size_t cols, size_t tokens, unsigned width,
                                sb_code_kind kind, double *unpacking) {
  packed p = make_packed(rows, cols, tokens, width, kind);
  const double seconds = seconds_of((timed){product, &p});
  if (unpacking) *unpacking = seconds_of((timed){unpack, &p});
  drop_packed(&p);
  return seconds;
}

static void report_packed(size_t rows, size_t cols) {
  static const size_t tokens[] = {1, 4, 16, 64, 256};
  printf("packed products, %zu x %zu: microseconds\n  bits  tokens     grid   2^12 states  "
         "2^16 states   unpack_blocks, 2^12\n",
         rows, cols);
  for (unsigned width = 2; width <= 4; width++)
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++) {
      double unpacking;
      const double grid = seconds_of_packed(rows, cols, tokens[i], width, SB_GRID_ASYMMETRIC, NULL);
      const double few = seconds_of_packed(rows, cols, tokens[i], width, SB_TRELLIS_12, &unpacking);
      const double many = seconds_of_packed(rows, cols, tokens[i], width, SB_TRELLIS_16, NULL);
      printf("  %4u  %6zu %8.1f %13.1f %12.1f %21.1f\n", width, tokens[i], grid * 1e6, few * 1e6,
             many * 1e6, unpacking * 1e6);
    }
}

int main(int argc, char **argv) {
  const size_t rows = argc > 1 ? strtoul(argv[1], NULL, 10) : 8192,
               cols = argc > 2 ? strtoul(argv[2], NULL, 10) : 8192;
  sb_device_identity identity;
  if (rows == 0 || cols == 0 || rows % SIDE != 0 || cols % SIDE != 0) {
    fprintf(stderr, "bench_cuda_trellis [ROWS [COLS]]: multiples of %d\n", SIDE);
    return 2;
  }
  const sb_status opened = sb_cuda_create(SB_COMPUTE_BF16, 0, "this machine", &be);
  if (opened != SB_OK) return gpu_missing(opened);
  sb_cuda_identify(be, &identity);
  printf("%s\n", identity.name);
  report_transforms(rows, cols, copy_rate());
  report_packed(rows, cols);
  report_walks(cols);
  be->op->destroy(be);
  return 0;
}
