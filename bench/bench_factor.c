/* bench_factor [N ...]: the distributed factor of an N x N matrix of second moments, for block
 * sizes and grids of ranks, in double and single precision, against one rank's LAPACK and against
 * GEMM. Run it under mpirun with 1, 2 and 4 ranks.
 *
 * A rate counts the 2/3 N^3 operations that the factor needs (Cholesky and the inverse of a
 * triangle), whoever makes it in whatever way. "GEMM" is the sum of all ranks' rates in an N x N x
 * N product (of at most 1536) at the same time, on one thread each, as everything here. While rank
 * 0 measures LAPACK the others sleep. Best of several, slowest rank. Prints Markdown. */
#include <cblas.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "quant/factor_scalapack.h"
#include "quant/scalapack.h"

enum { LARGEST_GEMM = 1536, BLOCKS = 4, CHOSEN_BLOCK = 128 };
static const size_t blocks[BLOCKS] = {32, 64, 128, 256};

void dpotrf_(const char *uplo, const int *n, double *a, const int *lda, int *info);
void dpotri_(const char *uplo, const int *n, double *a, const int *lda, int *info);

static const sb_world *world;

static int repeats_of(size_t n) {
  return n < 1000 ? 10 : n < 3000 ? 4 : 2;
}

static double operations(size_t n) {
  return 2.0 / 3.0 * (double)n * (double)n * (double)n;
}

/* Moments of inputs that go together, damped: positive definite. */
static double element(size_t n, size_t i, size_t j) {
  const double apart = (double)(i > j ? i - j : j - i);
  return (double)n * (exp(-apart / 20) + (i == j ? 0.01 : 0));
}

/* The others of a measurement that is rank 0's alone must not take its processor. */
static sb_status wait_asleep(void) {
  MPI_Request request;
  int there = 0;
  SB_MPI(MPI_Ibarrier(world->comm, &request));
  while (!there) {
    SB_MPI(MPI_Test(&request, &there, MPI_STATUS_IGNORE));
    if (!there) usleep(5000);
  }
  return SB_OK;
}

static double slowest(double seconds) {
  double most = seconds;
  MPI_Allreduce(&seconds, &most, 1, MPI_DOUBLE, MPI_MAX, world->comm);
  return most;
}

/* Sum over ranks of their rates, FLOP/s. */
static sb_status measure_gemm(size_t n, bool single, double *rate) {
  const size_t size = single ? sizeof(float) : sizeof(double);
  const int m = (int)sb_min_size(n, LARGEST_GEMM);
  char *x = NULL;
  double best = INFINITY, mine;
  SB_AGREE(world, sb_alloc(&x, 3 * (size_t)m * (size_t)m, size, "operands"));
  void *a = x, *b = x + (size_t)m * (size_t)m * size, *c = x + 2 * (size_t)m * (size_t)m * size;
  for (int repeat = 0; repeat < repeats_of(n) + 1; repeat++) {
    SB_MPI(MPI_Barrier(world->comm));
    const double start = sb_now();
    if (single)
      cblas_sgemm(CblasColMajor, CblasNoTrans, CblasNoTrans, m, m, m, 1, a, m, b, m, 0, c, m);
    else
      cblas_dgemm(CblasColMajor, CblasNoTrans, CblasNoTrans, m, m, m, 1, a, m, b, m, 0, c, m);
    best = fmin(best, sb_now() - start);
  }
  sb_free(&x);
  mine = 2.0 * m * (double)m * m / best;
  SB_MPI(MPI_Allreduce(&mine, rate, 1, MPI_DOUBLE, MPI_SUM, world->comm));
  return SB_OK;
}

/* Rank 0 alone: through the inverse, and as kernels/factor.h makes it, directly. Seconds. */
static sb_status measure_lapack(size_t n, double *through_inverse, double *directly) {
  const int order = (int)n;
  double *h = NULL, *a = NULL;
  float *factor = NULL;
  sb_status status = SB_OK;
  *through_inverse = *directly = INFINITY;
  if (world->rank == 0) {
    SB_GO(sb_alloc_raw(&h, n * n, sizeof *h, "matrix"));
    SB_GO(sb_alloc_raw(&a, n * n, sizeof *a, "matrix"));
    SB_GO(sb_alloc_raw(&factor, n * n, sizeof *factor, "factor"));
    for (size_t k = 0; k < n * n; k++) h[k] = element(n, k / n, k % n);
    for (int repeat = 0; repeat < repeats_of(n); repeat++) {
      sb_factor_repair repair;
      int info;
      double start = sb_now();
      memcpy(a, h, n * n * sizeof *a);
      dpotrf_("L", &order, a, &order, &info);
      dpotri_("L", &order, a, &order, &info);
      for (size_t i = 0; i < n; i++)
        for (size_t j = i + 1; j < n; j++) a[j * n + i] = a[i * n + j];
      dpotrf_("U", &order, a, &order, &info);
      *through_inverse = fmin(*through_inverse, sb_now() - start);
      start = sb_now();
      SB_GO(sb_factor_lapack(factor, h, n, 1e-9, &repair));
      *directly = fmin(*directly, sb_now() - start);
    }
  }
done:
  sb_free(&h);
  sb_free(&a);
  sb_free(&factor);
  SB_TRY(wait_asleep());
  return sb_world_agree(world, status);
}

static double *part_of(const sb_cyclic *c) {
  double *part = NULL;
  if (sb_alloc_raw(&part, sb_cyclic_elements(c), sizeof *part, "part of a matrix") != SB_OK)
    return NULL;
  for (size_t lc = 0; lc < c->local_cols; lc++)
    for (size_t lr = 0; lr < c->local_rows; lr++)
      part[lc * sb_cyclic_ld(c) + lr] =
          element(c->n, sb_cyclic_global(lr, c->block, c->row, c->grid_rows),
                  sb_cyclic_global(lc, c->block, c->col, c->grid_cols));
  return part;
}

/* Seconds of the distributed factor. */
static sb_status measure_ours(const sb_cyclic *c, sb_factor_precision precision, double *seconds) {
  *seconds = INFINITY;
  for (int repeat = 0; repeat < repeats_of(c->n); repeat++) {
    sb_factor_repair repair;
    double *h = part_of(c);
    SB_AGREE(world, h ? SB_OK : sb_fail(SB_ERR_MEMORY, "%s", sb_message()));
    SB_MPI(MPI_Barrier(world->comm));
    const double start = sb_now();
    SB_TRY(sb_factor_scalapack(c, world, (float *)h, h, 1e-9, precision, &repair));
    *seconds = fmin(*seconds, slowest(sb_now() - start));
    sb_free(&h);
  }
  return SB_OK;
}

/* Seconds of Cholesky, inverse and Cholesky of the inverse by ScaLAPACK. */
static sb_status measure_through_inverse(const sb_cyclic *c, double *seconds) {
  const int n = (int)c->n, block = (int)c->block, one = 1;
  int info, handle = Csys2blacs_handle(world->comm), context = handle;
  Cblacs_gridinit(&context, "Row", c->grid_rows, c->grid_cols);
  const int descriptor[9] = {1, context, n, n, block, block, 0, 0, (int)sb_cyclic_ld(c)};
  *seconds = INFINITY;
  for (int repeat = 0; repeat < repeats_of(c->n); repeat++) {
    double *h = part_of(c);
    SB_AGREE(world, h ? SB_OK : sb_fail(SB_ERR_MEMORY, "%s", sb_message()));
    SB_MPI(MPI_Barrier(world->comm));
    const double start = sb_now();
    pdpotrf_("U", &n, h, &one, &one, descriptor, &info);
    pdpotri_("U", &n, h, &one, &one, descriptor, &info);
    pdpotrf_("U", &n, h, &one, &one, descriptor, &info);
    *seconds = fmin(*seconds, slowest(sb_now() - start));
    sb_free(&h);
  }
  Cblacs_gridexit(context);
  Cfree_blacs_system_handle(handle);
  return SB_OK;
}

static void row(const char *what, double work, double seconds, double gemm, double lapack) {
  if (world->rank == 0)
    printf("| %s | %.3f | %.1f | %.2f | %.2f |\n", what, seconds, work / seconds / 1e9,
           work / seconds / gemm, lapack / seconds);
  fflush(stdout);
}

static sb_status measure(size_t n) {
  const double work = operations(n);
  double gemm, gemm_single, lapack, direct, seconds;
  int square_rows, square_cols;
  char what[128];
  SB_TRY(measure_lapack(n, &lapack, &direct));
  SB_MPI(MPI_Bcast(&lapack, 1, MPI_DOUBLE, 0, world->comm));
  SB_TRY(measure_gemm(n, false, &gemm));
  SB_TRY(measure_gemm(n, true, &gemm_single));
  sb_cyclic_grid(world->size, &square_rows, &square_cols);
  if (world->rank == 0)
    printf("\nN = %zu, %d ranks; GEMM of all ranks: %.1f GFLOP/s in double, %.1f in single "
           "precision\n\n"
           "| | seconds | GFLOP/s | of GEMM | LAPACK's time / this |\n| --- | ---: | ---: | ---: | "
           "---: |\n",
           n, world->size, gemm / 1e9, gemm_single / 1e9);
  const double one = gemm / world->size;
  row("LAPACK on one rank, through the inverse", work, lapack, one, lapack);
  row("LAPACK on one rank, directly", work, direct, one, lapack);
  for (int grid_rows = world->size; grid_rows >= 1; grid_rows--) {
    if (world->size % grid_rows) continue;
    for (int b = 0; b < BLOCKS; b++) {
      sb_cyclic c;
      SB_TRY(sb_cyclic_create(n, blocks[b], grid_rows, world->size, world->rank, &c));
      snprintf(what, sizeof what, "double, %d x %d, block %zu", c.grid_rows, c.grid_cols, c.block);
      SB_TRY(measure_ours(&c, SB_FACTOR_DOUBLE, &seconds));
      row(what, work, seconds, gemm, lapack);
      if (grid_rows != square_rows) continue;
      snprintf(what, sizeof what, "single, %d x %d, block %zu", c.grid_rows, c.grid_cols, c.block);
      SB_TRY(measure_ours(&c, SB_FACTOR_SINGLE, &seconds));
      row(what, work, seconds, gemm_single, lapack);
      if (blocks[b] != CHOSEN_BLOCK) continue;
      snprintf(what, sizeof what, "double through the inverse, %d x %d, block %zu", c.grid_rows,
               c.grid_cols, c.block);
      SB_TRY(measure_through_inverse(&c, &seconds));
      row(what, work, seconds, gemm, lapack);
    }
  }
  return SB_OK;
}

int main(int argc, char **argv) {
  static const size_t usual[] = {576, 1536, 4096};
  sb_world self;
  sb_status status = sb_world_init(&argc, &argv, &self);
  world = &self;
  omp_set_num_threads(1);
  for (int k = 1; status == SB_OK && k < argc; k++) {
    const long long n = atoll(argv[k]);
    status = n > 0 ? measure((size_t)n) : sb_fail(SB_ERR_USAGE, "bench_factor [N ...]");
  }
  for (size_t k = 0; status == SB_OK && argc <= 1 && k < sizeof usual / sizeof *usual; k++)
    status = measure(usual[k]);
  if (status != SB_OK) fprintf(stderr, "%s\n", sb_message());
  sb_world_finalize(&self);
  return sb_exit_code(status);
}
