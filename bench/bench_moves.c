/* The block operations on one matrix: seconds per weight, against the gradient pass they ride on
 * and against memory.
 *
 * The pass of T = 512 tokens over a matrix costs 8 T FLOP per weight (forward twice, two backward
 * GEMMs); it is measured here with the backend's own GEMM. Run with OMP_NUM_THREADS=1 for figures
 * of a core. */
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "kernels/backend.h"
#include "kernels/blockrow.h"

enum { TOKENS = 512 };

typedef struct bench {
  sb_backend *backend;
  sb_tiling tiling;
  float *w, *g, *x, *y, *out;
  void *w16;
  uint8_t *bits, *packed, *fits;
  size_t *offsets;
  double *raise, *cut;
  float *grams, *rows, *importance;
  double (*losses)[SB_WIDTHS];
  sb_stored_grid *grids;
  int64_t *sums;
  sb_code_kind code_kind;
  sb_block_weights f32, bf16; /* the weights in both types */
} bench;

static void must(sb_status status) {
  if (status == SB_OK) return;
  fprintf(stderr, "%s\n", sb_message());
  exit(1);
}

static void moves(bench *b, const sb_block_weights *w) {
  must(b->backend->op->block_moves(b->backend, NULL, b->raise, b->cut, b->g, b->tiling.cols, w,
                                   b->grids, 1, 8));
}
static void moves_f32(bench *b) {
  moves(b, &b->f32);
}
static void moves_bf16(bench *b) {
  moves(b, &b->bf16);
}
static void products(bench *b) {
  must(b->backend->op->group_products(b->backend, NULL, b->out, b->g, b->tiling.cols, &b->f32));
}
static void quantize(bench *b) {
  must(b->backend->op->quantize_blocks(b->backend, NULL, b->out, SB_F32, &b->bf16, NULL));
}
static void quantize_bf16(bench *b) {
  must(b->backend->op->quantize_blocks(b->backend, NULL, b->out, SB_BF16, &b->bf16, NULL));
}
static void encode(bench *b) {
  const uint16_t *w = b->w16;
  const size_t columns = sb_tiling_block_cols(&b->tiling);
#pragma omp parallel for schedule(static)
  for (size_t i = 0; i < sb_tiling_block_rows(&b->tiling); i++)
    sb_blockrow_encode(b->packed + b->offsets[i], w + i * b->tiling.block_rows * b->tiling.cols,
                       SB_BF16, &b->tiling, i, b->bits + i * columns, b->code_kind, NULL);
}
static void unpack(bench *b) {
  must(b->backend->op->unpack_blocks(b->backend, NULL, b->out, SB_F32, b->packed, b->offsets,
                                     &b->tiling, b->bits, b->code_kind, NULL));
}
static void move_grids(bench *b) {
  must(b->backend->op->move_grids(b->backend, NULL, b->grids, &b->bf16, NULL, NULL));
}
static void fitted_move_grids(bench *b) {
  must(b->backend->op->move_grids(b->backend, NULL, b->grids, &b->bf16, b->importance, b->fits));
}
static void choose_grids(bench *b) {
  must(b->backend->op->choose_grids(b->backend, NULL, b->grids, &b->bf16, 1, 8, NULL));
}
static void squares(bench *b) {
  must(b->backend->op->block_squares(b->backend, NULL, b->losses, b->g, b->tiling.cols, &b->bf16,
                                     b->grids, 1, 8));
}
static void curvature(bench *b) {
  must(b->backend->op->block_curvature(b->backend, NULL, b->losses, &b->bf16, 0,
                                       sb_tiling_block_rows(&b->tiling), b->grams, b->rows, 1, 8,
                                       NULL));
}
static void moments(bench *b) {
  must(b->backend->op->add_grams(b->backend, NULL, b->sums, b->x, TOKENS, b->tiling.cols,
                                 b->tiling.block_cols, -16));
  must(b->backend->op->add_squares(b->backend, NULL, b->sums, b->y, TOKENS, b->tiling.rows, 0));
}
/* y = x w' twice, as forward passes do that go again where memory is short; then x = y w,
 * g = y' x. */
static void gradient_pass(bench *b) {
  sb_backend *be = b->backend;
  const size_t n = b->tiling.rows, k = b->tiling.cols;
  const sb_gemm_args forward = {.m = TOKENS,
                                .n = n,
                                .k = k,
                                .a = sb_view(b->x, SB_F32, k),
                                .b = sb_view_transposed(b->w, SB_F32, k),
                                .c = b->y,
                                .c_dtype = SB_F32,
                                .ldc = n};
  const sb_gemm_args inputs = {.m = TOKENS,
                               .n = k,
                               .k = n,
                               .a = sb_view(b->y, SB_F32, n),
                               .b = sb_view(b->w, SB_F32, k),
                               .c = b->x,
                               .c_dtype = SB_F32,
                               .ldc = k};
  const sb_gemm_args weights = {.m = n,
                                .n = k,
                                .k = TOKENS,
                                .a = sb_view_transposed(b->y, SB_F32, n),
                                .b = sb_view(b->x, SB_F32, k),
                                .c = b->g,
                                .c_dtype = SB_F32,
                                .ldc = k};
  for (int twice = 0; twice < 2; twice++) must(be->op->gemm(be, NULL, &forward));
  must(be->op->gemm(be, NULL, &inputs));
  must(be->op->gemm(be, NULL, &weights));
}
static void copy(bench *b) { /* as many bytes as block_moves reads: 4 of g and 2 of w */
  memcpy(b->out, b->g, b->tiling.rows * b->tiling.cols * 3);
}

/* The fastest of a few runs, nanoseconds a weight and thread. */
static double time_of(void (*what)(bench *), bench *b, int runs) {
  double best = 1e30;
  for (int i = 0; i < runs; i++) {
    double start = sb_now();
    what(b);
    best = fmin(best, sb_now() - start);
  }
  return best * 1e9 / (double)(b->tiling.rows * b->tiling.cols) * omp_get_max_threads();
}

static void fill(float *x, size_t n, uint64_t seed, float size) {
  uint64_t state = seed;
  for (size_t i = 0; i < n; i++) {
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    x[i] = size * ((float)(state >> 40) * 0x1p-23f - 1.0f);
  }
}

static void create(bench *b) {
  const size_t rows = b->tiling.rows, cols = b->tiling.cols, n = rows * cols,
               columns = sb_tiling_block_cols(&b->tiling),
               blocks = sb_tiling_block_rows(&b->tiling) * columns, grams = columns * 128 * 128;
  must(sb_alloc(&b->w, n, 4, "weights"));
  must(sb_alloc(&b->w16, n, 2, "weights"));
  must(sb_alloc(&b->g, n, 4, "gradient"));
  must(sb_alloc(&b->out, n, 4, "result"));
  must(sb_alloc(&b->x, TOKENS * cols, 4, "activations"));
  must(sb_alloc(&b->y, TOKENS * rows, 4, "activations"));
  must(sb_alloc(&b->bits, blocks, 1, "bits"));
  must(sb_alloc(&b->raise, blocks, 8, "moves"));
  must(sb_alloc(&b->cut, blocks, 8, "moves"));
  must(sb_alloc(&b->offsets, sb_tiling_block_rows(&b->tiling), sizeof(size_t), "offsets"));
  must(sb_alloc(&b->grams, grams, 4, "second moments"));
  must(sb_alloc(&b->rows, rows, 4, "second moments"));
  must(sb_alloc(&b->losses, blocks, sizeof *b->losses, "losses"));
  must(sb_alloc(&b->grids, rows * columns * 8, sizeof *b->grids, "grids"));
  must(sb_alloc(&b->sums, sb_max_size(sb_grams_count(cols, 128), rows), 16, "second moments"));
  must(sb_alloc(&b->importance, cols, 4, "importance"));
  must(sb_alloc(&b->fits, rows * columns, 1, "fits"));
  fill(b->grams, grams, 4, 1.0f);
  fill(b->rows, rows, 5, 1.0f);
  for (size_t c = 0; c < cols; c++) b->importance[c] = 1.0f + (float)(c % 3);
  fill(b->w, n, 1, 0.05f);
  fill(b->g, n, 2, 1e-4f);
  fill(b->x, TOKENS * cols, 3, 1e-3f);
  sb_from_f32(b->w16, SB_BF16, b->w, n);
  for (size_t k = 0; k < blocks; k++) b->bits[k] = (uint8_t)(2 + k % 3);
  size_t bytes = 0;
  for (size_t i = 0; i < sb_tiling_block_rows(&b->tiling); i++) {
    b->offsets[i] = bytes;
    bytes += sb_blockrow_bytes(&b->tiling, i, b->bits + i * columns, b->code_kind);
  }
  must(sb_alloc(&b->packed, bytes, 1, "packed weights"));
  b->f32 = (sb_block_weights){b->w, SB_F32, &b->tiling, b->bits, b->code_kind};
  b->bf16 = (sb_block_weights){b->w16, SB_BF16, &b->tiling, b->bits, b->code_kind};
}

static void release(bench *b) {
  void *all[] = {b->w,    b->w16,        b->g,       b->out,    b->x,     b->y,
                 b->bits, b->packed,     b->offsets, b->raise,  b->cut,   b->grams,
                 b->rows, b->importance, b->fits,    b->losses, b->grids, b->sums};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) sb_free(&all[i]);
}

static void run(sb_backend *backend, size_t rows, size_t cols, sb_code_kind code_kind) {
  static const struct {
    const char *name;
    void (*what)(bench *);
  } cases[] = {{"grids of moves", move_grids},
               {"grids of moves, fitted", fitted_move_grids},
               {"moves, w f32", moves_f32},
               {"moves, w bf16", moves_bf16},
               {"products of groups, w f32", products},
               {"quantize bf16 to f32", quantize},
               {"quantize bf16 to bf16", quantize_bf16},
               {"encode bf16", encode},
               {"unpack to f32", unpack},
               {"grids of 8 widths", choose_grids},
               {"squares at 8 widths", squares},
               {"second moments, 512 tokens", moments},
               {"curvature at 8 widths", curvature}};
  bench b = {.backend = backend, .tiling = {rows, cols, 128, 128}, .code_kind = code_kind};
  create(&b);
  printf("%zu x %zu, blocks 128 x 128 of 2 to 4 bits, %s, %d thread(s); ns per weight and thread\n",
         rows, cols, code_kind == SB_GRID_SYMMETRIC ? "symmetric" : "asymmetric",
         omp_get_max_threads());
  const double pass = time_of(gradient_pass, &b, 3);
  const double memory = time_of(copy, &b, 5);
  printf("  %-28s %8.3f\n  %-28s %8.3f\n", "gradient pass of 512 tokens", pass, "copy of 6 bytes",
         memory);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const double t = time_of(cases[i].what, &b, 5);
    printf("  %-28s %8.3f   %5.2f%% of the pass\n", cases[i].name, t, 100 * t / pass);
  }
  release(&b);
}

int main(void) {
  sb_backend *backend = NULL;
  must(sb_backend_cpu_create(SB_COMPUTE_F32, 0, &backend));
  run(backend, 1536, 576, SB_GRID_ASYMMETRIC);
  run(backend, 4096, 4096, SB_GRID_ASYMMETRIC);
  run(backend, 4096, 4096, SB_GRID_SYMMETRIC);
  backend->op->destroy(backend);
  return 0;
}
