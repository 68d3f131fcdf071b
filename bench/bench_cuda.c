/* The kernels of a GPU as fractions of what the same GPU does in the same run: copies and cuBLAS
 * products.
 *
 * bench_cuda [WIDTH [INNER [TOKENS]]], 8192 28672 2048 where not given: the matrices of a 70B
 * model. Each figure is the best of a few rounds, a round being enough calls in a row that starting
 * kernels does not count. Operands go round among as many copies as overflow the caches. Without a
 * device: one line, and exit code 77. */
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"
#include "bench/cuda_timing.h"
#include "kernels/blockrow.h"
#include "kernels/cuda/cuda_device.h"
#include "tests/gpu/missing.h"

enum { SIDE = 128 };
static const size_t overflow = 256u << 20; /* bytes that no cache holds */

/* ---- the limits ---- */
typedef struct product {
  bool trans_a;
  size_t m, n, k, copies;
  const char *a, *b; /* bf16; `copies` of b */
  void *c;           /* f32 */
} product;
static sb_status multiply(const void *context, size_t round) {
  const product *p = context;
  return be->op->gemm(be, NULL,
                      &(sb_gemm_args){.m = p->m,
                                      .n = p->n,
                                      .k = p->k,
                                      .a = {p->a, SB_BF16, p->trans_a ? p->m : p->k, p->trans_a},
                                      .b = {p->b + round % p->copies * p->n * p->k * 2, SB_BF16,
                                            p->trans_a ? p->n : p->k, !p->trans_a},
                                      .c = p->c,
                                      .c_dtype = SB_F32,
                                      .ldc = p->n});
}
static double seconds_of_product(bool trans_a, size_t m, size_t n, size_t k, size_t copies) {
  product p = {trans_a,
               m,
               n,
               k,
               copies,
               filled(m * k * 2, false),
               filled(copies * n * k * 2, false),
               device(m * n * 4)};
  const double seconds = seconds_of((timed){multiply, &p});
  be->op->free(be, (void *)p.a);
  be->op->free(be, (void *)p.b);
  be->op->free(be, p.c);
  return seconds;
}

/* ---- block operations, against the copy ---- */
typedef struct blocks {
  sb_tiling tiling;
  size_t copies;
  char *w, *out; /* bf16 */
  float *g;
  double *raise, *cut;
  sb_stored_grid *grids;
  uint8_t *bits; /* host */
  const uint8_t *packed;
  size_t *offsets, bytes;
} blocks;

/* Copy number `copy` of the weights. */
static sb_block_weights weights_of(const blocks *b, size_t copy) {
  return (sb_block_weights){.w = b->w + 2 * copy * b->tiling.rows * b->tiling.cols,
                            .dtype = SB_BF16,
                            .tiling = &b->tiling,
                            .bits = b->bits,
                            .code_kind = SB_GRID_ASYMMETRIC};
}

static sb_status moves(const void *context, size_t round) {
  const blocks *b = context;
  const size_t n = b->tiling.rows * b->tiling.cols, copy = round % b->copies;
  const sb_block_weights w = weights_of(b, copy);
  return be->op->block_moves(be, NULL, b->raise, b->cut, b->g + copy * n, b->tiling.cols, &w,
                             b->grids, 1, 8);
}
static sb_status products(const void *context, size_t round) {
  const blocks *b = context;
  const size_t n = b->tiling.rows * b->tiling.cols, copy = round % b->copies;
  const sb_block_weights w = weights_of(b, copy);
  return be->op->group_products(be, NULL, (float *)b->raise, b->g + copy * n, b->tiling.cols, &w);
}
static sb_status round_to_nearest(const void *context, size_t round) {
  const blocks *b = context;
  const size_t n = b->tiling.rows * b->tiling.cols, copy = round % b->copies;
  const sb_block_weights w = weights_of(b, copy);
  return be->op->quantize_blocks(be, NULL, b->out + copy * n * 2, SB_BF16, &w, NULL);
}
static sb_status unpack(const void *context, size_t round) {
  const blocks *b = context;
  const size_t n = b->tiling.rows * b->tiling.cols, copy = round % b->copies;
  return be->op->unpack_blocks(be, NULL, b->out + copy * n * 2, SB_BF16,
                               b->packed + copy * b->bytes, b->offsets, &b->tiling, b->bits,
                               SB_GRID_ASYMMETRIC, NULL);
}

/* Bits of each block by a rule of its number; offsets and bytes of its packed form. */
static void lay_out(blocks *b, unsigned (*bits_of)(size_t)) {
  const size_t rows = sb_tiling_block_rows(&b->tiling), columns = sb_tiling_block_cols(&b->tiling);
  must(sb_alloc(&b->bits, rows * columns, 1, "bits"));
  must(sb_alloc(&b->offsets, rows, sizeof *b->offsets, "offsets"));
  b->bytes = 0;
  for (size_t k = 0; k < rows * columns; k++) b->bits[k] = (uint8_t)bits_of(k);
  for (size_t i = 0; i < rows; i++) {
    b->offsets[i] = b->bytes;
    b->bytes += sb_blockrow_bytes(&b->tiling, i, b->bits + i * columns, SB_GRID_ASYMMETRIC);
  }
}

static unsigned three(size_t k) {
  (void)k;
  return 3;
}
static unsigned four(size_t k) {
  (void)k;
  return 4;
}
/* As many of 2 as of 4, and of 1 as of 5, in no order: 3 on the average. */
static unsigned mixed(size_t k) {
  return 1 + (unsigned)((k * 2654435761u >> 7) % 5);
}

static void report_blocks(size_t rows, size_t cols, double limit) {
  blocks b = {.tiling = {rows, cols, SIDE, SIDE}};
  const size_t n = rows * cols,
               count = sb_tiling_block_rows(&b.tiling) * sb_tiling_block_cols(&b.tiling);
  lay_out(&b, mixed);
  b.copies = overflow / (n * 2) + 1;
  b.w = filled(b.copies * n * 2, false);
  b.out = device(b.copies * n * 2);
  b.g = filled(b.copies * n * 4, false);
  b.raise = device(sb_max_size(count * 8, rows * sb_tiling_block_cols(&b.tiling) *
                                              4)); /* or products of groups */
  b.cut = device(count * 8);
  b.grids = device(SB_MOVES * rows * sb_tiling_block_cols(&b.tiling) * sizeof *b.grids);
  const sb_block_weights w = weights_of(&b, 0);
  must(be->op->move_grids(be, NULL, b.grids, &w, NULL, NULL));
  b.packed = filled(b.copies * b.bytes, true);
  printf("%zu x %zu, blocks of 1 to 5 bits\n", rows, cols);
  report_rate("  block_moves, bf16 weights", 6.0 * (double)n, seconds_of((timed){moves, &b}),
              limit);
  report_rate("  group_products, bf16 weights", 6.0 * (double)n, seconds_of((timed){products, &b}),
              limit);
  report_rate("  quantize_blocks, bf16 to bf16", 4.0 * (double)n,
              seconds_of((timed){round_to_nearest, &b}), limit);
  report_rate("  unpack_blocks to bf16", (double)(b.bytes + 2 * n), seconds_of((timed){unpack, &b}),
              limit);
  be->op->free(be, b.w);
  be->op->free(be, b.out);
  be->op->free(be, b.g);
  be->op->free(be, b.raise);
  be->op->free(be, b.cut);
  be->op->free(be, b.grids);
  be->op->free(be, (void *)b.packed);
  sb_free(&b.bits);
  sb_free(&b.offsets);
}

/* ---- second moments ---- */
typedef struct grams {
  int64_t *sums;
  const void *x; /* bf16 */
  size_t tokens, cols, block_cols;
} grams;
static sb_status add_grams(const void *context, size_t round) {
  const grams *m = context;
  (void)round;
  return be->op->add_grams(be, NULL, m->sums, m->x, m->tokens, m->cols, m->block_cols, -40);
}

static void report_moments(size_t tokens, size_t cols, double limit, double peak) {
  const double flops = 2.0 * (double)tokens * (double)cols * (double)cols;
  const size_t widths[2] = {SIDE, sb_min_size(cols, 1024)};
  const double whole = seconds_of_product(true, cols, cols, tokens, 1);
  printf("X'X, %zu tokens\n  gemm, %zu columns              %8.1f TFLOP/s  %6.1f%% of the largest "
         "product\n",
         tokens, cols, flops / whole * 1e-12, 100.0 * flops / whole / peak);
  for (int i = 0; i < 2; i++) {
    const size_t count = sb_grams_count(cols, widths[i]);
    const grams m = {device(count * 16), filled(tokens * cols * 2, false), tokens, cols, widths[i]};
    must(be->op->zero(be, NULL, m.sums, count * 16));
    const double seconds = seconds_of((timed){add_grams, &m});
    /* a triangle is half of the products of whole blocks */
    const double nominal = (double)tokens * (double)cols * (double)widths[i];
    printf("  add_grams, blocks of %-4zu         %8.1f TFLOP/s  %6.1f%% of the largest product, "
           "%.1f%% of "
           "the copy\n",
           widths[i], nominal / seconds * 1e-12, 100.0 * nominal / seconds / peak,
           100.0 * (double)(tokens * cols * 2 + 32 * count) / seconds / limit);
    be->op->free(be, m.sums);
    be->op->free(be, (void *)m.x);
  }
}

/* ---- their factors ---- */
typedef struct factor {
  size_t n;
  int64_t *sums, *lost;
  float *x, *factor;
} factor;
static sb_status add_multiples(const void *context, size_t round) {
  const factor *f = context;
  (void)round;
  return be->op->add_multiples(be, NULL, f->lost, f->x, f->n * f->n, 0x1p-20, false);
}
/* The sums are used up: a copy of them goes with each call, less than a hundredth of it. */
static sb_status factorise(const void *context, size_t round) {
  const factor *f = context;
  sb_factor_job job = {
      .n = f->n, .sums = f->lost, .quantum = 0x1p-20, .damping = 0.01, .factor = f->factor};
  (void)round;
  SB_TRY(be->op->copy(be, NULL, f->lost, f->sums, f->n * f->n * sizeof *f->sums));
  SB_TRY(be->op->factor_moments(be, NULL, &job, 1));
  return job.status == SB_OK ? SB_OK : sb_fail(job.status, "%s", job.message);
}

/* Of moments with 2 on the diagonal and numbers that fall off beside it. */
static void report_factor(size_t n, double limit) {
  const size_t bytes = n * n * sizeof(int64_t);
  const factor f = {n, device(bytes), device(bytes), device(n * n * 4), device(n * n * 4)};
  float *row = NULL;
  must(sb_alloc(&row, n, sizeof *row, "second moments"));
  for (size_t i = 0; i < n; i++) {
    for (size_t j = 0; j < n; j++)
      row[j] = i == j ? 2.0f : 1.0f / (float)(1 + (i > j ? i - j : j - i));
    must(be->op->upload(be, NULL, f.x + i * n, row, n * sizeof *row));
    must(be->op->sync(be, NULL));
  }
  must(be->op->zero(be, NULL, f.sums, bytes));
  must(be->op->add_multiples(be, NULL, f.sums, f.x, n * n, 0x1p-20, false));
  must(be->op->zero(be, NULL, f.lost, bytes));
  report_rate("add_multiples", 20.0 * (double)(n * n), seconds_of((timed){add_multiples, &f}),
              limit);
  const double seconds = seconds_of((timed){factorise, &f});
  printf("factor of %zu channels           %8.3f s   %8.2f TFLOP/s in double precision\n", n,
         seconds, 2.0 / 3.0 * (double)n * (double)n * (double)n / seconds * 1e-12);
  sb_free(&row);
  void *const all[] = {f.sums, f.lost, f.x, f.factor};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) be->op->free(be, all[i]);
}

/* ---- attention ---- */
typedef struct attention {
  sb_attention_args args;
  float *dq, *dk, *dv;
} attention;
static sb_status forward(const void *context, size_t round) {
  const attention *a = context;
  (void)round;
  return be->op->attention(be, NULL, &a->args);
}
static sb_status backward(const void *context, size_t round) {
  const attention *a = context;
  (void)round;
  return be->op->attention_back(be, NULL, &a->args, a->args.o, a->dq, a->dk, a->dv);
}

/* Products under the diagonal count: 2 T^2 d a head forward, two and a half times as many backward
 * (what is computed twice does not). */
static void report_attention(size_t T, size_t heads, size_t kv_heads, size_t d, double peak) {
  const size_t n = T * heads * d * 4, m = T * kv_heads * d * 4;
  attention a = {.args = {.q = filled(n, false),
                          .k = filled(m, false),
                          .v = filled(m, false),
                          .o = device(n),
                          .lse = device(heads * T * 4),
                          .T = T,
                          .heads = heads,
                          .kv_heads = kv_heads,
                          .d = d},
                 .dq = device(n),
                 .dk = device(m),
                 .dv = device(m)};
  const double flops = 2.0 * (double)T * (double)T * (double)d * (double)heads;
  const double ahead = seconds_of((timed){forward, &a}), back = seconds_of((timed){backward, &a});
  printf("attention, %zu tokens, %zu / %zu heads of %zu\n", T, heads, kv_heads, d);
  printf("  forward                         %8.1f TFLOP/s  %6.1f%% of the largest product\n",
         flops / ahead * 1e-12, 100.0 * flops / ahead / peak);
  printf("  backward                        %8.1f TFLOP/s  %6.1f%% of the largest product\n",
         2.5 * flops / back * 1e-12, 250.0 * flops / back / peak);
  void *const all[] = {
      (void *)a.args.q, (void *)a.args.k, (void *)a.args.v, a.args.o, a.args.lse, a.dq, a.dk, a.dv};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) be->op->free(be, all[i]);
}

/* ---- packed products ---- */
enum { COPIES = 64 };
typedef struct packed {
  sb_packed w[COPIES];
  size_t copies, tokens;
  const void *x; /* bf16 */
  float *y;
} packed;
static sb_status packed_product(const void *context, size_t round) {
  const packed *p = context;
  return be->op->packed_gemm(be, NULL, p->y, p->x, p->tokens, p->w[round % p->copies], false);
}

/* Seconds of y = x W' for one rule of bits. Codes are any bytes, and so are zero points; scales
 * too, where they are not numbers nothing takes longer. */
static double seconds_of_packed(size_t rows, size_t cols, size_t tokens,
                                unsigned (*bits_of)(size_t), double *bytes) {
  blocks b = {.tiling = {rows, cols, SIDE, SIDE}};
  lay_out(&b, bits_of);
  packed p = {.copies = sb_min_size(COPIES, overflow / b.bytes + 1), .tokens = tokens};
  p.x = filled(tokens * cols * 2, false);
  p.y = device(tokens * rows * 4);
  const size_t each = (b.bytes + 255) / 256 * 256;
  const uint8_t *all = filled(p.copies * each, true);
  for (size_t i = 0; i < p.copies; i++)
    must(be->op->packed_create(be, NULL, all + i * each, b.offsets, &b.tiling, b.bits,
                               SB_GRID_ASYMMETRIC, NULL, &p.w[i]));
  const double seconds = seconds_of((timed){packed_product, &p});
  for (size_t i = 0; i < p.copies; i++) be->op->packed_destroy(be, p.w[i]);
  be->op->free(be, (void *)all);
  be->op->free(be, (void *)p.x);
  be->op->free(be, p.y);
  sb_free(&b.bits);
  sb_free(&b.offsets);
  *bytes = (double)b.bytes;
  return seconds;
}

static void report_packed(size_t rows, size_t cols, size_t many, double limit) {
  const size_t tokens[] = {1, 2, 8, 16, 64, 256, many};
  printf("packed products, %zu x %zu: microseconds\n", rows, cols);
  printf("  tokens   3 bits  mixed 3   4 bits  cuBLAS bf16   mixed / 3 bits   cuBLAS / mixed   "
         "mixed, of the "
         "copy\n");
  for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++) {
    double bytes;
    const double t4 = seconds_of_packed(rows, cols, tokens[i], four, &bytes);
    const double t3 = seconds_of_packed(rows, cols, tokens[i], three, &bytes);
    const double mix = seconds_of_packed(rows, cols, tokens[i], mixed, &bytes);
    const double blas =
        seconds_of_product(false, tokens[i], rows, cols, overflow / (rows * cols * 2) + 1);
    printf("  %6zu %8.1f %8.1f %8.1f %12.1f %16.3f %16.2f %19.1f%%\n", tokens[i], t3 * 1e6,
           mix * 1e6, t4 * 1e6, blas * 1e6, mix / t3, blas / mix, 100.0 * bytes / mix / limit);
  }
}

int main(int argc, char **argv) {
  const size_t width = argc > 1 ? strtoul(argv[1], NULL, 10) : 8192,
               inner = argc > 2 ? strtoul(argv[2], NULL, 10) : 28672;
  const size_t tokens = argc > 3 ? strtoul(argv[3], NULL, 10) : 2048;
  sb_device_identity identity;
  if (width == 0 || inner == 0 || tokens == 0 || width % SIDE != 0 || inner % SIDE != 0) {
    fprintf(stderr, "bench_cuda [WIDTH [INNER [TOKENS]]]: widths are multiples of %d\n", SIDE);
    return 2;
  }
  const sb_status opened = sb_cuda_create(SB_COMPUTE_BF16, 0, "this machine", &be);
  if (opened != SB_OK) return gpu_missing(opened);
  sb_cuda_identify(be, &identity);
  printf("%s\n", identity.name);
  const double limit = copy_rate(), seconds = seconds_of_product(false, width, width, width, 1);
  const double peak = 2.0 * (double)width * (double)width * (double)width / seconds;
  printf("gemm, %zu cubed, bf16            %8.1f TFLOP/s\n", width, peak * 1e-12);
  report_blocks(width, width, limit);
  report_blocks(inner, width, limit);
  report_moments(tokens, width, limit, peak);
  report_factor(width, limit);
  report_factor(inner, limit);
  report_attention(tokens, width / SIDE, sb_max_size(1, width / SIDE / 8), SIDE, peak);
  report_attention(tokens, 32, 8, SIDE, peak);
  report_attention(tokens, 32, 8, 64, peak);
  report_packed(width, width, tokens, limit);
  report_packed(inner, width, tokens, limit);
  be->op->destroy(be);
  return 0;
}
