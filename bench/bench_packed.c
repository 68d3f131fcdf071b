/* Products with packed weights, integer grids and trellis codes, against the same products with f32
 * weights (OpenBLAS' sgemv and sgemm, all threads) and against the speed at which this machine
 * reads memory, all in one run: a matrix of 8192 x 8192, one of 28672 x 8192 and an LM head of
 * 49152 x 576, in blocks of 128 x 128, of 1 to 8 bits and of mixes with a mean of 3 bits. Of each
 * also rows that tokens look up, packed and in f32. "unpacked": trellis codes are unpacked to
 * f32, then multiplied by OpenBLAS. Contenders take turns, and the best round of each counts, so
 * that other work on the machine hits all of them.
 *
 *   bench_packed [seconds per contender and row of figures, default 0.2] [threads]
 *                [plain|avx2|avx512] [12|14|16|exl3, default 12] [rows columns]
 *
 * With rows and columns, one matrix of these sides alone. */
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

enum { GRID, TRELLIS, CODES };

typedef struct matrix {
  sb_code_kind code_kind;
  uint8_t *packed, *bits;
  size_t *offsets;
  size_t bytes;
  sb_packed w;
} matrix;

typedef struct bench {
  sb_backend *backend;
  sb_tiling tiling;
  sb_code_kind kinds[CODES];
  matrix matrices[MIXES][CODES];
  uint16_t *factors; /* of columns */
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

/* Any codes, any zero points, all scales, bases and factors 1/16. */
static sb_status fill(bench *t, matrix *m, const mix *which, sb_code_kind kind) {
  const size_t rows = sb_tiling_block_rows(&t->tiling), columns = sb_tiling_block_cols(&t->tiling);
  sb_block_part *parts = NULL;
  m->code_kind = kind;
  SB_TRY(sb_alloc(&m->bits, rows * columns, 1, "bits"));
  SB_TRY(sb_alloc(&m->offsets, rows, sizeof *m->offsets, "offsets"));
  SB_TRY(sb_alloc(&parts, 2 + SB_BLOCK_PARTS * columns, sizeof *parts, "parts"));
  deal(m->bits, rows * columns, which);
  m->bytes = 0;
  for (size_t i = 0; i < rows; i++) {
    m->offsets[i] = m->bytes;
    m->bytes += sb_blockrow_bytes(&t->tiling, i, m->bits + i * columns, kind);
  }
  SB_TRY(t->backend->op->alloc(t->backend, m->bytes, "packed weights", (void **)&m->packed));
  for (size_t at = 0; at < m->bytes; at += 4) {
    const uint32_t word = (uint32_t)random_next();
    memcpy(m->packed + at, &word, sb_min_size(4, m->bytes - at));
  }
  for (size_t i = 0; i < rows; i++) {
    uint8_t *at = m->packed + m->offsets[i];
    const size_t count = sb_blockrow_parts(parts, &t->tiling, i, m->bits + i * columns, kind);
    for (size_t j = 0; j < columns; j++) at[j] = sb_alphabet_byte(m->bits[i * columns + j], kind);
    for (size_t k = 0; k < count; at += parts[k].bytes, k++)
      for (size_t n = 0; parts[k].kind == 16 && n < parts[k].bytes; n += 2)
        memcpy(at + n, "\0\x2c", 2);
  }
  sb_free(&parts);
  return t->backend->op->packed_create(t->backend, NULL, m->packed, m->offsets, &t->tiling, m->bits,
                                       kind, sb_is_trellis(kind) ? t->factors : NULL, &m->w);
}

static void empty(bench *t, matrix *m) {
  t->backend->op->packed_destroy(t->backend, m->w);
  t->backend->op->free(t->backend, m->packed);
  sb_free(&m->bits);
  sb_free(&m->offsets);
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

/* To f32, in the place of the dense weights. */
static double unpacked_once(const bench *t, const matrix *m) {
  double start = sb_now();
  if (t->backend->op->unpack_blocks(t->backend, NULL, t->dense, SB_F32, m->packed, m->offsets,
                                    &t->tiling, m->bits, m->code_kind, t->factors) != SB_OK) {
    fprintf(stderr, "%s\n", sb_message());
    exit(1);
  }
  return sb_now() - start;
}

static void keep(double *best, double took) {
  if (*best == 0.0 || took < *best) *best = took;
}

static void row(bench *t, size_t T, double seconds) {
  double packed[MIXES][CODES] = {{0}}, dense = 0, unpacked = 0, spent = sb_now(), read = 0;
  const size_t count = t->tiling.rows * t->tiling.cols;
  for (int round = 0; round < 3 || sb_now() - spent < seconds * (CODES * MIXES + 3); round++) {
    keep(&read, read_once(t->dense, count));
    keep(&dense, dense_once(t, T));
    keep(&unpacked, unpacked_once(t, &t->matrices[UNIFORM_3][TRELLIS]));
    for (int m = 0; m < MIXES; m++)
      for (int c = 0; c < CODES; c++) keep(&packed[m][c], packed_once(t, &t->matrices[m][c], T));
  }
  const double rate = (double)count * sizeof(float) / read;
  printf("\n%zu x %zu, %zu token%s: OpenBLAS f32 %.2f ms, 3 bits of trellis unpacked %.2f ms more, "
         "reading memory %.1f GB/s\n\n",
         t->tiling.rows, t->tiling.cols, T, T > 1 ? "s" : "", 1e3 * dense, 1e3 * unpacked,
         1e-9 * rate);
  printf("| weights | grid, ms | trellis, ms | trellis / grid | f32 / grid | f32 / trellis | "
         "unpacked / trellis | grid, trellis: share of memory's rate |\n");
  printf("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n");
  for (int m = 0; m < MIXES; m++) {
    const double *took = packed[m];
    printf("| %s | %.3f | %.3f | %.2f | %.2f | %.2f | %.2f | %.2f, %.2f |\n", mixes[m].name,
           1e3 * took[GRID], 1e3 * took[TRELLIS], took[TRELLIS] / took[GRID], dense / took[GRID],
           dense / took[TRELLIS], (dense + unpacked) / took[TRELLIS],
           (double)t->matrices[m][GRID].bytes / took[GRID] / rate,
           (double)t->matrices[m][TRELLIS].bytes / took[TRELLIS] / rate);
  }
  fflush(stdout);
}

/* Rows of 512 tokens, packed and in f32. */
static sb_status look_up(bench *t, size_t most, double seconds) {
  enum { TOKENS = 512, FIRST = 3, END = 6 }; /* 4 to 6 bits */
  sb_backend *b = t->backend;
  const size_t rows = t->tiling.rows, cols = t->tiling.cols, T = sb_min_size(TOKENS, most);
  double dense = 0, packed[END] = {0}, spent = sb_now();
  uint32_t ids[TOKENS];
  for (size_t i = 0; i < T; i++) ids[i] = (uint32_t)(random_next() % rows);
  for (int round = 0; round < 3 || sb_now() - spent < seconds; round++) {
    double start = sb_now();
    SB_TRY(b->op->embed(b, NULL, t->x, ids, t->dense, SB_F32, T, cols, 0, rows));
    keep(&dense, sb_now() - start);
    for (int m = FIRST; m < END; m++) {
      start = sb_now();
      SB_TRY(b->op->embed_packed(b, NULL, t->x, ids, t->matrices[m][GRID].w, T, 0));
      keep(&packed[m], sb_now() - start);
    }
  }
  printf("\n%zu x %zu, rows of %zu tokens: f32 %.3f ms", rows, cols, T, 1e3 * dense);
  for (int m = FIRST; m < END; m++) printf(", %s %.3f ms", mixes[m].name, 1e3 * packed[m]);
  printf("\n");
  return SB_OK;
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
  SB_TRY(sb_alloc(&t->factors, cols, sizeof *t->factors, "factors"));
  for (size_t i = 0; i < cols; i++) t->factors[i] = 0x3c00; /* 1 */
  for (int m = 0; m < MIXES; m++)
    for (int c = 0; c < CODES; c++) SB_TRY(fill(t, &t->matrices[m][c], &mixes[m], t->kinds[c]));
  const size_t tokens[] = {1, 2, 4, 8, 16, 64, 512};
  for (size_t i = 0; i < sizeof tokens / sizeof *tokens && tokens[i] <= most; i++)
    row(t, tokens[i], seconds);
  SB_TRY(look_up(t, most, seconds));
  for (int m = 0; m < MIXES; m++)
    for (int c = 0; c < CODES; c++) empty(t, &t->matrices[m][c]);
  sb_free(&t->factors);
  op->free(t->backend, t->dense);
  op->free(t->backend, t->x);
  op->free(t->backend, t->y);
  return SB_OK;
}

int main(int argc, char **argv) {
  const double seconds = argc > 1 ? atof(argv[1]) : 0.2;
  const int threads = argc > 2 ? atoi(argv[2]) : omp_get_max_threads();
  static const char *const levels[] = {"plain", "avx2", "avx512"};
  static const char *const trellises[] = {"12", "14", "16", "exl3"};
  bench t = {.kinds = {SB_GRID_ASYMMETRIC, SB_TRELLIS_12}};
  for (int k = 0; argc > 4 && k < 4; k++)
    if (strcmp(argv[4], trellises[k]) == 0) t.kinds[TRELLIS] = (sb_code_kind)(SB_TRELLIS_12 + k);
  omp_set_num_threads(threads);
  openblas_set_num_threads(threads);
  sb_status status = sb_backend_cpu_create(SB_COMPUTE_F32, threads, &t.backend);
  if (status == SB_OK) {
    sb_cpu *cpu = t.backend->impl;
    for (int level = 0; argc > 3 && level < SB_CPU_LEVELS; level++)
      if (strcmp(argv[3], levels[level]) == 0 && sb_packed_kernels_at((sb_cpu_level)level))
        cpu->packed = sb_packed_kernels_at((sb_cpu_level)level);
    printf("%d threads, kernels: %s\n", threads, cpu->packed->name);
    if (argc > 6)
      status = run(&t, (size_t)atol(argv[5]), (size_t)atol(argv[6]), 512, seconds);
    else
      status = run(&t, 8192, 8192, 512, seconds);
  }
  if (argc <= 6) SB_THEN(run(&t, 28672, 8192, 4, seconds));
  if (argc <= 6) SB_THEN(run(&t, 49152, 576, 512, seconds));
  if (t.backend) t.backend->op->destroy(t.backend);
  if (status != SB_OK) fprintf(stderr, "%s\n", sb_message());
  return status != SB_OK;
}
