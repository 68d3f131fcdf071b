/* bench_tune MODEL TOKENS OTHER BITS CODES SEQUENCES OTHERS SEQLEN TRAINING...: what training of
 * scales wins (quant/tune_scales.h).
 *
 * Rounds MODEL to a width of BITS in all blocks of 128 x 128, with compensation, by SEQUENCES
 * windows of SEQLEN tokens of TOKENS; CODES by name (grid, trellis-12: kernels/code_kind.h).
 * Then trains the rounded model on the same windows, once for each TRAINING, written
 * RATE:BATCH:EPOCHS:NORMS (0.02:8:1:yes), each from where rounding left it. Prints a Markdown table
 * of the divergences from the source weights (nats): on some of the windows before and after, and
 * on OTHERS windows of OTHER, a second token file. Runs on one rank, with as many threads as OpenMP
 * has. */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "folders/hf_load.h"
#include "kernels/code_kind.h"
#include "pass/sequences.h"
#include "quant/gptq.h"
#include "quant/tune_scales.h"

enum { ROOM = 1 << 28 }; /* bytes for inputs of layers */

#define CHECK(call)                                                                                \
  do {                                                                                             \
    if ((call) != SB_OK) {                                                                         \
      fprintf(stderr, "bench_tune: %s\n", sb_message());                                           \
      MPI_Abort(MPI_COMM_WORLD, 1);                                                                \
    }                                                                                              \
  } while (0)

typedef struct bench {
  sb_world world;
  sb_backend *backend;
  sb_model *source, *coded;
  sb_sequences sequences, others;
  sb_pass *pass; /* of the coded model on OTHER, which knows what the source predicts */
  uint8_t *kept; /* the coded units as rounding left them */
  size_t at;
} bench;

static size_t unit_bytes(const sb_model *m, const sb_place *place, size_t unit) {
  const size_t at = place->first_unit + unit;
  return sb_store_offset(m->store, place->group, at + 1) -
         sb_store_offset(m->store, place->group, at);
}

static sb_status count_unit(void *context, sb_model *m, const sb_place *place, size_t unit,
                            void *data) {
  (void)data;
  ((bench *)context)->at += unit_bytes(m, place, unit);
  return SB_OK;
}

static sb_status keep_unit(void *context, sb_model *m, const sb_place *place, size_t unit,
                           void *data) {
  bench *b = context;
  memcpy(b->kept + b->at, data, unit_bytes(m, place, unit));
  b->at += unit_bytes(m, place, unit);
  return SB_OK;
}

static sb_status return_unit(void *context, sb_model *m, const sb_place *place, size_t unit,
                             void *data) {
  bench *b = context;
  memcpy(data, b->kept + b->at, unit_bytes(m, place, unit));
  b->at += unit_bytes(m, place, unit);
  return SB_OK;
}

static void each_unit(bench *b, sb_unit_visitor visit) {
  b->at = 0;
  CHECK(sb_model_visit_owned(b->coded, visit, b));
}

static void round_model(bench *b, unsigned bits) {
  sb_gptq_stats stats;
  memset(b->source->bits, (int)bits, b->source->blocks);
  const sb_gptq_options options = {
      .damping = 0.01, .factor = SB_FACTOR_REPLICATED, .input_bytes = ROOM};
  CHECK(sb_gptq(b->source, b->backend, &b->sequences, &options, &b->coded, &stats));
  each_unit(b, count_unit);
  CHECK(sb_alloc(&b->kept, b->at, 1, "rounded units"));
  each_unit(b, keep_unit);
}

static void learn(bench *b) {
  sb_pass *teacher;
  uint8_t *bits;
  sb_pass_setup setup = sb_sequences_setup(&b->others, b->source, b->backend, ROOM, (sb_ticker){0});
  setup.divergence = true;
  CHECK(sb_model_lift_bits(b->source, &bits));
  CHECK(sb_pass_create(&setup, &teacher));
  CHECK(sb_pass_learn(teacher));
  setup.model = b->coded;
  CHECK(sb_pass_create(&setup, &b->pass));
  CHECK(sb_pass_learn_from(b->pass, teacher));
  sb_pass_free(&teacher);
}

static double divergence_elsewhere(bench *b) {
  double loss;
  sb_pass_forget(b->pass);
  CHECK(sb_pass_loss(b->pass, &loss));
  return loss;
}

static void train(bench *b, const char *training) {
  char norms[4] = "";
  sb_tune_options options = {.activation_bytes = ROOM};
  sb_tune_stats stats;
  if (sscanf(training, "%lf:%zu:%d:%3s", &options.rate, &options.batch, &options.epochs, norms) !=
          4 ||
      options.batch == 0 || options.epochs < 1) {
    fprintf(stderr, "bench_tune: %s: RATE:BATCH:EPOCHS:NORMS is expected\n", training);
    MPI_Abort(MPI_COMM_WORLD, 1);
  }
  options.trained.norms = strcmp(norms, "yes") == 0;
  const double start = sb_now();
  CHECK(sb_tune(b->source, b->coded, b->backend, &b->sequences, &options, &stats));
  const double seconds = sb_now() - start;
  printf("| %s | %zu | %.0f | %.5f | %.5f | %.5f |\n", training, stats.steps, seconds, stats.before,
         stats.after, divergence_elsewhere(b));
  fflush(stdout);
  each_unit(b, return_unit);
}

static void read_tokens(bench *b, const char *path, const char *most, const char *seqlen,
                        sb_sequences *out) {
  CHECK(sb_sequences_read(&b->world, path, SB_TOKENS_AUTO, b->source->config.vocab,
                          strtoul(seqlen, NULL, 10), strtoul(most, NULL, 10), 0, out));
}

int main(int argc, char **argv) {
  bench b = {0};
  sb_blocking blocking = {128, 128, SB_GRID_ASYMMETRIC};
  CHECK(sb_world_init(&argc, &argv, &b.world));
  const unsigned bits = argc > 4 ? (unsigned)atoi(argv[4]) : 0;
  if (argc < 9 || bits < SB_MIN_BITS || bits > SB_MAX_BITS ||
      !sb_code_kind_find(argv[5], &blocking.code_kind)) {
    fprintf(stderr, "usage: bench_tune MODEL TOKENS OTHER BITS CODES SEQUENCES OTHERS SEQLEN "
                    "RATE:BATCH:EPOCHS:NORMS...\n");
    MPI_Abort(MPI_COMM_WORLD, 1);
  }
  CHECK(sb_backend_cpu_create(SB_COMPUTE_F32, omp_get_max_threads(), &b.backend));
  CHECK(sb_hf_load(&b.world, argv[1], blocking, true, &b.source));
  read_tokens(&b, argv[2], argv[6], argv[8], &b.sequences);
  read_tokens(&b, argv[3], argv[7], argv[8], &b.others);
  round_model(&b, bits);
  learn(&b);
  printf("| training | steps | seconds | before | after | elsewhere |\n"
         "| --- | ---: | ---: | ---: | ---: | ---: |\n| none | | | | | %.5f |\n",
         divergence_elsewhere(&b));
  fflush(stdout);
  for (int i = 9; i < argc; i++) train(&b, argv[i]);
  sb_pass_free(&b.pass);
  sb_sequences_free(&b.sequences);
  sb_sequences_free(&b.others);
  sb_model_free(&b.coded);
  sb_model_free(&b.source);
  sb_free(&b.kept);
  b.backend->op->destroy(b.backend);
  sb_world_finalize(&b.world);
  return 0;
}
