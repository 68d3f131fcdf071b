/* bench_train MODEL TOKENS [BATCH [SEQLEN [f32|bf16 [STEPS [FORMAT ...]]]]]: steps of training,
 * plain and with all GEMMs of linear layers in each format (kernels/lowprec.h), in turn. Runs on
 * any number of ranks; threads per rank from OMP_NUM_THREADS.
 *
 * One line each: median seconds of a step and its parts (pass without the sums, exact sums,
 * reducing to owners, update), tokens a second, the exact sums' share of the step, GFLOP/s of all
 * ranks as model/arch.h counts a step that keeps everything (3 times the forward part), and the
 * largest resident set of a rank; for a format also the step as a multiple of the plain one. The
 * first two steps are not counted. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "folders/hf_load.h"
#include "pass/sequences.h"
#include "train/trainer.h"

enum { PARTS = 5, COLD = 2 };

#define CHECK(call)                                                                                \
  do {                                                                                             \
    if ((call) != SB_OK) {                                                                         \
      fprintf(stderr, "bench_train: %s\n", sb_message());                                          \
      MPI_Abort(MPI_COMM_WORLD, 1);                                                                \
    }                                                                                              \
  } while (0)

static int ascending(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double median(double *values, size_t count) {
  qsort(values, count, sizeof *values, ascending);
  return values[count / 2];
}

/* A way to step, and its seconds[part * steps + step]: the step, pass, sums, reducing, update. */
typedef struct way {
  const char *name;
  sb_precision_map map;
  double *seconds;
} way;

static void measure(sb_trainer *trainer, const sb_sequences *sequences, size_t steps, way *ways,
                    size_t count) {
  const sb_lowprec_options lowprec = sb_lowprec_options_default();
  const size_t batch = sb_trainer_options_of(trainer)->batch, stride = sequences->seqlen;
  const size_t batches = sequences->count / batch, local = sequences->local / batches;
  for (size_t i = 0; i < (steps + COLD) * count; i++) {
    const size_t step = i / count;
    way *w = &ways[i % count];
    const uint32_t *tokens = sequences->tokens + step % batches * local * stride;
    sb_step_report r;
    if (count > 1) CHECK(sb_pass_set_precisions(sb_trainer_pass(trainer), &w->map, &lowprec));
    MPI_Barrier(MPI_COMM_WORLD);
    const double begin = sb_now();
    CHECK(sb_trainer_step(trainer, tokens, &r));
    MPI_Barrier(MPI_COMM_WORLD);
    if (step < COLD) continue;
    const double parts[PARTS] = {sb_now() - begin,
                                 r.pass_seconds - r.adding_seconds - r.reducing_seconds,
                                 r.adding_seconds, r.reducing_seconds, r.update_seconds};
    for (size_t p = 0; p < PARTS; p++) w->seconds[p * steps + step - COLD] = parts[p];
  }
}

/* `plain`: seconds of a plain step, or 0. Returns those of this one. */
static double report(const sb_world *world, const sb_trainer *trainer, const sb_model *model,
                     size_t steps, const way *w, double plain) {
  const sb_trainer_options *o = sb_trainer_options_of(trainer);
  double part[PARTS];
  unsigned long long resident = sb_peak_resident(), most = 0;
  for (size_t p = 0; p < PARTS; p++) part[p] = median(w->seconds + p * steps, steps);
  MPI_Allreduce(&resident, &most, 1, MPI_UNSIGNED_LONG_LONG, MPI_MAX, world->comm);
  const double tokens = (double)(o->batch * o->seqlen),
               flops = 3 * (double)o->batch * sb_arch_forward_flops(&model->arch, o->seqlen);
  if (world->rank == 0)
    printf("%s, %d ranks, %zu x %zu tokens: step %.4f s (pass %.4f, sums %.4f, reduce %.4f, update "
           "%.4f), %.0f tokens/s, sums %.1f%% of the step, %.1f GFLOP/s, %.0f MiB a rank",
           w->name, world->size, o->batch, o->seqlen, part[0], part[1], part[2], part[3], part[4],
           tokens / part[0], 100 * part[2] / part[0], flops / part[0] * 1e-9,
           (double)most * 0x1p-20);
  if (world->rank == 0 && plain > 0) printf(", %.2f plain steps", part[0] / plain);
  if (world->rank == 0) printf("\n");
  return part[0];
}

/* ways[0] is plain, and one for each of the `count - 1` formats. */
static void open_ways(const sb_model *model, size_t steps, char **formats, way *ways,
                      size_t count) {
  for (size_t i = 0; i < count; i++) {
    sb_precision precision = SB_PRECISION_HIGH;
    ways[i].name = i ? formats[i - 1] : "plain";
    if (i && !sb_precision_parse(formats[i - 1], &precision)) {
      fprintf(stderr, "bench_train: no format is called %s\n", formats[i - 1]);
      MPI_Abort(MPI_COMM_WORLD, 1);
    }
    CHECK(sb_precision_map_create(&model->arch, precision, &ways[i].map));
    ways[i].seconds = malloc(PARTS * (steps + 1) * sizeof *ways[i].seconds);
    if (!ways[i].seconds) MPI_Abort(MPI_COMM_WORLD, 1);
  }
}

int main(int argc, char **argv) {
  sb_world world;
  sb_backend *backend = NULL;
  sb_model *model = NULL;
  sb_trainer *trainer = NULL;
  sb_sequences sequences = {0};
  if (sb_world_init(&argc, &argv, &world) != SB_OK || argc < 3) {
    fprintf(stderr,
            "usage: bench_train MODEL TOKENS [BATCH [SEQLEN [f32|bf16 [STEPS [FORMAT ...]]]]]\n");
    return 2;
  }
  const size_t batch = argc > 3 ? strtoull(argv[3], NULL, 10) : 8,
               seqlen = argc > 4 ? strtoull(argv[4], NULL, 10) : 256,
               steps = argc > 6 ? strtoull(argv[6], NULL, 10) : 20;
  const size_t count = argc > 7 ? (size_t)argc - 6 : 1;
  way ways[SB_PRECISION_COUNT] = {0};
  if (count > SB_PRECISION_COUNT) return 2;
  const sb_compute compute =
      argc > 5 && strcmp(argv[5], "bf16") == 0 ? SB_COMPUTE_BF16 : SB_COMPUTE_F32;
  const sb_trainer_options options = {
      .adamw = SB_ADAMW_DEFAULTS,
      .schedule = {.curve = SB_SCHEDULE_CONSTANT, .peak = 1e-5, .steps = steps + COLD},
      .clip = 1,
      .batch = batch,
      .seqlen = seqlen,
      .activation_bytes = (size_t)4 << 30};
  CHECK(sb_backend_cpu_create(compute, 0, &backend));
  backend->split_f32 = sb_backend_can_split_f32(backend); /* as the program trains */
  CHECK(sb_hf_load_f32(&world, argv[1], (sb_blocking){128, 128, SB_GRID_ASYMMETRIC}, &model));
  CHECK(sb_sequences_read(&world, argv[2], SB_TOKENS_U16, model->config.vocab, seqlen, 8 * batch, 0,
                          &sequences));
  if (sequences.count % batch) {
    fprintf(stderr, "bench_train: %s has %zu of %zu sequences\n", argv[2], sequences.count,
            8 * batch);
    MPI_Abort(MPI_COMM_WORLD, 1);
  }
  CHECK(sb_trainer_create(model, backend, &options, &trainer));
  open_ways(model, steps, argv + 7, ways, count);
  measure(trainer, &sequences, steps, ways, count);
  double plain = 0;
  for (size_t i = 0; i < count; i++) {
    const double seconds = report(&world, trainer, model, steps, &ways[i], plain);
    plain = i ? plain : seconds;
    free(ways[i].seconds);
    sb_precision_map_free(&ways[i].map);
  }
  sb_trainer_free(&trainer);
  sb_sequences_free(&sequences);
  sb_model_free(&model);
  backend->op->destroy(backend);
  sb_world_finalize(&world);
  return 0;
}
