/* bench_tables MODEL TOKENS OTHER SEQUENCES OTHERS SEQLEN BITS...: what rounding of embedding and
 * LM head costs, and what compensation saves of it (quant/gptq_tables.h).
 *
 * MODEL is a Hugging Face folder. Its tables are rounded to a width of BITS in all blocks of
 * 128 x 128, in each of several ways, its layers to 8 bits. SEQUENCES windows of SEQLEN tokens of
 * TOKENS give the statistics (quant/table_stats.h). Prints a Markdown table: on OTHERS windows of
 * OTHER, a second token file, perplexity and mean divergence from the source weights, in nats; and
 * seconds of rounding. The first row has tables as they are. Runs on one rank, with as many threads
 * as OpenMP has. */
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "folders/hf_load.h"
#include "pass/sequences.h"
#include "quant/encode.h"
#include "quant/gptq_tables.h"

enum { ROOM = 1 << 28 }; /* bytes for inputs of layers */

#define CHECK(call)                                                                                \
  do {                                                                                             \
    if ((call) != SB_OK) {                                                                         \
      fprintf(stderr, "bench_tables: %s\n", sb_message());                                         \
      MPI_Abort(MPI_COMM_WORLD, 1);                                                                \
    }                                                                                              \
  } while (0)

typedef struct way {
  const char *name;
  bool by_moments, fitted;
  int refine;
} way;

static const way ways[] = {{"to nearest", false, false, 0},
                           {"to nearest, fitted", false, true, 0},
                           {"GPTQ", true, false, 0},
                           {"GPTQ, fitted", true, true, 0},
                           {"GPTQ, refined twice", true, false, 2},
                           {"GPTQ, fitted, refined twice", true, true, 2}};
enum { WAYS = sizeof ways / sizeof *ways };

typedef struct bench {
  sb_world world;
  sb_backend *backend;
  sb_model *source;
  sb_sequences sequences, others;
  sb_table_stats *stats;
  sb_pass *pass; /* over OTHER; knows what the source predicts */
} bench;

static sb_pass *make_pass(bench *b, sb_model *model) {
  sb_pass *pass = NULL;
  sb_pass_setup setup = sb_sequences_setup(&b->others, model, b->backend, ROOM, SB_NO_TICKER);
  setup.divergence = true;
  CHECK(sb_pass_create(&setup, &pass));
  return pass;
}

static void print_losses(bench *b, sb_model *coded, const char *bits, const char *name,
                         double seconds) {
  double divergence;
  sb_pass *pass = make_pass(b, coded);
  CHECK(sb_pass_learn_from(pass, b->pass));
  CHECK(sb_pass_loss(pass, &divergence));
  printf("| %s | %s | %.4f | %.5f | %.1f |\n", bits, name, exp(sb_pass_token_loss(pass)),
         divergence, seconds);
  fflush(stdout);
  CHECK(sb_pass_learn_from(b->pass, pass));
  sb_pass_free(&pass);
}

/* Of layers 8; 0 leaves the tables as they are. */
static void set_bits(sb_model *m, unsigned bits) {
  for (size_t i = 0; i < m->table_count; i++) m->tables[i].coded = bits > 0;
  memset(m->bits, SB_MAX_BITS, m->blocks);
  memset(m->bits + m->blocks, (int)bits, m->all_blocks - m->blocks);
}

/* Over what rounding to nearest has put there. */
static void compensate(bench *b, const way *w, sb_model *coded) {
  uint8_t *kept = NULL;
  CHECK(sb_model_lift_bits(b->source, &kept));
  CHECK(sb_gptq_tables_round(&(sb_gptq_tables){.source = b->source,
                                               .coded = coded,
                                               .backend = b->backend,
                                               .stats = b->stats,
                                               .damping = 0.01,
                                               .fitted = w->fitted,
                                               .refine = w->refine}));
  sb_model_return_bits(b->source, &kept);
}

static void try_way(bench *b, const way *w, unsigned bits) {
  sb_model *coded = NULL;
  char text[16];
  sb_free(&b->source->table_importance);
  if (w->fitted && !w->by_moments) CHECK(sb_table_stats_fit(b->stats, b->source));
  set_bits(b->source, bits);
  CHECK(sb_encode_nearest(b->source, &coded));
  const double start = sb_now();
  if (w->by_moments) compensate(b, w, coded);
  const double seconds = sb_now() - start;
  snprintf(text, sizeof text, "%u", bits);
  print_losses(b, coded, bits ? text : "16", w->name, seconds);
  sb_model_free(&coded);
}

/* Of the source weights, before any widths are set. */
static void learn(bench *b) {
  b->pass = make_pass(b, b->source);
  CHECK(sb_pass_learn(b->pass));
}

static void read_tokens(bench *b, const char *path, const char *most, const char *seqlen,
                        sb_sequences *out) {
  CHECK(sb_sequences_read(&b->world, path, SB_TOKENS_AUTO, b->source->config.vocab,
                          strtoul(seqlen, NULL, 10), strtoul(most, NULL, 10), 0, out));
}

int main(int argc, char **argv) {
  bench b = {0};
  const sb_blocking blocking = {128, 128, SB_GRID_ASYMMETRIC};
  CHECK(sb_world_init(&argc, &argv, &b.world));
  if (argc < 8 || b.world.size > 1) {
    fprintf(stderr, "usage: bench_tables MODEL TOKENS OTHER SEQUENCES OTHERS SEQLEN BITS...\n");
    MPI_Abort(MPI_COMM_WORLD, 1);
  }
  CHECK(sb_backend_cpu_create(SB_COMPUTE_F32, omp_get_max_threads(), &b.backend));
  CHECK(sb_hf_load(&b.world, argv[1], blocking, true, &b.source));
  read_tokens(&b, argv[2], argv[4], argv[6], &b.sequences);
  read_tokens(&b, argv[3], argv[5], argv[6], &b.others);
  CHECK(sb_table_stats_measure(b.source, b.backend, &b.sequences, ROOM, true, SB_NO_TICKER,
                               &b.stats));
  learn(&b);
  printf("| bits | rounding | perplexity | divergence | seconds |\n"
         "| ---: | --- | ---: | ---: | ---: |\n");
  try_way(&b, &(way){"as they are", false, false, 0}, 0);
  for (int i = 7; i < argc; i++) {
    const unsigned bits = (unsigned)atoi(argv[i]);
    if (bits < SB_MIN_BITS || bits > SB_MAX_BITS) {
      fprintf(stderr, "bench_tables: %s: a width of 1 to 8 bits is expected\n", argv[i]);
      MPI_Abort(MPI_COMM_WORLD, 1);
    }
    for (size_t k = 0; k < WAYS; k++) try_way(&b, &ways[k], bits);
  }
  sb_pass_free(&b.pass);
  sb_table_stats_free(&b.stats);
  sb_sequences_free(&b.sequences);
  sb_sequences_free(&b.others);
  sb_model_free(&b.source);
  b.backend->op->destroy(b.backend);
  sb_world_finalize(&b.world);
  return 0;
}
