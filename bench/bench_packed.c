/* Products with packed weights against the same products with f32 weights (OpenBLAS' sgemv and
 * sgemm, all threads) and against the speed at which this machine reads memory, all in one run: a
 * matrix of 8192 x 8192 and one of 28672 x 8192, in blocks of 128 x 128, of 1 to 8 bits and of
 * mixes with a mean of 3 bits. Contenders take turns, and the best round of each counts, so that
 * other work on the machine hits all of them.
 *
 *   bench_packed [seconds per contender and row of figures, default 0.2] [threads]
 *                [plain|avx2|avx512] */
#include <cblas.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "kernels/blockrow.h"
#include "kernels/cpu/cpu_packed.h"

/* A mix deals its widths out in turn, then shuffles. */
typedef struct mix {
  const char *name;
  unsigned count;
  uint8_t bits[8];
} mix;
static const mix mixes[] = {
    {"1 bit", 1, {1}},
    {"2 bits", 1, {2}},
    {"3 bits", 1, {3}},
    {"4 bits", 1, {4}},
    {"5 bits", 1, {5}},
    {"6 bits", 1, {6}},
    {"7 bits", 1, {7}},
    {"8 bits", 1, {8}},
    {"mean 3: 2, 3, 4", 3, {2, 3, 4}},
    {"mean 3: 1 to 5", 5, {1, 2, 3, 4, 5}},
    {"mean 3: 2 and 8", 6, {2, 2, 2, 2, 2, 8}},
};
enum { MIXES = sizeof mixes / sizeof *mixes, UNIFORM_3 = 2 };

typedef struct matrix {
  uint8_t *packed;
  size_t bytes;
  sb_packed w;
} matrix;

typedef struct bench {
  sb_backend *backend;
  sb_tiling tiling;
  matrix matrices[MIXES];
  float *dense, *x, *y;
  double read_rate; /* bytes per second */
} bench;

static uint64_t random_state = 1;
static uint64_t random_next(void) {
  random_state = random_state * 6364136223846793005u + 1442695040888963407u;
  return random_state >> 33;
}

static void deal(uint8_t *bits, size_t n, const mix *m) {
  for (size_t k = 0; k < n; k++) bits[k] = m->bits[k % m->count];
  for (size_t k = n - 1; k > 0; k--) {
    const size_t other = random_next() % (k + 1);
    const uint8_t swap = bits[k];
    bits[k] = bits[other];
    bits[other] = swap;
  }
}

/* Any codes, any zero points, all scales and bases 1/16. */
static sb_status fill(bench *t, matrix *m, const mix *which) {
  const size_t rows = sb_tiling_block_rows(&t->tiling), columns = sb_tiling_block_cols(&t->tiling);
  uint8_t *bits = NULL;
  size_t *offsets = NULL;
  sb_block_part *parts = NULL;
  SB_TRY(sb_alloc(&bits, rows * columns, 1, "bits"));
  SB_TRY(sb_alloc(&offsets, rows, sizeof *offsets, "offsets"));
  SB_TRY(sb_alloc(&parts, 1 + 3 * columns, sizeof *parts, "parts"));
  deal(bits, rows * columns, which);
  m->bytes = 0;
  for (size_t i = 0; i < rows; i++) {
    offsets[i] = m->bytes;
    m->bytes += sb_blockrow_bytes(&t->tiling, i, bits + i * columns, SB_GRID_ASYMMETRIC);
  }
  SB_TRY(t->backend->op->alloc(t->backend, m->bytes, "packed weights", (void **)&m->packed));
  for (size_t at = 0; at < m->bytes; at += 4) {
    const uint32_t word = (uint32_t)random_next();
    memcpy(m->packed + at, &word, sb_min_size(4, m->bytes - at));
  }
  for (size_t i = 0; i < rows; i++) {
    uint8_t *at = m->packed + offsets[i];
    const size_t count =
        sb_blockrow_parts(parts, &t->tiling, i, bits + i * columns, SB_GRID_ASYMMETRIC);
    memcpy(at, bits + i * columns, columns);
    for (size_t k = 0; k < count; at += parts[k].bytes, k++)
      for (size_t n = 0; parts[k].kind == 16 && n < parts[k].bytes; n += 2)
        memcpy(at + n, "\0\x2c", 2);
  }
  sb_status status = t->backend->op->packed_create(t->backend, NULL, m->packed, offsets, &t->tiling,
                                                   bits, SB_GRID_ASYMMETRIC, NULL, &m->w);
  sb_free(&bits);
  sb_free(&offsets);
  sb_free(&parts);
  return status;
}

static double read_once(const float *p, size_t n) {
  double total = 0.0, start = sb_now();
#pragma omp parallel for schedule(static) reduction(+ : total)
  for (size_t block = 0; block < n / 4096; block++) {
    float sum[64] = {0};
    for (size_t i = 0; i < 4096; i += 64)
      for (size_t k = 0; k < 64; k++) sum[k] += p[block * 4096 + i + k];
    for (size_t k = 0; k < 64; k++) total += (double)sum[k];
  }
  double took = sb_now() - start;
  return total == 0.123456789 ? 0.0 : took; /* the sum is used */
}

static double dense_once(const bench *t, size_t T) {
  const int m = (int)t->tiling.rows, k = (int)t->tiling.cols;
  double start = sb_now();
  if (T == 1)
    cblas_sgemv(CblasRowMajor, CblasNoTrans, m, k, 1.0f, t->dense, k, t->x, 1, 0.0f, t->y, 1);
  else
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)T, m, k, 1.0f, t->x, k, t->dense, k,
                0.0f, t->y, m);
  return sb_now() - start;
}

static double packed_once(const bench *t, const matrix *m, size_t T) {
  double start = sb_now();
  if (t->backend->op->packed_gemm(t->backend, NULL, t->y, t->x, T, m->w, false) != SB_OK) {
    fprintf(stderr, "%s\n", sb_message());
    exit(1);
  }
  return sb_now() - start;
}

static void keep(double *best, double took) {
  if (*best == 0.0 || took < *best) *best = took;
}

static void row(bench *t, size_t T, double seconds) {
  double packed[MIXES] = {0}, dense = 0, spent = sb_now(), read = 0;
  const size_t count = t->tiling.rows * t->tiling.cols;
  for (int round = 0; round < 3 || sb_now() - spent < seconds * (MIXES + 2); round++) {
    keep(&read, read_once(t->dense, count));
    keep(&dense, dense_once(t, T));
    for (int m = 0; m < MIXES; m++) keep(&packed[m], packed_once(t, &t->matrices[m], T));
  }
  const double rate = (double)count * sizeof(float) / read;
  printf("\n%zu x %zu, %zu token%s: OpenBLAS f32 %.2f ms, reading memory %.1f GB/s\n\n",
         t->tiling.rows, t->tiling.cols, T, T > 1 ? "s" : "", 1e3 * dense, 1e-9 * rate);
  printf("| weights | ms | f32 / this | this / 3 bits | bytes read, share of memory's rate | "
         "GFLOP/s |\n");
  printf("| --- | ---: | ---: | ---: | ---: | ---: |\n");
  for (int m = 0; m < MIXES; m++)
    printf("| %s | %.3f | %.2f | %.3f | %.2f | %.0f |\n", mixes[m].name, 1e3 * packed[m],
           dense / packed[m], packed[m] / packed[UNIFORM_3],
           (double)t->matrices[m].bytes / packed[m] / rate,
           2e-9 * (double)count * (double)T / packed[m]);
  fflush(stdout);
}

static sb_status run(bench *t, size_t rows, size_t cols, size_t most, double seconds) {
  const sb_backend_ops *op = t->backend->op;
  t->tiling = (sb_tiling){rows, cols, 128, 128};
  SB_TRY(op->alloc(t->backend, rows * cols * sizeof(float), "weights", (void **)&t->dense));
  SB_TRY(op->alloc(t->backend, most * cols * sizeof(float), "x", (void **)&t->x));
  SB_TRY(op->alloc(t->backend, most * rows * sizeof(float), "y", (void **)&t->y));
#pragma omp parallel for schedule(static)
  for (size_t i = 0; i < rows * cols; i++)
    t->dense[i] = (float)(i * 2654435761u % 1000u) * 0.002f - 1.0f;
  for (size_t i = 0; i < most * cols; i++)
    t->x[i] = (float)(i * 2246822519u % 1000u) * 0.002f - 1.0f;
  for (int m = 0; m < MIXES; m++) SB_TRY(fill(t, &t->matrices[m], &mixes[m]));
  const size_t tokens[] = {1, 2, 4, 8, 16, 64, 512};
  for (size_t i = 0; i < sizeof tokens / sizeof *tokens && tokens[i] <= most; i++)
    row(t, tokens[i], seconds);
  for (int m = 0; m < MIXES; m++) {
    op->packed_destroy(t->backend, t->matrices[m].w);
    op->free(t->backend, t->matrices[m].packed);
  }
  op->free(t->backend, t->dense);
  op->free(t->backend, t->x);
  op->free(t->backend, t->y);
  return SB_OK;
}

int main(int argc, char **argv) {
  const double seconds = argc > 1 ? atof(argv[1]) : 0.2;
  const int threads = argc > 2 ? atoi(argv[2]) : omp_get_max_threads();
  static const char *const levels[] = {"plain", "avx2", "avx512"};
  bench t = {0};
  omp_set_num_threads(threads);
  openblas_set_num_threads(threads);
  sb_status status = sb_backend_cpu_create(SB_COMPUTE_F32, threads, &t.backend);
  if (status == SB_OK) {
    sb_cpu *cpu = t.backend->impl;
    for (int level = 0; argc > 3 && level < SB_PACKED_LEVELS; level++)
      if (strcmp(argv[3], levels[level]) == 0 && sb_packed_kernels_at((sb_packed_level)level))
        cpu->packed = sb_packed_kernels_at((sb_packed_level)level);
    printf("%d threads, kernels: %s\n", threads, cpu->packed->name);
    status = run(&t, 8192, 8192, 512, seconds);
  }
  SB_THEN(run(&t, 28672, 8192, 4, seconds));
  if (t.backend) t.backend->op->destroy(t.backend);
  if (status != SB_OK) fprintf(stderr, "%s\n", sb_message());
  return status != SB_OK;
}
