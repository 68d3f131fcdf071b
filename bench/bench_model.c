/* bench_model MODEL TOKENS [SEQUENCES [SEQLEN [f32|bf16 [REPEATS]]]]: a whole model, forward alone,
 * forward and backward, and forward and backward with each estimator of sensitivity: scores of all
 * blocks in both directions, the diagonal's table, the table from second moments (which needs no
 * gradients of matrices). Runs on any number of ranks; threads per rank from OMP_NUM_THREADS.
 *
 * One line per phase: best seconds of the repeats, GFLOP/s of all ranks (model/arch.h counts), the
 * share of the time spent in GEMM, and GFLOP/s as a share of one square GEMM measured beside it. */
#include <math.h>
#include <mpi.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "folders/hf_load.h"
#include "pass/sequences.h"
#include "sensitivity/loss_table.h"
#include "sensitivity/scores.h"

enum { SIDE = 1536, PHASES = 5 };

#define CHECK(call)                                                                                \
  do {                                                                                             \
    if ((call) != SB_OK) {                                                                         \
      fprintf(stderr, "bench_model: %s\n", sb_message());                                          \
      MPI_Abort(MPI_COMM_WORLD, 1);                                                                \
    }                                                                                              \
  } while (0)

typedef struct bench {
  sb_world world;
  sb_backend *backend;
  sb_model *model;
  sb_sequences sequences;
  sb_pass *forward, *gradient;
  sb_scores *scores;
  sb_loss_table *diagonal, *hessian;
} bench;

static sb_status no_layer(void *context, sb_stream stream, size_t layer,
                          const sb_device_layer *prepared) {
  (void)context, (void)stream, (void)layer, (void)prepared;
  return SB_OK;
}
static sb_status no_matrix(void *context, sb_stream stream, size_t layer, size_t which,
                           const float *g) {
  (void)context, (void)stream, (void)layer, (void)which, (void)g;
  return SB_OK;
}
static sb_status no_sequence(void *context, sb_stream stream, size_t layer) {
  (void)context, (void)stream, (void)layer;
  return SB_OK;
}
static sb_status no_end(void *context, size_t layer) {
  (void)context, (void)layer;
  return SB_OK;
}

/* GFLOP/s of all ranks together, each busy with its own square GEMM. */
static double peak(bench *b) {
  sb_backend *k = b->backend;
  const size_t size = (size_t)SIDE * SIDE;
  void *x, *y, *z;
  double best = INFINITY;
  CHECK(k->op->alloc(k, size * sizeof(float), "square", &x));
  CHECK(k->op->alloc(k, size * sizeof(float), "square", &y));
  CHECK(k->op->alloc(k, size * sizeof(float), "square", &z));
  CHECK(k->op->zero(k, NULL, x, size * sizeof(float)));
  CHECK(k->op->zero(k, NULL, y, size * sizeof(float)));
  for (int i = 0; i < 20; i++) {
    MPI_Barrier(MPI_COMM_WORLD);
    double start = sb_now();
    CHECK(k->op->gemm(k, NULL,
                      &(sb_gemm_args){.m = SIDE,
                                      .n = SIDE,
                                      .k = SIDE,
                                      .a = sb_view(x, k->operand, SIDE),
                                      .b = sb_view(y, k->operand, SIDE),
                                      .c = z,
                                      .c_dtype = k->act,
                                      .ldc = SIDE}));
    MPI_Barrier(MPI_COMM_WORLD);
    best = fmin(best, sb_now() - start);
  }
  k->op->free(k, x);
  k->op->free(k, y);
  k->op->free(k, z);
  return 2.0 * SIDE * SIDE * (double)SIDE * b->world.size / best * 1e-9;
}

static void once(bench *b, int phase) {
  static const sb_pass_hooks idle = {.context = NULL,
                                     .begin_layer = no_layer,
                                     .matrix = no_matrix,
                                     .end_sequence = no_sequence,
                                     .end_layer = no_end};
  double loss;
  if (phase == 0) {
    sb_pass_forget(b->forward);
    CHECK(sb_pass_loss(b->forward, &loss));
  } else {
    sb_pass_forget(b->gradient);
    if (phase == 1) CHECK(sb_pass_gradients(b->gradient, &idle, &loss));
    if (phase == 2) CHECK(sb_scores_measure(b->scores, b->gradient, &loss));
    if (phase == 3) CHECK(sb_loss_table_measure(b->diagonal, b->gradient, false, &loss));
    if (phase == 4) CHECK(sb_loss_table_measure(b->hessian, b->gradient, false, &loss));
  }
}

static void open_all(bench *b, char **argv, sb_compute compute, size_t seqlen, size_t count) {
  CHECK(sb_backend_cpu_create(compute, omp_get_max_threads(), &b->backend));
  CHECK(sb_hf_load(&b->world, argv[1], (sb_blocking){128, 128, SB_GRID_ASYMMETRIC}, false,
                   &b->model));
  CHECK(sb_sequences_read(&b->world, argv[2], SB_TOKENS_AUTO, b->model->config.vocab, seqlen, count,
                          0, &b->sequences));
  sb_pass_setup setup = {.model = b->model,
                         .backend = b->backend,
                         .tokens = b->sequences.tokens,
                         .sequences = b->sequences.count,
                         .seqlen = seqlen,
                         .activation_bytes = (size_t)4 << 30};
  CHECK(sb_pass_create(&setup, &b->forward));
  setup.gradients = true;
  CHECK(sb_pass_create(&setup, &b->gradient));
  memset(b->model->bits, 3, b->model->blocks);
  CHECK(sb_scores_create(b->model, b->backend, 1, 8, &b->scores));
  CHECK(sb_loss_table_create(b->model, b->backend, SB_ESTIMATOR_DIAGONAL, 1, 8, &b->diagonal));
  CHECK(sb_loss_table_create(b->model, b->backend, SB_ESTIMATOR_HESSIAN, 1, 8, &b->hessian));
}

static void close_all(bench *b) {
  sb_scores_free(&b->scores);
  sb_loss_table_free(&b->diagonal);
  sb_loss_table_free(&b->hessian);
  sb_pass_free(&b->forward);
  sb_pass_free(&b->gradient);
  sb_sequences_free(&b->sequences);
  sb_model_free(&b->model);
  b->backend->op->destroy(b->backend);
}

/* The best of the repeats of each phase, and the share of it inside GEMMs. Phases alternate: other
 * work on the machine hits all alike. */
static void measure(bench *b, int repeats, double seconds[PHASES], double share[PHASES]) {
  for (int phase = 0; phase < PHASES; phase++) seconds[phase] = INFINITY;
  for (int i = 0; i < repeats * PHASES; i++) {
    const int phase = i % PHASES;
    b->backend->gemm_seconds = 0;
    MPI_Barrier(MPI_COMM_WORLD);
    const double start = sb_now();
    once(b, phase);
    MPI_Barrier(MPI_COMM_WORLD);
    const double spent = sb_now() - start;
    if (spent >= seconds[phase]) continue;
    seconds[phase] = spent;
    share[phase] = b->backend->gemm_seconds / spent;
  }
}

/* `limit`: GFLOP/s of a square GEMM. */
static void report(const bench *b, size_t seqlen, const double seconds[PHASES],
                   const double share[PHASES], double limit) {
  static const char *const names[PHASES] = {"forward", "forward+backward", "with scores",
                                            "with diagonal", "with hessian"};
  const double each = (double)b->sequences.count,
               backward = each * sb_arch_gradient_flops(&b->model->arch, seqlen);
  const double flops[PHASES] = {each * sb_arch_forward_flops(&b->model->arch, seqlen), backward,
                                backward, backward, 0};
  for (int phase = 0; phase < PHASES; phase++) {
    const double rate = flops[phase] / seconds[phase] * 1e-9;
    printf("%-18s %8.3f s", names[phase], seconds[phase]);
    if (flops[phase] > 0)
      printf("  %6.1f GFLOP/s  GEMM %2.0f%% of the time  %.2f of the square GEMM", rate,
             100 * share[phase], rate / limit);
    if (phase >= 2)
      printf("  %+.1f%% of forward+backward", 100 * (seconds[phase] / seconds[1] - 1));
    printf("\n");
  }
}

int main(int argc, char **argv) {
  bench b = {0};
  if (sb_world_init(&argc, &argv, &b.world) != SB_OK || argc < 3) {
    fprintf(stderr, "usage: bench_model MODEL TOKENS [SEQUENCES [SEQLEN [f32|bf16 [REPEATS]]]]\n");
    return 2;
  }
  const size_t count = argc > 3 ? strtoul(argv[3], NULL, 10) : 8,
               seqlen = argc > 4 ? strtoul(argv[4], NULL, 10) : 512;
  const sb_compute compute =
      argc > 5 && strcmp(argv[5], "bf16") == 0 ? SB_COMPUTE_BF16 : SB_COMPUTE_F32;
  const int repeats = argc > 6 ? atoi(argv[6]) : 3;
  double seconds[PHASES], share[PHASES] = {0};
  open_all(&b, argv, compute, seqlen, count);
  const double limit = peak(&b);
  measure(&b, repeats, seconds, share);
  if (b.world.rank == 0) {
    printf("%zu sequences of %zu tokens, %d ranks x %d threads, %s; square GEMM %.0f GFLOP/s\n",
           b.sequences.count, seqlen, b.world.size, omp_get_max_threads(),
           compute == SB_COMPUTE_BF16 ? "bf16" : "f32", limit);
    report(&b, seqlen, seconds, share, limit);
    printf("beside the pass itself: scores %.3f s, diagonal %.3f s, hessian %.3f s (means)\n",
           sb_scores_seconds(b.scores) / repeats, sb_loss_table_seconds(b.diagonal) / repeats,
           sb_loss_table_seconds(b.hessian) / repeats);
  }
  close_all(&b);
  sb_world_finalize(&b.world);
  return 0;
}
