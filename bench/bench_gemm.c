/* GEMM libraries side by side on the shapes of SmolLM2-135M, in one run: OpenBLAS, BLIS and oneDNN
 * in f32 as they come, this program's tiles (bits independent of threads) in f32 and bf16. GFLOP/s,
 * best of several, one thread and all threads; libraries take turns on each shape, so that noise of
 * the machine hits all of them.
 *
 *   bench_gemm [seconds per figure, default 0.05] [threads] */
#include <cblas.h>
#include <dlfcn.h>
#include <omp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#ifdef SB_HAVE_ONEDNN
#include <oneapi/dnnl/dnnl.h>
#endif

#include "base/clock.h"
#include "base/memory.h"
#include "kernels/backend.h"

typedef struct shape {
  const char *what;
  bool trans_a, trans_b;
  size_t m, n, k;
} shape;

static const shape shapes[] = {
    {"q, o: Y = X W'", false, true, 512, 576, 576},
    {"k, v: Y = X W'", false, true, 512, 192, 576},
    {"gate, up: Y = X W'", false, true, 512, 1536, 576},
    {"down: Y = X W'", false, true, 512, 576, 1536},
    {"head chunk: Y = X W'", false, true, 512, 6144, 576},
    {"q, o: dX = dY W", false, false, 512, 576, 576},
    {"k, v: dX = dY W", false, false, 512, 576, 192},
    {"gate, up: dX = dY W", false, false, 512, 576, 1536},
    {"down: dX = dY W", false, false, 512, 1536, 576},
    {"head chunk: dX = dY W", false, false, 512, 576, 6144},
    {"q, o: dW = dY' X", true, false, 576, 576, 512},
    {"k, v: dW = dY' X", true, false, 192, 576, 512},
    {"gate, up: dW = dY' X", true, false, 1536, 576, 512},
    {"down: dW = dY' X", true, false, 576, 1536, 512},
    {"q, o: Y = X W'", false, true, 2048, 576, 576},
    {"gate, up: Y = X W'", false, true, 2048, 1536, 576},
    {"gate, up: dX = dY W", false, false, 2048, 576, 1536},
    {"gate, up: dW = dY' X", true, false, 1536, 576, 2048},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

typedef struct operands {
  float *a, *b, *c;
  uint16_t *half_a, *half_b;
} operands;

/* BLIS by name at run time: its CBLAS symbols are those of OpenBLAS. */
static struct {
  void (*sgemm)(const char *, const char *, const int *, const int *, const int *, const float *,
                const float *, const int *, const float *, const int *, const float *, float *,
                const int *);
  void (*threads)(long);
} blis;
static sb_backend *ours_f32, *ours_bf16;

static size_t lda(const shape *s) {
  return s->trans_a ? s->m : s->k;
}
static size_t ldb(const shape *s) {
  return s->trans_b ? s->k : s->n;
}

static bool run_openblas(const shape *s, const operands *x, int threads) {
  (void)threads;
  cblas_sgemm(CblasRowMajor, s->trans_a ? CblasTrans : CblasNoTrans,
              s->trans_b ? CblasTrans : CblasNoTrans, (int)s->m, (int)s->n, (int)s->k, 1.0f, x->a,
              (int)lda(s), x->b, (int)ldb(s), 0.0f, x->c, (int)s->n);
  return true;
}

static bool run_blis(const shape *s, const operands *x, int threads) {
  if (!blis.sgemm) return false;
  const float one = 1.0f, zero = 0.0f;
  int m = (int)s->m, n = (int)s->n, k = (int)s->k, a = (int)lda(s), b = (int)ldb(s);
  if (blis.threads) blis.threads(threads);
  /* Row-major C = A B is column-major C' = B' A'. */
  blis.sgemm(s->trans_b ? "T" : "N", s->trans_a ? "T" : "N", &n, &m, &k, &one, x->b, &b, x->a, &a,
             &zero, x->c, &n);
  return true;
}

static bool run_onednn(const shape *s, const operands *x, int threads) {
  (void)threads;
#ifdef SB_HAVE_ONEDNN
  return dnnl_sgemm(s->trans_a ? 'T' : 'N', s->trans_b ? 'T' : 'N', (dnnl_dim_t)s->m,
                    (dnnl_dim_t)s->n, (dnnl_dim_t)s->k, 1.0f, x->a, (dnnl_dim_t)lda(s), x->b,
                    (dnnl_dim_t)ldb(s), 0.0f, x->c, (dnnl_dim_t)s->n) == dnnl_success;
#else
  (void)s, (void)x;
  return false;
#endif
}

static bool run_ours_f32(const shape *s, const operands *x, int threads) {
  (void)threads;
  return ours_f32->op->gemm(ours_f32, NULL,
                            &(sb_gemm_args){.m = s->m,
                                            .n = s->n,
                                            .k = s->k,
                                            .a = {x->a, SB_F32, lda(s), s->trans_a},
                                            .b = {x->b, SB_F32, ldb(s), s->trans_b},
                                            .c = x->c,
                                            .c_dtype = SB_F32,
                                            .ldc = s->n}) == SB_OK;
}

/* f32 products out of bf16 ones, where the processor can. */
static bool run_ours_amx(const shape *s, const operands *x, int threads) {
  ours_f32->split_f32 = sb_backend_can_split_f32(ours_f32);
  const bool done = ours_f32->split_f32 && run_ours_f32(s, x, threads);
  ours_f32->split_f32 = false;
  return done;
}

static bool run_ours_bf16(const shape *s, const operands *x, int threads) {
  (void)threads;
  return ours_bf16 &&
         ours_bf16->op->gemm(ours_bf16, NULL,
                             &(sb_gemm_args){.m = s->m,
                                             .n = s->n,
                                             .k = s->k,
                                             .a = {x->half_a, SB_BF16, lda(s), s->trans_a},
                                             .b = {x->half_b, SB_BF16, ldb(s), s->trans_b},
                                             .c = x->c,
                                             .c_dtype = SB_F32,
                                             .ldc = s->n}) == SB_OK;
}

/* The same with A still in f32, as activations are: the conversion is part of the figure. */
static bool run_ours_mixed(const shape *s, const operands *x, int threads) {
  (void)threads;
  return ours_bf16 &&
         ours_bf16->op->gemm(ours_bf16, NULL,
                             &(sb_gemm_args){.m = s->m,
                                             .n = s->n,
                                             .k = s->k,
                                             .a = {x->a, SB_F32, lda(s), s->trans_a},
                                             .b = {x->half_b, SB_BF16, ldb(s), s->trans_b},
                                             .c = x->c,
                                             .c_dtype = SB_F32,
                                             .ldc = s->n}) == SB_OK;
}

typedef struct contender {
  const char *name;
  bool (*run)(const shape *, const operands *, int);
} contender;
static const contender contenders[] = {
    {"OpenBLAS", run_openblas},    {"BLIS", run_blis},
    {"oneDNN", run_onednn},        {"tiles", run_ours_f32},
    {"tiles bf16", run_ours_bf16}, {"tiles bf16, A f32", run_ours_mixed},
    {"f32 by AMX", run_ours_amx},
};
enum { CONTENDERS = sizeof contenders / sizeof *contenders };

/* GFLOP/s, the best call of every contender; rounds of one call each for about `seconds` a
 * contender. 0: not there. */
static void measure(const shape *s, const operands *x, int threads, double seconds,
                    double rate[CONTENDERS]) {
  double flops = 2.0 * (double)s->m * (double)s->n * (double)s->k, spent = 0.0;
  omp_set_num_threads(threads);
  for (int c = 0; c < CONTENDERS; c++)
    rate[c] = contenders[c].run(s, x, threads) ? 1e-30 : 0.0; /* warm-up */
  for (int round = 0; round < 3 || spent < seconds * CONTENDERS; round++)
    for (int c = 0; c < CONTENDERS; c++) {
      if (rate[c] == 0.0) continue;
      double start = sb_now();
      contenders[c].run(s, x, threads);
      double took = sb_now() - start;
      spent += took;
      if (1e-9 * flops / took > rate[c]) rate[c] = 1e-9 * flops / took;
    }
}

static void processor(char *name, size_t size) {
  FILE *file = fopen("/proc/cpuinfo", "r");
  char line[256];
  snprintf(name, size, "unknown processor");
  while (file && fgets(line, sizeof line, file))
    if (strncmp(line, "model name", 10) == 0 && strchr(line, ':')) {
      snprintf(name, size, "%s", strchr(line, ':') + 2);
      name[strcspn(name, "\n")] = '\0';
      break;
    }
  if (file) fclose(file);
}

static bool prepare(operands *x) {
  size_t most = 0;
  for (int i = 0; i < SHAPES; i++)
    most = sb_max_size(
        most, sb_max_size(shapes[i].m * shapes[i].n,
                          sb_max_size(shapes[i].m * shapes[i].k, shapes[i].n * shapes[i].k)));
  const sb_backend_ops *op = ours_f32->op;
  if (op->alloc(ours_f32, most * 4, "A", (void **)&x->a) ||
      op->alloc(ours_f32, most * 4, "B", (void **)&x->b) ||
      op->alloc(ours_f32, most * 4, "C", (void **)&x->c) ||
      op->alloc(ours_f32, most * 2, "A", (void **)&x->half_a) ||
      op->alloc(ours_f32, most * 2, "B", (void **)&x->half_b))
    return false;
  for (size_t i = 0; i < most; i++) {
    x->a[i] = (float)(i * 2654435761u % 1000u) * 0.002f - 1.0f;
    x->b[i] = (float)(i * 2246822519u % 1000u) * 0.002f - 1.0f;
    x->half_a[i] = sb_f32_to_bf16(x->a[i]);
    x->half_b[i] = sb_f32_to_bf16(x->b[i]);
  }
  return op->zero(ours_f32, NULL, x->c, most * 4) == SB_OK;
}

int main(int argc, char **argv) {
  double seconds = argc > 1 ? atof(argv[1]) : 0.05;
  int threads = argc > 2 ? atoi(argv[2]) : omp_get_max_threads();
  void *library = dlopen("libblis.so.4", RTLD_NOW | RTLD_LOCAL);
  if (library) {
    *(void **)&blis.sgemm = dlsym(library, "sgemm_");
    *(void **)&blis.threads = dlsym(library, "bli_thread_set_num_threads");
  }
  operands x;
  if (sb_backend_cpu_create(SB_COMPUTE_F32, 0, &ours_f32) != SB_OK || !prepare(&x)) {
    fprintf(stderr, "%s\n", sb_message());
    return 1;
  }
  if (sb_backend_cpu_create(SB_COMPUTE_BF16, 0, &ours_bf16) != SB_OK)
    fprintf(stderr, "%s\n", sb_message());
  char cpu[128], day[32];
  time_t now = time(NULL);
  struct tm date;
  processor(cpu, sizeof cpu);
  strftime(day, sizeof day, "%Y-%m-%d", gmtime_r(&now, &date));
  printf("%s, %s; OpenBLAS kernels: %s; GFLOP/s\n", day, cpu, openblas_get_corename());
  const int counts[2] = {1, threads};
  for (int pass = 0; pass < (threads > 1 ? 2 : 1); pass++) {
    double rate[CONTENDERS], sum[CONTENDERS] = {0}, worst = 1e30;
    printf("\n%d thread%s\n\n| GEMM | m x n x k |", counts[pass], counts[pass] > 1 ? "s" : "");
    for (int c = 0; c < CONTENDERS; c++) printf(" %s |", contenders[c].name);
    printf(" tiles / OpenBLAS |\n| --- | --- |");
    for (int c = 0; c <= CONTENDERS; c++) printf(" ---: |");
    printf("\n");
    for (int i = 0; i < SHAPES; i++) {
      const shape *s = &shapes[i];
      measure(s, &x, counts[pass], seconds, rate);
      printf("| %s | %zu x %zu x %zu |", s->what, s->m, s->n, s->k);
      for (int c = 0; c < CONTENDERS; c++) {
        printf(" %.0f |", rate[c]);
        sum[c] += rate[c] > 0.0 ? 1.0 / rate[c] : 0.0;
      }
      printf(" %.3f |\n", rate[3] / rate[0]);
      if (rate[3] / rate[0] < worst) worst = rate[3] / rate[0];
      fflush(stdout);
    }
    printf("| harmonic mean | |");
    for (int c = 0; c < CONTENDERS; c++) printf(" %.0f |", sum[c] > 0.0 ? SHAPES / sum[c] : 0.0);
    printf(" %.3f (lowest %.3f) |\n", sum[0] / sum[3], worst);
  }
  ours_f32->op->free(ours_f32, x.a);
  ours_f32->op->free(ours_f32, x.b);
  ours_f32->op->free(ours_f32, x.c);
  ours_f32->op->free(ours_f32, x.half_a);
  ours_f32->op->free(ours_f32, x.half_b);
  ours_f32->op->destroy(ours_f32);
  if (ours_bf16) ours_bf16->op->destroy(ours_bf16);
  return 0;
}
